"""The summary of a result: one record for summary.json, the terminal's lines and the page.

`str(summary)` is the text for a terminal. In the JSON a run's `performance` and `trading` are flat
among its other values.
"""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tbv8.config import records
from tbv8.coverage import gaps
from tbv8.market import (
    DAY_MS,
    HOUR_MS,
    MIN_DAYS,
    MINUTE_MS,
    Span,
    duration_text,
    iso,
    parse_time,
    parse_timeframe,
)
from tbv8.page.words import often
from tbv8.results.accounting import Books, entry_price, from_money, history
from tbv8.results.marks import (
    BeyondVolume,
    beyond_volume,
    missing_bars,
    missing_minutes,
    missing_warm_up_minutes,
    without_warm_up,
)
from tbv8.results.rule_warnings import rule_warnings
from tbv8.results.statistics import (
    Performance,
    Trading,
    days_with_bars,
    measure_curve,
    measure_trading,
    stops_reached,
)
from tbv8.risk.checks import RULES
from tbv8.risk.events import LIQUIDATION, Denial, Halt, Payment
from tbv8.text import counted
from tbv8.trading.bars import Bars
from tbv8.trading.funding import FundingPayments
from tbv8.trading.nautilus import close_times
from tbv8.trading.records import Fill

_LISTED = 1000
"""The maximum length of the lists of denials and of one-sided fills; counts include all."""

_TEN_DIGITS = Context(prec=10)


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A denied order, or a halt that closed all positions: its time, rule and numbers.

    `until` is the end of a halt. The numbers have the units of a Breach.
    """

    time: str
    rule: str
    symbol: str | None = None
    order: str | None = None
    until: str | None = None
    numbers: dict[str, Decimal]


class OneSided(msgspec.Struct, frozen=True, kw_only=True):
    """A fill in one of two runs that the other run does not have."""

    time: str
    symbol: str
    side: str
    type: str
    quantity: Decimal
    price: Decimal


_OF_FILL = OneSided.__struct_fields__[1:]
_MATCH = operator.attrgetter("ts_ms", "symbol", "side", "type")


class OpenPosition(msgspec.Struct, frozen=True, kw_only=True):
    """A position open at the end, negative if short; its PnL is without fees and funding."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    unrealized_pnl: Decimal


class FundingSource(msgspec.Struct, frozen=True, kw_only=True):
    """The source of one symbol's funding.

    Args:
        rate_8h: The fixed rate per eight hours; None if venues' recorded rates were charged.
        shares: The share of the due hours with each venue's rates.
        hours_without_rate: The number of due hours without a rate, which were not charged.
        first_without_rate: The first stretch of those, as two times; None if there is none.
        paid: The amount paid, in USD; negative if received.
    """

    rate_8h: Decimal | None
    shares: dict[str, float]
    hours_without_rate: int
    first_without_rate: tuple[str, str] | None = None
    paid: Decimal


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """One run's numbers; `tbv8.results.statistics` defines those of its curve and its trading.

    Money is in USD. `lost_margin` is the margin lost in liquidations, apart from prices and fees.
    `start_positions` are those carried over from the warm-up by symbol, negative if short.
    `stops_reached` counts stops whose trigger the price had reached when their entry was filled.
    `denied` and `halted` count denied orders and halts by rule. `denials` and `halts` list them, of
    denials the first thousand.
    """

    venue: str
    performance: Performance
    trading: Trading
    orders: dict[str, int]
    refused: dict[str, int]
    fills: int
    open_positions: tuple[OpenPosition, ...]
    unrealized_pnl: Decimal
    start_equity: Decimal
    end_equity: Decimal
    pnl: Decimal
    funding: Decimal
    funding_sources: dict[str, FundingSource]
    lost_margin: Decimal
    buy_and_hold: Performance
    beyond_volume: BeyondVolume
    start_positions: dict[str, Decimal] = {}
    stops_reached: int = 0
    denied: dict[str, int]
    halted: dict[str, int] = {}
    denials: tuple[Event, ...]
    halts: tuple[Event, ...]

    @property
    def before_costs(self) -> Decimal:
        """The profit or loss without fees, slippage and funding."""
        return self.pnl + self.trading.fees + self.trading.slippage + self.funding


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Differences of the shadow: shadow minus primary, and the largest difference of equity.

    Fills match if time, symbol, side and type are the same; the others are counted and listed.
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


