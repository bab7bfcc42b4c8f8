"""A local live venue: one port for its socket and its REST, one for those who steer it.

A `Wire` speaks one venue's protocol (hyperliquid.py, mexc.py); here are the sockets, the faults,
the log and the control. WebSocket is Sans-I/O (`websockets.server.ServerProtocol`) on own
transports, since websockets' own server knows no POST, no RST and no half-open socket.

    with hyperliquid_server([hyperliquid_market("BTC")]) as server:
        server.fault(Fault(kind="drop"))
        ...server.ws_url, server.rest_url...
        server.truth("BTC").trades

live_process.py runs one as a process, which a `Remote` steers with the same verbs.
"""

from __future__ import annotations

import asyncio
import gzip
import heapq
import json
import random
import socket
import struct
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from http import HTTPStatus
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from tests.servers.live_faults import AT_ONCE, Fault, Faults
from tests.servers.live_market import (
    Flood,
    LiveMarket,
    LiveQuote,
    LiveTrade,
    Side,
    Truth,
    VenueClock,
)
from tests.servers.raw import Raw

T = TypeVar("T")

_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s
_PLACEHOLDER_MS = 4242424242424  # in frames of a flood, until they are sent
_FLOOD_BACKLOG = 4 * 2**20
_REORDER_WAIT_S = 1.0

type Event = LiveTrade | LiveQuote


@dataclass(frozen=True, slots=True)
class Logged:
    """Something that happened at the server.

    `open` and `close` (detail: why) of a socket, `refused` (detail: how), `message` (detail: the
    client's text), `rest` (detail: method, path, query and body; `status` 0 when none was sent),
    `fault` (detail: kind).
    """

    at_s: float
    event: str
    connection: int = 0
    detail: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A request as a wire sees it."""

    method: str
    path: str
    query: Mapping[str, str]
    content_type: str
    body: bytes

    @property
    def target(self) -> str:
        """What a fault's `match` is looked for in, and the log shows."""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.method} {self.path}{query} {self.body.decode(errors='replace')}".strip()


