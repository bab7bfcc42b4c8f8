"""One venue's REST: its clock, its markets, and what desks need, within the venue's limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from tbv8.errors import VenueError
from tbv8.market import Span, iso
from tbv8.recorder.desk import Desk, Need
from tbv8.recorder.link import Clock
from tbv8.recorder.pace import Pace
from tbv8.text import one_line
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import Ask, Channel, Live, Log, Market, RefusedError
from tbv8.venues.bounds import (
    REDIRECTS,
    REPLY_BYTES,
    BoundsError,
    decoded,
    redirect_target,
    too_large,
)
from tbv8.venues.units import unit_ask

_AT_ONCE = 4
_LEADS_ON = (301, 302, 303, 307, 308)
_SOON_S = 5.0
_NEAR_THE_END = 0.5  # warn when an outage reaches this share of the venue's history
_WARN_EVERY_S = 600.0


def open_session() -> aiohttp.ClientSession:
    """Return a session without cookies and without automatic decompression."""
    return aiohttp.ClientSession(
        trust_env=True,
        headers={"User-Agent": "tbv8", "Accept-Encoding": "gzip"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # `Rest.fetch` has one for all of it
    )


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """Return a body.

    Raises:
        BoundsError: It has more than `REPLY_BYTES`, or is in an encoding that is not asked for.
    """
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > REPLY_BYTES:
            raise too_large(REPLY_BYTES)
    return decoded(bytes(body), reply.headers.get("Content-Encoding", ""), REPLY_BYTES)


class Rest:
    """A venue's REST: one try an `ask`, in its turn.

    Args:
        live: Its limits.
        url: Its base.
        session: For all of it, from `open_session`.
        pace: How long to wait for a reply, the whole of it.
        redirect_hosts: Other hosts that a reply may lead to.
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
        self._per_s, self._most = live.weight_per_s, live.weight_burst
        self._left, self._counted_s = self._most, time.monotonic()
        self._turn = asyncio.Lock()

    async def await_turn(self, weight: float) -> None:
        """Wait until the limit allows a request of this weight."""
        async with self._turn:
            while True:
                now_s = time.monotonic()
                self._left = min(self._most, self._left + (now_s - self._counted_s) * self._per_s)
                self._counted_s = now_s
                if self._left >= min(weight, self._most):
                    self._left -= weight
                    return
                await asyncio.sleep((min(weight, self._most) - self._left) / self._per_s)

    async def fetch[T](self, ask: Ask[T]) -> T:
        """Send a request whose turn it is, and read its reply; of several pages, one by one.

        Raises:
            RefusedError: The venue says no.
            VenueError: It is out of reach, or replies what it does not document.
        """
        found = await self._fetch_page(ask)
        while isinstance(found, Ask):
            await self.await_turn(found.weight)
            found = await self._fetch_page(found)
        return found

    async def _fetch_page[T](self, ask: Ask[T]) -> T | Ask[T]:
        where = f"{self._url}{ask.path}"
        try:
            async with asyncio.timeout(self._reply_s):
                status, body = await self._send(ask, where)
        except (aiohttp.ClientError, BoundsError, OSError, TimeoutError) as e:
            raise VenueError(f"{where}: {str(e) or type(e).__name__}") from e
        if status != HTTPStatus.OK:
            problem = f"{where}: HTTP {status} {one_line(body[:200].decode(errors='replace'))}"
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                self._left = -self._most
                raise RefusedError(problem, too_often=True)
            raise (RefusedError if status < 500 else VenueError)(problem)
        try:
            return ask.parse(body)
        except RefusedError as e:
            if e.too_often:
                self._left = -self._most
            raise

    async def _send(self, ask: Ask[Any], url: str) -> tuple[int, bytes]:
        """Return the status and the body of a reply, after allowed redirects.

        Raises:
            BoundsError: It has more bytes than it may, or leads elsewhere.
        """
        params: Mapping[str, str | int] | None = ask.params
        for _ in range(1 + REDIRECTS):
            async with self._session.request(
                "GET" if ask.body is None else "POST",
                url,
                params=params,
                data=ask.body,
                headers=None if ask.body is None else {"Content-Type": "application/json"},
                allow_redirects=False,
            ) as reply:
                location = reply.headers.get("Location")
                if location is None or reply.status not in _LEADS_ON:
                    return reply.status, await _read(reply)
                try:
                    url = redirect_target(str(reply.url), location, self._redirect_hosts)
                except BoundsError as e:
                    raise BoundsError(f"HTTP {reply.status} {e}") from e
                params = None  # they are in its address, if they are wanted
        raise BoundsError("leads from one address to the next")


