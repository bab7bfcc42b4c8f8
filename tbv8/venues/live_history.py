"""The history of 1m bars of a venue with a wire protocol, by REST and page by page.

`fill` and `fetch_confirmed` serve the history from ccxt too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Bar, Span, iso, parse_timeframe
from tbv8.venues.base import (
    MAX_UNUSABLE,
    Cost,
    Endpoints,
    FetchedSpan,
    History,
    Listing,
    Live,
    Log,
    unusable_note,
    with_unusable,
)
from tbv8.venues.live_calls import Calls, RetryPolicy

if TYPE_CHECKING:
    import pyarrow as pa

_BYTES_PER_BAR = 140


def pages(gaps: Sequence[Span], page_minutes: int) -> list[Span]:
    """Split gaps into pages of one request each; every page lies within one calendar month."""
    month, parts = parse_timeframe("1M"), []
    for gap in gaps:
        start_ms = gap.start_ms
        while start_ms < gap.end_ms:
            end_ms = min(
                gap.end_ms,
                start_ms + page_minutes * MINUTE_MS,
                month.close(month.floor(start_ms)),
            )
            parts.append(Span(start_ms, end_ms))
            start_ms = end_ms
    return parts


def page_cost(gaps: Sequence[Span], page_minutes: int) -> Cost:
    """Return the cost of filling gaps with one request per page."""
    minutes = sum(gap.minutes for gap in gaps)
    return Cost(
        requests=len(pages(gaps, page_minutes)), megabytes=minutes * _BYTES_PER_BAR / 1_000_000
    )


def fill(
    gaps: Sequence[Span],
    fetch_page: Callable[[Span], dict[int, Bar]],
    *,
    page_minutes: int,
    now_ms: int,
) -> Generator[FetchedSpan]:
    """Yield complete spans that fill `gaps`, in time order and some days at a time.

    Minutes of the last day with no later bar are left out: the venue may still publish them.

    Args:
        gaps: The gaps to fill.
        fetch_page: Returns the bars of a page by their opens; requests missing ones twice.
        page_minutes: The largest number of minutes in a page.
        now_ms: The venue's clock.
    """
    known_ms = now_ms - DAY_MS
    unconfirmed: deque[tuple[Span, dict[int, Bar]]] = deque()  # until a later bar confirms them
    for part, bars in _by_days(gaps, fetch_page, page_minutes):
        unconfirmed.append((part, bars))
        known_ms = max(known_ms, _end_ms(bars))
        while unconfirmed and unconfirmed[0][0].end_ms <= known_ms:
            yield _fetched(*unconfirmed.popleft())
    if unconfirmed:
        after_last = Span(unconfirmed[-1][0].end_ms, now_ms // MINUTE_MS * MINUTE_MS)
        for part in pages([after_last], page_minutes):
            known_ms = max(known_ms, _end_ms(fetch_page(part)))
    for part, bars in unconfirmed:
        if known_span := part.intersection(Span(0, known_ms)):
            yield _fetched(known_span, bars)


def fetch_confirmed(
    fetch_page: Callable[[], Iterable[Bar]], part: Span, *, venue: str, native: str
) -> dict[int, Bar]:
    """Return the bars of a page by their opens; if one is missing or impossible, request it twice.

    Args:
        fetch_page: Requests the page.
        part: The span of the page.
        venue: The venue's name, for the error.
        native: The native symbol, for the error.

    Raises:
        VenueError: Too many bars are impossible (see `MAX_UNUSABLE`).
    """
    bars: dict[int, Bar] = {}
    for _ in range(2):
        if sum(bar.is_possible for bar in bars.values()) < part.minutes:
            bars |= {bar.ts_ms: bar for bar in fetch_page()}
    unusable = len(_unusable(bars))
    if unusable > MAX_UNUSABLE:
        raise VenueError(
            f"{venue}: {unusable} of its bars of {native} in {part} are impossible (a high below "
            "the open, or a price of 0): run the same command again later"
        )
    return bars


def _by_days(
    gaps: Sequence[Span], fetch_page: Callable[[Span], dict[int, Bar]], page_minutes: int
) -> Iterator[tuple[Span, dict[int, Bar]]]:
    """Yield the bars of whole UTC days, or up to the end of a gap, from joined pages.

    The ledger has one span per day. If the database already has the end of a gap's last day, a page
    that ended within that day would leave a hole in its span.
    """
    for gap in gaps:
        start_ms, bars = gap.start_ms, dict[int, Bar]()
        for page in pages([gap], page_minutes):
            bars |= fetch_page(page)
            end_ms = page.end_ms if page.end_ms == gap.end_ms else page.end_ms // DAY_MS * DAY_MS
            if end_ms > start_ms:
                yield (
                    Span(start_ms, end_ms),
                    {ts_ms: bar for ts_ms, bar in bars.items() if ts_ms < end_ms},
                )
                bars = {ts_ms: bar for ts_ms, bar in bars.items() if ts_ms >= end_ms}
                start_ms = end_ms


def open_history(
    name: str,
    live: Live,
    endpoints: Endpoints,
    *,
    opened_ms: int = 0,
    log: Log | None = None,
    retries: RetryPolicy | None = None,
) -> History:
    """Open a session with a venue's 1m bars.

    Args:
        name: The venue's name.
        live: The venue's wire protocol.
        endpoints: The venue's configured addresses.
        opened_ms: A time before its first bar, for a venue that keeps all bars.
        log: Prints a line for the user about each repeated failure.
        retries: The number of tries and their pauses.
    """
    calls = Calls(name, live, endpoints, log=log, retries=retries)
    return History(calls, LiveBars(live, calls, opened_ms=opened_ms))


class LiveBars:
    """The 1m bars of a venue; see `tbv8.venues.base.Rows`."""

    def __init__(self, live: Live, calls: Calls, *, opened_ms: int) -> None:
        self._name, self._live, self._calls = calls.name, live, calls
        self._opened_ms = opened_ms

    def first_ms(self, native: str) -> int:
        """Return the open of the oldest bar that the venue keeps of a symbol.

        Raises:
            VenueError: The venue does not know the symbol, or has no bar of it.
        """
        listing, now_ms = self._calls.listing(native), self._calls.clock_ms()
        step_ms = self._live.page_minutes * MINUTE_MS
        kept_minutes = self._live.kept_minutes
        begin_ms = self._opened_ms if kept_minutes is None else now_ms - kept_minutes * MINUTE_MS
        # Every page after the first one with bars has bars too, so bisection finds it.
        absent, present = -1, -(-(now_ms - begin_ms) // step_ms)
        first_ms: int | None = None
        while present - absent > 1:
            middle = (absent + present) // 2
            start_ms = begin_ms // MINUTE_MS * MINUTE_MS + middle * step_ms
            bars = self._calls.fetch(
                self._live.minutes_request(listing, Span(start_ms, start_ms + step_ms))
            )
            if bars:
                present, first_ms = middle, bars[0].ts_ms
            else:
                absent = middle
        if first_ms is None:
            raise VenueError(f"{self._name}: no bar of {native} yet: take it out of `symbols`")
        return first_ms

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, in time order; see `fill`.

        A minute without a bar is requested twice before it counts as missing at the venue.

        Raises:
            VenueError: The venue refuses, is out of reach, or no longer keeps these bars.
        """
        listing, now_ms = self._calls.listing(native), self._calls.clock_ms()
        fetch_page = partial(self._fetch_confirmed, listing)
        yield from fill(gaps, fetch_page, page_minutes=self._live.page_minutes, now_ms=now_ms)

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the venue's bars of `span`, by time; missing ones are requested twice.

        Raises:
            VenueError: The venue refuses, is out of reach, or no longer keeps these bars.
        """
        listing = self._calls.listing(native)
        parts = [
            self._fetch_confirmed(listing, part) for part in pages([span], self._live.page_minutes)
        ]
        return to_table(bar for bars in parts for bar in bars.values() if bar.is_possible)

    def _fetch_confirmed(self, listing: Listing, part: Span) -> dict[int, Bar]:
        if self._live.kept_minutes is not None:
            self._check_kept(part, self._live.kept_minutes)

        def fetch_page() -> list[Bar]:
            return self._calls.fetch(self._live.minutes_request(listing, part))

        return fetch_confirmed(fetch_page, part, venue=self._name, native=listing.native)

    def _check_kept(self, part: Span, kept_minutes: int) -> None:
        kept_from_ms = self._calls.clock_ms() - kept_minutes * MINUTE_MS
        if part.start_ms < kept_from_ms:
            raise VenueError(
                f"{self._name} keeps only its newest {kept_minutes:,} minutes, from "
                f"{iso(kept_from_ms)} on, and not {part}: write a later start_date, or record it "
                "live with `doit record`"
            )


def _end_ms(bars: Mapping[int, Bar]) -> int:
    return max(bars, default=-MINUTE_MS) + MINUTE_MS


def _fetched(span: Span, bars: Mapping[int, Bar]) -> FetchedSpan:
    unusable = [ts_ms for ts_ms in _unusable(bars) if span.start_ms <= ts_ms < span.end_ms]
    return FetchedSpan(
        span=span,
        bars=to_table(bar for bar in bars.values() if bar.is_possible),
        source=with_unusable("rest", unusable),
        notes=tuple(unusable_note(unusable)),
    )


def _unusable(bars: Mapping[int, Bar]) -> list[int]:
    return sorted(ts_ms for ts_ms, bar in bars.items() if not bar.is_possible)


def to_table(bars: Iterable[Bar]) -> pa.Table:
    """Return bars as a table of 1m bars (see `tbv8.market`), by time."""
    import pyarrow as pa

    rows = sorted(bars, key=lambda bar: bar.ts_ms)
    names = ("open", "high", "low", "close", "volume")
    columns: dict[str, Any] = {"ts_ms": pa.array([bar.ts_ms for bar in rows], pa.int64())}
    for name in names:
        columns[name] = pa.array([getattr(bar, name) for bar in rows], pa.float64())
    return pa.table(columns)