@dataclass(frozen=True, slots=True)
class Reply:
    """A REST reply, and the trades in it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    trades: Sequence[LiveTrade] = ()


@dataclass(slots=True)
class Options:
    """What every venue can be told to do otherwise, at any time.

    Args:
        timeout_s: The venue's patience with a silent connection, 60 s at both.
        limits: Whether its documented limits of requests and dials hold (wall clock).
        unknown_every: After how many frames one of an unknown channel comes; 0 for never.
        quiet_candles: Whether minutes without a trade are in its candles, flat.
        open_candle: Whether the minute that is not over is among its candles.
        tick_s: How often it sends what happened.
        max_backlog_mb: How far a client may lag until it is dropped.
    """

    timeout_s: float = 60.0
    limits: bool = True
    unknown_every: int = 40
    quiet_candles: bool = True
    open_candle: bool = True
    tick_s: float = 0.01
    max_backlog_mb: int = 64


class Wire(Protocol):
    """One venue's protocol; everything is called in the server's thread."""

    @property
    def ws_path(self) -> str:
        """Where the socket is."""

    @property
    def options(self) -> Options:
        """What `control` may change."""

    @property
    def dials_per_minute(self) -> int | None:
        """How many handshakes a minute it takes."""

    def opened(self, session: Session) -> None:
        """Greet a new socket."""

    def received(self, session: Session, message: str) -> None:
        """Answer a text message."""

    def watch(self, session: Session, now_s: float) -> None:
        """Close a socket that the venue has lost patience with (monotonic seconds)."""

    def frames(
        self, market: LiveMarket, channel: str, variant: str, events: Sequence[Event]
    ) -> list[str]:
        """Return the texts that say `events` (of a candle: the open one) to a subscriber."""

    def unknown(self) -> str:
        """Return a frame of a channel that nobody knows."""

    def error(self, words: str) -> str:
        """Return an error frame."""

    def rest(self, request: RestRequest) -> Reply:
        """Answer a REST request."""

    def refusal(self, fault: Fault) -> Reply:
        """Return the reply of a REST fault with a status or a code."""


class Session:
    """One open socket."""

    def __init__(self, server: LiveServer, peer: _Peer, number: int) -> None:
        self.number = number
        self.subscriptions: dict[str, tuple[str, str, str]] = {}
        self.opened_s = self.last_sent_s = self.last_ping_s = time.monotonic()
        self.messages_s: deque[float] = deque()
        self.deaf = self.ended = False
        self._server, self._peer = server, peer

    def send(self, message: str) -> None:
        """Send a text frame."""
        self.write(_text_frame(message.encode()))

    def write(self, data: bytes) -> bool:
        """Send encoded frames; tell whether they went to the kernel."""
        if self.ended or self.deaf:
            return False
        transport = self._peer.transport
        transport.write(data)
        self.last_sent_s = time.monotonic()
        if transport.get_write_buffer_size() > self._server.wire.options.max_backlog_mb * 2**20:
            self.vanish("too slow")
        return True

    @property
    def backlog(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._peer.transport.get_write_buffer_size()

    def subscribe(self, key: str, channel: str, symbol: str, variant: str = "") -> None:
        """Send it a stream from now on; the same key again changes the variant."""
        self.unsubscribe(key)
        self.subscriptions[key] = (channel, symbol, variant)
        self._server.takers.setdefault((channel, symbol), {})[self] = variant

    def unsubscribe(self, key: str) -> None:
        """End a stream, if there is one."""
        if key in self.subscriptions:
            channel, symbol, _ = self.subscriptions.pop(key)
            self._server.takers.get((channel, symbol), {}).pop(self, None)

    def allows(self, answer: str) -> bool:
        """Tell whether a pong or an ack may be given, as far as faults go."""
        return self._server.faults.take("no_pong" if answer == "pong" else "no_ack") is None

    def send_trades(self, market: LiveMarket, variant: str, trades: Sequence[LiveTrade]) -> None:
        """Send trades to this one only: a replay."""
        for frame in self._server.wire.frames(market, "trades", variant, trades):
            self.send(frame)
        if not (self.ended or self.deaf):
            for trade in trades:
                trade.sent += 1

    def send_quote(self, market: LiveMarket, variant: str, quote: LiveQuote) -> None:
        """Send a top of the book to this one only."""
        for frame in self._server.wire.frames(market, "bbo", variant, [quote]):
            self.send(frame)
        quote.sent += not (self.ended or self.deaf)

    def vanish(self, why: str, *, rst: bool = False) -> None:
        """Close the connection without a close frame."""
        self.end(why)
        self._peer.hang_up(rst=rst)

    def close(self, why: str, code: int | None = None) -> None:
        """Close it with a close frame, whose code may be none (1005)."""
        self.end(why)
        self._peer.close_websocket(code)

    def go_deaf(self) -> None:
        """Neither read nor write any more, and stay open."""
        self.deaf = True
        self._peer.transport.pause_reading()

    def read_no_more(self) -> None:
        """Go on sending, and read nothing."""
        self._peer.transport.pause_reading()

    def end(self, why: str) -> None:
        """Forget its subscriptions; the first reason is logged."""
        if not self.ended:
            self.ended = True
            for key in list(self.subscriptions):
                self.unsubscribe(key)
            self._server.sessions.discard(self)
            self._server.add_log("close", self.number, why)


class LiveServer:
    """A venue on 127.0.0.1 from its making until `close`; a context manager.

    Args:
        wire: The protocol that it speaks.
        markets: Its symbols.
        clock: The venue's time, which the markets share.
        port: 0 for any.
        control_port: 0 for any.
        seed: Of what is shuffled.
    """

    def __init__(
        self,
        wire: Wire,
        markets: Mapping[str, LiveMarket],
        clock: VenueClock,
        *,
        port: int = 0,
        control_port: int = 0,
        seed: int = 1,
    ) -> None:
        self.wire = wire
        self.markets = dict(markets)
        self.clock = clock
        self.faults = Faults()
        self.sessions: set[Session] = set()
        self.takers: dict[tuple[str, str], dict[Session, str]] = {}
        self._log: list[Logged] = []
        self._log_lock = threading.Lock()
        self._random = random.Random(seed)
        self._dials: deque[float] = deque()
        self._numbers = self._frames = 0
        self._late: list[tuple[float, int, LiveMarket, LiveTrade]] = []
        self._windows: dict[tuple[str, str], _Window] = {}
        self._held: dict[tuple[str, str], list[Event]] = {}
        self._flood = FloodState()
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: set[_Peer] = set()
        self._errors: list[BaseException] = []
        self._listener: asyncio.Server | None = None
        self._sockets = [_listening(port), _listening(control_port)]
        self.port, control = (s.getsockname()[1] for s in self._sockets)
        self.ws_url = f"ws://127.0.0.1:{self.port}{wire.ws_path}"
        self.rest_url = f"http://127.0.0.1:{self.port}"
        self.control_url = f"http://127.0.0.1:{control}"
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.ws_url, daemon=True)
        self._thread.start()
        self._ready.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if error is None and self._errors:
            raise self._errors[0]

    def close(self) -> None:
        """Drop every connection and end the thread; may be repeated."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def wait(self) -> None:
        """Return when it was closed."""
        while self._thread.is_alive():
            self._thread.join(0.2)

    # What a test asks; `Remote` has the same.

    def log(self) -> list[Logged]:
        """Return all that happened, in order."""
        with self._log_lock:
            return list(self._log)

    def count(self, event: str, part: str = "") -> int:
        """Return how many events there were whose detail holds `part`."""
        return count(self.log(), event, part)

    def truth(self, symbol: str, start_ms: int = 0, end_ms: int = 2**62) -> Truth:
        """Return what happened in `[start_ms, end_ms)` of a native symbol, sent or not."""
        return self.markets[symbol].truth(start_ms, end_ms)

    def status(self) -> dict[str, Any]:
        """Return the venue's time, its sockets, and how far a flood has come."""
        return self._in_loop(self._status)

    def fault(self, *faults: Fault) -> None:
        """Let things go wrong from now on, or now; it is in force on return."""

        def strike() -> None:
            for fault in faults:
                self._strike(fault)

        self._in_loop(strike)

    def behave(self) -> None:
        """Forget all faults; what a stall held is sent, what went deaf stays so."""
        self._in_loop(self.faults.clear)

    def trade(
        self,
        symbol: str,
        price: str,
        size: str,
        side: Side = "buy",
        *,
        ts_ms: int | None = None,
        trade_id: int | None = None,
    ) -> LiveTrade:
        """Let a trade happen and send it; sizes are the venue's units."""
        market = self.markets[symbol]

        def push() -> LiveTrade:
            trade = market.push_trade(price, size, side, ts_ms=ts_ms, trade_id=trade_id)
            self._publish(market, [trade])
            return trade

        return self._in_loop(push)

    def quote(
        self,
        symbol: str,
        bid: tuple[str, str] | None,
        ask: tuple[str, str] | None,
        *,
        ts_ms: int | None = None,
    ) -> LiveQuote:
        """Let the top of the book change and send it."""
        market = self.markets[symbol]

        def push() -> LiveQuote:
            quote = market.push_quote(bid, ask, ts_ms=ts_ms)
            self._publish(market, [quote])
            return quote

        return self._in_loop(push)

    def control(self, **message: Any) -> None:
        """Do what `POST /_control` asks, in this order.

        behave: true; reset_log: true; options: {name: value} of the wire's; clock: {skew_ms,
        speed, advance_ms}; rates: {symbol: {rate, quote_rate}}; faults: [fields of Fault]; trades
        and quotes: [arguments of `trade` and `quote`]; flood: {symbols, total, rate (messages a
        second, null: as fast as it goes), bbo_every, start (false: make it ready, and wait for
        start_flood: true)}.

        Raises:
            TypeError: A key is unknown.
            ValueError: A fault is none.
            KeyError: A symbol is unknown.
        """
        known = {"behave", "reset_log", "options", "clock", "rates", "faults", "trades", "quotes"}
        known |= {"flood", "start_flood"}
        if unknown := message.keys() - known:
            raise TypeError(f"unknown keys {sorted(unknown)}, expected some of {sorted(known)}")
        faults = [Fault(**parts) for parts in message.get("faults", ())]
        names = {f.name for f in fields(self.wire.options)}
        if unknown := message.get("options", {}).keys() - names:
            raise TypeError(f"unknown options {sorted(unknown)}, expected some of {sorted(names)}")
        if message.get("behave"):
            self.behave()
        if message.get("reset_log"):
            with self._log_lock:
                self._log.clear()
        for name, value in message.get("options", {}).items():
            setattr(self.wire.options, name, value)
        self._set_clock(**message.get("clock", {}))
        for symbol, rates in message.get("rates", {}).items():
            self.markets[symbol].set_rates(**rates)
        self.fault(*faults)
        for trade in message.get("trades", ()):
            self.trade(**trade)
        for quote in message.get("quotes", ()):
            self.quote(**quote)
        if "flood" in message:
            self.flood(**message["flood"])
        if message.get("start_flood"):
            self.start_flood()

    def flood(
        self,
        symbols: Sequence[str],
        total: int,
        *,
        rate: float | None = None,
        bbo_every: int = 0,
        start: bool = True,
    ) -> None:
        """Send `total` messages encoded in advance to those who take all of `symbols`.

        A message is one trade, or one quote for every `bbo_every`-th of a symbol. It waits until
        someone takes the streams, encodes (about 10 s a million, 250 bytes a message), sends, and
        waits for the socket when that is full; `status()["flood"]` tells how far it is. The times
        in the messages are those of their writing. The truth knows them all.
        """
        markets = [self.markets[symbol] for symbol in symbols]
        flood = Flood(markets, total, bbo_every)
        state = FloodState(flood, rate, stage="waiting")
        if start:
            state.started.set()

        def begin() -> None:
            self._flood = state
            for market in markets:
                market.floods.append(flood)
            self.spawn(self._run_flood(state))

        self._in_loop(begin)

    def start_flood(self) -> None:
        """Start the flood that waits for it."""
        self._in_loop(self._flood.started.set)

    # What the peers and the wires use.

    def add_log(self, event: str, connection: int = 0, detail: str = "", status: int = 0) -> None:
        """Append to the log."""
        with self._log_lock:
            self._log.append(Logged(time.time(), event, connection, detail, status))

    def spawn(self, coroutine: Any) -> None:
        """Run a coroutine in the server's thread."""
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def new_number(self) -> int:
        """Return the number of a new socket."""
        self._numbers += 1
        return self._numbers

    def may_dial(self) -> bool:
        """Count a handshake; tell whether the venue takes it."""
        most, now_s = self.wire.dials_per_minute, time.monotonic()
        while self._dials and self._dials[0] < now_s - 60:
            self._dials.popleft()
        self._dials.append(now_s)
        return most is None or not self.wire.options.limits or len(self._dials) <= most

    def answer_control(self, request: RestRequest) -> Reply:
        """Answer a request to the control port."""
        try:
            match request.method, request.path:
                case "GET", "/_control/log":
                    return json_reply([asdict(logged) for logged in self.log()])
                case "GET", "/_control/status":
                    return json_reply(self.status())
                case "GET", "/_control/truth":
                    query = dict(request.query)
                    symbol = query.pop("symbol")
                    return json_reply(self.truth(symbol, **{k: int(v) for k, v in query.items()}))
                case "POST", "/_control":
                    self.control(**json.loads(request.body))
                    return json_reply({})
        except (KeyError, TypeError, ValueError) as problem:
            return Reply(400, f"{problem}\n".encode(), "text/plain")
        return Reply(404, b"", "text/plain")

    # Inside.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._failed)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001  raised again in the test's thread
            traceback.print_exc()
            self._errors.append(error)
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        control = await self._loop.create_server(
            lambda: _Peer(self, is_control=True), sock=self._sockets[1]
        )
        self._listener = await self._loop.create_server(
            lambda: _Peer(self, is_control=False), sock=self._sockets[0]
        )
        self._ready.set()
        while not self._stop.is_set():
            self._tick()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self.wire.options.tick_s)
        control.close()
        if self._listener is not None:
            self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        for peer in list(self._peers):
            peer.transport.abort()
        await asyncio.sleep(0)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self) -> None:
        """Let what happens until now happen, and send it."""
        for market in self.markets.values():
            events = market.generate()
            if events:
                self._publish(market, events)

    def _tick(self) -> None:
        self.publish()
        now_s = time.monotonic()
        while self._late and self._late[0][0] <= now_s:
            _, _, market, trade = heapq.heappop(self._late)
            self._send_events(market, "trades", [trade])
        for (symbol, channel), window in list(self._windows.items()):
            if now_s >= window.until_s:
                self._close_window(symbol, channel)
        for (symbol, channel), events in list(self._held.items()):
            if not self.faults.is_in_force("stall", symbol=symbol, channel=channel):
                del self._held[symbol, channel]
                self._send_events(self.markets[symbol], channel, events)
        for session in list(self.sessions):
            if not session.deaf:
                self.wire.watch(session, now_s)

    def _publish(self, market: LiveMarket, events: Sequence[Event]) -> None:
        """Send events through the faults of their streams."""
        trades: list[Event] = [event for event in events if isinstance(event, LiveTrade)]
        quotes: list[Event] = [event for event in events if isinstance(event, LiveQuote)]
        for channel, some in (("trades", trades), ("bbo", quotes)):
            on_time = [event for event in some if not self._is_late(market, event)]
            if not on_time:
                continue
            symbol = market.spec.native
            window = self._windows.get((symbol, channel))
            if window is None:
                fault = self.faults.take("reorder", symbol=symbol, channel=channel)
                if fault is not None:
                    until_s = time.monotonic() + _REORDER_WAIT_S
                    window = self._windows[symbol, channel] = _Window(fault.count, until_s)
            if window is None:
                self._send_events(market, channel, on_time)
                continue
            window.events += on_time
            if len(window.events) >= window.size:
                self._close_window(symbol, channel)

    def _is_late(self, market: LiveMarket, event: Event) -> bool:
        if not isinstance(event, LiveTrade):
            return False
        fault = self.faults.take("late", symbol=market.spec.native, channel="trades")
        if fault is None or fault.seconds is None:
            return False
        due_s = time.monotonic() + fault.seconds
        heapq.heappush(self._late, (due_s, event.seq, market, event))
        return True

    def _close_window(self, symbol: str, channel: str) -> None:
        events = self._windows.pop((symbol, channel)).events
        in_order = list(events)
        while len(events) > 1 and events == in_order:
            self._random.shuffle(events)
        for event in events:
            self._send_events(self.markets[symbol], channel, [event])

    def _send_events(self, market: LiveMarket, channel: str, events: Sequence[Event]) -> None:
        symbol = market.spec.native
        fault = self.faults.take("stall", symbol=symbol, channel=channel)
        if fault is not None:
            if fault.manner == "held":
                self._held.setdefault((symbol, channel), []).extend(events)
            return
        batches = [[event] for event in events] if channel == "bbo" else [events]
        for batch in batches:
            self._broadcast(market, channel, batch)
        if channel == "trades":
            self._broadcast(market, "candle", events)
        else:
            self._broadcast(market, "book", events)

    def _broadcast(self, market: LiveMarket, channel: str, events: Sequence[Event]) -> None:
        takers = self.takers.get((channel, market.spec.native))
        if not takers:
            return
        fault = self.faults.take(
            "corrupt", "gzip", "duplicate", symbol=market.spec.native, channel=channel
        )
        encoded: dict[str, bytes] = {}
        reached = 0
        for session, variant in list(takers.items()):
            if variant not in encoded:
                frames = self.wire.frames(market, channel, variant, events)
                self._frames += len(frames)
                encoded[variant] = b"".join(_struck_frame(frame, fault) for frame in frames)
            if encoded[variant]:
                reached += session.write(encoded[variant])
        if channel in ("trades", "bbo") and not (fault and fault.kind == "corrupt"):
            for event in events:
                event.sent += reached
        every = self.wire.options.unknown_every
        if every and self._frames >= every:
            self._frames = 0
            for session in list(takers):
                session.send(self.wire.unknown())

    def _strike(self, fault: Fault) -> None:
        self.add_log("fault", detail=fault.kind)
        if fault.kind == "refuse" and fault.manner == "refused":
            self.spawn(self._be_away(fault.seconds or 0.0))
        elif fault.kind not in AT_ONCE:
            self.faults.add(fault)
        else:
            for _ in range(fault.times or 1):
                self._strike_at_once(fault)

    def _strike_at_once(self, fault: Fault) -> None:
        if fault.kind == "replay":
            for (channel, symbol), takers in self.takers.items():
                if channel == "trades" and fault.symbol in (None, symbol):
                    trades = self.markets[symbol].last_trades(fault.count)
                    for session, variant in list(takers.items()):
                        if trades:
                            session.send_trades(self.markets[symbol], variant, trades)
            return
        for session in list(self.sessions):
            symbols = {symbol for _, symbol, _ in session.subscriptions.values()}
            if fault.symbol is not None and fault.symbol not in symbols:
                continue
            match fault.kind:
                case "drop" if fault.manner == "close":
                    session.close("dropped", fault.code or CloseCode.GOING_AWAY)
                case "drop":
                    session.vanish("dropped", rst=fault.manner == "rst")
                case "half_open":
                    session.go_deaf()
                case "malformed":
                    session.send(fault.body or '{"channel":"trades","data":[{"coin":"BTC","px":"84')
                case "unknown":
                    session.send(fault.body or self.wire.unknown())
                case "text":
                    session.send(fault.body or "")
                case "binary":
                    data = (fault.body or "\x1f\x8b no gzip").encode("latin-1")
                    session.write(Frame(Opcode.BINARY, data).serialize(mask=False))
                case "unread":
                    session.read_no_more()
                case "wire":
                    session.write((fault.body or "").encode("latin-1"))
                case "error":
                    session.send(self.wire.error(fault.body or "Internal error"))

    async def _be_away(self, seconds: float) -> None:
        """Listen no more, then again at the same port; open connections stay."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        await asyncio.sleep(seconds)
        self._listener = await self._loop.create_server(
            lambda: _Peer(self, is_control=False), sock=_listening(self.port)
        )

    def _status(self) -> dict[str, Any]:
        return {
            "now_ms": self.clock.now_ms(),
            "sockets": [
                {
                    "connection": session.number,
                    "deaf": session.deaf,
                    "backlog": session.backlog,
                    "subscriptions": sorted(session.subscriptions),
                }
                for session in sorted(self.sessions, key=lambda session: session.number)
            ],
            "flood": self._flood.summary(),
        }

    def _set_clock(
        self,
        *,
        skew_ms: int | None = None,
        speed: float | None = None,
        advance_ms: float | None = None,
    ) -> None:
        if skew_ms is not None:
            self.clock.skew_ms = skew_ms
        if speed is not None:
            self.clock.run(speed)
        if advance_ms is not None:
            self.clock.advance(advance_ms)

    async def _run_flood(self, state: FloodState) -> None:
        flood = state.flood
        assert flood is not None
        wanted = {("trades", market.spec.native) for market in flood.markets}
        if flood.bbo_every:
            wanted |= {("bbo", market.spec.native) for market in flood.markets}

        def takers() -> list[Session]:
            return [s for s in self.sessions if all(s in self.takers.get(w, ()) for w in wanted)]

        while not takers():  # noqa: ASYNC110  a subscription is no event of ours
            await asyncio.sleep(0.005)
        variants = {w: self.takers[w][takers()[0]] for w in wanted}
        state.stage = "encoding"
        frames = await asyncio.to_thread(self._encode_flood, flood, variants)
        state.stage = "ready"
        await state.started.wait()
        state.stage = "sending"
        started_s = time.perf_counter()
        placeholders = [(str(_PLACEHOLDER_MS + lag).encode(), lag) for lag in (0, 3)]
        while state.sent < flood.total:
            now_s = time.perf_counter()
            due = flood.total
            if state.rate is not None:
                due = min(due, int((now_s - started_s) * state.rate))
                state.most_behind = max(state.most_behind, due - state.sent)
            sessions = takers()
            full = any(session.backlog > _FLOOD_BACKLOG for session in sessions)
            if full or not sessions or due == state.sent:
                state.waits += full
                await asyncio.sleep(0.002)
                continue
            end = min(due, state.sent + 1000)
            ts_ms = self.clock.now_ms()
            blob = b"".join(frames[state.sent : end])
            for placeholder, lag in placeholders:
                blob = blob.replace(placeholder, str(ts_ms + lag).encode())
            for session in sessions:
                session.write(blob)
            flood.bursts.append((state.sent, end, ts_ms))
            state.sent = end
            state.seconds = time.perf_counter() - started_s
            await asyncio.sleep(0)
        state.stage = "done"

    def _encode_flood(self, flood: Flood, variants: Mapping[tuple[str, str], str]) -> list[bytes]:
        frames = []
        for number in range(flood.total):
            market, event = flood.message(number, _PLACEHOLDER_MS)
            channel = "trades" if isinstance(event, LiveTrade) else "bbo"
            variant = variants[channel, market.spec.native]
            (frame,) = self.wire.frames(market, channel, variant, [event])
            frames.append(_text_frame(frame.encode()))
        return frames

    def _in_loop(self, ask: Callable[[], T]) -> T:
        """Run something in the server's thread and return what it returns."""
        if threading.current_thread() is self._thread:
            return ask()

        async def asked() -> T:
            return ask()

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(timeout=30)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            traceback.print_exception(error)
            self._errors.append(error)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(self._loop, {"exception": error})


