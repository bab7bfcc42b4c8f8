"""A session against the hand-worked cases, in any pieces, and what it refuses."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from nautilus_trader.trading import Strategy

from tbv8.errors import DataError
from tbv8.market import Timeframe, parse_timeframe
from tbv8.trading.bars import Bars
from tbv8.trading.loading import StrategyError
from tbv8.trading.nautilus import close_times
from tbv8.trading.records import CarriedAccount, Run
from tbv8.trading.session import Session
from tests.backtest.builders import (
    SCRIPTED,
    bars_of,
    install,
    make_bars,
    make_strategy,
    run_strategy,
)
from tests.trading.cases import (
    CASES,
    EPOCH,
    FLAT,
    A,
    B,
    Case,
    CaseScript,
    bar_number,
    check,
    limit,
    market,
    mirrored,
    number,
    rules_of,
    steps_of,
)
from tests.trading.driven import drive, run_script
from tests.trading.scripts import LOT, START_MS, TICK, RandomScript, random_steps
from tests.trading.simulator import HOUR, Books, Fill, Market, Rules, Shown, Step, World

D = Decimal
NOT_TO_BE_WRITTEN = (  # NautilusTrader's own orders refuse them
    "a quantity of 0 is no lot",
    "a market order has no time that could be over",
)
ALL = [
    case
    for case in [*CASES, *(mirrored(case) for case in CASES if case.mirrors)]
    if not case.name.startswith(NOT_TO_BE_WRITTEN)
]


def run_case(case: Case) -> Books:
    steps = steps_of(case)
    shown = [Shown(step.symbol, "1h", step.close_ms) for step in steps]
    return drive(steps, shown, CaseScript(case), rules_of(case), timeframe="1h")


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_a_case_worked_out_by_hand(case: Case) -> None:
    books = run_case(case)

    check(case, books)
    denials = [(bar_number(case, ts_ms), rule) for ts_ms, rule, _ in books.denials]
    assert denials == [(n, rule) for n, rule, _ in case.denied]


def test_the_engine_keeps_nothing_of_an_order_that_it_did_not_make_smaller() -> None:
    name = "a post-only child shrinks by its sibling's fill also while the price is past its limit"

    states = [run_case(case).states["t"] for case in ALL if case.name.startswith(name)]

    assert "canceled" in states  # the rest, behind the fill
    assert set(states) <= {"canceled", "filled"}


# In pieces

MINUTES: dict[str, Any] = {"timeframe": "5m", "bars": ("15m",), "detail": "1m"}
BY_BARS: dict[str, Any] = {"timeframe": "5m", "detail": "none"}
FED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "one symbol": (("BTC/USD",), BY_BARS),
    "two symbols": (("BTC/USD", "ETH/USD"), BY_BARS),
    "two symbols, minutes": (("BTC/USD", "ETH/USD"), MINUTES),
}


def cut(bars: Bars, step: Timeframe, every: Callable[[list[int]], list[int]]) -> Iterator[Bars]:
    """Yield pieces of bars that end at those of all closes that `every` chooses, and at the end."""
    ends = sorted({close for table in bars.steps.values() for close in close_times(table, step)})
    after_ms = 0
    for until_ms in [*every(ends), ends[-1]]:

        def between(table: pa.Table, timeframe: Timeframe) -> pa.Table:
            closes = close_times(table, timeframe)
            return table.filter(pa.array((closes > after_ms) & (closes <= until_ms)))  # noqa: B023

        yield Bars(
            shown={key: between(table, key[1]) for key, table in bars.shown.items()},
            steps={symbol: between(table, step) for symbol, table in bars.steps.items()},
        )
        after_ms = until_ms


@pytest.mark.parametrize("world", FED)
@pytest.mark.parametrize("seed", range(2))
def test_any_split_of_the_bars_gives_the_same_run(seed: int, world: str) -> None:
    symbols, how = FED[world]
    step = parse_timeframe("1m" if how["detail"] == "1m" else "5m")
    steps, shown = random_steps(
        seed, symbols=symbols, count=60, longer=how.get("bars", ()), detail=step.text
    )
    market = Market(tick=TICK, lot=LOT, taker_fee=D("0.0005"), max_leverage=D(20))
    rules = Rules(
        markets=dict.fromkeys(symbols, market),
        balance=D(5000),
        max_leverage=D(20),
        max_daily_loss=D(100),
        funding_rate_8h=D("0.001"),
        funding_hours=1,
        start_ms=START_MS + HOUR // 2,
    )

    def run(every: Callable[[list[int]], list[int]]) -> tuple[Run, Books]:
        script = RandomScript(seed, symbols, step_ms=step.fixed_ms or 0)
        return run_script(
            steps, shown, script, rules, **how, pieces=lambda bars: cut(bars, step, every)
        )

    whole = run(lambda ends: [])

    assert run(lambda ends: ends) == whole
    assert run(lambda ends: ends[6::7]) == whole
    assert run(lambda ends: sorted(Random(seed).sample(ends, 9))) == whole
    assert len(whole[0].fills) > 5


def test_bars_of_the_past_are_refused() -> None:
    strategy, bars = make_strategy(), make_bars([100, 101, 102])
    table = bars.slice(1, 1)

    with Session(strategy, "hyperliquid", price_decimals={"BTC/USDT": 1}) as session:
        session.feed(bars_of(strategy, bars.slice(0, 2)))
        with pytest.raises(DataError) as e:
            session.feed(bars_of(strategy, table))
        session.feed(bars_of(strategy, bars.slice(2, 1)))
        session.end()

    assert str(e.value) == (
        "a bar that closes at 2024-01-01T02:00:00Z was fed after 2024-01-01T02:00:00Z: feed bars "
        "in the order of time"
    )


def test_bars_with_more_decimals_than_were_known_are_rounded() -> None:
    strategy = make_strategy(params={"orders": {1: "1"}})

    with Session(strategy, "hyperliquid", price_decimals={"BTC/USDT": 1}) as session:
        session.feed(bars_of(strategy, make_bars([100.04, 100.26])))
        run = session.end()

    assert [fill.price for fill in run.fills] == [100]


def test_the_account_is_at_the_price_of_the_last_bar_though_nothing_happened_since() -> None:
    strategy = make_strategy(params={"orders": {1: "-2"}})
    closes = [100.0, 103.0, 99.0, 101.5]
    bars = make_bars(closes)

    with Session(strategy, "hyperliquid", price_decimals={"BTC/USDT": 1}) as session:
        found = []
        for at in range(len(closes)):
            session.feed(bars_of(strategy, bars.slice(at, 1)))
            found.append(session.book.equity)
        (fill,) = session.end().fills

    begun = strategy.starting_balance_usd - fill.fee
    assert found == [begun - 2 * (D(str(close)) - fill.price) for close in closes]


def test_an_empty_piece_changes_nothing() -> None:
    strategy = make_strategy(params={"orders": {1: "1"}})
    bars = make_bars([100.0, 101.0])

    with Session(strategy, "hyperliquid", price_decimals={"BTC/USDT": 1}) as session:
        session.feed(Bars(shown={}, steps={}))
        session.feed(bars_of(strategy, bars))
        session.feed(bars_of(strategy, bars.slice(0, 0)))
        run = session.end()

    assert run == run_strategy(strategy, "hyperliquid", bars)


# What is seen, and when


@dataclass
class Watching:
    """Notes the hours of what it sees, and acts at bars, fills and timers."""

    act: Callable[[World, str], None]
    seen: list[tuple[float, str]] = field(default_factory=list)

    def note(self, world: World, what: str) -> None:
        self.seen.append(((world.time_ms - EPOCH) / HOUR, what))
        self.act(world, what)

    def on_bar(self, world: World, shown: Shown, close: Decimal) -> None:
        self.note(world, f"{shown.symbol} {shown.timeframe}")

    def on_fill(self, world: World, fill: Fill) -> None:
        self.note(world, f"fill {fill.id}")

    def on_timer(self, world: World, name: str) -> None:
        self.note(world, name)


def flat_steps(symbol: str, hours: range) -> list[Step]:
    return [Step(symbol, EPOCH + hour * HOUR, *map(number, FLAT)) for hour in hours]


def seen_by(script: Watching, shown: list[Shown], *steps: Step, **how: Any) -> list[Any]:
    market = Market(tick=D("0.5"), lot=D("0.1"))
    symbols = dict.fromkeys([step.symbol for step in steps])
    rules = Rules(markets=dict.fromkeys(symbols, market), balance=D(1000))
    drive(list(steps), shown, script, rules, **{"timeframe": "1h"} | how)
    return script.seen


def test_longer_timeframes_come_first_and_the_first_symbol_last() -> None:
    shown = [
        Shown(symbol, timeframe, EPOCH + 4 * HOUR)
        for symbol in (A, B)
        for timeframe in ("1h", "1d", "4h")
    ]
    steps = [*flat_steps(A, range(4, 5)), *flat_steps(B, range(4, 5))]

    seen = seen_by(Watching(lambda world, what: None), shown, *steps, bars=("4h", "1d"))

    assert [what for _, what in seen] == [
        f"{symbol} {timeframe}" for timeframe in ("1d", "4h", "1h") for symbol in (B, A)
    ]


def test_timers_fire_inside_of_steps_and_behind_the_fills_of_a_close() -> None:
    def act(world: World, what: str) -> None:
        if len(script.seen) == 1:
            world.send(limit("l", "buy", 1, "99.5"))
            world.set_timer("at the close", EPOCH + 2 * HOUR)
            world.set_timer("before it", EPOCH + HOUR + HOUR // 2)

    script = Watching(act)
    shown = [Shown(A, "1h", EPOCH + hour * HOUR) for hour in (1, 2, 3)]

    assert seen_by(script, shown, *flat_steps(A, range(1, 4))) == [
        (1, f"{A} 1h"),
        (1.5, "before it"),
        (2, "fill l"),
        (2, "at the close"),
        (2, f"{A} 1h"),
        (3, f"{A} 1h"),
    ]


def test_ctrl_c_ends_the_run_at_the_next_step() -> None:
    def act(world: World, what: str) -> None:
        if len(script.seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    script = Watching(act)
    shown = [Shown(A, "1h", EPOCH + hour * HOUR) for hour in range(1, 6)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        with pytest.raises(KeyboardInterrupt):
            seen_by(script, shown, *flat_steps(A, range(1, 6)))
        restored = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert len(script.seen) == 2
    assert restored is signal.default_int_handler


def test_positions_that_lose_too_much_together_are_closed() -> None:
    def act(world: World, what: str) -> None:
        if len(script.seen) == 2:
            world.send(market("a", "buy", 1, symbol=A))
            world.send(market("b", "sell", 1, symbol=B))

    script = Watching(act)
    steps = [
        *flat_steps(A, range(1, 2)),
        *flat_steps(B, range(1, 2)),
        Step(A, EPOCH + 2 * HOUR, *map(number, (100, 100, 85, 85))),  # 15 of the 25 are lost
        Step(B, EPOCH + 2 * HOUR, *map(number, (100, 115, 100, 115))),  # and again
    ]
    rules = Rules(
        markets=dict.fromkeys((A, B), Market(tick=D("0.5"), lot=D("0.1"))),
        balance=D(1000),
        max_daily_loss=D(25),
    )

    books = drive(
        steps,
        [Shown(step.symbol, "1h", step.close_ms) for step in steps],
        script,
        rules,
        timeframe="1h",
    )

    assert books.halts == [(EPOCH + 2 * HOUR, "max_daily_loss_usd")]
    assert books.positions == {A: 0, B: 0}


def test_a_warm_up_that_ends_in_a_gap_ends_at_the_last_close_before_it() -> None:
    # 5 bought at 100; no step at 02:00 and 03:00, 110 at 04:00; 1 % of funding an hour.
    def act(world: World, what: str) -> None:
        if world.time_ms == EPOCH + HOUR:
            world.send(market("m", "buy", 5))

    prices = {1: (100, 100, 100, 100), 4: (110, 110, 110, 110)}
    steps = [Step(A, EPOCH + hour * HOUR, *map(number, bar)) for hour, bar in prices.items()]
    rules = Rules(
        markets={A: Market(tick=D("0.5"), lot=D("0.1"))},
        balance=D(1000),
        funding_rate_8h=D("0.08"),
        funding_hours=1,
        start_ms=EPOCH + 2 * HOUR,
    )

    run, books = run_script(
        steps, [Shown(A, "1h", s.close_ms) for s in steps], Watching(act), rules, timeframe="1h"
    )

    assert run.carried == CarriedAccount(
        ts_ms=EPOCH + 2 * HOUR, positions={A: D("5.0")}, prices={A: D("100.0")}
    )
    assert [(p.ts_ms, p.amount) for p in run.payments] == [
        (EPOCH + 3 * HOUR, 5),
        (EPOCH + 4 * HOUR, D("5.5")),
    ]
    assert books.cash == 1000 - 5 * 100 - 5 - D("5.5")


def test_a_warm_up_trades_and_is_not_counted() -> None:
    sent = []

    def act(world: World, what: str) -> None:
        if not sent:
            sent.append(what)
            world.send(market("m", "buy", 5))
            world.send(limit("rests", "sell", 1, 105))
            world.send(market("denied", "buy", "0.15"))

    prices = [(100, 101, 99, 100), (100, 104, 100, 104), (104, 106, 104, 106)]
    steps = [Step(A, EPOCH + (n + 1) * HOUR, *map(number, bar)) for n, bar in enumerate(prices)]
    rules = Rules(
        markets={A: Market(tick=D("0.5"), lot=D("0.1"))},
        balance=D(1000),
        start_ms=EPOCH + 2 * HOUR,
    )

    run, books = run_script(
        steps, [Shown(A, "1h", s.close_ms) for s in steps], Watching(act), rules, timeframe="1h"
    )

    # at 104 the cash is 1000 - 5 x 104 = 480; then 1 is sold at 105
    assert [(fill.id, fill.price) for fill in books.fills] == [("rests", 105)]
    assert books.denials == []
    assert books.cash == 480 + 105
    assert run.carried == CarriedAccount(
        ts_ms=EPOCH + 2 * HOUR, positions={A: D("5.0")}, prices={A: D("104.0")}
    )
    assert run.orders == {}  # those of the warm-up do not count
    assert run.submitted == ()


@pytest.mark.parametrize(
    ("more", "raises"),
    [("", False), ("        self.itself = self\n", False), ("        raise ValueError\n", True)],
    ids=["one that ends", "one that holds itself", "one that raises"],
)
def test_no_strategy_is_left_to_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: str, raises: bool
) -> None:
    # the collector may run in any thread; NautilusTrader's objects are to go in the session's own
    install(monkeypatch, tmp_path, "left", SCRIPTED + more)
    strategy = make_strategy(module="left", params={"orders": {1: "1", 3: "-1"}})
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(StrategyError) if raises else nullcontext() as caught:
            run_strategy(strategy, "hyperliquid", make_bars([100, 101, 102, 103]))
        del caught
        left = [one for one in gc.get_objects() if isinstance(one, Strategy)]
    finally:
        gc.enable()

    assert left == []
