"""Re-chained markets: whole days of the real bars in another order, as one series.

The days of all symbols are moved together, with the funding that was paid in them. Prices are
chained by ratio: all prices of a day are multiplied by one factor, so that its first price differs
from the close of the new day before by the same ratio as it did from the real close before. Days
that follow each other in both markets are a scaled copy, so clusters of volatility are as long as
the blocks. A market begins at the first real price, has the decimals of the real prices, and misses
the minutes that its days miss.

Prices are only multiplied, divided and rounded, so a market is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config.records import Strategy
from tbv8.experiments.blocks import RechainedMarket
from tbv8.experiments.draws import draw_days
from tbv8.experiments.trial import Tables
from tbv8.market import DAY_MS, Span, Timeframe
from tbv8.trading.funding import FundingPayments
from tbv8.trading.nautilus import Floats, Ints, column, price_decimals

type Funding = Mapping[str, Mapping[str, FundingPayments]]

_PRICES = ("open", "high", "low", "close")


class Days(msgspec.Struct, frozen=True):
    """The real day at each place: numbers of days since the epoch."""

    places: Ints
    sources: Ints


def draw_market(span: Span, market: RechainedMarket) -> Days:
    """Return the days of a market; a run reads only a part of a day that is partly in its span.

    Args:
        span: The span that a run reads, with at least one whole day.
        market: The market.
    """
    real = span.whole_days()
    places = np.arange(span.start_ms // DAY_MS, -(-span.end_ms // DAY_MS), dtype=np.int64)
    drawn = draw_days(
        len(real),
        places=len(places),
        block_days=market.block_days,
        seed=market.seed,
        path=market.path,
        stream="markets",
    )
    return Days(places, drawn + real.start)


def rechain(
    strategy: Strategy, tables: Tables, funding: Funding, days: Days
) -> tuple[Tables, Funding]:
    """Return bars and funding of a market that is made of real days.

    Args:
        strategy: The strategy that reads the bars; its step nests in a day.
        tables: The real bars, as in `run_trial`.
        funding: The real payments, as in `run_trial`.
        days: The days of the market.
    """
    chained_tables: dict[tuple[str, Timeframe], pa.Table] = {}
    for symbol in strategy.symbols:
        steps = tables[symbol, strategy.step]
        scales = _scales(steps, days, first=strategy.bars_span.whole_days().start)
        decimals = price_decimals(steps, Decimal(1))
        chained = _chain(steps, days, scales, decimals)
        chained_tables[symbol, strategy.step] = chained
        for timeframe in strategy.timeframes:
            if timeframe == strategy.step:
                continue
            if timeframe.nests_in_a_day:
                bars = _chain(tables[symbol, timeframe], days, scales, decimals)
            else:
                from tbv8.aggregate import aggregate  # polars

                bars = aggregate(chained, timeframe)
            chained_tables[symbol, timeframe] = bars
    moved = {
        venue: {symbol: _move(payments, days) for symbol, payments in by_symbol.items()}
        for venue, by_symbol in funding.items()
    }
    return chained_tables, moved


def _rows(table: pa.Table, days: Ints) -> tuple[Ints, Ints]:
    """Return the index of the first row of each day, and the index after its last row."""
    opens_ms = table["ts_ms"].to_numpy()
    return np.searchsorted(opens_ms, days * DAY_MS), np.searchsorted(opens_ms, (days + 1) * DAY_MS)


def _scales(steps: pa.Table, days: Days, *, first: int) -> Floats:
    """Return the factor for the prices of the day at each place; `first` is the first real day."""
    starts, ends = _rows(steps, days.sources)
    (begin, *_), _ = _rows(steps, np.array([first]))
    opens, closes = column(steps, "open"), column(steps, "close")
    scales = np.ones(len(days.places))
    scale, last_close = 1.0, float(opens[begin]) if begin < len(opens) else 1.0
    for at, (row, end_row) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if row < end_row:
            before = closes[row - 1] if row > begin else opens[row]
            scale *= last_close / float(before)
            last_close = float(closes[end_row - 1])
        scales[at] = scale
    return scales


def _chain(table: pa.Table, days: Days, scales: Floats, decimals: int) -> pa.Table:
    """Return the bars of the days at their places, with scaled prices."""
    first, end = _rows(table, days.sources)
    counts = end - first
    ends = np.cumsum(counts)
    rows = np.arange(int(ends[-1])) + np.repeat(first - (ends - counts), counts)
    picked = table.take(rows)
    moved_ms = np.repeat((days.places - days.sources) * DAY_MS, counts)
    columns = {"ts_ms": picked["ts_ms"].to_numpy() + moved_ms}
    unit = 10.0**decimals
    for name in picked.column_names[1:]:
        if name in _PRICES:
            units = np.rint(np.rint(column(picked, name) * unit) * np.repeat(scales, counts))
            columns[name] = np.maximum(units, 1.0) / unit
        else:
            columns[name] = picked[name].to_numpy()
    return pa.table(columns)


def _move(payments: FundingPayments, days: Days) -> FundingPayments:
    """Return the payments of the days at their places; midnight belongs to the day before."""
    moved = FundingPayments(times_ms=[], rates=[], hours=[], venues=[])
    for place, source in zip(days.places.tolist(), days.sources.tolist(), strict=True):
        day_payments = payments.within(Span(source * DAY_MS, (source + 1) * DAY_MS))
        moved.times_ms.extend(ts_ms + (place - source) * DAY_MS for ts_ms in day_payments.times_ms)
        moved.rates.extend(day_payments.rates)
        moved.hours.extend(day_payments.hours)
        moved.venues.extend(day_payments.venues)
    return moved
