"""What a result comes to: the numbers of summary.json, and the lines that a terminal shows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from tbv8 import config
from tbv8.backtest.accounting import from_money, max_drawdown, to_money
from tbv8.backtest.engine import Run
from tbv8.market import iso

SIMULATED = "sample"
"""The venue whose market is made up."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """One run's numbers: money in USD, returns and the drawdown as fractions."""

    venue: str
    orders: dict[str, int]
    refused: dict[str, int]
    fills: int
    positions: int
    open_position: Decimal
    start_equity: Decimal
    end_equity: Decimal
    pnl: Decimal
    fees: Decimal
    total_return: float = msgspec.field(name="return")
    max_drawdown: float
    buy_and_hold_return: float


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """How the shadow differs from the primary: shadow minus primary, and the widest in between."""

    fills: int
    pnl: Decimal
    fees: Decimal
    max_equity_difference: Decimal


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What summary.json holds."""

    strategy_id: str
    symbol: str
    timeframe: str
    span: dict[str, str]
    market_data_venue: str
    simulated: bool
    bars: int
    primary: Stats
    shadow: Stats | None
    divergence: Divergence | None


def summarise(strategy: config.Strategy, primary: Run, shadow: Run | None) -> Summary:
    """Return the numbers of a result; the span is the whole bars in the wanted one."""
    span = strategy.timeframe.whole(strategy.span)
    return Summary(
        strategy_id=strategy.strategy_id,
        symbol=strategy.symbol,
        timeframe=strategy.timeframe.text,
        span={"start": iso(span.start_ms), "end": iso(span.end_ms)},
        market_data_venue=strategy.source.venue,
        simulated=strategy.source.venue == SIMULATED,
        bars=len(primary.curve.closes_ms),
        primary=_stats(primary),
        shadow=_stats(shadow) if shadow else None,
        divergence=_divergence(primary, shadow) if shadow else None,
    )


def to_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values: money as numbers of at most eight decimals."""
    values: dict[str, Any] = msgspec.to_builtins(summary, builtin_types=(Decimal,), enc_hook=str)
    return {key: _floats(value) for key, value in values.items()}


def lines(summary: Summary) -> list[str]:
    """Return what to print when a backtest has ended."""
    simulated = ", simulated" if summary.simulated else ""
    held = summary.primary.buy_and_hold_return
    shown = [
        f"{summary.strategy_id}: {summary.symbol} {summary.timeframe}, {summary.bars:,} bars of "
        f"{summary.market_data_venue}{simulated}, {summary.span['start']} .. {summary.span['end']}",
        f"  {_line(summary.primary)}; buy and hold {held:+.2%}",
    ]
    if summary.shadow and summary.divergence:
        apart = summary.divergence.max_equity_difference
        shown.append(f"  {_line(summary.shadow)}; shadow, at most {apart:,.2f} USD apart")
    for stats in filter(None, (summary.primary, summary.shadow)):
        shown.extend(
            f"  {stats.venue} refused {count:,} orders: {reason}"
            for reason, count in stats.refused.items()
        )
    return shown


def _line(stats: Stats) -> str:
    return (
        f"{stats.venue}: {stats.start_equity:,.2f} -> {stats.end_equity:,.2f} USD "
        f"({stats.total_return:+.2%}), {stats.fills:,} fills, {stats.positions:,} positions, "
        f"fees {stats.fees:,.2f}, max drawdown {stats.max_drawdown:.2%}"
    )


def _stats(run: Run) -> Stats:
    start, end = run.start_equity, from_money(run.curve.equity[-1])
    held = from_money(run.curve.buy_and_hold[-1])
    return Stats(
        venue=run.venue,
        orders=run.orders,
        refused=run.refused,
        fills=len(run.fills),
        positions=len(run.positions),
        open_position=run.fills[-1].position if run.fills else Decimal(0),
        start_equity=start,
        end_equity=end,
        pnl=end - start,
        fees=sum((fill.fee for fill in run.fills), Decimal(0)),
        total_return=_fraction((end - start) / start),
        max_drawdown=_fraction(max_drawdown(run.curve.equity, to_money(start))),
        buy_and_hold_return=_fraction((held - start) / start),
    )


def _divergence(primary: Run, shadow: Run) -> Divergence:
    ours, theirs = _stats(primary), _stats(shadow)
    apart = int(np.abs(shadow.curve.equity - primary.curve.equity).max())
    return Divergence(
        fills=theirs.fills - ours.fills,
        pnl=theirs.pnl - ours.pnl,
        fees=theirs.fees - ours.fees,
        max_equity_difference=from_money(apart),
    )


def _fraction(value: Decimal | float) -> float:
    return round(float(value), 8)


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    return float(value) if isinstance(value, Decimal) else value