class PricedDay(msgspec.Struct, frozen=True, kw_only=True):
    """The fills of a UTC day at the secondary's quotes: those with a quote, and the extra cost."""

    day: str
    fills: int
    priced: int
    cost_usd: Decimal


class PricedFills(msgspec.Struct, frozen=True, kw_only=True):
    """The fills of a paper session at the secondary's recorded quotes; fees are not counted.

    `reached` counts limit orders that those quotes traded through while they rested.
    """

    venue: str
    fills: int
    priced: int
    cost_usd: Decimal
    reached: int
    days: tuple[PricedDay, ...]


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The contents of summary.json.

    `priced` exists only for paper sessions with a shadow. `not_in_history` are the requested times
    outside of the venue's history, each as two times.
    `symbol` is the main one of `symbols`; `bars` counts those of the main symbol and timeframe.
    `minutes` is the number of minutes in the span, `missing_minutes` of those without a bar, by
    symbol; `missing_bars` is the number of bars of the timeframe without a single minute, by symbol
    that lacks any. `warm_up_minutes` and `missing_warm_up_minutes` are those before the span; only
    with a warm-up. `rule_warnings` are about suspicious rules, such as a fee that looks like
    percent. `days` is the length of the curve: the span, in a paper session up to its last minute.
    `days_with_bars` is the number of UTC days with a part of a main bar.
    """

    strategy_id: str
    symbol: str
    symbols: tuple[str, ...]
    timeframe: str
    detail: str
    span: dict[str, str]
    days: float
    market_data_venue: str
    simulated: bool
    bars: int
    minutes: int
    missing_minutes: dict[str, int]
    primary: Stats
    shadow: Stats | None
    divergence: Divergence | None
    priced: PricedFills | None = None
    not_in_history: tuple[tuple[str, str], ...] = ()
    missing_bars: dict[str, int] = {}
    warm_up_minutes: int = 0
    missing_warm_up_minutes: dict[str, int] = {}
    days_with_bars: int | None = None
    rule_warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    @property
    def is_short(self) -> bool:
        """True if there are too few days for annualised numbers."""
        days = self.days if self.days_with_bars is None else min(self.days, self.days_with_bars)
        return days < MIN_DAYS

    @property
    def runs(self) -> tuple[Stats, ...]:
        """The primary, and the shadow if there is one."""
        return (self.primary, self.shadow) if self.shadow else (self.primary,)


def summarise(
    strategy: records.Strategy,
    bars: Bars,
    primary: Books,
    shadow: Books | None,
    *,
    shadow_bars: Bars | None = None,
    priced: PricedFills | None = None,
) -> Summary:
    """Return the numbers of a result; its span has the whole bars of the configured one.

    Args:
        strategy: The strategy.
        bars: Its bars.
        primary: The accounts of the primary run.
        shadow: The accounts of the run by the secondary venue's rules.
        shadow_bars: The shadow's bars, if they are not `bars`.
        priced: The primary's fills at the secondary's quotes.
    """
    span = strategy.counted_span
    curve, main = primary.curve, bars.shown[strategy.symbol, strategy.timeframe]
    main = without_warm_up(strategy, main)
    days = days_with_bars(main["ts_ms"].to_numpy(), close_times(main, strategy.timeframe))
    primary_stats = _stats(strategy, bars, primary, days)
    shadow_stats = _stats(strategy, shadow_bars or bars, shadow, days) if shadow else None
    return Summary(
        strategy_id=strategy.strategy_id,
        symbol=strategy.symbol,
        symbols=strategy.symbols,
        timeframe=strategy.timeframe.text,
        detail=strategy.detail,
        span={"start": iso(span.start_ms), "end": iso(span.end_ms)},
        days=round((int(curve.closes_ms[-1]) - curve.start_ms) / DAY_MS, 8),
        market_data_venue=strategy.source.venue,
        simulated=strategy.simulated,
        bars=main.num_rows,
        minutes=(span.end_ms - span.start_ms) // 60_000,
        missing_minutes=missing_minutes(strategy, bars),
        missing_bars=missing_bars(strategy, bars),
        warm_up_minutes=strategy.warm_up_span.minutes if strategy.warm_up_ms else 0,
        days_with_bars=days,
        missing_warm_up_minutes=missing_warm_up_minutes(strategy, bars),
        primary=primary_stats,
        shadow=shadow_stats,
        divergence=_divergence(primary, shadow, primary_stats, shadow_stats)
        if shadow and shadow_stats
        else None,
        priced=priced,
        rule_warnings=rule_warnings(
            strategy, bars, [run.venue for run in (primary_stats, shadow_stats) if run]
        ),
        not_in_history=tuple(
            (iso(part.start_ms), iso(part.end_ms)) for part in strategy.not_in_history
        ),
    )


def to_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values: money as numbers of at most eight decimals."""
    values: dict[str, Any] = msgspec.to_builtins(summary, builtin_types=(Decimal,), enc_hook=str)
    for stats in filter(None, (values["primary"], values["shadow"])):
        stats |= stats.pop("performance") | stats.pop("trading")
    return {key: _floats(value) for key, value in values.items()}


