"""What a result comes to: the numbers of summary.json, and the lines that a terminal shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from tbv8 import config
from tbv8.backtest.accounting import Fill, from_money, max_drawdown, to_money
from tbv8.backtest.engine import Run
from tbv8.market import iso

SIMULATED = "sample"
"""The venue whose market is made up."""

_LISTED = 1000
"""How many denials, or fills that the other run lacks, are listed; the counts are of all."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order denied, or everything closed: when, by which rule, with which numbers."""

    time: str
    rule: str
    order: str | None = None
    until: str | None = None
    numbers: dict[str, Decimal]


class OneSided(msgspec.Struct, frozen=True, kw_only=True):
    """A fill that the other run lacks."""

    time: str
    side: str
    type: str
    quantity: Decimal
    price: Decimal


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
    funding: Decimal
    total_return: float = msgspec.field(name="return")
    max_drawdown: float
    buy_and_hold_return: float
    denied: dict[str, int]
    denials: tuple[Event, ...]
    halts: tuple[Event, ...]


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """How the shadow differs from the primary: shadow minus primary, and the widest in between.

    Fills are the same when time, side and type are; the others are counted and listed.
    """

    fills: int
    pnl: Decimal
    fees: Decimal
    funding: Decimal
    max_equity_difference: Decimal
    only_primary: int
    only_shadow: int
    only_primary_fills: tuple[OneSided, ...]
    only_shadow_fills: tuple[OneSided, ...]


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
        shown.extend(
            f"  {stats.venue}: {count:,} orders denied by {rule}"
            for rule, count in stats.denied.items()
        )
        if stats.halts:
            halts = Counter(halt.rule for halt in stats.halts)
            rules = ", ".join(f"{count:,} by {rule}" for rule, count in sorted(halts.items()))
            shown.append(f"  {stats.venue}: closed and halted for the day {rules}")
    return shown


def _line(stats: Stats) -> str:
    funding = f", funding {stats.funding:,.2f}" if stats.funding else ""
    return (
        f"{stats.venue}: {stats.start_equity:,.2f} -> {stats.end_equity:,.2f} USD "
        f"({stats.total_return:+.2%}), {stats.fills:,} fills, {stats.positions:,} positions, "
        f"fees {stats.fees:,.2f}{funding}, max drawdown {stats.max_drawdown:.2%}"
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
        funding=sum((payment.amount for payment in run.payments), Decimal(0)),
        total_return=_fraction((end - start) / start),
        max_drawdown=_fraction(max_drawdown(run.curve.equity, to_money(start))),
        buy_and_hold_return=_fraction((held - start) / start),
        denied=dict(sorted(Counter(denial.rule for denial in run.denials).items())),
        denials=tuple(
            Event(time=iso(d.ts_ms), rule=d.rule, order=d.order, numbers=d.numbers)
            for d in run.denials[:_LISTED]
        ),
        halts=tuple(
            Event(time=iso(h.ts_ms), rule=h.rule, until=iso(h.until_ms), numbers=h.numbers)
            for h in run.halts
        ),
    )


def _divergence(primary: Run, shadow: Run) -> Divergence:
    ours, theirs = _stats(primary), _stats(shadow)
    only_primary = _only(primary.fills, shadow.fills)
    only_shadow = _only(shadow.fills, primary.fills)
    apart = int(np.abs(shadow.curve.equity - primary.curve.equity).max())
    return Divergence(
        fills=theirs.fills - ours.fills,
        pnl=theirs.pnl - ours.pnl,
        fees=theirs.fees - ours.fees,
        funding=theirs.funding - ours.funding,
        max_equity_difference=from_money(apart),
        only_primary=len(only_primary),
        only_shadow=len(only_shadow),
        only_primary_fills=tuple(only_primary[:_LISTED]),
        only_shadow_fills=tuple(only_shadow[:_LISTED]),
    )


def _only(fills: Iterable[Fill], others: Iterable[Fill]) -> list[OneSided]:
    """Return the fills that have no like among the others."""
    left = Counter((fill.ts_ms, fill.side, fill.type) for fill in others)
    only = []
    for fill in fills:
        key = (fill.ts_ms, fill.side, fill.type)
        if left[key]:
            left[key] -= 1
        else:
            only.append(
                OneSided(
                    time=iso(fill.ts_ms),
                    side=fill.side,
                    type=fill.type,
                    quantity=fill.quantity,
                    price=fill.price,
                )
            )
    return only


def _fraction(value: Decimal | float) -> float:
    return round(float(value), 8)


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value
