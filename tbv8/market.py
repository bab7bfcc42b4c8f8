"""The nouns of a market: Timeframe, Span, Series, Bar, Trade, Bbo.

Time is int milliseconds UTC everywhere (`_ms`). A bar is named by its OPEN.

A *table of bars* between modules is a `pyarrow.Table` with the columns `ts_ms` (int64) and `open`,
`high`, `low`, `close`, `volume` (float64), by time, without NaN; bars of a timeframe above 1m have
`minutes` (int64) too. A *table of funding rates* has `ts_ms` (int64, the full hour of a payment),
`rate` (float64, the fraction of the notional that a long position pays then) and `interval_hours`
(int64, the hours before `ts_ms` for which it pays).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

import msgspec

from tbv8.text import printable

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

MAX_RATE = 0.5
"""The limit of one payment of funding, a fraction of the notional; venues pay some percent."""
MIN_DAYS = 30
"""Shorter runs have no yearly figures: those would be noise, multiplied by up to 365."""

MAX_MS = 4_102_444_800_000
"""2100-01-01: later times are refused."""

MAX_PRICE, MAX_VOLUME = 1e15, 1e24
"""Larger values are a venue's error."""

_UNITS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CALENDAR_CYCLE_MS = 146_097 * DAY_MS  # 400 years, after which the calendar repeats itself
_FIRST_MONDAY_MS = 4 * DAY_MS  # 1970-01-05: the epoch was a Thursday


