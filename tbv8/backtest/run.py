"""The one way in: a strategy and its bars become the files of a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tbv8.backtest.feed import check_held, run_at_once
from tbv8.config import records
from tbv8.results.accounting import to_books
from tbv8.results.files import write_market, write_run
from tbv8.results.folder import write_json, write_result
from tbv8.results.marks import to_marks
from tbv8.results.read import read_result
from tbv8.results.summary import Summary, summarise, to_json
from tbv8.results.tearsheet import tearsheet
from tbv8.trading.bars import Bars


def run_backtest(
    strategy: records.Strategy, bars: Bars, *, inputs: Mapping[str, Any], results_path: Path
) -> Summary:
    """Run a strategy over its bars and write `results_path/<strategy_id>/`.

    Args:
        strategy: With all that it inherits.
        bars: Those of its source whose whole time lies in its span; holes are outages.
        inputs: For the manifest: digest and value of each part of the result's key.
        results_path: The folder of all results.

    Raises:
        ConfigError: The strategy's own class refuses its params.
        DataError: There are no bars, or some that no market makes.
        StrategyError: The strategy raised, or ended the run early.
    """
    check_held(strategy, bars)
    routing, marks = strategy.routing, to_marks(strategy, bars)
    primary = to_books(run_at_once(strategy, routing.primary, bars), marks)
    shadow = None
    if routing.mode == "PRIMARY_LIVE_SECONDARY_SHADOW" and routing.secondary is not None:
        shadow = to_books(run_at_once(strategy, routing.secondary, bars), marks)
    summary = summarise(strategy, bars, primary, shadow)

    def write(folder: Path) -> None:
        write_run(folder, primary)
        if shadow:
            write_run(folder / "shadow", shadow)
        write_market(folder / "market.csv", strategy, bars)
        write_json(folder / "summary.json", to_json(summary))
        page = tearsheet(read_result(folder, inputs=inputs))
        (folder / "tearsheet.html").write_text(page, encoding="utf-8")

    write_result(results_path / strategy.strategy_id, write, inputs=inputs)
    return summary
