"""Markets that might have been: whole days of the real bars in another order, as one series.

The days of all symbols are moved together, with the funding that was paid in them. Prices are
chained by ratio: a day begins where the day before it now ends, moved as the real day had moved
from the close before it; what it did after that it does again, in proportion. Days that follow each
other in reality and in the new market too are a scaled copy, so volatility comes in clusters as
long as the blocks. A market begins at the first real price, has the decimals of the real ones, and
misses the minutes that its days miss.

Only + - * / and rounding are done to prices, so a market is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config.records import Strategy
from tbv8.experiments.blocks import Market, nests_in_a_day, whole_days
from tbv8.experiments.draws import draw_days
from tbv8.experiments.trial import Tables
from tbv8.market import DAY_MS, Span, Timeframe
from tbv8.trading.funding import Charged
from tbv8.trading.nautilus import Floats, Ints, column, price_decimals

type Funding = Mapping[str, Mapping[str, Charged]]

_PRICES = ("open", "high", "low", "close")


class Days(msgspec.Struct, frozen=True):
    """The real day at each place: numbers of days since the epoch."""

    places: Ints
    sources: Ints


def draw_market(span: Span, market: Market) -> Days:
    """Return the days of a market; one that lies only partly in the span is cut by the run.

    Args:
        span: All that a run reads, with one whole day at least.
        market: Which one.
    """
    real = whole_days(span)
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
        strategy: Whose bars they are; its step nests in a day.
        tables: The real bars, as of `run_trial`.
        funding: The real payments, as of `run_trial`.
        days: Those of the market.
    """
    made: dict[tuple[str, Timeframe], pa.Table] = {}
    for symbol in strategy.symbols:
        steps = tables[symbol, strategy.step]
        scales = _scales(steps, days, first=whole_days(strategy.bars_span).start)
        decimals = price_decimals(steps, Decimal(1))
        chained = _chain(steps, days, scales, decimals)
        made[symbol, strategy.step] = chained
        for timeframe in strategy.timeframes:
            if timeframe == strategy.step:
                continue
            if nests_in_a_day(timeframe):
                bars = _chain(tables[symbol, timeframe], days, scales, decimals)
            else:
                from tbv8.aggregate import aggregate  # polars

                bars = aggregate(chained, timeframe)
            made[symbol, timeframe] = bars
    moved = {
        venue: {symbol: _move(charged, days) for symbol, charged in own.items()}
        for venue, own in funding.items()
    }
    return made, moved


def _rows(table: pa.Table, days: Ints) -> tuple[Ints, Ints]:
    """Return the first row of each day, and the one behind its last."""
    opens_ms = table["ts_ms"].to_numpy()
    return np.searchsorted(opens_ms, days * DAY_MS), np.searchsorted(opens_ms, (days + 1) * DAY_MS)


def _scales(steps: pa.Table, days: Days, *, first: int) -> Floats:
    """Return by what the prices of each place's day are multiplied; `first` is the first day."""
    starts, ends = _rows(steps, days.sources)
    (begin, *_), _ = _rows(steps, np.array([first]))
    opens, closes = column(steps, "open"), column(steps, "close")
    scales = np.ones(len(days.places))
    scale, last_close = 1.0, float(opens[begin]) if begin < len(opens) else 1.0
    for at, (row, behind) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if row < behind:
            before = closes[row - 1] if row > begin else opens[row]
            scale *= last_close / float(before)
            last_close = float(closes[behind - 1])
        scales[at] = scale
    return scales


def _chain(table: pa.Table, days: Days, scales: Floats, decimals: int) -> pa.Table:
    """Return the bars of the days at their places, with scaled prices."""
    first, end = _rows(table, days.sources)
    counts = end - first
    behind = np.cumsum(counts)
    rows = np.arange(int(behind[-1])) + np.repeat(first - (behind - counts), counts)
    taken = table.take(rows)
    moved_ms = np.repeat((days.places - days.sources) * DAY_MS, counts)
    columns = {"ts_ms": taken["ts_ms"].to_numpy() + moved_ms}
    unit = 10.0**decimals
    for name in taken.column_names[1:]:
        if name in _PRICES:
            units = np.rint(np.rint(column(taken, name) * unit) * np.repeat(scales, counts))
            columns[name] = np.maximum(units, 1.0) / unit
        else:
            columns[name] = taken[name].to_numpy()
    return pa.table(columns)


def _move(charged: Charged, days: Days) -> Charged:
    """Return the payments of the days at their places; one at midnight is of the day before."""
    found = Charged(times_ms=[], rates=[], hours=[], venues=[])
    for place, source in zip(days.places.tolist(), days.sources.tolist(), strict=True):
        own = charged.within(Span(source * DAY_MS, (source + 1) * DAY_MS))
        found.times_ms.extend(ts_ms + (place - source) * DAY_MS for ts_ms in own.times_ms)
        found.rates.extend(own.rates)
        found.hours.extend(own.hours)
        found.venues.extend(own.venues)
    return found
