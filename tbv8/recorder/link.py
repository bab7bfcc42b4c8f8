"""One venue's socket: connects, subscribes, keeps alive, and passes every event to its tracker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, Bbo, Trade
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.pace import Pace
from tbv8.recorder.tracker import AHEAD_MS, SeriesTracker
from tbv8.store.ticks import NOT_RUNNING
from tbv8.text import one_line, quoted
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import Ack, Channel, ErrorFrame, Feed, Listing, Live, Log
from tbv8.venues.bounds import FRAME_BYTES
from tbv8.venues.units import unit_feed

_SECOND_STALL_S = 120.0  # a second stall within this time needs a reconnect, not a resubscribe
_RECONNECT_PAUSE_S = 1800.0  # between such reconnects: they interrupt the other streams
_CHECK_S = 0.2
_WRITER_WAIT_S, _MAX_WRITER_WAITS = 0.01, 200
_FRAMES_WAITING = 256  # unread frames of at most FRAME_BYTES each
_MAX_UNSENT = 2**20  # bytes in our send buffer; we send some KB

type RefreshListings = Callable[[bool], Awaitable[Mapping[str, Listing]]]
"""Returns the venue's listings: with True always fetched, else possibly some minutes old."""


class Clock:
    """An estimate of a venue's clock, set by REST; adjusting our clock does not move it.

    Args:
        local_ms: Our clock in milliseconds UTC; the estimate until the first measurement.
        steady_ms: A monotonic clock in milliseconds, from an arbitrary origin.

    Attributes:
        behind_ms: The monotonic clock minus the venue's.
        is_set: True if the last measurement was accepted.
    """

    def __init__(self, local_ms: Callable[[], int], steady_ms: Callable[[], int]) -> None:
        self.local_ms, self.steady_ms = local_ms, steady_ms
        self.behind_ms = steady_ms() - local_ms()
        self.is_set = False
        self._measurements: list[int] = []  # the accepted `behind_ms`, and the last measured one

    def now_ms(self) -> int:
        """Return the venue's time, in milliseconds UTC."""
        return self.steady_ms() - self.behind_ms

    @property
    def offset_ms(self) -> int:
        """Our clock minus the venue's, in milliseconds."""
        return self.local_ms() - self.now_ms()

    def set(self, venue_ms: int, *, sent_ms: int, received_ms: int) -> bool:
        """Set the clock by a measurement; return False if it is rejected.

        A time that is a day or more off our clock is rejected, and so is a jump until a second
        measurement confirms it.

        Args:
            venue_ms: The venue's time.
            sent_ms: The time of the request, by the monotonic clock.
            received_ms: The time of the reply, likewise.
        """
        behind_ms = (sent_ms + received_ms) // 2 - venue_ms
        is_confirmed = any(abs(behind_ms - other) <= AHEAD_MS for other in self._measurements)
        is_plausible = abs(self.local_ms() - self.steady_ms() + behind_ms) < DAY_MS
        self.is_set = is_plausible and (is_confirmed or not self._measurements)
        if self.is_set:
            self.behind_ms = behind_ms
        if is_plausible:
            self._measurements = [self.behind_ms, behind_ms]
        return self.is_set


class _Connect(connect):
    """A websockets connection that follows no redirect; the library would follow any."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the exception unchanged, so that no redirect is followed."""
        return exc


