"""Write every file of a result: those of its runs, its market, summary and page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tbv8.config import records
from tbv8.manifest import PAGE
from tbv8.results.accounting import Books
from tbv8.results.files import write_market, write_run
from tbv8.results.folder import write_json
from tbv8.results.read import read_result
from tbv8.results.summary import Summary, to_json
from tbv8.results.tearsheet.page import tearsheet
from tbv8.trading.bars import Bars


def write_files(
    folder: Path,
    strategy: records.Strategy,
    bars: Bars,
    summary: Summary,
    accounts: dict[str, Books],
    *,
    inputs: Mapping[str, Any],
) -> None:
    """Write all files of a result but its manifest into an empty folder.

    Args:
        folder: The folder.
        strategy: The strategy, with all that it inherits.
        bars: Its bars.
        summary: The result's numbers.
        accounts: Those of the `primary` run and, if there is one, of the `shadow`. They are
            removed once written: the page is drawn from the files, so it needs no memory for them.
        inputs: The parts of the result's key: digest and value of each.
    """
    for role in list(accounts):
        write_run(folder if role == "primary" else folder / role, accounts.pop(role))
    write_market(folder / "market.csv", strategy, bars)
    write_json(folder / "summary.json", to_json(summary))
    draw_page(folder, strategy, bars, inputs=inputs)


def draw_page(
    folder: Path, strategy: records.Strategy, bars: Bars, *, inputs: Mapping[str, Any]
) -> None:
    """Draw the page of a result whose other files are there."""
    result = read_result(folder, strategy=strategy, bars=bars, inputs=inputs)
    (folder / PAGE).write_text(tearsheet(result), encoding="utf-8")
