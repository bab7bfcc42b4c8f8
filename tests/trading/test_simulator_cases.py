"""The independent simulator against the hand-worked cases and their mirrors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from tests.trading.cases import (
    CASES,
    EPOCH,
    FLAT,
    A,
    B,
    Case,
    bar_number,
    check,
    limit,
    market,
    mirrored,
    number,
    run,
)
from tests.trading.simulator import (
    HOUR,
    Books,
    Fill,
    Market,
    Rules,
    Shown,
    Step,
    World,
    simulate,
)

D = Decimal
ALL = [*CASES, *(mirrored(case) for case in CASES if case.mirrors)]


@pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
def test_a_case_worked_out_by_hand(case: Case) -> None:
    books = run(case)

    check(case, books)
    denials = [(bar_number(case, ts_ms), rule, id) for ts_ms, rule, id in books.denials]
    assert denials == list(case.denied)


def test_no_two_cases_have_one_name() -> None:
    assert len({case.name for case in ALL}) == len(ALL)


# What a case cannot say: what is seen, and when


@dataclass
class Watching:
    """Notes what it sees, and does `act` at the first close."""

    act: Callable[[World, Shown], None]
    seen: list[tuple[int, str, str]] = field(default_factory=list)

    def on_bar(self, world: World, shown: Shown, close: Decimal) -> None:
        self.seen.append(((world.time_ms - EPOCH) // HOUR, shown.symbol, shown.timeframe))
        self.act(world, shown)

    def on_fill(self, world: World, fill: Fill) -> None:
        self.seen.append(((world.time_ms - EPOCH) // HOUR, fill.symbol, f"fill {fill.id}"))

    def on_timer(self, world: World, name: str) -> None:
        self.seen.append((int(world.time_ms - EPOCH) // HOUR, "", name))


def flat_steps(symbol: str, hours: range) -> list[Step]:
    return [Step(symbol, EPOCH + hour * HOUR, *map(number, FLAT)) for hour in hours]


def two_symbols(**rules: object) -> Rules:
    plain = Market(tick=D("0.5"), lot=D("0.1"))
    return Rules(markets={A: plain, B: plain}, balance=D(1000), **rules)  # type: ignore[arg-type]


def test_longer_timeframes_come_first_and_the_first_symbol_last() -> None:
    shown = [
        Shown(symbol, timeframe, EPOCH + 4 * HOUR)
        for symbol in (A, B)
        for timeframe in ("1h", "1d", "4h")
    ]
    script = Watching(lambda world, shown: None)

    simulate(
        [*flat_steps(A, range(4, 5)), *flat_steps(B, range(4, 5))], shown, script, two_symbols()
    )

    assert script.seen == [
        (4, B, "1d"),
        (4, A, "1d"),
        (4, B, "4h"),
        (4, A, "4h"),
        (4, B, "1h"),
        (4, A, "1h"),
    ]


def test_nothing_may_be_opened_before_the_first_close_of_a_symbol() -> None:
    script = Watching(
        lambda world, shown: (
            world.send(market("m", "buy", 1, symbol=B)) if shown.close_ms == EPOCH + HOUR else None
        )
    )

    books = simulate(
        [*flat_steps(A, range(1, 4)), *flat_steps(B, range(3, 4))],
        [Shown(A, "1h", EPOCH + hour * HOUR) for hour in (1, 2, 3)],
        script,
        two_symbols(),
    )

    assert books.denials == [(EPOCH + HOUR, "max_leverage", "m")]
    assert books.fills == []


def test_an_order_sent_at_a_bar_in_a_gap_fills_at_the_last_close() -> None:
    def act(world: World, shown: Shown) -> None:
        if shown.timeframe == "2h":
            world.send(market("m", "buy", 1))

    books = simulate(
        [*flat_steps(A, range(1, 2)), *flat_steps(A, range(4, 5))],
        [Shown(A, "2h", EPOCH + 2 * HOUR)],
        Watching(act),
        two_symbols(),
    )

    assert [(fill.ts_ms, fill.price) for fill in books.fills] == [(EPOCH + 2 * HOUR, D(100))]


def test_a_timer_fires_after_the_fills_of_the_step_that_ends_at_its_time() -> None:
    def act(world: World, shown: Shown) -> None:
        if shown.close_ms == EPOCH + HOUR:
            world.send(limit("l", "buy", 1, "99.5"))
            world.set_timer("late", EPOCH + 3 * HOUR)
            world.set_timer("at the close", EPOCH + 2 * HOUR)
            world.set_timer("before it", EPOCH + HOUR + HOUR // 2)

    script = Watching(act)

    simulate(
        flat_steps(A, range(1, 4)),
        [Shown(A, "1h", EPOCH + hour * HOUR) for hour in (1, 2, 3)],
        script,
        two_symbols(),
    )

    assert script.seen == [
        (1, A, "1h"),
        (1, "", "before it"),
        (2, A, "fill l"),
        (2, "", "at the close"),
        (2, A, "1h"),
        (3, "", "late"),
        (3, A, "1h"),
    ]


def test_a_warm_up_trades_and_is_not_counted() -> None:
    def act(world: World, shown: Shown) -> None:
        if shown.close_ms == EPOCH + HOUR:
            world.send(market("m", "buy", 5))
            world.send(limit("rests", "sell", 1, 105))
            world.send(market("denied", "buy", "0.15"))

    prices = [(100, 101, 99, 100), (100, 104, 100, 104), (104, 106, 104, 106)]
    steps = [Step(A, EPOCH + (n + 1) * HOUR, *map(number, bar)) for n, bar in enumerate(prices)]

    books: Books = simulate(
        steps,
        [Shown(A, "1h", step.close_ms) for step in steps],
        Watching(act),
        two_symbols(start_ms=EPOCH + 2 * HOUR),
    )

    # at 104 the cash is 1000 - 5 x 104 = 480; then 1 is sold at 105
    assert [(fill.id, fill.price) for fill in books.fills] == [("rests", D(105))]
    assert books.denials == []
    assert books.cash == 480 + 105
    assert books.equity == [(EPOCH + 2 * HOUR, D(1000)), (EPOCH + 3 * HOUR, D(585 + 4 * 106))]