def read_summary(folder: Path) -> Summary:
    """Return the summary of a result's folder."""
    values = json.loads((folder / "summary.json").read_text("utf-8"), parse_float=Decimal)
    for stats in filter(None, (values["primary"], values["shadow"])):
        for name, part in (("performance", Performance), ("trading", Trading)):
            keys = [field.encode_name for field in msgspec.structs.fields(part)]
            stats[name] = {key: stats.pop(key) for key in keys}
    return msgspec.convert(values, Summary, strict=False)


# Text.


def cautions(summary: Summary) -> list[str]:
    """Return the warnings that belong above the numbers of a result."""
    warnings = [*summary.rule_warnings]
    warnings += [_not_in_history(summary, *times) for times in summary.not_in_history]
    if summary.days < MIN_DAYS:
        days, minutes = summary.days, summary.minutes
        length = f"{days:,.1f} days" if days >= 0.1 else counted(minutes, "minute")
        warnings.append(
            f"a span of {length} is too short for annualised numbers such as the Sharpe ratio, "
            f"which need {MIN_DAYS} days"
        )
    elif summary.is_short:
        warnings.append(
            f"bars on {counted(summary.days_with_bars or 0, 'day')} are too few for annualised "
            f"numbers such as the Sharpe ratio, which need {MIN_DAYS} days"
        )
    for symbol, missing in summary.missing_minutes.items():
        if missing:
            share = missing / summary.minutes
            warnings.append(
                f"{symbol}: {missing:,} of {counted(summary.minutes, 'minute')} are missing "
                f"({share:.2%}){_missing_bars(summary, symbol)}"
            )
    for symbol, missing in summary.missing_warm_up_minutes.items():
        if missing:
            warnings.append(
                f"{symbol}: {missing:,} of {counted(summary.warm_up_minutes, 'minute')} of the "
                "warm-up are missing: indicators are not those of a longer run"
            )
    for stats in summary.runs:
        if text := "; ".join(_cautions_of(stats)):
            warnings.append(f"{stats.venue}: {text}")
    return warnings


def _not_in_history(summary: Summary, start: str, end: str) -> str:
    """Return the warning about requested times before or after the history."""
    days = (parse_time(end) - parse_time(start)) / DAY_MS
    count = counted(round(days), "day") if days.is_integer() else f"{days:,.1f} days"
    is_after = parse_time(start) >= parse_time(summary.span["start"])
    edge = f"to {_date(end)}" if is_after else f"from {_date(start)}"
    verb = "is" if days == 1 else "are"
    return f"{count} requested, {edge}, {verb} not in {summary.market_data_venue}'s history"


def _date(time: str) -> str:
    """Return an ISO time without its clock at midnight."""
    return time.removesuffix("T00:00:00Z")


def _missing_bars(summary: Summary, symbol: str) -> str:
    """Return the text about bars of a symbol without a single minute; "" for none."""
    length_ms = parse_timeframe(summary.timeframe).fixed_ms
    missing = summary.missing_bars.get(symbol, 0)
    if not length_ms or not missing:
        return ""
    whole = summary.minutes * MINUTE_MS // length_ms
    return f", and with them {missing:,} of {counted(whole, f'{summary.timeframe} bar')}"


