"""What really happened at a simulated perpetual futures venue: its clock, and the truth by symbol.

A market makes its trades and quotes from its seed, along the venue's clock; or a test pushes them.
All of them stay: what was sent to nobody, too. Sizes are in the venue's own units (contracts at
MEXC) except in the rows of a `Truth`, which are in base units, to be compared with a database.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

MINUTE_MS = 60_000

type Side = Literal["buy", "sell"]
type Level = tuple[str, str]
type Channel = Literal["trades", "bbo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSpec:
    """One symbol of a venue and how busy it is.

    Args:
        native: The venue's spelling.
        price: Where it starts.
        tick: The price step; with a 1, 2 or 5 in front of its zeros.
        size_step: The least size, in the venue's units.
        contract_size: Base units in one of the venue's units.
        rate: Trade events a second of the venue's clock; one in five is a burst of trades that
            share their millisecond. 0 leaves all trades to the test.
        quote_rate: Quote events a second of the venue's clock.
        repeats: The share of quote events whose top is the last one's (deeper levels moved).
        one_sided: The share of quote events with an empty side.
        history_minutes: Bars made up before the first trade.
        warm_minutes: Minutes of trades before the start, at most 5 events a second.
        delisted: The venue still knows it, and nothing happens in it.
        funding_days: Since when funding is paid, in days before the start.
    """

    native: str
    price: str = "84000"
    tick: str = "1"
    size_step: str = "0.00001"
    contract_size: str = "1"
    rate: float = 5.0
    quote_rate: float = 5.0
    repeats: float = 0.0
    one_sided: float = 0.02
    history_minutes: int = 0
    funded_from_ms: int | None = None
    warm_minutes: int = 2
    delisted: bool = False
    funding_days: int = 40


@dataclass(slots=True)
class LiveTrade:
    """A trade in the truth; `sent` counts sockets that it was written to, `served` REST replies."""

    ts_ms: int
    trade_id: int
    price: str
    size: str
    side: Side
    seq: int
    sent: int = 0
    served: int = 0


@dataclass(slots=True)
class LiveQuote:
    """A top of the book; `changed` is False when it only repeats the last one's four values."""

    ts_ms: int
    bid: Level | None
    ask: Level | None
    version: int
    changed: bool
    sent: int = 0


class TradeRow(NamedTuple):
    """A trade in base units; both counts are 0 for one that nobody could have seen."""

    ts_ms: int
    trade_id: str
    price: float
    size: float
    side: str
    sent: int
    served: int


class QuoteRow(NamedTuple):
    """A top of the book in base units."""

    ts_ms: int
    bid_price: float | None
    bid_size: float | None
    ask_price: float | None
    ask_size: float | None
    changed: bool
    sent: int


class BarRow(NamedTuple):
    """A 1m bar in base units; flat, with no volume, where nothing traded."""

    ts_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int


class Truth(NamedTuple):
    """All of a span: trades and quotes by time, then by arrival; bars that are over."""

    trades: list[TradeRow]
    quotes: list[QuoteRow]
    bars: list[BarRow]


def parse_truth(value: Any) -> Truth:
    """Return the truth that another process wrote as JSON."""
    trades, quotes, bars = value
    return Truth(
        [TradeRow(*row) for row in trades],
        [QuoteRow(*row) for row in quotes],
        [BarRow(*row) for row in bars],
    )


class VenueClock:
    """The venue's time: it runs `speed` times as fast as ours, and may be wrong.

    Args:
        start_ms: What it shows now; by default the wall clock's time.
        speed: 120 makes a minute of half a second; 0 leaves it to `advance`.
        skew_ms: How far it is ahead. Events made from now on bear the skew that is set then.
    """

    def __init__(
        self, *, start_ms: int | None = None, speed: float = 1.0, skew_ms: int = 0
    ) -> None:
        self._base_ms = time.time() * 1000 if start_ms is None else float(start_ms)
        self._speed = speed
        self._since_s = time.monotonic()
        self._lock = threading.Lock()
        self.skew_ms = skew_ms

    def true_ms(self) -> float:
        """Return its time without the skew; it never goes back."""
        with self._lock:
            return self._base_ms + (time.monotonic() - self._since_s) * 1000 * self._speed

    def now_ms(self) -> int:
        """Return what it shows."""
        return int(self.true_ms()) + self.skew_ms

    @property
    def speed(self) -> float:
        """Its seconds in one of ours."""
        return self._speed

    def run(self, speed: float) -> None:
        """Go on from here at another speed."""
        now_ms = self.true_ms()
        with self._lock:
            self._base_ms, self._since_s, self._speed = now_ms, time.monotonic(), speed

    def advance(self, by_ms: float) -> None:
        """Jump ahead; the markets then make what happened in between."""
        with self._lock:
            self._base_ms += max(by_ms, 0.0)