class Link:
    """The socket of a venue, which feeds a tracker for each symbol.

    Args:
        live: The venue's wire protocol.
        url: The address of the socket.
        trackers: The trackers by symbol.
        outbox: The outbox of the trackers; while it is crowded, the socket is read more slowly.
        clock: The venue's clock.
        pace: Timeouts and intervals.
        log: Prints a line for the user.
        refresh_listings: Returns the venue's listings.

    Attributes:
        state: `up`, or another state as text for the user.
        dials: The number of attempts to connect.
        frames: The number of received frames.
        unreadable: The number of unreadable frames and rejected events.
        listings: The recorded symbols of the present connection.
    """

    def __init__(
        self,
        live: Live,
        url: str,
        trackers: Mapping[str, SeriesTracker],
        *,
        outbox: Outbox,
        clock: Clock,
        pace: Pace,
        log: Log,
        refresh_listings: RefreshListings,
    ) -> None:
        self.state = "starting"
        self.dials = self.frames = self.unreadable = 0
        self._live, self._url, self._trackers, self._outbox = live, url, trackers, outbox
        self._clock, self._pace, self._log = clock, pace, log
        self._refresh_listings, self._closed_on_subscribe = refresh_listings, False
        self._ping_s = live.ping_s if pace.ping_s is None else pace.ping_s
        self.listings: Mapping[str, Listing] = {}
        self._socket: ClientConnection | None = None
        self._feed: Feed | None = None
        self._reason = ""
        self._dialled_s: deque[float] = deque()
        self._last_ms = 0
        self._received_s = 0.0
        self._pending: dict[tuple[str, Channel], float] = {}
        self._acks_due: Counter[Channel] = Counter()
        self._stalls: dict[tuple[str, Channel], float] = {}
        self._reconnected_s: dict[tuple[str, Channel], float] = {}

    async def run(self) -> None:
        """Record the listed symbols until cancelled.

        Unlisted ones are left out, since a single one might make the venue refuse all.
        """
        failures = 0
        while True:
            await self._await_turn(failures)
            self.listings = await self._refresh_listings(self._closed_on_subscribe)
            self._closed_on_subscribe = False
            if not self.listings:
                self.state = "lists none of the symbols"
                failures += 1
                continue
            self.state = "connecting"
            self.dials += 1
            began_s = time.monotonic()
            try:
                reason = await self._dial()
            finally:
                for symbol in self.listings:
                    self._trackers[symbol].disconnect(self._reason, self._last_ms)
            lasted_s = time.monotonic() - began_s
            failures = 1 if lasted_s >= self._pace.stable_s else failures + 1
            self.state = f"down: {reason}"
            self._log(reason)

    async def _await_turn(self, failures: int) -> None:
        """Wait for the back-off pause after failures, and for the venue's limit of connections."""
        if failures:
            pace = self._pace
            pause_s = backoff_s(failures, base_s=pace.dial_base_s, cap_s=pace.dial_cap_s)
            await asyncio.sleep(pause_s)
        dialled, most = self._dialled_s, self._live.dials_per_minute
        if len(dialled) >= most:
            await asyncio.sleep(60.0 - (time.monotonic() - dialled.popleft()))
        dialled.append(time.monotonic())

    async def _dial(self) -> str:
        """Connect and receive until the connection ends; return the reason."""
        self._reason = NOT_RUNNING  # for a cancellation; every other end sets its own reason
        try:
            socket = await _Connect(
                self._url,
                open_timeout=self._pace.open_s,
                ping_interval=None,  # venues expect their own JSON pings
                close_timeout=1.0,
                compression=None,
                max_size=FRAME_BYTES,
                max_queue=_FRAMES_WAITING,
                user_agent_header="tbv8",
            )
        except (OSError, WebSocketException, TimeoutError) as e:
            self._reason = f"cannot connect ({_error_text(e)})"
            return self._reason
        try:
            await self._communicate(socket)
        except ConnectionClosed as e:
            if self._reason == NOT_RUNNING:
                self._reason = f"connection closed by the venue ({_error_text(e)})"
        finally:
            self._socket = None
            with suppress(OSError, WebSocketException, TimeoutError):
                await socket.close()
        return self._reason

    async def _communicate(self, socket: ClientConnection) -> None:
        feed = unit_feed(self._live.open_feed(self.listings), self.listings)
        self._socket, self._feed = socket, feed
        self._pending.clear()
        self._acks_due.clear()
        self._stalls.clear()
        self._received_s = time.monotonic()
        self._last_ms = self._clock.now_ms()
        self.state = "subscribing"
        tasks = [
            asyncio.create_task(self._ping(socket)),
            asyncio.create_task(self._check_liveness()),
            asyncio.create_task(self._subscribe_all(socket)),
        ]
        try:
            await self._receive(socket, self._feed)
        except ConnectionClosed:
            was_aborted = self._reason != NOT_RUNNING
            subscribed_s = min(self._pending.values(), default=float("-inf"))
            if not was_aborted and time.monotonic() - subscribed_s < 1.0:
                self._closed_on_subscribe = True
                coins = ", ".join(sorted({listing.native for listing in self.listings.values()}))
                self._reason = (
                    f"connection closed by the venue at once after subscribing to {coins}"
                )
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, socket: ClientConnection, feed: Feed) -> None:
        clock, trackers, outbox = self._clock, self._trackers, self._outbox
        while True:
            frame = await socket.recv(decode=False)
            received_ms, now_ms = clock.local_ms(), clock.now_ms()
            self.frames += 1
            self._received_s = time.monotonic()
            try:
                events = feed.parse(frame)
            except VenueError as e:
                self._skip_unreadable(e, now_ms)
                events = ()
            for event in events:
                try:
                    if isinstance(event, Trade):
                        tracker = trackers[event.symbol]
                        tracker.record_trade(event, received_ms=received_ms, now_ms=now_ms)
                    elif isinstance(event, Bbo):
                        tracker = trackers[event.symbol]
                        tracker.record_bbo(event, received_ms=received_ms, now_ms=now_ms)
                    elif isinstance(event, Ack):
                        self._note_ack(event, now_ms)
                    elif isinstance(event, ErrorFrame):
                        self._log(f"the venue reports {quoted(event.text)}")
                except VenueError as e:
                    self._skip_event(event, e, now_ms)
            self._last_ms = now_ms
            if outbox.crowded:
                await self._await_writer()

    async def _await_writer(self) -> None:
        """Pause reading the socket, so that the writer can catch up (backpressure)."""
        for _ in range(_MAX_WRITER_WAITS):
            if not self._outbox.crowded:
                break
            await asyncio.sleep(_WRITER_WAIT_S)
            self._received_s = time.monotonic()

    def _skip_unreadable(self, e: VenueError, now_ms: int) -> None:
        self.unreadable += 1
        self._log(f"unreadable frame, recorded as a gap: {e}")
        for symbol in self.listings:
            self._trackers[symbol].mark_unreadable(now_ms, self._last_ms)

    def _skip_event(
        self, event: Trade | Bbo | Ack | ErrorFrame, e: VenueError, now_ms: int
    ) -> None:
        self.unreadable += 1
        self._log(f"event not stored, recorded as a gap: {e}")
        if isinstance(event, Trade | Bbo):
            channel: Channel = "trades" if isinstance(event, Trade) else "bbo"
            self._trackers[event.symbol].mark_unreadable(now_ms, self._last_ms, only=channel)

    def _note_ack(self, ack: Ack, now_ms: int) -> None:
        """Mark a stream as up; acks without a symbol confirm a channel once all have arrived."""
        if ack.symbol is not None:
            self._confirm(ack.symbol, ack.channel, now_ms)
            return
        self._acks_due[ack.channel] -= 1
        if self._acks_due[ack.channel] <= 0:
            for symbol, channel in list(self._pending):
                if channel == ack.channel:
                    self._confirm(symbol, channel, now_ms)

    def _confirm(self, symbol: str, channel: Channel, now_ms: int) -> None:
        self._pending.pop((symbol, channel), None)
        self._trackers[symbol].mark_up(channel, now_ms)
        if not self._pending:
            self.state = "up"

    async def _subscribe_all(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            for symbol in self.listings:
                for channel in self._trackers[symbol].streams:
                    await self._subscribe(socket, symbol, channel)

    async def _subscribe(
        self, socket: ClientConnection, symbol: str, channel: Channel, *, again: bool = False
    ) -> None:
        assert self._feed is not None
        if again:
            await socket.send(self._feed.unsubscribe(symbol, channel))
        self._pending[symbol, channel] = time.monotonic()
        self._acks_due[channel] += 1
        await socket.send(self._feed.subscribe(symbol, channel))
        await asyncio.sleep(self._live.subscribe_pause_s)

    async def resubscribe(self, symbol: str, channel: Channel) -> None:
        """Subscribe to a stalled stream again; at a second stall soon after, reconnect instead."""
        socket = self._socket
        if socket is None:
            return
        self._log(f"{symbol} {channel} stalled, subscribing again")
        key, now_s, never_s = (symbol, channel), time.monotonic(), float("-inf")
        soon = now_s - self._stalls.get(key, never_s) < _SECOND_STALL_S
        if soon and now_s - self._reconnected_s.get(key, never_s) >= _RECONNECT_PAUSE_S:
            self._reconnected_s[key] = now_s
            self._abort(f"{symbol} {channel} stalled twice")
            return
        self._stalls[key] = now_s
        with suppress(ConnectionClosed):
            await self._subscribe(socket, symbol, channel, again=True)

    async def _ping(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self._ping_s)
                await socket.send(self._live.ping)

    async def _check_liveness(self) -> None:
        """Abort a connection that died silently; repeat unconfirmed subscriptions."""
        silence_limit_s = self._ping_s + self._pace.answer_s
        while True:
            await asyncio.sleep(_CHECK_S)
            now_s = time.monotonic()
            if self._socket and self._socket.transport.get_write_buffer_size() > _MAX_UNSENT:
                self._abort("the venue reads none of our frames")  # such as pongs to endless pings
                return
            if now_s - self._received_s > silence_limit_s:
                self._abort(f"silent for {silence_limit_s:.0f} s, even to pings")
                return
            # An event of the stream confirms it too.
            for key in [k for k in self._pending if self._trackers[k[0]].streams[k[1]].up]:
                self._confirm(*key, self._clock.now_ms())
            overdue = [k for k, s in self._pending.items() if now_s - s > self._pace.answer_s]
            if overdue and not any(
                w.up for s in self.listings for w in self._trackers[s].streams.values()
            ):
                self._abort("no answer to subscriptions")
                return
            await self._resubscribe(overdue)

    async def _resubscribe(self, overdue: list[tuple[str, Channel]]) -> None:
        socket = self._socket
        for channel in {channel for _symbol, channel in overdue}:
            self._acks_due[channel] = 0
        with suppress(ConnectionClosed):
            for symbol, channel in overdue:
                if socket is not None:
                    await self._subscribe(socket, symbol, channel)

    def redial(self, reason: str) -> None:
        """End the connection, if there is one; the next one subscribes to the present listings."""
        self._abort(reason)

    def _abort(self, reason: str) -> None:
        self._reason = reason
        if self._socket is not None:
            self._socket.transport.abort()


def _error_text(e: BaseException) -> str:
    return one_line(str(e), max_length=200) or type(e).__name__
