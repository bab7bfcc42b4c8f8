"""What a result comes to: the numbers of summary.json, and the lines that a terminal shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Any

import msgspec
import numpy as np

from tbv8 import config
from tbv8.backtest.accounting import Fill, entry_price, from_money
from tbv8.backtest.engine import Run
from tbv8.backtest.statistics import Performance, Trading, measure_curve, measure_trading
from tbv8.market import Timeframe, iso
from tbv8.page.words import counted, often

_LISTED = 1000
"""How many denials, or fills that the other run lacks, are listed; the counts are of all."""


_SHOWN = Context(prec=10)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order denied, or everything closed: when, by which rule, with which numbers.

    After a halt `until` says how long it lasts. Units of the numbers: see `tbv8.risk.Breach`.
    """

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
    """One run's numbers: statistics.py says how each of its curve and its trading is made.

    In the JSON `performance` and `trading` lie flat among the others. Money is in USD.
    """

    venue: str
    performance: Performance
    trading: Trading
    orders: dict[str, int]
    refused: dict[str, int]
    fills: int
    positions: int
    open_position: Decimal
    open_entry_price: Decimal | None
    unrealized_pnl: Decimal
    start_equity: Decimal
    end_equity: Decimal
    pnl: Decimal
    funding: Decimal
    buy_and_hold: Performance
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
    ours = _stats(primary, strategy.timeframe)
    theirs = _stats(shadow, strategy.timeframe) if shadow else None
    return Summary(
        strategy_id=strategy.strategy_id,
        symbol=strategy.symbol,
        timeframe=strategy.timeframe.text,
        span={"start": iso(span.start_ms), "end": iso(span.end_ms)},
        market_data_venue=strategy.source.venue,
        simulated=strategy.simulated,
        bars=len(primary.curve.closes_ms),
        primary=ours,
        shadow=theirs,
        divergence=_divergence(primary, shadow, ours, theirs) if shadow and theirs else None,
    )


def to_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values: money as numbers of at most eight decimals."""
    values: dict[str, Any] = msgspec.to_builtins(summary, builtin_types=(Decimal,), enc_hook=str)
    for stats in filter(None, (values["primary"], values["shadow"])):
        stats |= stats.pop("performance") | stats.pop("trading")
    return {key: _floats(value) for key, value in values.items()}


def lines(summary: Summary) -> list[str]:
    """Return what to print when a backtest has ended."""
    simulated = ", simulated" if summary.simulated else ""
    held = summary.primary.buy_and_hold
    shown = [
        f"{summary.strategy_id}: {summary.symbol} {summary.timeframe}, {summary.bars:,} bars of "
        f"{summary.market_data_venue}{simulated}, {summary.span['start']} .. {summary.span['end']}",
        f"  {_line(summary.primary)}; buy and hold {_gains(held)}",
    ]
    if summary.shadow and summary.divergence:
        apart = summary.divergence.max_equity_difference
        shown.append(f"  {_line(summary.shadow)}; shadow, at most {apart:,.2f} USD apart")
    base = summary.symbol.partition("/")[0]
    for stats in filter(None, (summary.primary, summary.shadow)):
        if stats.open_entry_price is not None:
            side = "long" if stats.open_position > 0 else "short"
            shown.append(
                f"  {stats.venue}: still {side} {_short(abs(stats.open_position))} {base} at the "
                f"end, entered at {_short(stats.open_entry_price)}: {stats.unrealized_pnl:+z,.2f} "
                "USD unrealized, in the equity above"
            )
        if not stats.orders:
            shown.append(f"  {stats.venue}: no order was sent")
        shown.extend(
            f"  {stats.venue} refused {counted(count, 'order')}: {reason}"
            for reason, count in stats.refused.items()
        )
        shown.extend(
            f"  {stats.venue}: {counted(count, 'order')} denied by {rule}"
            for rule, count in stats.denied.items()
        )
        if stats.halts:
            halts = Counter(halt.rule for halt in stats.halts)
            rules = ", ".join(f"{often(count)} by {rule}" for rule, count in sorted(halts.items()))
            shown.append(f"  {stats.venue}: closed and halted until 00:00 UTC {rules}")
    return shown


def _line(stats: Stats) -> str:
    funding = f", funding {stats.funding:,.2f}" if stats.funding else ""
    return (
        f"{stats.venue}: {stats.start_equity:,.2f} -> {stats.end_equity:,.2f} USD "
        f"({_gains(stats.performance)}), {counted(stats.fills, 'fill')}, "
        f"{counted(stats.positions, 'position')}, "
        f"fees {stats.trading.fees:,.2f}{funding}, "
        f"max drawdown {stats.performance.max_drawdown:.2%}"
    )


def _short(value: Decimal) -> str:
    return f"{value.normalize(_SHOWN):,f}"


def _gains(performance: Performance) -> str:
    sharpe = "" if performance.sharpe is None else f", Sharpe {performance.sharpe:.2f}"
    return f"{performance.total_return:+.2%}{sharpe}"


def _stats(run: Run, timeframe: Timeframe) -> Stats:
    curve = run.curve
    left = run.fills[-1].position if run.fills else Decimal(0)
    entry = entry_price(run.fills)
    start, end = run.start_equity, from_money(curve.equity[-1])
    start_ms = timeframe.floor(int(curve.closes_ms[0]) - 1)
    performance, held = (
        measure_curve(curve.closes_ms, equity, start_ms=start_ms, start=start)
        for equity in (curve.equity, curve.buy_and_hold)
    )
    return Stats(
        venue=run.venue,
        performance=performance,
        trading=measure_trading(run.fills, run.positions, curve, start_ms=start_ms),
        orders=run.orders,
        refused=run.refused,
        fills=len(run.fills),
        positions=len(run.positions),
        open_position=left,
        open_entry_price=None if entry is None else round(entry, 8),
        unrealized_pnl=_unrealized(left, entry, Decimal(repr(float(curve.price[-1])))),
        start_equity=start,
        end_equity=end,
        pnl=end - start,
        funding=sum((payment.amount for payment in run.payments), Decimal(0)),
        buy_and_hold=held,
        denied=dict(sorted(Counter(denial.rule for denial in run.denials).items())),
        denials=tuple(
            Event(
                time=iso(d.ts_ms),
                rule=d.rule,
                order=d.order,
                until=None if d.until_ms is None else iso(d.until_ms),
                numbers=d.numbers,
            )
            for d in run.denials[:_LISTED]
        ),
        halts=tuple(
            Event(time=iso(h.ts_ms), rule=h.rule, until=iso(h.until_ms), numbers=h.numbers)
            for h in run.halts
        ),
    )


def _unrealized(position: Decimal, entry: Decimal | None, price: Decimal) -> Decimal:
    """Return what an open position has gained at `price`, its fees and funding not counted."""
    return Decimal(0) if entry is None else round(position * (price - entry), 8)


def _divergence(primary: Run, shadow: Run, ours: Stats, theirs: Stats) -> Divergence:
    only_primary = _only(primary.fills, shadow.fills)
    only_shadow = _only(shadow.fills, primary.fills)
    apart = int(np.abs(shadow.curve.equity - primary.curve.equity).max())
    return Divergence(
        fills=theirs.fills - ours.fills,
        pnl=theirs.pnl - ours.pnl,
        fees=theirs.trading.fees - ours.trading.fees,
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


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value
