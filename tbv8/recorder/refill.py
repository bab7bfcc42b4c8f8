"""The REST requests that one venue's trackers need: bars of gaps, checks of silent streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from tbv8.errors import VenueError
from tbv8.market import Span
from tbv8.recorder.link import Clock
from tbv8.recorder.pace import Pace
from tbv8.recorder.rest import RestClient
from tbv8.recorder.tracker import Need, SeriesTracker
from tbv8.venues.base import Channel, Listing, Live, Log
from tbv8.venues.units import unit_request

_MAX_URGENT = 4  # the largest number of concurrent requests other than for minutes
_WARN_SHARE = 0.5  # warn when an outage reaches this share of the venue's history
_WARN_EVERY_S = 600.0


class Refill:
    """Sends the REST requests that one venue's trackers need.

    Args:
        live: The venue's wire protocol.
        rest: The client of the venue's REST API.
        trackers: The trackers by symbol.
        clock: The venue's clock.
        pace: The pauses after failures, and intervals.
        log: Prints a line for the user.
        on_stall: Called with the symbol and channel of a stalled stream.

    Attributes:
        failed: The number of failed requests.
        listings: The listings of the recorded symbols; set it before `run`.
    """

    def __init__(
        self,
        live: Live,
        rest: RestClient,
        trackers: Mapping[str, SeriesTracker],
        *,
        clock: Clock,
        pace: Pace,
        log: Log,
        on_stall: Callable[[str, Channel], Awaitable[None]],
    ) -> None:
        self.failed = 0
        self._live, self._rest, self._trackers = live, rest, trackers
        self._clock, self._pace, self._log, self._on_stall = clock, pace, log, on_stall
        self.listings: Mapping[str, Listing] = {}
        self._under_way: set[tuple[str, str]] = set()
        self._failures: dict[tuple[str, str], int] = {}
        self._not_before_s: dict[tuple[str, str], float] = {}
        # Minutes can wait, so they have one slot; the venue soon drops its recent trades.
        self._urgent_slots, self._minutes_slot = (
            asyncio.Semaphore(_MAX_URGENT),
            asyncio.Semaphore(1),
        )
        self._warned_s: dict[str, float] = {}

    async def run(self) -> None:
        """Tick the trackers of `listings` and send the requests that they need, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                now_ms = self._clock.now_ms()
                for symbol, listing in self.listings.items():
                    tracker = self._trackers[symbol]
                    tracker.tick(now_ms)
                    for need in tracker.needs(now_ms):
                        if self._may_send(symbol, need):
                            self._under_way.add((symbol, need.kind))
                            group.create_task(self._fulfil(symbol, listing, need))
                    self._warn_before_loss(symbol, tracker, now_ms)
                await asyncio.sleep(self._pace.tick_s)

    def _may_send(self, symbol: str, need: Need) -> bool:
        key = (symbol, need.kind)
        return key not in self._under_way and time.monotonic() >= self._not_before_s.get(key, 0.0)

    async def _fulfil(self, symbol: str, listing: Listing, need: Need) -> None:
        key = (symbol, need.kind)
        try:
            async with self._minutes_slot if need.kind == "minutes" else self._urgent_slots:
                await self._fetch_for(symbol, listing, need)
        except VenueError as e:
            self.failed += 1
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self._not_before_s[key] = time.monotonic() + self._pace.retry_s(failures)
            if failures in (3, 10) or failures % 100 == 0:
                self._log(f"{symbol}: cannot fetch {need.kind} ({failures} failures in a row): {e}")
        else:
            self._failures.pop(key, None)
        finally:
            self._under_way.discard(key)

    async def _fetch_for(self, symbol: str, listing: Listing, need: Need) -> None:
        tracker, clock, live = self._trackers[symbol], self._clock, self._live
        if need.kind == "minutes":
            assert need.span is not None
            start_ms = need.span.start_ms
            end_ms = min(need.span.end_ms, start_ms + live.page_minutes * 60_000)
            span = Span(start_ms, end_ms)
            request = unit_request(live.minutes_request(listing, span), listing)
            await self._rest.await_turn(request.weight)
            sent_ms = clock.now_ms()
            bars = await self._rest.fetch(request)
            tracker.minutes.refill(span, bars, sent_ms=sent_ms)
            tracker.tick(clock.now_ms())
        elif need.kind == "recent":
            recent = unit_request(live.recent_trades_request(symbol, listing), listing)
            await self._rest.await_turn(recent.weight)
            sent_ms = clock.now_ms()
            trades = await self._rest.fetch(recent)
            is_stalled = tracker.record_recent_trades(
                trades,
                sent_ms=sent_ms,
                received_ms=clock.local_ms(),
                now_ms=clock.now_ms(),
            )
            if is_stalled:
                await self._on_stall(symbol, "trades")
        else:
            book = unit_request(live.bbo_request(symbol, listing), listing)
            await self._rest.await_turn(book.weight)
            sent_ms = clock.now_ms()
            bbo = await self._rest.fetch(book)
            if tracker.compare_book(bbo, sent_ms=sent_ms, now_ms=clock.now_ms()):
                await self._on_stall(symbol, "bbo")

    def _warn_before_loss(self, symbol: str, tracker: SeriesTracker, now_ms: int) -> None:
        kept_minutes = self._live.kept_minutes
        if kept_minutes is None:
            return
        pending_ms = tracker.minutes.pending_ms(now_ms)
        if pending_ms < kept_minutes * 60_000 * _WARN_SHARE:
            return
        now_s = time.monotonic()
        if now_s - self._warned_s.get(symbol, -_WARN_EVERY_S) >= _WARN_EVERY_S:
            self._warned_s[symbol] = now_s
            self._log(
                f"WARNING: {tracker.series} lacks minutes since {pending_ms / 3_600_000:.0f} h ago,"
                f" and the venue keeps only {kept_minutes / 60:.0f} h: restore the connection "
                "before older minutes are lost"
            )