@dataclass(slots=True)
class _Window:
    size: int
    until_s: float
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class FloodState:
    """How far a flood has come."""

    flood: Flood | None = None
    rate: float | None = None
    stage: str = "none"
    started: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    seconds: float = 0.0
    most_behind: int = 0
    waits: int = 0

    def summary(self) -> dict[str, Any]:
        """Return it for `status`.

        `most_behind` is how many messages it was late with at worst, `waits` how often the socket
        was full.
        """
        return {
            "stage": self.stage,
            "sent": self.sent,
            "total": self.flood.total if self.flood else 0,
            "seconds": self.seconds,
            "most_behind": self.most_behind,
            "waits": self.waits,
        }


class _Peer(asyncio.Protocol):
    """One TCP connection: HTTP requests, until one of them is a handshake."""

    transport: asyncio.Transport

    def __init__(self, server: LiveServer, *, is_control: bool) -> None:
        self._server = server
        self._is_control = is_control
        self._buffer = b""
        self._busy = False
        self._protocol: ServerProtocol | None = None
        self._session: Session | None = None
        self._fragments = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server._peers.add(self)
        if not self._is_control and self._server.faults.take("refuse", manners=("reset",)):
            self._server.add_log("refused", detail="reset")
            self.hang_up(rst=True)

    def connection_lost(self, error: Exception | None) -> None:
        self._server._peers.discard(self)
        if self._session is not None:
            self._session.end("client")

    def data_received(self, data: bytes) -> None:
        if self._protocol is not None:
            self._received(data)
        else:
            self._buffer += data
            self._next_request()

    def eof_received(self) -> bool:
        if self._protocol is not None:
            self._protocol.receive_eof()
            self._flush()
        return False

    def hang_up(self, *, rst: bool = False) -> None:
        """Close without a word of WebSocket."""
        if rst:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            self.transport.abort()
        else:
            self.transport.close()

    def close_websocket(self, code: int | None) -> None:
        """Begin the closing handshake, and wait a second for its end."""
        assert self._protocol is not None
        if self._protocol.state is OPEN:
            self._protocol.send_close(code)
            self._flush()
        asyncio.get_running_loop().call_later(1.0, self.transport.abort)

    def _next_request(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if self._busy or not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        size = int(headers.get("content-length") or 0)
        if len(rest) < size:
            return
        self._buffer = rest[size:]
        url = urlsplit(target)
        if headers.get("upgrade", "").lower() == "websocket":
            self._shake_hands(head + found, url.path)
            return
        request = RestRequest(
            method,
            url.path,
            dict(parse_qsl(url.query, keep_blank_values=True)),
            headers.get("content-type", ""),
            rest[:size],
        )
        self._busy = True
        if self._is_control:
            self._server.spawn(self._answer_control(request))
        else:
            self._server.spawn(self._answer(request))

    def _shake_hands(self, head: bytes, path: str) -> None:
        server = self._server
        if fault := server.faults.take("refuse", manners=("hang", "status")):
            server.add_log("refused", detail=str(fault.manner), status=fault.status)
            if fault.manner == "status":
                self._reply(Reply(fault.status, (fault.body or "").encode(), "text/plain"))
                self.transport.close()
            return
        if path != server.wire.ws_path:
            self._reply(Reply(404, b"", "text/plain"))
            return
        if not server.may_dial():
            server.add_log("refused", detail="too many dials", status=429)
            self._reply(Reply(429, b"", "text/plain"))
            self.transport.close()
            return
        self._protocol = ServerProtocol()
        self._protocol.receive_data(head)
        (handshake,) = self._protocol.events_received()
        assert isinstance(handshake, Handshake)
        self._protocol.send_response(self._protocol.accept(handshake))
        self._flush()
        if self._protocol.state is not OPEN:
            return
        self._session = Session(server, self, server.new_number())
        server.sessions.add(self._session)
        server.add_log("open", self._session.number)
        server.wire.opened(self._session)
        if self._buffer:
            self._received(self._buffer)

    def _received(self, data: bytes) -> None:
        assert self._protocol is not None
        assert self._session is not None
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._fragments += frame.data
                if frame.fin:
                    message, self._fragments = self._fragments.decode(errors="replace"), b""
                    self._server.add_log("message", self._session.number, message)
                    if not self._session.ended:
                        self._server.wire.received(self._session, message)
        self._flush()

    def _flush(self) -> None:
        """Write what the protocol has to say: pongs, close frames, the end."""
        assert self._protocol is not None
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    async def _answer_control(self, request: RestRequest) -> None:
        # In another thread, since a long truth would stop the venue meanwhile.
        self._reply(await asyncio.to_thread(self._server.answer_control, request))

    async def _answer(self, request: RestRequest) -> None:
        server = self._server
        fault = server.faults.take("rest", target=request.target)
        server.publish()  # else a minute that has passed lacks its last trades
        reply = server.wire.rest(request)
        manner = fault.manner if fault else None
        body = None if fault is None or fault.body is None else fault.body.encode()
        if fault is not None and manner == "status":
            reply = server.wire.refusal(fault)
            reply = Reply(
                reply.status, body if body is not None else reply.body, reply.content_type
            )
        elif manner == "malformed":
            reply = Reply(reply.status, body or reply.body[: len(reply.body) // 2 or 1])
        silent = manner in ("reset", "hang", "raw")
        server.add_log("rest", detail=request.target, status=0 if silent else reply.status)
        if fault is not None and manner in ("hang", "slow"):
            await asyncio.sleep(fault.seconds or 0.1)
        if fault is not None and fault.raw is not None:
            await self._send_raw(fault.raw)
            return
        if silent:
            self.hang_up(rst=manner == "reset")
            return
        if self.transport.is_closing():
            return
        for trade in reply.trades:
            trade.served += 1
        self._reply(reply)

    async def _send_raw(self, raw: Raw) -> None:
        for part in raw.parts():
            self.transport.write(part)
            await asyncio.sleep(raw.pause_s)
            while self.transport.get_write_buffer_size() > 2**20:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            if self.transport.is_closing():
                return
        self.transport.close()

    def _reply(self, reply: Reply) -> None:
        try:
            phrase = HTTPStatus(reply.status).phrase
        except ValueError:
            phrase = "Unknown"
        head = (
            f"HTTP/1.1 {reply.status} {phrase}\r\nContent-Type: {reply.content_type}\r\n"
            f"Content-Length: {len(reply.body)}\r\n\r\n"
        )
        self.transport.write(head.encode("latin-1") + reply.body)
        self._busy = False
        self._next_request()


def count(log: Sequence[Logged], event: str, part: str = "") -> int:
    """Return how many events there are in a log whose detail holds `part`."""
    return sum(logged.event == event and part in logged.detail for logged in log)


def json_reply(value: object, status: int = 200, trades: Sequence[LiveTrade] = ()) -> Reply:
    """Return a JSON reply."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), trades=trades)


def _text_frame(data: bytes) -> bytes:
    return Frame(Opcode.TEXT, data).serialize(mask=False)


def _struck_frame(text: str, fault: Fault | None) -> bytes:
    data = text.encode()
    match fault.kind if fault else None:
        case "corrupt":
            return _text_frame(data[: len(data) // 2])
        case "gzip":
            return Frame(Opcode.BINARY, gzip.compress(data, 1)).serialize(mask=False)
        case "duplicate":
            return _text_frame(data) * 2
    return _text_frame(data)


def _listening(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    return listening