def _cautions_of(stats: Stats) -> Iterator[str]:
    denied = sum(stats.denied.values())
    if not stats.orders:
        carried = " after the warm-up" if stats.open_positions else ""
        yield f"no order was sent{carried}"
    elif denied and not stats.fills:
        yield f"nothing was traded, {_denied(stats)}"
    elif denied:
        yield _denied(stats)
    elif not stats.fills:
        yield "no order was filled"
    for reason, count in stats.refused.items():
        yield f"{counted(count, 'order')} refused: {reason}"
    halts = Counter(halt.rule for halt in stats.halts)
    if liquidations := halts.pop(LIQUIDATION, 0):
        first = next(halt for halt in stats.halts if halt.rule == LIQUIDATION)
        since = "at" if liquidations == 1 else "first at"
        yield f"the account was liquidated {often(liquidations)}, {since} {first.time}"
    for rule, count in sorted(halts.items()):
        yield f"halted {often(count)} by {rule}: all positions closed, no entries until 00:00 UTC"
    if stats.stops_reached:
        yield (
            f"{counted(stats.stops_reached, 'position')} closed at once: the stop was on the wrong "
            "side of the entry"
        )
    if beyond := stats.beyond_volume.fills:
        them = "it" if beyond == 1 else "them"
        most = stats.beyond_volume.largest_multiple
        times = "" if most is None else f", up to {most:,.3g} times it"
        yield (
            f"{counted(beyond, 'fill')} larger than the volume of the bar that filled {them}{times}"
            ": no market would fill that at these prices"
        )


def _denied(stats: Stats) -> str:
    total = counted(sum(stats.denied.values()), "order")
    if len(stats.denied) == 1:
        return f"{total} denied {_by(next(iter(stats.denied)), stats.denials)}"
    rules = (f"{n:,} {_by(rule, stats.denials)}" for rule, n in stats.denied.items())
    return f"{total} denied, {', '.join(rules)}"


def _by(name: str, denials: Sequence[Event]) -> str:
    breaches = [denial.numbers for denial in denials if denial.rule == name]
    hint = RULES[name].hint(breaches) if name in RULES else ""
    return f"by {name} ({hint})" if hint else f"by {name}"


def _lines(summary: Summary) -> list[str]:
    """Return the lines to print after a backtest."""
    simulated = ", simulated" if summary.simulated else ""
    shown = [
        f"{summary.strategy_id}: {', '.join(summary.symbols)} {summary.timeframe}, "
        f"{counted(summary.bars, 'bar')} of {summary.market_data_venue}{simulated}, "
        f"{summary.span['start']} .. {summary.span['end']}{warm_up_words(summary)}",
        *(f"  ! {warning}" for warning in cautions(summary)),
    ]
    comparisons = [f"buy and hold {_gains(summary.primary.buy_and_hold)}"]
    if summary.divergence:
        difference = summary.divergence.max_equity_difference
        comparisons.append(f"shadow, equity differs by at most {difference:,.2f} USD")
    for stats, comparison in zip(summary.runs, comparisons, strict=True):
        shown.append(f"  {_line(stats)}; {comparison}")
        is_paid_above = len(stats.funding_sources) == 1
        texts = funding_words(stats, has_amounts=not is_paid_above)
        shown += [f"  {stats.venue}: {text}" for text in texts]
    for stats in summary.runs:
        shown += [f"  {stats.venue}: {text}" for text in carried_words(stats)]
        shown += [f"  {stats.venue}: {still_open(position)}" for position in stats.open_positions]
    return shown


def warm_up_words(summary: Summary) -> str:
    """Return `, after a warm-up of 5d`; "" without a warm-up."""
    warm_up_ms = summary.warm_up_minutes * MINUTE_MS
    return f", after a warm-up of {duration_text(warm_up_ms)}" if warm_up_ms else ""


def carried_words(stats: Stats) -> Iterator[str]:
    """Yield a text about each position that was carried over from the warm-up."""
    for symbol, position in stats.start_positions.items():
        side = "long" if position > 0 else "short"
        yield (
            f"{side} {_plain(abs(position))} {symbol.partition('/')[0]} at the start, carried over "
            "from the warm-up: its entry is not counted, its exit is"
        )


def funding_words(stats: Stats, *, has_amounts: bool = True) -> list[str]:
    """Return a text about the charged funding of each symbol of a run, with the amounts or not."""

    def text(of: str, paid: Decimal, rates: str) -> str:
        return (
            f"{_paid(paid)} USD of funding{of} at {rates}" if has_amounts else f"funding at {rates}"
        )

    texts = []
    for symbol, source in stats.funding_sources.items():
        of = f" for {symbol}" if len(stats.funding_sources) > 1 else ""
        if source.rate_8h is not None:
            rate = f"{float(source.rate_8h):.4%} per 8 h"
            is_charged = bool(source.rate_8h)
            texts.append(text(of, source.paid, rate) if is_charged else f"funding{of}: not charged")
            continue
        rates = " and ".join(
            f"{venue}'s rates{'' if len(source.shares) == 1 else f' ({share:.1%} of the time)'}"
            for venue, share in source.shares.items()
        )
        charged = text(of, source.paid, rates) if rates else f"funding{of}: nothing paid"
        texts.append(f"{charged}{_without_rate(source)}")
    return texts


