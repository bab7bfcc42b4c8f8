"""Runs of the shipped strategies, and what their fills were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tbv8.market import parse_timeframe
from tbv8.trading.bars import Bars
from tbv8.trading.records import Run
from tests.backtest.builders import bar_number, bars_of, make_bars, make_strategy, run_strategy


def run(
    name: str,
    data: Sequence[float] | pa.Table,
    *,
    timeframe: str = "1h",
    further: Mapping[str, Sequence[float]] | None = None,
    risk: Any = None,
    **p: Any,
) -> Run:
    """Run `breakout.Breakout` where `name` is `breakout`: 2 of base, tick 0.5, fee 0.05 %.

    `data` are closes or a table; `further` the closes of the timeframes in `bars`.
    """
    longer = {
        parse_timeframe(text): make_bars(closes, timeframe=text)
        for text, closes in (further or {}).items()
    }
    strategy = make_strategy(
        module=name,
        class_name=name.capitalize(),
        params=p,
        timeframe=parse_timeframe(timeframe),
        bars=tuple(longer),
        **({"risk": risk} if risk else {}),
    )
    table = data if isinstance(data, pa.Table) else make_bars(data, timeframe=timeframe)
    bars = bars_of(strategy, table)
    shown = {(strategy.symbol, each): rows for each, rows in longer.items()}
    return run_strategy(strategy, "hyperliquid", Bars(shown=bars.shown | shown, steps=bars.steps))


def fills_of(run: Run, timeframe: str = "1h") -> list[tuple[int, str, Decimal, Decimal]]:
    """Return the bar (from 1), type, signed quantity and price of each fill."""
    return [(bar_number(f.ts_ms, timeframe), f.type, f.change, f.price) for f in run.fills]