class Timeframe(msgspec.Struct, frozen=True, order=False):
    """A length of bars: `<n>m`, `<n>h`, `<n>d`, `1w` (from Monday) or `1M` (calendar month), UTC.

    Bars are aligned to the epoch, weeks to Monday, months to their first day.
    """

    text: str

    @property
    def fixed_ms(self) -> int | None:
        """Length in milliseconds; None for a month."""
        if self.text == "1M":
            return None
        return int(self.text[:-1]) * _UNITS[self.text[-1]]

    @property
    def nests_in_a_day(self) -> bool:
        """True if every UTC day is made of whole bars."""
        return self.fixed_ms is not None and DAY_MS % self.fixed_ms == 0

    @property
    def dataset(self) -> str:
        """The table of its bars; `1M` is `bars_1mo`, since SQLite ignores case."""
        return "bars_1mo" if self.text == "1M" else f"bars_{self.text}"

    @property
    def label(self) -> tuple[int, str]:
        """NautilusTrader's name of its bars: a step and a unit, such as 15 and MINUTE.

        A step must divide the next larger unit. Other timeframes have the label of the longest step
        that divides both: 7m is 1 MINUTE, 90m is 30 MINUTE.
        """
        length = self.fixed_ms
        if length is None:
            return 1, "MONTH"
        if self.text == "1w":
            return 1, "WEEK"
        if length % DAY_MS == 0:
            return length // DAY_MS, "DAY"
        if length % HOUR_MS == 0:
            return _longest_step(length // HOUR_MS, 24), "HOUR"
        return _longest_step(length // MINUTE_MS, 60), "MINUTE"

    def floor(self, ts_ms: int) -> int:
        """Return the open of the bar that contains `ts_ms`."""
        length = self.fixed_ms
        if length is None:
            return ts_ms - ts_ms % DAY_MS - (_calendar(ts_ms)[1].day - 1) * DAY_MS
        origin = _FIRST_MONDAY_MS if self.text == "1w" else 0
        return ts_ms - (ts_ms - origin) % length

    def ceil(self, ts_ms: int) -> int:
        """Return the first open at or after `ts_ms`."""
        opened = self.floor(ts_ms)
        return opened if opened == ts_ms else self.close(opened)

    def close(self, open_ms: int) -> int:
        """Return the end (exclusive) of the bar that opens at `open_ms`: the next one's open."""
        length = self.fixed_ms
        if length is None:
            moment = _calendar(open_ms)[1]
            return self.floor(open_ms) + calendar.monthrange(moment.year, moment.month)[1] * DAY_MS
        return open_ms + length

    def whole(self, span: Span) -> Span:
        """Return the part of `span` that whole bars fill; empty if there is none."""
        start_ms = self.ceil(span.start_ms)
        return Span(start_ms, max(start_ms, self.floor(span.end_ms)))

    def __str__(self) -> str:
        return self.text


def _longest_step(count: int, unit: int) -> int:
    """Return the largest step below `unit` that divides both."""
    return max(step for step in range(1, unit) if count % step == 0 and unit % step == 0)


@lru_cache
def parse_timeframe(text: str) -> Timeframe:
    """Parse `5m`, `4h`, `1d`, `1w`, `1M`.

    Raises:
        ValueError: It is not a timeframe.
    """
    if text in ("1w", "1M") or re.fullmatch(r"[1-9][0-9]{0,4}[mhd]", text):
        return Timeframe(text)
    raise ValueError(f"{text!r} is not a timeframe: write <n>m, <n>h, <n>d, 1w or 1M")


def parse_dataset(name: str) -> Timeframe:
    """Return the timeframe of a table of bars: `ohlcv_1m`, `bars_5m`, `bars_1mo`."""
    text = name.partition("_")[2]
    return parse_timeframe("1M" if text == "1mo" else text)


ONE_MINUTE = parse_timeframe("1m")
ONE_DAY = parse_timeframe("1d")


class Span(msgspec.Struct, frozen=True, order=True):
    """`[start_ms, end_ms)`: half open, milliseconds UTC."""

    start_ms: int
    end_ms: int

    def __bool__(self) -> bool:
        return self.end_ms > self.start_ms

    @property
    def minutes(self) -> int:
        """The number of 1m bars that fit in."""
        return (self.end_ms - self.start_ms) // MINUTE_MS

    def intersection(self, other: Span) -> Span:
        """Return the time in both spans; empty (and false) if there is none."""
        start_ms = max(self.start_ms, other.start_ms)
        return Span(start_ms, max(start_ms, min(self.end_ms, other.end_ms)))

    def contains(self, other: Span) -> bool:
        """Return True if all of `other` lies in this span."""
        return self.start_ms <= other.start_ms and other.end_ms <= self.end_ms

    def days(self) -> Iterator[int]:
        """Yield the midnight of each UTC day that it touches, in order; none if it is empty."""
        return iter(range(self.start_ms // DAY_MS * DAY_MS, self.end_ms, DAY_MS) if self else ())

    def whole_days(self) -> range:
        """Return the UTC days that lie in it as a whole, as numbers since the epoch."""
        return range(-(-self.start_ms // DAY_MS), self.end_ms // DAY_MS)

    def __str__(self) -> str:
        return f"{iso(self.start_ms)} .. {iso(self.end_ms)}"


def whole_bars(span: Span, timeframes: Sequence[Timeframe]) -> Span:
    """Return the largest part of a span that whole bars of each timeframe fill, or an empty one."""
    part = Span(
        max(timeframe.ceil(span.start_ms) for timeframe in timeframes),
        min(timeframe.floor(span.end_ms) for timeframe in timeframes),
    )
    if not part:
        return Span(span.start_ms, span.start_ms)
    return part if part == span else whole_bars(part, timeframes)


class Series(msgspec.Struct, frozen=True, order=True):
    """One symbol at one venue."""

    venue: str
    symbol: str

    def __str__(self) -> str:
        return printable(f"{self.venue}:{self.symbol}")  # a database may have any text


class Bar(msgspec.Struct, frozen=True):
    """OHLCV from `ts_ms` (its open) up to but not including `ts_ms` + timeframe; base units."""

    ts_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def is_possible(self) -> bool:
        """True if a market can have made it: open and close between low and high, within limits."""
        return (
            0 < self.low <= self.open <= self.high <= MAX_PRICE
            and self.low <= self.close <= self.high
            and 0 <= self.volume <= MAX_VOLUME
        )


class Trade(msgspec.Struct, frozen=True):
    """A public print: price, size in base units, the taker's side, the venue's id."""

    venue: str
    symbol: str
    ts_ms: int
    trade_id: str
    price: float
    size: float
    side: Literal["buy", "sell"]


class Bbo(msgspec.Struct, frozen=True):
    """Best bid and offer with sizes in base units; None for an empty side."""

    venue: str
    symbol: str
    ts_ms: int
    bid_price: float | None
    bid_size: float | None
    ask_price: float | None
    ask_size: float | None


def parse_time(text: str) -> int:
    """Parse an ISO time to milliseconds UTC: a date alone is midnight UTC, a time needs its zone.

    Raises:
        ValueError: It is not a time, has no zone, or is finer than a millisecond.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: write 2024-01-31 or 2024-01-31T12:00:00Z"
        ) from None
    if moment.tzinfo is None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            if len(re.split("[T ]", text)) == 1:
                raise ValueError(f"{text!r} is not a date: write {moment:%Y-%m-%d}")
            raise ValueError(f"{text!r} has no time zone: write {text}Z for UTC")
        moment = moment.replace(tzinfo=UTC)
    if moment.microsecond % 1000:
        raise ValueError(f"{text!r} is finer than a millisecond")
    return _ms(moment)


def parse_duration_ms(text: str) -> int:
    """Parse `90s`, `10m`, `8h`, `2d` to milliseconds.

    Raises:
        ValueError: It is not a duration.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 90s, 10m, 8h or 2d")
    return int(match[1]) * (1000 if match[2] == "s" else _UNITS[match[2]])


def duration_text(ms: int) -> str:
    """Return `2d`, `36h`, `10m` or `90s`: what `parse_duration_ms` reads, and `0d` for nothing."""
    for unit in ("d", "h", "m"):
        if ms % _UNITS[unit] == 0:
            return f"{ms // _UNITS[unit]}{unit}"
    return f"{ms / 1000:g}s"


def iso(ts_ms: int) -> str:
    """Return `2024-01-31T12:00:00Z`, with milliseconds only if there are any.

    It accepts any int, as a database may have any: a year beyond 9999 is `+287396`, as in ISO 8601.
    """
    text = f"{iso_day(ts_ms)}T{_calendar(ts_ms)[1]:%H:%M:%S}"
    return f"{text}.{ts_ms % 1000:03}Z" if ts_ms % 1000 else f"{text}Z"


def iso_day(ts_ms: int) -> str:
    """Return the UTC day, `2024-01-31`; it accepts any int, see `iso`."""
    year, moment = _calendar(ts_ms)
    text = f"{year:04}" if 0 <= year <= 9999 else f"{year:+07}"
    return f"{text}-{moment:%m-%d}"


def _calendar(ts_ms: int) -> tuple[int, datetime]:
    """Return the year, and a moment from 1970 to 2369 with the same month, day and time."""
    cycles, within_ms = divmod(ts_ms, _CALENDAR_CYCLE_MS)
    moment = datetime.fromtimestamp(within_ms // 1000, tz=UTC)
    return moment.year + 400 * cycles, moment


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
