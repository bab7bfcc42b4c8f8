"""Run a backtest, and write or redraw the files of its result."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tbv8.backtest.feed import require_bars, run_session
from tbv8.config import records
from tbv8.manifest import FILES_PART, PAGE, Manifest, make_input
from tbv8.results.accounting import Books, to_books
from tbv8.results.folder import write_result
from tbv8.results.marks import to_marks
from tbv8.results.summary import Summary, summarise
from tbv8.results.write import draw_page, write_files
from tbv8.trading.bars import Bars
from tbv8.trading.opened_files import track_files


def run_backtest(
    strategy: records.Strategy, bars: Bars, *, inputs: Mapping[str, Any], results_path: Path
) -> Summary:
    """Run a strategy over its bars and write `results_path/<strategy_id>/`.

    Args:
        strategy: The strategy, with all inherited settings.
        bars: The bars of its source that lie whole within its run; a gap is an outage.
        inputs: Digest and value of each part of the result's key, for the manifest, without the
            files that the strategy opens during the run.
        results_path: The folder of all results.

    Raises:
        ConfigError: The strategy's config class refuses its params.
        DataError: There are no bars, or a bar is impossible.
        StrategyError: The strategy raised, ended the run, or opened something that cannot be part
            of a key.
    """
    require_bars(strategy, bars)
    routing, marks = strategy.routing, to_marks(strategy, bars)
    files: dict[str, str] = {}

    def account(venue: str) -> Books:
        with track_files(strategy) as opened:
            run = run_session(strategy, venue, bars, with_chart_lines=venue == routing.primary)
            books = to_books(run, marks)
        files.update(opened.files())
        return books

    accounts = {"primary": account(routing.primary)}
    if routing.mode == "PRIMARY_LIVE_SECONDARY_SHADOW" and routing.secondary is not None:
        accounts["shadow"] = account(routing.secondary)
    key = {**inputs, FILES_PART: make_input(files)}
    summary = summarise(strategy, bars, accounts["primary"], accounts.get("shadow"))

    def write(folder: Path) -> None:
        write_files(folder, strategy, bars, summary, accounts, inputs=key)

    write_result(results_path / strategy.strategy_id, write, inputs=key)
    return summary


def draw_again(
    folder: Path,
    manifest: Manifest,
    strategy: records.Strategy,
    bars: Bars,
    *,
    inputs: Mapping[str, Any],
) -> None:
    """Draw the page of a result again from its other files and its bars, without a run.

    Args:
        folder: The result's folder.
        manifest: The result's manifest; the files that the strategy opened are kept from it.
        strategy: As in `run_backtest`.
        bars: As in `run_backtest`; those of the result's key, so that the page is the same.
        inputs: As in `run_backtest`.
    """
    key = {**inputs, FILES_PART: manifest.inputs[FILES_PART]}

    def write(new: Path) -> None:
        for name in manifest.outputs.keys() - {PAGE}:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, new / name)
        draw_page(new, strategy, bars, inputs=key)

    write_result(folder, write, inputs=key)
