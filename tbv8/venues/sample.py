"""The venue `sample`: a simulated market of half a year, without a network; no price is real.

It resembles BTC and ETH of early 2024: volatility in clusters of hours to weeks, busier in European
and American hours, fat tails, ETH correlated with BTC, outages, and minutes without a trade.

The bytes are the same on every machine. numpy's exp, log and sin differ in the last bit between
CPUs, and its generators between versions, so this uses only integers, hashes of a counter, and
+ - * / sqrt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from tbv8.errors import VenueError
from tbv8.market import HOUR_MS, MINUTE_MS, Span, parse_time, parse_timeframe
from tbv8.venues.base import (
    Cost,
    Endpoints,
    FetchedSpan,
    History,
    HistorySource,
    LocalConnection,
    Log,
    Venue,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    type Floats = npt.NDArray[np.float64]
    type Ints = npt.NDArray[np.int64]
    type Counters = npt.NDArray[np.uint64]


def _outage(start: str, length_ms: int) -> Span:
    start_ms = parse_time(start)
    return Span(start_ms, start_ms + length_ms)


SPAN = Span(parse_time("2024-01-01"), parse_time("2024-07-01"))
SYMBOLS = ("BTC/USDT", "ETH/USDT")
# No symbol has minutes in these spans.
OUTAGES = (
    _outage("2024-01-23T14:17Z", 7 * MINUTE_MS),
    _outage("2024-02-27T06:00Z", 4 * HOUR_MS),
    _outage("2024-03-19T22:41Z", 90 * MINUTE_MS),
    _outage("2024-04-30T23:58Z", 5 * MINUTE_MS),
    _outage("2024-06-12T09:31Z", 23 * MINUTE_MS),
)

_STEPS = 8  # moves of the price in a minute; the first is the gap to the minute before
_TICKS_PER_UNIT = 100  # the tick of both symbols is 0.01
_LOG_UNITS = float(2**40)  # log prices are summed as integers: the order of adding cannot matter
_SIGMA = 0.00043  # of BTC's log price in a minute of volatility 1: about half its value a year
_ETH_BETA, _ETH_OWN = 1.1, 0.86  # ETH = 1.1 BTC + 0.86 of its own: a correlation of about 0.8
_SCALES = (7, 45, 240, 1440, 5 * 1440, 19 * 1440)  # durations of volatility clusters, in minutes
_CLUSTER = 0.36  # the log volatility of each scale
_TAIL = 0.03  # the smaller, the fatter the tails of a minute's moves
# Volatility by hour of the UTC day, in percent.
_MORNING = (105, 100, 95, 88, 80, 76, 78, 86, 97, 102, 100, 100)
_HOURS = (*_MORNING, 108, 138, 160, 155, 138, 122, 110, 101, 95, 88, 84, 92)
_WEEKEND = 0.7
_FUNDING_HOURS = 8
_EVEN_RATE, _RATE_PER_GAIN = 0.0001, 0.004  # a day of +10 % makes it about 0.02 % in eight hours
_RATE_UNITS, _MAX_RATE_UNITS = 1e8, 75_000.0
# The offsets of the random streams: added to 0 for the market, to `_Coin.stream` for a symbol.
_CLUSTERS, _SURPRISE, _PATH, _NOISE, _QUIET = range(0, 50, 10)


class _Coin(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of one simulated symbol.

    Args:
        stream: The number of its first random stream.
        price: The price at the start.
        volume: The base units traded in a usual minute.
        lots: The lots in one base unit.
        quiet: The probability of a minute without a trade, at usual volatility.
    """

    stream: int
    price: float
    volume: float
    lots: int
    quiet: float


_COINS = {
    "BTC/USDT": _Coin(stream=100, price=42_283.58, volume=20.0, lots=100_000, quiet=0.00004),
    "ETH/USDT": _Coin(stream=200, price=2_281.87, volume=130.0, lots=10_000, quiet=0.012),
}


_CONNECTION = LocalConnection(lambda: SPAN.end_ms)  # the whole half year is in the past


