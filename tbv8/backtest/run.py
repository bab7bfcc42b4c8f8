"""The one way in: a strategy and its bars become the files of a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tbv8.config import records
from tbv8.results.files import write_run
from tbv8.results.folder import write_json, write_result
from tbv8.results.summary import Summary, summarise, to_json
from tbv8.results.tearsheet import Result, tearsheet
from tbv8.trading.engine import run_strategy


def run_backtest(
    strategy: records.Strategy, bars: pa.Table, *, inputs: Mapping[str, Any], results_path: Path
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
    routing = strategy.routing
    primary = run_strategy(strategy, routing.primary, bars)
    shadow = None
    if routing.mode == "PRIMARY_LIVE_SECONDARY_SHADOW" and routing.secondary is not None:
        shadow = run_strategy(strategy, routing.secondary, bars)
    summary = summarise(strategy, primary, shadow)
    numbers = to_json(summary)
    result = Result(summary=numbers, primary=primary, shadow=shadow, bars=bars, inputs=inputs)

    def write(folder: Path) -> None:
        write_run(folder, primary)
        if shadow:
            write_run(folder / "shadow", shadow)
        write_json(folder / "summary.json", numbers)
        (folder / "tearsheet.html").write_text(tearsheet(result), encoding="utf-8")

    write_result(results_path / strategy.strategy_id, write, inputs=inputs)
    return summary
