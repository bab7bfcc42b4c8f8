"""The history of 1m bars of an exchange through ccxt.

ccxt has one call for all exchanges, but they behave differently: `since` may select a window or
everything after it, a page may be shorter than its limit, and some exchanges keep only the newest
bars and return these for any older `since`. So each page is requested by start and length, again
from its last bar on, and once more if it has holes. Before the first download, the first 1m bar is
compared with the first daily bar. Markets of contracts other than 1 are refused: ccxt returns
volumes in contracts for some exchanges and in coins for others.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Bar, Span, iso, parse_time, parse_timeframe
from tbv8.venues.base import (
    Endpoints,
    ExchangeOrigin,
    FetchedSpan,
    History,
    Log,
    RefusedError,
)
from tbv8.venues.ccxt.exchange import Exchange
from tbv8.venues.live_calls import RetryPolicy
from tbv8.venues.live_history import fetch_confirmed, fill, to_table

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_MS = parse_time("2009-01-03")  # Bitcoin's first block
_LONGEST_PAGE, _USUAL_PAGE = 5000, 300
_COARSE = ("1d", "12h", "6h", "4h", "1h")  # timeframes to find the start of a market
_LISTING_DAYS = 2  # the longest time from a market's first daily bar to its first 1m bar

type _Row = tuple[int, float | None, float | None, float | None, float | None, float | None]


class _Reach(msgspec.Struct, frozen=True):
    """The oldest 1m bar that an exchange has.

    Args:
        first_ms: Its open.
        rolls: If true, older bars existed, and the exchange drops the oldest as time passes.
        measured_s: The time of the measurement, by the monotonic clock.
    """

    first_ms: int
    rolls: bool
    measured_s: float


def open_history(
    origin: ExchangeOrigin, endpoints: Endpoints, *, log: Log, retries: RetryPolicy | None = None
) -> History:
    """Open a session with the 1m bars of an exchange; see `tbv8.venues.ccxt.exchange.Exchange`."""
    exchange = Exchange(origin.exchange, endpoints, log=log, retries=retries)
    return History(exchange, CcxtBars(exchange))


class CcxtBars:
    """The 1m bars of an exchange; see `tbv8.venues.base.RowsWithReach`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._ccxt, self._name = exchange, exchange.ccxt, exchange.name
        self._reaches: dict[str, _Reach] = {}

    def first_ms(self, native: str) -> int:
        """Return the open of the first 1m bar; 0 if the exchange keeps only the newest ones.

        Raises:
            VenueError: The exchange does not know the symbol, or has no 1m bars of it.
        """
        reach = self._reach(native)
        return 0 if reach.rolls else reach.first_ms

    def reach(self, native: str) -> str:
        """Return a sentence about the oldest 1m bar that the exchange has."""
        reach = self._reach(native)
        reach_text = "keeps only the newest 1m bars" if reach.rolls else "has 1m bars"
        return f"{self._name} {reach_text} of {native}, from {iso(reach.first_ms)} on"

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`; see `tbv8.venues.live_history.fill`.

        Raises:
            VenueError: The exchange refuses, is out of reach, or no longer keeps these bars.
        """
        now_ms = self._exchange.clock_ms()
        for gap in gaps:
            self._check_kept(native, gap)
        fetch_page = partial(self._fetch_confirmed, native)
        yield from fill(gaps, fetch_page, page_minutes=self._page(native), now_ms=now_ms)

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the exchange's bars of `span`, by time; missing ones are requested twice."""
        bars = self._fetch_confirmed(native, span)
        return to_table(bar for bar in bars.values() if bar.is_possible)

    def _fetch_confirmed(self, native: str, part: Span) -> dict[int, Bar]:
        self._check_kept(native, part)
        fetch_page = partial(self._fetch_page, native, part)
        return fetch_confirmed(fetch_page, part, venue=self._name, native=native)

    def _fetch_page(self, native: str, part: Span) -> Iterator[Bar]:
        """Yield the bars of a page; each request begins after the last bar of the previous one."""
        start_ms = part.start_ms
        while start_ms < part.end_ms:
            limit = Span(start_ms, part.end_ms).minutes
            rows = self._ohlcv(native, "1m", start_ms, min(limit, self._page(native)))
            inside = [bar for bar in rows if start_ms <= bar.ts_ms < part.end_ms]
            if not inside:
                return
            yield from inside
            start_ms = inside[-1].ts_ms + MINUTE_MS

    def _ohlcv(self, native: str, timeframe: str, since_ms: int, limit: int) -> list[Bar]:
        """Return the bars of one reply that open at `since_ms` or later, by time."""

        def call() -> list[Bar]:
            rows = self._ccxt.fetch_ohlcv(native, timeframe, since_ms, limit)
            by_open = {row[0]: Bar(*map(_number, row)) for row in msgspec.convert(rows, list[_Row])}
            step_ms = parse_timeframe(timeframe).fixed_ms or MINUTE_MS
            return [
                by_open[ts_ms]
                for ts_ms in sorted(by_open)
                if ts_ms >= since_ms and not ts_ms % step_ms
            ]

        return self._exchange.retry(f"{timeframe} bars of {native}", call)

    def _reach(self, native: str) -> _Reach:
        """Return the oldest 1m bar; each symbol is requested once.

        Raises:
            VenueError: The exchange does not know the symbol, or has no 1m bars of it.
        """
        if native not in self._reaches:
            self._check_market(native)
            now_ms = self._exchange.clock_ms()
            coarse = next((text for text in _COARSE if text in self._ccxt.timeframes), "1m")
            early_ms = self._first_of(native, coarse, Span(_FIRST_MS, now_ms))
            listing = Span(early_ms or _FIRST_MS, now_ms)
            first_ms = self._first_of(native, "1m", listing, ahead_days=_LISTING_DAYS)
            if first_ms is None:
                raise VenueError(
                    f"{self._name}: no 1m bar of {native} yet: take it out of `symbols`"
                )
            begins_late = early_ms is None or first_ms >= early_ms + _LISTING_DAYS * DAY_MS
            rolls = begins_late or coarse == "1m"  # 1m alone gives nothing to compare with
            self._reaches[native] = _Reach(first_ms, rolls, time.monotonic())
        return self._reaches[native]

    def _first_of(
        self, native: str, timeframe: str, within: Span, *, ahead_days: int = 0
    ) -> int | None:
        """Return the open of the first bar of a timeframe; None if there is none.

        The first pages, up to `ahead_days`, are requested one by one. After them, bisection finds
        the first page with bars, since every later page has bars too.
        """
        length = parse_timeframe(timeframe).fixed_ms or MINUTE_MS
        limit = self._page(native)
        step_ms = limit * length
        start_ms = within.start_ms // length * length
        pages = -(-(within.end_ms - start_ms) // step_ms)
        absent, present, first_ms = -1, pages, None
        ahead = 1 + ahead_days * DAY_MS // step_ms
        while present - absent > 1:
            page = absent + 1 if absent + 1 < ahead else (absent + present) // 2
            try:
                bars = self._ohlcv(native, timeframe, start_ms + page * step_ms, limit)
            except RefusedError as e:  # some exchanges refuse a time that is too long ago
                if page == pages - 1:
                    raise VenueError(str(e)) from e
                bars = []
            if bars:
                present, first_ms = page, bars[0].ts_ms
            else:
                absent = page
        return first_ms

    def _check_kept(self, native: str, part: Span) -> None:
        reach = self._reach(native)
        kept_ms = reach.first_ms
        if reach.rolls:
            kept_ms += int((time.monotonic() - reach.measured_s) * 1000)
        if reach.rolls and part.start_ms < kept_ms:
            raise VenueError(
                f"{self.reach(native)}, not from {iso(part.start_ms)}: write a later start_date, "
                "or choose an exchange that keeps all bars"
            )

    def _check_market(self, native: str) -> None:
        """Refuse a market without usable 1m bars.

        Raises:
            VenueError: There is no such market, no 1m bars, or the volumes may be in contracts.
        """
        has_bars = self._ccxt.has.get("fetchOHLCV") is True  # not emulated from trades
        if not has_bars or "1m" not in (self._ccxt.timeframes or {}):
            raise VenueError(f"{self._name} has no 1m bars: choose another exchange")
        market = self._exchange.find_market(native)
        if market.get("contract") and (market.get("inverse") or market.get("contractSize") != 1):
            raise VenueError(
                f"{self._name}: {native} trades contracts of {market.get('contractSize')}, and "
                "ccxt does not document whether its volumes are in contracts or in coins: choose "
                "a spot market, or contracts of 1"
            )

    def _page(self, native: str) -> int:
        """Return the largest number of bars in one reply."""
        limit = self._ccxt.feature_value(native, "fetchOHLCV", "limit", _USUAL_PAGE)
        return min(int(limit or _USUAL_PAGE), _LONGEST_PAGE)


def _number(value: float | None) -> Any:
    return float("nan") if value is None else value
