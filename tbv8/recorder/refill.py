"""A venue's REST: its clock, its listings and the trackers' requests, within the venue's limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from tbv8.errors import VenueError
from tbv8.market import Span, iso
from tbv8.recorder.link import Clock
from tbv8.recorder.pace import Pace
from tbv8.recorder.tracker import Need, SeriesTracker
from tbv8.text import one_line
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import Channel, Listing, Live, Log, RefusedError, Request
from tbv8.venues.bounds import (
    REDIRECTS,
    REPLY_BYTES,
    BoundsError,
    decode_body,
    redirect_target,
    too_large_error,
)
from tbv8.venues.units import unit_request

_AT_ONCE = 4
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_CLOCK_RETRY_S = 5.0
_WARN_SHARE = 0.5  # warn when an outage reaches this share of the venue's history
_WARN_EVERY_S = 600.0


def open_session() -> aiohttp.ClientSession:
    """Return a session without cookies and without automatic decompression."""
    return aiohttp.ClientSession(
        trust_env=True,
        headers={"User-Agent": "tbv8", "Accept-Encoding": "gzip"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # `RestClient.fetch` has one for all of it
    )


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """Return a body.

    Raises:
        BoundsError: It has more than `REPLY_BYTES`, or an encoding that was not requested.
    """
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > REPLY_BYTES:
            raise too_large_error(REPLY_BYTES)
    return decode_body(bytes(body), reply.headers.get("Content-Encoding", ""), REPLY_BYTES)


class RestClient:
    """A venue's REST; sends each request once, within the venue's limits.

    Args:
        live: The venue's protocol, with its limits.
        url: The base address.
        session: A session from `open_session`.
        pace: The time limit for a whole reply.
        redirect_hosts: Further hosts that a reply may redirect to.
    """

    def __init__(
        self,
        live: Live,
        url: str,
        session: aiohttp.ClientSession,
        pace: Pace,
        redirect_hosts: Collection[str] = (),
    ) -> None:
        self._url, self._session, self._redirect_hosts = url, session, redirect_hosts
        self._reply_s = pace.rest_s
        self._per_s, self._burst = live.weight_per_s, live.weight_burst
        self._budget, self._counted_s = self._burst, time.monotonic()
        self._turn = asyncio.Lock()

    async def await_turn(self, weight: float) -> None:
        """Wait until the limit allows a request of this weight."""
        async with self._turn:
            while True:
                now_s = time.monotonic()
                self._budget = min(
                    self._burst, self._budget + (now_s - self._counted_s) * self._per_s
                )
                self._counted_s = now_s
                if self._budget >= min(weight, self._burst):
                    self._budget -= weight
                    return
                await asyncio.sleep((min(weight, self._burst) - self._budget) / self._per_s)

    async def fetch[T](self, request: Request[T]) -> T:
        """Send a request after its `await_turn`, and read its reply, page by page.

        Raises:
            RefusedError: The venue refuses the request.
            VenueError: The venue cannot be reached, or its reply is undocumented.
        """
        reply = await self._fetch_page(request)
        while isinstance(reply, Request):
            await self.await_turn(reply.weight)
            reply = await self._fetch_page(reply)
        return reply

    async def _fetch_page[T](self, request: Request[T]) -> T | Request[T]:
        url = f"{self._url}{request.path}"
        try:
            async with asyncio.timeout(self._reply_s):
                status, body = await self._send(request, url)
        except (aiohttp.ClientError, BoundsError, OSError, TimeoutError) as e:
            raise VenueError(f"{url}: {str(e) or type(e).__name__}") from e
        if status != HTTPStatus.OK:
            problem = f"{url}: HTTP {status} {one_line(body[:200].decode(errors='replace'))}"
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                self._budget = -self._burst
                raise RefusedError(problem, too_often=True)
            raise (RefusedError if status < 500 else VenueError)(problem)
        try:
            return request.parse(body)
        except RefusedError as e:
            if e.too_often:
                self._budget = -self._burst
            raise

    async def _send(self, request: Request[Any], url: str) -> tuple[int, bytes]:
        """Return the status and the body of a reply, after allowed redirects.

        Raises:
            BoundsError: It is too large, or redirects to another host.
        """
        params: Mapping[str, str | int] | None = request.params
        for _ in range(1 + REDIRECTS):
            async with self._session.request(
                "GET" if request.body is None else "POST",
                url,
                params=params,
                data=request.body,
                headers=None if request.body is None else {"Content-Type": "application/json"},
                allow_redirects=False,
            ) as reply:
                location = reply.headers.get("Location")
                if location is None or reply.status not in _REDIRECT_STATUSES:
                    return reply.status, await _read(reply)
                try:
                    url = redirect_target(str(reply.url), location, self._redirect_hosts)
                except BoundsError as e:
                    raise BoundsError(f"HTTP {reply.status} {e}") from e
                params = None  # the new address has its own
        raise BoundsError("leads from one address to the next")


class Refill:
    """The REST requests that the trackers of a venue need, sent one after the other.

    Args:
        live: The venue's protocol.
        rest: The venue's REST.
        trackers: The trackers by symbol.
        clock: The venue's clock.
        pace: Pauses between attempts.
        log: Prints a line for the user.
        on_stall: Called with the symbol and channel of a dead stream.
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
        self._clock, self._pace, self._log, self._on_dead = clock, pace, log, on_stall
        self.listings: Mapping[str, Listing] = {}
        self._under_way: set[tuple[str, str]] = set()
        self._failures: dict[tuple[str, str], int] = {}
        self._not_before_s: dict[tuple[str, str], float] = {}
        # Old minutes can wait; trades that the venue drops soon come first.
        self._urgent_slots, self._minutes_slot = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(1)
        self._warned_s: dict[str, float] = {}

    async def set_clock(self) -> None:
        """Set the clock by the venue's: the best of a few measurements."""
        measurements = []
        for _ in range(3):
            try:
                await self._rest.await_turn(self._live.clock_request().weight)
                sent_ms = self._clock.steady_ms()
                venue_ms = await self._rest.fetch(self._live.clock_request())
            except VenueError:
                self.failed += 1
                continue
            measurements.append((self._clock.steady_ms() - sent_ms, sent_ms, venue_ms))
        if measurements:
            took_ms, sent_ms, venue_ms = min(measurements)
            if not self._clock.set(venue_ms, sent_ms=sent_ms, received_ms=sent_ms + took_ms):
                self._log(
                    f"WARNING: the venue's clock shows {iso(venue_ms)}, this computer's "
                    f"{iso(self._clock.local_ms())}, continuing with {iso(self._clock.now_ms())}: "
                    "correct the computer's clock if it is wrong"
                )

    async def reset_clock(self) -> None:
        """Measure the venue's clock at intervals, until cancelled."""
        while True:
            pause_s = self._pace.clock_s
            await asyncio.sleep(pause_s if self._clock.is_set else min(pause_s, _CLOCK_RETRY_S))
            await self.set_clock()

    async def fetch_listings(self) -> dict[str, Listing]:
        """Return the venue's listings by native symbol.

        Raises:
            VenueError: The venue refuses, or cannot be reached.
        """
        request = self._live.listings_request()
        await self._rest.await_turn(request.weight)
        return await self._rest.fetch(request)

    async def await_listings(self) -> dict[str, Listing]:
        """Return the venue's listings by native symbol, after as many attempts as it takes."""
        failures = 0
        while True:
            try:
                return await self.fetch_listings()
            except VenueError as e:
                self.failed += 1
                failures += 1
                self._log(f"cannot fetch the venue's list of symbols, trying again: {e}")
                await asyncio.sleep(self._pause_s(failures))

    async def run(self) -> None:
        """Send the requests that the trackers of `listings` need, until cancelled."""
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
            self._not_before_s[key] = time.monotonic() + self._pause_s(failures)
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
                await self._on_dead(symbol, "trades")
        else:
            book = unit_request(live.bbo_request(symbol, listing), listing)
            await self._rest.await_turn(book.weight)
            sent_ms = clock.now_ms()
            bbo = await self._rest.fetch(book)
            if tracker.compare_book(bbo, sent_ms=sent_ms, now_ms=clock.now_ms()):
                await self._on_dead(symbol, "bbo")

    def _pause_s(self, failures: int) -> float:
        pace = self._pace
        return backoff_s(failures, base_s=pace.retry_base_s, cap_s=pace.retry_cap_s)

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
                f"WARNING: {tracker.series} has missing minutes from {pending_ms / 3_600_000:.0f} h"
                f" ago, and the venue keeps only {kept_minutes / 60:.0f} h: restore the connection "
                "before older minutes are lost"
            )