class Refill:
    """The REST requests that the desks of a venue need, sent one after the other.

    Args:
        live: How to ask.
        rest: Where.
        desks: By symbol.
        clock: The venue's.
        pace: How often to try.
        log: Prints a line for the user.
        on_dead: Called with symbol and channel of a stream that turns out to be dead.
    """

    def __init__(
        self,
        live: Live,
        rest: Rest,
        desks: Mapping[str, Desk],
        *,
        clock: Clock,
        pace: Pace,
        log: Log,
        on_dead: Callable[[str, Channel], Awaitable[None]],
    ) -> None:
        self.failed = 0
        self._live, self._rest, self._desks = live, rest, desks
        self._clock, self._pace, self._log, self._on_dead = clock, pace, log, on_dead
        self.markets: Mapping[str, Market] = {}
        self._under_way: set[tuple[str, str]] = set()
        self._failures: dict[tuple[str, str], int] = {}
        self._not_before_s: dict[tuple[str, str], float] = {}
        # Old minutes can wait; trades that the venue drops soon come first.
        self._slots, self._slot = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(1)
        self._warned_s: dict[str, float] = {}

    async def learn_clock(self) -> None:
        """Set the clock by the venue's: the best of a few measurements."""
        looks = []
        for _ in range(3):
            try:
                await self._rest.await_turn(self._live.ask_clock().weight)
                sent_ms = self._clock.steady_ms()
                venue_ms = await self._rest.fetch(self._live.ask_clock())
            except VenueError:
                self.failed += 1
                continue
            looks.append((self._clock.steady_ms() - sent_ms, sent_ms, venue_ms))
        if looks:
            took_ms, sent_ms, venue_ms = min(looks)
            if not self._clock.learn(venue_ms, sent_ms=sent_ms, received_ms=sent_ms + took_ms):
                self._log(
                    f"WARNING: the venue's clock shows {iso(venue_ms)}, this computer's "
                    f"{iso(self._clock.local_ms())}, continuing with {iso(self._clock.now_ms())}: "
                    "correct the computer's clock if it is wrong"
                )

    async def keep_clock(self) -> None:
        """Measure the venue's clock at intervals, until cancelled."""
        while True:
            pause_s = self._pace.clock_s
            await asyncio.sleep(pause_s if self._clock.is_learnt else min(pause_s, _SOON_S))
            await self.learn_clock()

    async def fetch_markets(self) -> dict[str, Market]:
        """Return the venue's markets by native symbol.

        Raises:
            VenueError: It does not tell them now.
        """
        ask = self._live.ask_markets()
        await self._rest.await_turn(ask.weight)
        return await self._rest.fetch(ask)

    async def await_markets(self) -> dict[str, Market]:
        """Return the venue's markets by native symbol, after as many attempts as it takes."""
        failures = 0
        while True:
            try:
                return await self.fetch_markets()
            except VenueError as e:
                self.failed += 1
                failures += 1
                self._log(f"cannot fetch the venue's list of symbols, trying again: {e}")
                await asyncio.sleep(self._pause_s(failures))

    async def run(self) -> None:
        """Send the requests that the desks of `markets` need, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                now_ms = self._clock.now_ms()
                for symbol, market in self.markets.items():
                    desk = self._desks[symbol]
                    desk.tick(now_ms)
                    for need in desk.needs(now_ms):
                        if self._may_ask(symbol, need):
                            self._under_way.add((symbol, need.what))
                            group.create_task(self._meet(symbol, market, need))
                    self._warn_of_the_end(symbol, desk, now_ms)
                await asyncio.sleep(self._pace.tick_s)

    def _may_ask(self, symbol: str, need: Need) -> bool:
        key = (symbol, need.what)
        return key not in self._under_way and time.monotonic() >= self._not_before_s.get(key, 0.0)

    async def _meet(self, symbol: str, market: Market, need: Need) -> None:
        key = (symbol, need.what)
        try:
            async with self._slot if need.what == "minutes" else self._slots:
                await self._ask(symbol, market, need)
        except VenueError as e:
            self.failed += 1
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            self._not_before_s[key] = time.monotonic() + self._pause_s(failures)
            if failures in (3, 10) or failures % 100 == 0:
                self._log(f"{symbol}: cannot fetch {need.what} ({failures} failures in a row): {e}")
        else:
            self._failures.pop(key, None)
        finally:
            self._under_way.discard(key)

    async def _ask(self, symbol: str, market: Market, need: Need) -> None:
        desk, clock, live = self._desks[symbol], self._clock, self._live
        if need.what == "minutes":
            assert need.span is not None
            start_ms = need.span.start_ms
            end_ms = min(need.span.end_ms, start_ms + live.page_minutes * 60_000)
            span = Span(start_ms, end_ms)
            ask = unit_ask(live.ask_minutes(market, span), market)
            await self._rest.await_turn(ask.weight)
            asked_ms = clock.now_ms()
            bars = await self._rest.fetch(ask)
            desk.minutes.take(span, bars, asked_ms=asked_ms)
            desk.tick(clock.now_ms())
        elif need.what == "recent":
            recent = unit_ask(live.ask_recent(symbol, market), market)
            await self._rest.await_turn(recent.weight)
            asked_ms = clock.now_ms()
            trades = await self._rest.fetch(recent)
            dead = desk.take_recent(
                trades,
                asked_ms=asked_ms,
                received_ms=clock.local_ms(),
                now_ms=clock.now_ms(),
            )
            if dead:
                await self._on_dead(symbol, "trades")
        else:
            book = unit_ask(live.ask_bbo(symbol, market), market)
            await self._rest.await_turn(book.weight)
            asked_ms = clock.now_ms()
            bbo = await self._rest.fetch(book)
            if desk.take_book(bbo, asked_ms=asked_ms, now_ms=clock.now_ms()):
                await self._on_dead(symbol, "bbo")

    def _pause_s(self, failures: int) -> float:
        pace = self._pace
        return backoff_s(failures, base_s=pace.retry_base_s, cap_s=pace.retry_cap_s)

    def _warn_of_the_end(self, symbol: str, desk: Desk, now_ms: int) -> None:
        kept = self._live.kept_minutes
        if kept is None:
            return
        pending_ms = desk.minutes.pending_ms(now_ms)
        if pending_ms < kept * 60_000 * _NEAR_THE_END:
            return
        now_s = time.monotonic()
        if now_s - self._warned_s.get(symbol, -_WARN_EVERY_S) >= _WARN_EVERY_S:
            self._warned_s[symbol] = now_s
            self._log(
                f"WARNING: {desk.series} has missing minutes from {pending_ms / 3_600_000:.0f} h"
                f" ago, and the venue keeps only {kept / 60:.0f} h: restore the connection before "
                "older minutes are lost"
            )
