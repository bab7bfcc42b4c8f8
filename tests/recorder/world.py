"""A simulated venue, network and recorder around one SeriesTracker, without socket or real clock.

Everything that happens is in `truth`; the tracker gets what socket and REST would have given
it, on a clock that is wrong by up to half a second; a real database gets its rows.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tbv8.market import MINUTE_MS, Bar, Bbo, Series, Span, Trade
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.tracker import SeriesTracker
from tbv8.store.ticks import open_ticks, read_recorded_state

BTC = Series("hyperliquid", "BTC/USDT")
START = 1_790_000_040_000  # a minute
STEP_MS = 200


@dataclass
class Knobs:
    """How the world is.

    Args:
        seed: Of all that is random.
        rate: Trades a second.
        page: How many trades REST tells.
        kept_minutes: How many bars REST has; None for all.
        skew_ms: How wrong the recorder's idea of the venue's clock is.
    """

    seed: int = 1
    rate: float = 2.0
    page: int = 10
    kept_minutes: int | None = None
    skew_ms: int = 0


@dataclass
class World:
    """One run of it; `step` lets time pass."""

    db_path: Path
    knobs: Knobs
    now_ms: int = START + 17_300
    trades: list[Trade] = field(default_factory=list)
    quotes: list[Bbo] = field(default_factory=list)
    rest_up: bool = True
    network_up: bool = True
    late_share: float = 0.01
    forgiven: set[tuple[int, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.began_ms = self.now_ms + 5000
        self.random = random.Random(self.knobs.seed)
        self._stack = ExitStack()
        self._store = self._stack.enter_context(open_ticks(self.db_path))
        self._price = 10_000
        self._late_last = False
        self._due_ms = 0
        self._wire: list[tuple[int, Trade | Bbo]] = []
        self._connected = False
        self._half_open = False
        self._dial_ms = self.now_ms
        self._acks: list[tuple[int, str]] = []
        self._dead: set[str] = set()
        self._waiting: set[str] = set()
        self._rest_ms: dict[str, int] = {}
        self._last_frame_ms = 0
        self._heard_any_ms = self.now_ms
        self._committed_ms = self.now_ms
        self.start()

    def close(self) -> None:
        self._stack.close()

    # The recorder.

    @property
    def waiting_from_ms(self) -> int:
        """From when minutes may still wait for their turn: two minutes before now."""
        return self.now_ms - 2 * MINUTE_MS

    def start(self) -> None:
        self.outbox = Outbox()
        stored = read_recorded_state(self.db_path, BTC, now_ms=self.now_ms)
        kept = self.knobs.kept_minutes
        self.tracker = SeriesTracker(BTC, ("trades", "bbo"), self.outbox, stored, kept_minutes=kept)
        self._rest_ms.clear()

    def kill(self) -> None:
        """End it without a word; what was not committed is gone.

        So are late trades of long ago, that nobody can know of: they are not held against it.
        """
        waiting = [*self.outbox.batch.late, *self.outbox.batch.trades]
        self.forgiven |= {(row[2], row[3]) for row in waiting if row[7] - row[2] > 2000}
        self._hang_up()
        self.start()

    def stop(self) -> None:
        """End it as a user does."""
        self.tracker.stop(self.venue_ms)
        self.commit()
        self._hang_up()

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def venue_ms(self) -> int:
        """Return the venue's time as the recorder knows it."""
        return self.now_ms + self.knobs.skew_ms

    def commit(self) -> None:
        batch = self.outbox.take()
        written = self._store.commit(batch, now_ms=self.now_ms)
        self.outbox.mark_written()
        for row in written.without_bar:
            self.tracker.minutes.add_trade_without_bar(row)
        assert not written.warnings
        self._committed_ms = self.now_ms

    # The network.

    def drop(self) -> None:
        """Cut the connection; what was on the way is lost."""
        if self._connected:
            self.tracker.disconnect("connection closed", self._last_frame_ms)
        self._hang_up()

    def _hang_up(self) -> None:
        self._connected = self._half_open = False
        self._wire = [(due, e) for due, e in self._wire if due - _time_of(e) > 2000]  # late ones
        self._acks.clear()
        self._waiting.clear()
        self._dial_ms = self.now_ms + self.random.randint(200, 4000)

    def half_open(self) -> None:
        """Let nothing come through any more, without a word."""
        self._half_open = True
        self._heard_any_ms = self.now_ms

    def stall(self, channel: str) -> None:
        """Let one stream die without a word."""
        self._dead.add(channel)

    def _connect(self) -> None:
        self._connected = True
        self._dead.clear()
        self._heard_any_ms = self._last_frame_ms = self.venue_ms
        for channel in ("trades", "bbo"):
            self._subscribe(channel)

    def _subscribe(self, channel: str) -> None:
        self._dead.discard(channel)
        self._waiting.add(channel)
        self._acks.append((self.now_ms + self.random.randint(50, 400), channel))

    def _send(self, event: Trade | Bbo, delay_ms: int) -> None:
        self._wire.append((self.now_ms + delay_ms, event))

    def on_the_way(self) -> set[tuple[int, str]]:
        """Return the trades that are sent late and have not come yet."""
        return {(e.ts_ms, e.trade_id) for _due_ms, e in self._wire if isinstance(e, Trade)}

    # Time.

    def step(self, ms: int = STEP_MS) -> None:
        """Let time pass in steps of 0.2 s."""
        for _ in range(ms // STEP_MS):
            self.now_ms += STEP_MS
            self._happen()
            if not self._connected and self.network_up and self.now_ms >= self._dial_ms:
                self._connect()
            self._receive()
            self.tracker.tick(self.venue_ms)
            self._ask()
            if self.now_ms - self._committed_ms >= 1000:
                self.commit()

    def _happen(self) -> None:
        chance = self.random
        expected = self.knobs.rate * STEP_MS / 1000
        count = int(expected) + (chance.random() < expected % 1)
        for _ in range(count):
            self.happen_trade(late=chance.random() < self.late_share)
        if chance.random() < 0.3:
            self._price += chance.randint(-2, 2)
            bid = float(self._price)
            quote = Bbo(*_KEY, self.now_ms, bid, 1.0, bid + 1, float(chance.randint(1, 3)))
            last = self.quotes[-1] if self.quotes else None
            if last is None or _values(quote) != _values(last):
                self.quotes.append(quote)
                self._transmit(quote, "bbo", 0)

    def happen_trade(self, *, late: bool = False) -> None:
        chance = self.random
        self._price += chance.randint(-3, 3)
        ts_ms = self.now_ms - chance.randrange(STEP_MS)
        if self.trades and not late and not self._late_last and chance.random() < 0.3:
            ts_ms = max(ts_ms - 500, self.trades[-1].ts_ms)  # a burst of one block
        while any(t.ts_ms == ts_ms for t in self.trades[-20:]) and (late or self._late_last):
            ts_ms += 1
        self._late_last = late
        side = chance.choice(["buy", "sell"])
        size = chance.randint(1, 500) / 1000
        trade_id = str(chance.getrandbits(50))
        trade = Trade(*_KEY, ts_ms, trade_id, float(self._price), size, side)
        self.trades.append(trade)
        self._transmit(trade, "trades", chance.randint(3000, 90_000) if late else 0)

    def _transmit(self, event: Trade | Bbo, channel: str, delay_ms: int) -> None:
        reaches = delay_ms >= 3000 or (self._connected and not self._half_open)
        if reaches and channel not in self._dead:
            if not delay_ms:  # a socket keeps the order of what is sent to it
                self._due_ms = max(self._due_ms, self.now_ms + self.random.randint(20, 400))
            self._send(event, delay_ms or self._due_ms - self.now_ms)

    def _receive(self) -> None:
        if not self._connected:
            return
        if self._half_open:
            if self.now_ms - self._heard_any_ms > 12_000:
                self.drop()
            return
        for due, channel in list(self._acks):
            if due <= self.now_ms:
                self._acks.remove((due, channel))
                self._waiting.discard(channel)
                self._last_frame_ms = self.venue_ms
                self.tracker.mark_up(channel, self.venue_ms)
                if channel == "trades":
                    for trade in self.trades[-self.random.randint(0, 12) :]:
                        self._send(trade, 0)
        deaf = self._waiting | self._dead
        arrived = [e for e in self._wire if e[0] <= self.now_ms and _channel(e) not in deaf]
        self._wire = [entry for entry in self._wire if entry not in arrived]
        arrived.sort(key=_due)
        for _due_ms, event in arrived:
            self._last_frame_ms = self.venue_ms
            times = 2 if self.random.random() < 0.02 else 1
            for _ in range(times):
                if isinstance(event, Trade):
                    self.tracker.record_trade(event, received_ms=self.now_ms, now_ms=self.venue_ms)
                else:
                    self.tracker.record_bbo(event, received_ms=self.now_ms, now_ms=self.venue_ms)

    def _ask(self) -> None:
        if not self.rest_up:
            return
        for need in self.tracker.needs(self.venue_ms):
            if self.now_ms < self._rest_ms.get(need.kind, 0):
                continue
            self._rest_ms[need.kind] = self.now_ms + 400
            sent_ms = self.venue_ms
            if need.kind == "minutes":
                assert need.span is not None
                bars = [
                    b for b in self.kept_bars() if need.span.start_ms <= b.ts_ms < need.span.end_ms
                ]
                self.tracker.minutes.refill(need.span, bars, sent_ms=sent_ms)
            elif need.kind == "recent":
                newest = sorted(self.trades, key=_time_of)[-self.knobs.page :]
                dead = self.tracker.record_recent_trades(
                    newest, sent_ms=sent_ms, received_ms=self.now_ms, now_ms=sent_ms
                )
                if dead and self._connected:
                    self._subscribe("trades")
            elif self.quotes and self.tracker.compare_book(
                self.quotes[-1], sent_ms=sent_ms, now_ms=sent_ms
            ):
                self._subscribe("bbo")

    def kept_bars(self) -> list[Bar]:
        """Return those of its bars that the venue still tells."""
        kept = self.knobs.kept_minutes
        from_ms = 0 if kept is None else self.now_ms - kept * MINUTE_MS
        return [bar for bar in self.bars() if bar.ts_ms > from_ms]

    def bars(self) -> list[Bar]:
        """Return the venue's own bars since ever, with the open one; none without trades."""
        minutes: dict[int, list[Trade]] = {}
        for trade in sorted(self.trades, key=_time_of):
            minutes.setdefault(trade.ts_ms // MINUTE_MS * MINUTE_MS, []).append(trade)
        bars = []
        for open_ms, trades in sorted(minutes.items()):
            prices = [trade.price for trade in trades]
            volume = round(sum(trade.size for trade in trades), 10)
            bars.append(Bar(open_ms, prices[0], max(prices), min(prices), prices[-1], volume))
        return bars

    def true_bars(self, span: Span) -> list[tuple[float, ...]]:
        """Return a bar for every minute of `span`, flat where nothing traded."""
        by_open = {bar.ts_ms: bar for bar in self.bars()}
        before = [bar.close for bar in self.bars() if bar.ts_ms < span.start_ms]
        close = before[-1] if before else 0.0
        rows: list[tuple[float, ...]] = []
        for open_ms in range(span.start_ms, span.end_ms, MINUTE_MS):
            bar = by_open.get(open_ms) or Bar(open_ms, close, close, close, close, 0.0)
            close = bar.close
            rows.append((bar.ts_ms, bar.open, bar.high, bar.low, bar.close, bar.volume))
        return rows


_KEY = (BTC.venue, BTC.symbol)


def _due(entry: tuple[int, Trade | Bbo]) -> int:
    return entry[0]


def _channel(entry: tuple[int, Trade | Bbo]) -> str:
    return "trades" if isinstance(entry[1], Trade) else "bbo"


def _time_of(event: Trade | Bbo) -> int:
    return event.ts_ms


def _values(bbo: Bbo) -> tuple[float | None, ...]:
    return bbo.bid_price, bbo.bid_size, bbo.ask_price, bbo.ask_size
