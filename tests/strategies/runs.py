"""Runs of the shipped strategies, and what their fills were."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tbv8.market import parse_timeframe
from tbv8.trading.records import Run
from tests.backtest.builders import bar_number, make_bars, make_strategy, run_strategy


def run(
    name: str,
    data: Sequence[float] | pa.Table,
    *,
    timeframe: str = "1h",
    risk: Any = None,
    **p: Any,
) -> Run:
    """Run `breakout.Breakout` where `name` is `breakout`: 2 of base, tick 0.5, fee 0.05 %."""
    strategy = make_strategy(
        module=name,
        class_name=name.capitalize(),
        params=p,
        timeframe=parse_timeframe(timeframe),
        **({"risk": risk} if risk else {}),
    )
    table = data if isinstance(data, pa.Table) else make_bars(data, timeframe=timeframe)
    return run_strategy(strategy, "hyperliquid", table)


def fills_of(run: Run, timeframe: str = "1h") -> list[tuple[int, str, Decimal, Decimal]]:
    """Return the bar (from 1), type, signed quantity and price of each fill."""
    return [(bar_number(f.ts_ms, timeframe), f.type, f.change, f.price) for f in run.fills]