def _without_rate(source: FundingSource) -> str:
    """Return the text about payments that were not charged; "" if all were."""
    if source.first_without_rate is None:
        return ""
    start, end = source.first_without_rate
    if source.hours_without_rate == 1:
        return f"; no rate for the payment of {end}, not charged"
    hours = counted(source.hours_without_rate, "hour")
    start_ms = parse_time(start) // HOUR_MS * HOUR_MS  # the payment is of the whole hour
    has_later = (parse_time(end) - start_ms) // HOUR_MS < source.hours_without_rate
    first = f"{iso(start_ms)} to {end}{', and more' if has_later else ''}"
    return f"; no rate for {hours}, not charged: {first}"


def _paid(amount: Decimal) -> str:
    return f"paid {amount:,.2f}" if amount >= 0 else f"received {-amount:,.2f}"


def still_open(position: OpenPosition) -> str:
    """Return the text about a position that is open at the end."""
    side = "long" if position.quantity > 0 else "short"
    return (
        f"still {side} {_plain(abs(position.quantity))} {position.symbol.partition('/')[0]} at the "
        f"end, entered at {_plain(position.entry_price)}: {position.unrealized_pnl:+z,.2f} USD "
        "unrealized, which the equity includes"
    )


def _line(stats: Stats) -> str:
    trading = stats.trading
    funding = f", funding {_paid(stats.funding)}" if stats.funding else ""
    slippage = f", slippage and rounding {trading.slippage:,.2f}" if trading.slippage else ""
    lost = f", lost margin {stats.lost_margin:,.2f}" if stats.lost_margin else ""
    return (
        f"{stats.venue}: {stats.start_equity:,.2f} -> {stats.end_equity:,.2f} USD "
        f"({_gains(stats.performance)}), {counted(stats.fills, 'fill')}, "
        f"{counted(trading.entries, 'entry')}, {counted(trading.trades, 'round trip')}, "
        f"{stats.before_costs:+z,.2f} USD before costs, fees {trading.fees:,.2f}{slippage}"
        f"{funding}{lost}, "
        f"max drawdown {stats.performance.max_drawdown:.2%}"
    )


def _plain(value: Decimal) -> str:
    return f"{value.normalize(_TEN_DIGITS):,f}"


def _gains(performance: Performance) -> str:
    sharpe = "" if performance.sharpe is None else f", Sharpe {performance.sharpe:.2f}"
    return f"{performance.total_return:+.2%}{sharpe}"


# Numbers.


def _stats(strategy: records.Strategy, bars: Bars, books: Books, days: int) -> Stats:
    run, curve = books.run, books.curve
    start, end = run.start_equity, from_money(curve.equity[-1])
    open_positions = tuple(_open_positions(books))
    funding = [payment for payment in run.payments if payment.kind != LIQUIDATION]
    return Stats(
        venue=run.venue,
        performance=measure_curve(curve.times_ms, curve.from_start(curve.equity), days=days),
        trading=measure_trading(books, days=days),
        orders=run.orders,
        refused=run.refused,
        fills=len(run.fills),
        open_positions=open_positions,
        unrealized_pnl=sum((position.unrealized_pnl for position in open_positions), Decimal(0)),
        start_equity=start,
        end_equity=end,
        pnl=end - start,
        funding=_sum(funding),
        funding_sources=_funding_sources(strategy, bars, run.venue, funding),
        lost_margin=_sum(p for p in run.payments if p.kind == LIQUIDATION),
        buy_and_hold=measure_curve(curve.times_ms, curve.from_start(curve.buy_and_hold), days=days),
        beyond_volume=beyond_volume(run, bars.steps, strategy.step),
        start_positions={
            symbol: position
            for symbol, position in (run.carried.positions.items() if run.carried else ())
            if position
        },
        stops_reached=stops_reached(run.fills),
        denied=dict(sorted(Counter(denial.rule for denial in run.denials).items())),
        halted=dict(sorted(Counter(halt.rule for halt in run.halts).items())),
        denials=tuple(map(_event, run.denials[:_LISTED])),
        halts=tuple(map(_event, run.halts)),
    )