@dataclass(slots=True)
class _Bar:
    first: tuple[int, int]
    last: tuple[int, int]
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    amount: Decimal
    trades: int = 0


@dataclass(frozen=True, slots=True)
class Candle:
    """A 1m bar in the venue's units; `amount` is the sum of price times size times contract."""

    ts_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    amount: Decimal
    trades: int


@dataclass(frozen=True, slots=True)
class LiveRate:
    """Funding that was paid, some ms behind the hour, and its interval in hours."""

    time_ms: int
    hours: int
    rate: str


def live_rates(
    native: str, start_ms: int, now_ms: int, *, hours: int, seed: int = 1
) -> list[LiveRate]:
    """Make up what was paid every so many hours from one time to the other, by time."""
    step_ms = hours * 3_600_000
    rates = []
    for at_ms in range(-(-start_ms // step_ms) * step_ms, now_ms + 1, step_ms):
        number = zlib.crc32(f"{native} {seed} {at_ms}".encode())
        late_ms = number % 90
        if at_ms + late_ms <= now_ms:
            rates.append(LiveRate(at_ms + late_ms, hours, f"{number % 40_001 / 10**8:.8f}"))
    return rates


class LiveMarket:
    """One symbol's truth, and what makes it; its methods may be called from any thread.

    Args:
        spec: What it is.
        clock: The venue's.
        seed: The same seed and start give the same events.
        hashed_ids: Ids are 50-bit hashes (Hyperliquid); else they rise with jumps (MEXC).
        write_id: How an id is written on the wire and in a truth.
    """

    def __init__(
        self,
        spec: MarketSpec,
        clock: VenueClock,
        *,
        seed: int = 1,
        hashed_ids: bool = False,
        write_id: Callable[[int], str] = str,
    ) -> None:
        self.spec = spec
        self.write_id = write_id
        self.clock = clock
        self.lock = threading.RLock()
        self.trades: list[LiveTrade] = []
        self.quotes: list[LiveQuote] = []
        self.floods: list[Flood] = []
        self.untold_rates: set[int] = set()  # hours whose payment is not told
        self._hashed_ids = hashed_ids
        self._random = random.Random(f"{seed}:{spec.native}")
        self._last_id = 16_000_000_000 + self._random.randrange(10**8)
        self._version = 42_000_000_000 + self._random.randrange(10**8)
        self._bars: dict[int, _Bar] = {}
        self._tick = Decimal(spec.tick)
        self._step = Decimal(spec.size_step)
        self._mid = int(Decimal(spec.price) / self._tick)
        self._spread = 1
        start_ms = clock.true_ms()
        idle = spec.delisted or spec.rate + spec.quote_rate <= 0
        self.rate = 0.0 if spec.delisted else spec.rate
        self.quote_rate = 0.0 if spec.delisted else spec.quote_rate
        self._start_ms = int(start_ms)
        self.first_minute_ms = int(start_ms // MINUTE_MS) * MINUTE_MS
        if not idle:
            self.first_minute_ms -= spec.warm_minutes * MINUTE_MS
        if spec.history_minutes:
            self._make_history(spec.history_minutes)
        self._next_ms = float(self.first_minute_ms)
        if not idle:
            busy, busy_quotes = self.rate, self.quote_rate
            self.rate, self.quote_rate = min(busy, 5.0), min(busy_quotes, 5.0)
            self.generate(start_ms)
            self.rate, self.quote_rate = busy, busy_quotes
            self._next_ms = start_ms + self._random.expovariate(busy + busy_quotes) * 1000
        self._next_ms = max(self._next_ms, start_ms)

    def set_rates(self, rate: float | None = None, quote_rate: float | None = None) -> None:
        """Be busier or quieter from now on."""
        with self.lock:
            self.rate = self.rate if rate is None else rate
            self.quote_rate = self.quote_rate if quote_rate is None else quote_rate
            self._next_ms = self.clock.true_ms()

    def generate(self, until_ms: float | None = None) -> list[LiveTrade | LiveQuote]:
        """Make and return what happened since the last call, in order."""
        with self.lock:
            until_ms = self.clock.true_ms() if until_ms is None else until_ms
            total = self.rate + self.quote_rate
            events: list[LiveTrade | LiveQuote] = []
            if total <= 0:
                self._next_ms = max(self._next_ms, until_ms)
                return events
            while self._next_ms <= until_ms:
                ts_ms = int(self._next_ms) + self.clock.skew_ms
                if self._random.random() * total < self.rate:
                    events += self._make_trades(ts_ms)
                else:
                    events.append(self._make_quote(ts_ms))
                self._next_ms += self._random.expovariate(total) * 1000
            return events

    def push_trade(
        self,
        price: str,
        size: str,
        side: Side = "buy",
        *,
        ts_ms: int | None = None,
        trade_id: int | None = None,
    ) -> LiveTrade:
        """Add a trade to the truth, an old one too; by default it happens now, with a new id."""
        with self.lock:
            trade = LiveTrade(
                self.clock.now_ms() if ts_ms is None else ts_ms,
                self._make_id() if trade_id is None else trade_id,
                text(Decimal(price)),
                text(Decimal(size)),
                side,
                len(self.trades),
            )
            self._add(trade)
            return trade

    def push_quote(
        self, bid: Level | None, ask: Level | None, *, ts_ms: int | None = None
    ) -> LiveQuote:
        """Add a top of the book, by default of now."""
        with self.lock:
            bid, ask = _level(bid), _level(ask)
            self._version += self._random.randint(1, 60)
            last = self.quotes[-1] if self.quotes else None
            changed = last is None or (bid, ask) != (last.bid, last.ask)
            ts_ms = self.clock.now_ms() if ts_ms is None else ts_ms
            quote = LiveQuote(ts_ms, bid, ask, self._version, changed)
            self.quotes.append(quote)
            return quote

    def repeat_quote(self) -> LiveQuote:
        """Add the last top once more, as of now: what a socket shows to one who has just come."""
        with self.lock:
            last = self.quotes[-1] if self.quotes else None
            return self.push_quote(last.bid, last.ask) if last else self.push_quote(None, None)

    def last_trades(self, count: int) -> list[LiveTrade]:
        """Return the newest trades by arrival, the oldest of them first."""
        with self.lock:
            return self.trades[-count:] if count > 0 else []

    def candles(
        self, start_ms: int = 0, end_ms: int | None = None, *, flat: bool = True
    ) -> list[Candle]:
        """Return the minutes that open in `[start_ms, end_ms)`, the open one too, by time.

        Args:
            start_ms: Inclusive.
            end_ms: Exclusive; by default all until now.
            flat: Whether minutes without a trade are there, at the last close.
        """
        with self.lock:
            now_ms = self.clock.now_ms()
            last_ms = now_ms - now_ms % MINUTE_MS
            end_ms = min(last_ms + 1, last_ms + 1 if end_ms is None else end_ms)
            bars = self._bars
            if any(flood.bursts for flood in self.floods):
                bars = self._bars_with_floods()
            if not bars:
                return []
            candles: list[Candle] = []
            close: Decimal | None = None
            minutes = sorted(bars)
            for minute in range(minutes[0], max(end_ms, minutes[0] + 1), MINUTE_MS):
                bar = bars.get(minute)
                shown = start_ms <= minute < end_ms
                if bar is not None:
                    close = bar.close
                    if shown:
                        candles.append(
                            Candle(
                                minute, bar.open, bar.high, bar.low, bar.close,
                                bar.volume, bar.amount, bar.trades,
                            )
                        )  # fmt: skip
                elif shown and flat and close is not None:
                    nothing = Decimal(0)
                    candles.append(Candle(minute, close, close, close, close, nothing, nothing, 0))
            return candles

    def truth(self, start_ms: int = 0, end_ms: int = 2**62) -> Truth:
        """Return all that happened in `[start_ms, end_ms)`, in base units."""
        contract = Decimal(self.spec.contract_size)

        def base(size: str) -> float:
            return float(Decimal(size) * contract)

        def side(level: Level | None) -> tuple[float | None, float | None]:
            return (float(level[0]), base(level[1])) if level else (None, None)

        with self.lock:
            trades = [t for t in self.trades if start_ms <= t.ts_ms < end_ms]
            quotes = [q for q in self.quotes if start_ms <= q.ts_ms < end_ms]
            floods = list(self.floods)
        for flood in floods:  # without the lock: the venue must go on meanwhile
            trades += [t for t in flood.trades(self) if start_ms <= t.ts_ms < end_ms]
            quotes += [q for q in flood.quotes(self) if start_ms <= q.ts_ms < end_ms]
        now_ms = self.clock.now_ms()
        candles = self.candles(start_ms, min(end_ms, now_ms - now_ms % MINUTE_MS))
        return Truth(
            [
                TradeRow(
                    t.ts_ms, self.write_id(t.trade_id), float(t.price), base(t.size), t.side,
                    t.sent, t.served,
                )
                for t in sorted(trades, key=lambda t: t.ts_ms)
            ],
            [
                QuoteRow(q.ts_ms, *side(q.bid), *side(q.ask), q.changed, q.sent)
                for q in sorted(quotes, key=lambda q: q.ts_ms)
            ],
            [
                BarRow(
                    c.ts_ms, float(c.open), float(c.high), float(c.low), float(c.close),
                    float(c.volume * contract), c.trades,
                )
                for c in candles
            ],
        )  # fmt: skip

    def top(self) -> LiveQuote | None:
        """Return the last quote."""
        with self.lock:
            return self.quotes[-1] if self.quotes else None

    def _make_trades(self, ts_ms: int) -> list[LiveTrade]:
        burst = self._random.randint(2, 5) if self._random.random() < 0.2 else 1
        side: Side = "buy" if self._random.random() < 0.5 else "sell"
        made: list[LiveTrade] = []
        for number in range(burst):
            # An equal print in the same millisecond: only its id tells it from a duplicate.
            if made and self._random.random() < 0.2:
                price, size = made[-1].price, made[-1].size
            else:
                ticks = self._mid + (self._spread if side == "buy" else 0)
                ticks += number if side == "buy" else -number
                price = text(max(ticks, 1) * self._tick)
                size = self._make_size()
            trade = LiveTrade(ts_ms, self._make_id(), price, size, side, len(self.trades))
            self._add(trade)
            made.append(trade)
        return made

    def _make_quote(self, ts_ms: int) -> LiveQuote:
        last = self.quotes[-1] if self.quotes else None
        if last is not None and self._random.random() < self.spec.repeats:
            return self.push_quote(last.bid, last.ask, ts_ms=ts_ms)
        self._mid = max(self._mid + self._random.randint(-2, 2), 10)
        self._spread = self._random.choice((1, 1, 1, 2, 3))
        bid: Level | None = (text(self._mid * self._tick), self._make_size())
        ask: Level | None = (text((self._mid + self._spread) * self._tick), self._make_size())
        if self._random.random() < self.spec.one_sided:
            bid, ask = (None, ask) if self._random.random() < 0.5 else (bid, None)
        if last is not None and (bid, ask) == (last.bid, last.ask):
            return self._make_quote(ts_ms)
        return self.push_quote(bid, ask, ts_ms=ts_ms)

    def _make_size(self) -> str:
        return text((1 + int(self._random.expovariate(0.02))) * self._step)

    def _make_id(self) -> int:
        if self._hashed_ids:
            return self._random.getrandbits(50)
        self._last_id += self._random.randint(1, 30)
        return self._last_id

    def _add(self, trade: LiveTrade) -> None:
        self.trades.append(trade)
        _fold(self._bars, trade, Decimal(self.spec.contract_size))

    def _bars_with_floods(self) -> dict[int, _Bar]:
        contract = Decimal(self.spec.contract_size)
        bars: dict[int, _Bar] = {}
        for minute, bar in self._bars.items():
            if not bar.trades or minute < self.first_minute_ms:
                bars[minute] = bar
        for trade in self.trades:
            _fold(bars, trade, contract)
        for flood in self.floods:
            for trade in flood.trades(self):
                _fold(bars, trade, contract)
        return bars

    @property
    def launched_ms(self) -> int:
        """When it began to charge funding."""
        return self._start_ms - self.spec.funding_days * 24 * 3_600_000

    def rates(self, *, hours: int) -> list[LiveRate]:
        """Return the funding that was paid so far and is told, by time."""
        first_ms = self.launched_ms
        now_ms = int(self.clock.now_ms())
        rates = live_rates(self.spec.native, first_ms, now_ms, hours=hours)
        return [
            rate for rate in rates if rate.time_ms // 3_600_000 * 3_600_000 not in self.untold_rates
        ]

    def _make_history(self, minutes: int) -> None:
        """Walk back from the first price, a bar a minute."""
        close = self._mid
        contract = Decimal(self.spec.contract_size)
        for back in range(1, minutes + 1):
            minute = self.first_minute_ms - back * MINUTE_MS
            opened = max(close + self._random.randint(-5, 5), 10)
            high = max(opened, close) + self._random.randint(0, 5)
            low = max(min(opened, close) - self._random.randint(0, 5), 1)
            volume = self._random.randint(1, 50_000) * self._step
            self._bars[minute] = _Bar(
                (minute, -1), (minute, -1), opened * self._tick, high * self._tick,
                low * self._tick, close * self._tick, volume,
                volume * close * self._tick * contract, self._random.randint(1, 200),
            )  # fmt: skip
            close = opened


class Flood:
    """As many messages as a benchmark wants, known in advance but for their times.

    Message `m` goes to market `m % len(markets)`; every `bbo_every`-th of a market is a quote.

    Args:
        markets: Whose messages.
        total: How many.
        bbo_every: 0 for trades only.
    """

    def __init__(self, markets: Sequence[LiveMarket], total: int, bbo_every: int = 0) -> None:
        self.markets = list(markets)
        self.total = total
        self.bbo_every = bbo_every
        self.bursts: list[tuple[int, int, int]] = []  # first, end, ts_ms

    def message(self, number: int, ts_ms: int) -> tuple[LiveMarket, LiveTrade | LiveQuote]:
        """Return one message as of a time."""
        market = self.markets[number % len(self.markets)]
        k = number // len(self.markets)
        tick, step = Decimal(market.spec.tick), Decimal(market.spec.size_step)
        price = Decimal(market.spec.price) + (k % 41) * tick
        if self.bbo_every and k % self.bbo_every == 0:
            bid = (text(price), text((1 + k % 89) * step))
            ask = (text(price + tick), text((1 + k % 83) * step))
            return market, LiveQuote(ts_ms, bid, ask, 50_000_000_000 + k, True)
        side: Side = "buy" if k % 2 else "sell"
        size = text((1 + k % 97) * step)
        return market, LiveTrade(ts_ms, 5 * 10**14 + number, text(price), size, side, number)

    def trades(self, market: LiveMarket) -> Iterator[LiveTrade]:
        """Yield the trades of a market that were written so far."""
        for event in self._written(market):
            if isinstance(event, LiveTrade):
                yield event

    def quotes(self, market: LiveMarket) -> Iterator[LiveQuote]:
        """Yield the quotes of a market that were written so far."""
        for event in self._written(market):
            if isinstance(event, LiveQuote):
                yield event

    def _written(self, market: LiveMarket) -> Iterator[LiveTrade | LiveQuote]:
        mine, among = self.markets.index(market), len(self.markets)
        for first, end, ts_ms in list(self.bursts):
            for number in range(first + (mine - first) % among, end, among):
                event = self.message(number, ts_ms)[1]
                event.sent = 1
                yield event


def _fold(bars: dict[int, _Bar], trade: LiveTrade, contract: Decimal) -> None:
    minute = trade.ts_ms - trade.ts_ms % MINUTE_MS
    key = (trade.ts_ms, trade.seq)
    price, size = Decimal(trade.price), Decimal(trade.size)
    amount = price * size * contract
    bar = bars.get(minute)
    if bar is None:
        bars[minute] = _Bar(key, key, price, price, price, price, size, amount, 1)
        return
    if key < bar.first:
        bar.first, bar.open = key, price
    if key > bar.last:
        bar.last, bar.close = key, price
    bar.high, bar.low = max(bar.high, price), min(bar.low, price)
    bar.volume += size
    bar.amount += amount
    bar.trades += 1


def text(value: Decimal) -> str:
    """Return a number as plain digits without spare zeros: `84143`, `0.0048`."""
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _level(level: Sequence[str] | None) -> Level | None:
    return None if level is None else (text(Decimal(level[0])), text(Decimal(level[1])))