def _span(now_ms: int) -> Span:
    """Return the simulated half year, whatever the clock."""
    return SPAN


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return a cost of nothing: there is no network."""
    return Cost()


def _open(endpoints: Endpoints, log: Log) -> History:
    """Return the simulated history of 1m bars."""
    return History(_CONNECTION, SampleRows(minute_bars))


def _open_funding(endpoints: Endpoints, log: Log) -> History:
    """Return the simulated funding."""
    return History(_CONNECTION, SampleRows(funding_rates))


VENUE = Venue(
    name="sample",
    history=HistorySource(span=_span, cost=_cost, open=_open),
    symbols=SYMBOLS,
    simulated=True,
    funding=HistorySource(span=_span, cost=_cost, open=_open_funding),
)


class SampleRows:
    """Simulated rows of one dataset, generated at each call; see `tbv8.venues.base.Rows`."""

    def __init__(self, make: Callable[[str, Span], pa.Table]) -> None:
        self._make = make

    def first_ms(self, native: str) -> int:
        """Return the start of the half year.

        Raises:
            VenueError: The symbol is not simulated.
        """
        if native not in _COINS:
            raise _unknown_symbol_error(native)
        return SPAN.start_ms

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, each within one calendar month."""
        month = parse_timeframe("1M")
        for gap in gaps:
            start_ms = gap.start_ms
            while start_ms < gap.end_ms:
                end_ms = min(month.close(month.floor(start_ms)), gap.end_ms)
                part = Span(start_ms, end_ms)
                yield FetchedSpan(span=part, bars=self._make(native, part), source="simulated")
                start_ms = end_ms

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the rows of `span`."""
        return self._make(native, span)


def _unknown_symbol_error(symbol: str) -> VenueError:
    return VenueError(f"sample: no symbol {symbol!r}: it simulates {' and '.join(SYMBOLS)}")


def funding_rates(symbol: str, span: Span) -> pa.Table:
    """Return the simulated payments in `span`, by time; any split of a span gives the same rows.

    There is a payment every eight hours, and its rate depends on the price change of the eight
    hours before. As at real venues, it is 0.01 % without a change, higher after a rise, and a
    multiple of 0.000001 %. The payment at the end of the half year is outside of it.

    Raises:
        VenueError: The symbol is not simulated.
    """
    import numpy as np
    import pyarrow as pa

    interval_ms = _FUNDING_HOURS * HOUR_MS
    bars = minute_bars(symbol, SPAN)
    opens, closes = bars["ts_ms"].to_numpy(), bars["close"].to_numpy()
    ends_ms = np.arange(SPAN.start_ms, SPAN.end_ms, interval_ms, dtype=np.int64)
    last = np.maximum(np.searchsorted(opens, ends_ms) - 1, 0)
    first = np.searchsorted(opens, ends_ms - interval_ms)
    gains = closes[last] / closes[first] - 1.0
    units = np.rint((_EVEN_RATE + _RATE_PER_GAIN * gains) * _RATE_UNITS)
    rates = np.clip(units, -_MAX_RATE_UNITS, _MAX_RATE_UNITS) / _RATE_UNITS
    is_inside = (ends_ms >= span.start_ms) & (ends_ms < span.end_ms)
    hours = np.full(int(is_inside.sum()), _FUNDING_HOURS, dtype=np.int64)
    return pa.table(
        {"ts_ms": ends_ms[is_inside], "rate": rates[is_inside], "interval_hours": hours}
    )


def minute_bars(symbol: str, span: Span) -> pa.Table:
    """Return the simulated 1m bars that open in `span`; any split of a span gives the same rows.

    Raises:
        VenueError: The symbol is not simulated.
    """
    if symbol not in _COINS:
        raise _unknown_symbol_error(symbol)
    table = _half_year(symbol)
    first, end = (
        bisect_left(table["ts_ms"], ts_ms, key=lambda ts_ms: ts_ms.as_py())
        for ts_ms in (span.start_ms, span.end_ms)
    )
    return table.slice(first, max(0, end - first))


@cache
def _half_year(symbol: str) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    coin = _COINS[symbol]
    minute = np.arange(SPAN.minutes, dtype=np.uint64)
    ts_ms = SPAN.start_ms + minute.astype(np.int64) * MINUTE_MS
    is_online = np.full(SPAN.minutes, True)
    for outage in OUTAGES:
        is_online &= (ts_ms < outage.start_ms) | (ts_ms >= outage.end_ms)

    sigma = _volatility(minute, _CLUSTERS)
    moves = _moves(minute, sigma, 0)
    if symbol == "ETH/USDT":
        own_sigma = _volatility(minute, coin.stream + _CLUSTERS)
        moves = _ETH_BETA * moves + _ETH_OWN * _moves(minute, own_sigma, coin.stream)
        sigma = _ETH_BETA * sigma + _ETH_OWN * own_sigma
    path = np.cumsum(np.rint(moves * _LOG_UNITS).astype(np.int64)).reshape(-1, _STEPS)
    corners = np.stack([path[:, 0], path.max(axis=1), path.min(axis=1), path[:, -1]])
    ticks = np.rint(coin.price * _TICKS_PER_UNIT * _exp((corners - path[0, 0]) / _LOG_UNITS))

    # The lower the volatility, the likelier a minute without a trade: flat at the last close.
    calmness = sigma / _SIGMA
    is_lull = _uniform(coin.stream + _QUIET, minute) * (calmness * calmness * calmness) < coin.quiet
    traded = is_online & ~is_lull
    traded[0] = True
    last_traded = np.maximum.accumulate(np.where(traded, np.arange(SPAN.minutes), 0))
    ticks = np.where(traded, ticks, ticks[3, last_traded])

    reach = (corners[1] - corners[2]) / _LOG_UNITS
    busy = (0.3 * sigma + 0.4 * reach) / _SIGMA
    noise = _exp(0.55 * _normal(coin.stream + _NOISE, minute))
    lots = np.maximum(np.rint(coin.volume * busy * noise * coin.lots), 1.0)
    volume = np.where(traded, lots, 0.0) / coin.lots

    floats = zip(("open", "high", "low", "close"), ticks / _TICKS_PER_UNIT, strict=True)
    columns = {"ts_ms": ts_ms, **dict(floats), "volume": volume}
    return pa.table({name: column[is_online] for name, column in columns.items()})


def _volatility(minute: Counters, stream: int) -> Floats:
    """Return the volatility of each minute: clusters, times the hour of day, times the weekend."""
    import numpy as np

    log = np.zeros(len(minute))
    for number, length in enumerate(_SCALES):
        knot = minute // length
        before, after = _normal(stream + number, knot), _normal(stream + number, knot + 1)
        log += _CLUSTER * (before + (after - before) * ((minute % length) / length))
    hours = np.array(_HOURS) / 100.0
    hour = (minute // 60).astype(np.int64)
    before, after = hours[hour % 24], hours[(hour + 1) % 24]
    habit = before + (after - before) * ((minute % 60) / 60.0)
    weekend = minute // 1440 % 7 >= 5  # SPAN starts on a Monday
    return _SIGMA * _exp(log) * habit * np.where(weekend, _WEEKEND, 1.0)


def _moves(minute: Counters, sigma: Floats, stream: int) -> Floats:
    """Return the moves of the log price without drift: `_STEPS` per minute, in one row."""
    import numpy as np

    surprise = 0.5318 / np.sqrt(_uniform(stream + _SURPRISE, minute) + _TAIL)  # mean square 1
    steps = np.arange(len(minute) * _STEPS, dtype=np.uint64)
    moves = _normal(stream + _PATH, steps).reshape(-1, _STEPS)
    # Most minutes open where the last one closed.
    moves[:, 0] *= np.where(abs(moves[:, 0]) > 1.3, 0.04, 0.0)
    moves *= (sigma * surprise / np.sqrt(_STEPS - 1.0))[:, None]
    return moves.ravel()


def _hash(stream: int, counter: Counters) -> Counters:
    """Return 64 random bits for each counter below 2^40: splitmix64 (Steele et al., 2014)."""
    from numpy import uint64

    bits = (counter + uint64(stream << 40)) * uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> uint64(27))) * uint64(0x94D049BB133111EB)
    return bits ^ (bits >> uint64(31))


def _uniform(stream: int, counter: Counters) -> Floats:
    return (_hash(stream, counter) >> 11) / 2.0**53


def _normal(stream: int, counter: Counters) -> Floats:
    """Return nearly Gaussian numbers: sums of four uniform ones, all within ±3.5."""
    bits = _hash(stream, counter)
    lanes = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
    numbers: Floats = (lanes - 131_070.0) / 37_837.2
    return numbers


def _exp(x: Floats) -> Floats:
    """Return e**x for |x| below about 8, equal on every CPU: Taylor at x/64, squared 6 times."""
    y = x / 64.0
    power: Floats = 1.0 + y * (1.0 + y / 2.0 * (1.0 + y / 3.0 * (1.0 + y / 4.0 * (1.0 + y / 5.0))))
    for _ in range(6):
        power = power * power
    return power