def _sum(payments: Iterable[Payment]) -> Decimal:
    return sum((payment.amount for payment in payments), Decimal(0))


def _funding_sources(
    strategy: records.Strategy, bars: Bars, venue: str, payments: Sequence[Payment]
) -> dict[str, FundingSource]:
    """Return the source of the charged funding, by symbol."""
    span = strategy.counted_span
    sources = {}
    for symbol, rules in strategy.instruments[venue].items():
        charged = bars.funding.get(venue, {}).get(symbol)
        covered = charged.covered_ms(span) if charged else {}
        without = _without_payment(charged, span) if charged else []
        missing = sum(-(-(gap.end_ms - gap.start_ms) // HOUR_MS) for gap in without)
        due_ms = sum(covered.values()) + sum(gap.end_ms - gap.start_ms for gap in without)
        first = (iso(without[0].start_ms), iso(without[0].end_ms)) if without else None
        sources[symbol] = FundingSource(
            rate_8h=None if charged else rules.funding_rate_8h,
            shares={name: round(ms / due_ms, 8) for name, ms in covered.items()},
            hours_without_rate=missing,
            first_without_rate=first,
            paid=_sum(payment for payment in payments if payment.symbol == symbol),
        )
    return sources


def _without_payment(charged: FundingPayments, span: Span) -> list[Span]:
    """Return the due parts of a span that no payment covers.

    An interval that has not ended within the span is not due yet.
    """
    if not charged.times_ms:
        hour_ms = span.end_ms // HOUR_MS * HOUR_MS
        return [Span(span.start_ms, hour_ms)] if hour_ms > span.start_ms else []
    pairs = list(zip(charged.times_ms, charged.hours, strict=True))
    last_ms, hours = pairs[-1]
    ended = max(0, span.end_ms - 1 - last_ms) // (hours * HOUR_MS)  # since the last payment
    due = Span(span.start_ms, min(last_ms + ended * hours * HOUR_MS, span.end_ms))
    return gaps(due, (Span(ts_ms - hours * HOUR_MS, ts_ms) for ts_ms, hours in pairs))


def _event(record: Denial | Halt) -> Event:
    values = msgspec.structs.asdict(record)
    time, until_ms = iso(values.pop("ts_ms")), values.pop("until_ms")
    values.pop("tags", None)  # of a denial; the journal of a paper session has them
    return Event(time=time, until=None if until_ms is None else iso(until_ms), **values)


def _open_positions(books: Books) -> Iterator[OpenPosition]:
    for symbol, prices in books.curve.prices.items():
        fills = history(books.run, symbol)
        if (entered := entry_price(fills)) is not None:
            quantity, price = fills[-1].position, Decimal(repr(float(prices[-1])))
            yield OpenPosition(
                symbol=symbol,
                quantity=quantity,
                entry_price=round(entered, 8),
                unrealized_pnl=round(quantity * (price - entered), 8),
            )


def _divergence(
    primary: Books, shadow: Books, primary_stats: Stats, shadow_stats: Stats
) -> Divergence:
    only_primary = _only(primary.run.fills, shadow.run.fills)
    only_shadow = _only(shadow.run.fills, primary.run.fills)
    apart = int(np.abs(shadow.curve.equity - primary.curve.equity).max())
    return Divergence(
        fills=shadow_stats.fills - primary_stats.fills,
        pnl=shadow_stats.pnl - primary_stats.pnl,
        fees=shadow_stats.trading.fees - primary_stats.trading.fees,
        funding=shadow_stats.funding - primary_stats.funding,
        max_equity_difference=from_money(apart),
        only_primary=len(only_primary),
        only_shadow=len(only_shadow),
        only_primary_fills=tuple(only_primary[:_LISTED]),
        only_shadow_fills=tuple(only_shadow[:_LISTED]),
    )


def _only(fills: Iterable[Fill], other_fills: Iterable[Fill]) -> list[OneSided]:
    """Return the fills without a match among the other run's fills."""
    unmatched = Counter(map(_MATCH, other_fills))
    only = []
    for fill in fills:
        key = _MATCH(fill)
        if unmatched[key]:
            unmatched[key] -= 1
        else:
            values = {name: getattr(fill, name) for name in _OF_FILL}
            only.append(OneSided(time=iso(fill.ts_ms), **values))
    return only


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_floats(item) for item in value]
    return float(value) + 0.0 if isinstance(value, Decimal) else value  # never minus zero
