"""A session's host beside a market that is recorded as time passes: one thread, a made-up clock.

Time passes while the host sleeps. `Killed` is raised out of one of the host's own calls to the
world around it, at any of them: what it had not committed is gone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tbv8.aggregate import aggregate
from tbv8.config.records import Strategy
from tbv8.live.driver import JournaledSession, read_journaled
from tbv8.live.environment import HostEnvironment
from tbv8.live.host import run_host
from tbv8.live.output import ProcessReport
from tbv8.live.session_config import SessionConfig, on_venue
from tbv8.manifest import Input
from tbv8.market import (
    HOUR_MS,
    MINUTE_MS,
    ONE_MINUTE,
    Bar,
    Bbo,
    Series,
    Span,
    Timeframe,
    Trade,
    parse_timeframe,
)
from tbv8.store.bars import MINUTE_BARS
from tbv8.store.database import open_reader
from tbv8.store.sessions import read_session
from tbv8.store.ticks import Batch, PaidSpan, bbo_row, open_ticks, trade_row
from tbv8.store.ticks import RecordedMinute as RecordedMinute
from tbv8.trading.bars import Bars
from tests.backtest.builders import make_strategy, rules
from tests.builders import ROOT

BTC = Series("hyperliquid", "BTC/USDT")
START_MS = 1_790_000_100_000 // 3_600_000 * 3_600_000
DELAY_MS = 2300  # of the recorder, after a minute's end


class Killed(BaseException):
    """The host was killed here."""


@dataclass
class World:
    """What the recorder has written so far, and what time it is.

    Attributes:
        holds_until_ms: Until when nothing is written, as in a gap that is filled later.
        events: What happens at a time, once.
    """

    db_path: Path
    seed: int = 1
    now_ms: int = START_MS
    series: tuple[Series, ...] = (BTC,)
    holds_until_ms: int = 0
    clock_error_ms: int = 0
    events: list[tuple[int, Callable[[], object]]] = field(default_factory=list)
    reports: list[ProcessReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._walks = {s: self._walk(s) for s in self.series}
        self._written_ms = {s: START_MS for s in self.series}
        self._paid_ms: dict[Series, int] = {}

    def _walk(self, series: Series) -> list[Bar]:
        chance = random.Random(f"{self.seed}{series}")
        bars, price = [], 2000.0
        for number in range(2500):
            opened = price
            price = round(price * (1 + chance.gauss(0, 0.0008)), 1)
            high = round(max(opened, price) * (1 + abs(chance.gauss(0, 0.0003))), 1)
            low = round(min(opened, price) * (1 - abs(chance.gauss(0, 0.0003))), 1)
            volume = round(chance.uniform(0.1, 9), 3)
            bars.append(Bar(START_MS + number * MINUTE_MS, opened, high, low, price, volume))
        return bars

    def bars(self, series: Series = BTC) -> list[Bar]:
        """Return every minute of a series, also those to come."""
        return self._walks[series]

    def table(self, first_ms: int, end_ms: int, series: Series = BTC) -> pa.Table:
        """Return the minutes that open within a time."""
        rows = [bar for bar in self.bars(series) if first_ms <= bar.ts_ms < end_ms]
        columns = [[getattr(bar, name) for bar in rows] for name in MINUTE_BARS.names]
        return pa.table(columns, schema=MINUTE_BARS)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the recorder write what has closed."""
        self.now_ms += max(1, round(seconds * 1000))
        while self.events and self.events[0][0] <= self.now_ms:
            self.events.pop(0)[1]()
        self.record()

    def record(self, *, only: Series | None = None) -> None:
        """Write the minutes that are to be known by now."""
        if self.now_ms < self.holds_until_ms:
            return
        minutes = []
        for series in self.series if only is None else (only,):
            first = (self._written_ms[series] - START_MS) // MINUTE_MS
            end = (self.now_ms - DELAY_MS - START_MS) // MINUTE_MS
            for bar in self.bars(series)[first : max(first, end)]:
                minutes.append(RecordedMinute(series=series, bar=bar))
                self._written_ms[series] = bar.ts_ms + MINUTE_MS
        if minutes:
            with open_ticks(self.db_path) as store:
                store.commit(Batch(minutes=minutes), now_ms=self.now_ms)

    def trade(self, delay_ms: int = 80) -> None:
        """Let a trade come live, dated by our clock when it is received."""
        ts_ms = self.now_ms - 500
        trade = Trade(*(BTC.venue, BTC.symbol), ts_ms, str(ts_ms), 1.0, 1.0, "buy")
        row = trade_row(trade, ts_ms + delay_ms + self.clock_error_ms)
        with open_ticks(self.db_path) as store:
            store.commit(Batch(trades=[row]), now_ms=self.now_ms)

    def quote(self, bid: float, ask: float) -> None:
        """Let a quote of mexc come live."""
        quote = Bbo("mexc", "BTC/USDT", self.now_ms - 100, bid, 5.0, ask, 5.0)
        with open_ticks(self.db_path) as store:
            store.commit(Batch(bbo=[bbo_row(quote, self.now_ms)]), now_ms=self.now_ms)

    def pay(self, hour_ms: int, rate: float, *, hours: int = 1, series: Series = BTC) -> None:
        """Let the recorder learn what was paid at a full hour, and that nothing was before."""
        since_ms = self._paid_ms.get(series, START_MS)
        paid = PaidSpan(series, Span(since_ms, hour_ms + MINUTE_MS), ((hour_ms, rate, hours),))
        self._paid_ms[series] = paid.span.end_ms
        with open_ticks(self.db_path) as store:
            store.commit(Batch(paid=[paid]), now_ms=self.now_ms)

    def pay_each_hour(self, count: int, *, late_ms: int = 25_000) -> dict[int, float]:
        """Let each of the next full hours be paid, known some time later; return the rates."""
        chance = random.Random(self.seed)
        first_ms = (self.now_ms // HOUR_MS + 1) * HOUR_MS
        rates = {
            first_ms + number * HOUR_MS: round(chance.gauss(0, 0.001), 6) for number in range(count)
        }
        for hour_ms, rate in rates.items():
            self.events.append((hour_ms + late_ms, partial(self.pay, hour_ms, rate)))
        self.events.sort(key=lambda event: event[0])
        return rates

    def forget(self, until_ms: int, series: Series = BTC) -> None:
        """Let the recorder never know the minutes before a time that are not written yet."""
        self._written_ms[series] = until_ms

    def run(
        self,
        config: SessionConfig,
        *,
        minutes: int,
        kill_at: int | None = None,
        on_call: Callable[[], object] = bool,
    ) -> None:
        """Run a host for so many minutes more.

        Args:
            config: Of the session.
            minutes: At most.
            kill_at: The number of its call at which it is killed, if it comes to that.
            on_call: What happens at each of its calls.
        """
        end_ms = self.now_ms + minutes * MINUTE_MS
        calls = 0

        def count() -> None:
            nonlocal calls
            calls += 1
            on_call()
            if kill_at is not None and calls >= kill_at:
                raise Killed

        def now_ms() -> int:
            count()
            return self.now_ms + self.clock_error_ms

        def report(one: ProcessReport) -> None:
            count()
            self.reports.append(one)

        def is_over() -> bool:
            count()
            return self.now_ms >= end_ms

        setting = HostEnvironment(
            now_ms=now_ms,
            report=report,
            is_over=is_over,
            sleep=lambda seconds: self.pass_time(100 * seconds),
        )
        run_host(config, setting)

    def journaled(self, config: SessionConfig) -> JournaledSession:
        """Return what the journal has of the session that can go on."""
        with open_reader(self.db_path) as query:
            session = read_session(query, config.strategy.strategy_id, config.role)
            assert session is not None
            return read_journaled(query, session, with_minutes=True)

    def texts(self, kind: str) -> list[str]:
        """Return the texts of one kind of reports."""
        return [report.text for report in self.reports if report.kind == kind]


def make_session_config(
    world: World, strategy: Strategy | None = None, **changes: Any
) -> SessionConfig:
    """Return the config of a session on `hyperliquid`; a 3m EMA cross, if nothing else is given."""
    values: dict[str, Any] = {
        "strategy": on_venue(strategy or ema(), "hyperliquid", is_funding_recorded=True),
        "role": "primary",
        "venue": "hyperliquid",
        "db_path": world.db_path,
        "folder": world.db_path.parent / "paper" / "test_v1",
        "stop_path": world.db_path.parent / "paper" / "test_v1.stop",
        "differs_path": world.db_path.parent / "paper" / "test_v1.differs",
        "inputs": {"config": Input("1", {})},
        "stale_ms": 15 * MINUTE_MS,
        "clock_ms": 2000,
    }
    return SessionConfig(**(values | changes))


def ema(**changes: Any) -> Strategy:
    """Return an EMA cross that trades often."""
    values: dict[str, Any] = {
        "timeframe": parse_timeframe("3m"),
        "module": "ema_cross",
        "class_name": "EmaCross",
        "params": {"fast": 2, "slow": 3},
        "detail": "1m",
        "instrument": rules(tick_size="0.1", taker_fee="0.0005"),
    }
    if "bars" in changes:
        values |= {"module": "tests/live/longer.py", "class_name": "Longer", "root": ROOT}
    return make_strategy(**(values | changes))


def scripted(orders: dict[int, str], **changes: Any) -> Strategy:
    """Return a strategy on minutes that sends orders at its bars."""
    own = rules(tick_size="0.1", taker_fee="0.0005")
    values: dict[str, Any] = {
        "timeframe": ONE_MINUTE,
        "params": {"orders": orders},
        "detail": "none",
        "instruments": {name: {"BTC/USDT": own} for name in ("hyperliquid", "mexc")},
    }
    return make_strategy(**(values | changes))


def whole(world: World, strategy: Strategy, first_ms: int, end_ms: int) -> Bars:
    """Return all bars of a strategy of one symbol at once, as a backtest would read them."""
    minutes = world.table(first_ms, end_ms)

    def bars(timeframe: Timeframe) -> pa.Table:
        if timeframe == ONE_MINUTE:
            return minutes
        table = aggregate(minutes, timeframe)
        opens = table["ts_ms"].to_numpy()
        closes = [timeframe.close(int(ts_ms)) for ts_ms in opens]
        kept = [
            number
            for number, ts_ms in enumerate(opens)
            if ts_ms >= first_ms and closes[number] <= end_ms
        ]
        return table.take(pa.array(kept, pa.int64()))

    return Bars(
        shown={(strategy.symbol, t): bars(t) for t in strategy.timeframes},
        steps={strategy.symbol: bars(strategy.step)},
    )


def bodies(journaled: JournaledSession, kind: str) -> Sequence[str]:
    """Return the bodies of one kind of events."""
    return [event.body for event in journaled.outputs[kind]]
