"""A session is charged what its venue paid, booked once it is known: the amounts of a backtest."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.backtest.feed import run_session
from tbv8.backtest.funding import read_funding
from tbv8.live.driver import Driver
from tbv8.live.replay import replay
from tbv8.live.session_config import SessionConfig, on_venue, with_session_span
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS
from tbv8.results.accounting import to_books
from tbv8.results.marks import to_marks
from tbv8.store.bars import open_bars
from tbv8.trading.funding import AwaitedRates, FundingPayments, Holding
from tbv8.trading.records import Run
from tests.builders import rows, shell
from tests.live.rig import START_MS, World, bodies, ema, make_session_config, scripted, whole

D = Decimal
EVENING_MS = (START_MS // DAY_MS + 1) * DAY_MS - 90 * MINUTE_MS


def charged(**changes: Any) -> Any:
    """Return a strategy that is charged what venues charged."""
    return ema(**({"funding": "history"} | changes))


def backtest(world: World, config: SessionConfig) -> Run:
    """Return the run of a backtest of a session's time over what is recorded of it by now."""
    session = world.journaled(config).session
    strategy = with_session_span(config.strategy, session, session.done_ms)
    bars = whole(world, strategy, session.first_ms, session.done_ms)
    with open_bars(world.db_path) as store:
        funding = read_funding(store, strategy)
    return run_session(
        strategy,
        "hyperliquid",
        replace(bars, funding=funding),
        stop=False,
        decimals=session.decimals,
        with_chart_lines=True,
    )


def amounts(run: Run) -> list[tuple[int, Decimal]]:
    """Return the payments of a run by their hours."""
    return [(payment.ts_ms, payment.amount) for payment in run.payments]


@pytest.mark.parametrize("warm_up_h", [0, 3])
def test_a_session_pays_what_a_backtest_of_the_same_record_pays(
    world: World, warm_up_h: int
) -> None:
    # given a session from 23:00 to 03:10, whose hours are told 25 s after they have ended
    world.pass_time((EVENING_MS - START_MS) / 1000 - 7200)
    world.pay_each_hour(8)
    world.pass_time(9000)
    config = make_session_config(world, charged(warm_up_ms=warm_up_h * HOUR_MS))

    world.run(config, minutes=140)
    world.run(config, minutes=110)

    run = replay(config, world.journaled(config)).run
    expected = backtest(world, config)
    assert len(run.payments) >= 3
    assert amounts(run) == amounts(expected)
    assert run.fills == expected.fills
    live = [payment for payment in run.payments if payment.booked_ms]
    assert [payment.booked_ms for payment in live] == [p.ts_ms + MINUTE_MS for p in live]
    assert len(live) >= 3
    marks = to_marks(
        with_session_span(
            config.strategy,
            world.journaled(config).session,
            world.journaled(config).session.done_ms,
        ),
        replay(config, world.journaled(config)).bars,
    )
    one, other = to_books(run, marks), to_books(expected, marks)
    assert one.curve.equity.tobytes() == other.curve.equity.tobytes()
    assert one.positions == other.positions


def test_a_day_begins_without_the_funding_of_the_day_before(world: World) -> None:
    world.pass_time((EVENING_MS - START_MS) / 1000 + 3600)
    config = make_session_config(world, scripted({5: "1"}, funding="history"))
    midnight_ms = EVENING_MS + 90 * MINUTE_MS
    world.events = [(midnight_ms + 25_000, lambda: world.pay(midnight_ms, 0.01))]

    world.run(config, minutes=32)

    journaled = world.journaled(config)
    (payment,) = (json.loads(body) for body in bodies(journaled, "payment"))
    assert (payment["ts_ms"], payment["booked_ms"]) == (midnight_ms, midnight_ms + MINUTE_MS)
    assert D(payment["amount"]) > 15
    assert abs(D(journaled.session.state["day_loss"])) < 10  # of prices alone


def test_late_rates_are_charged_on_the_position_of_their_hour(world: World) -> None:
    config = make_session_config(world, scripted({10: "1", 70: "1", 130: "-2"}, funding="history"))
    hours = [START_MS + number * HOUR_MS for number in (1, 2, 3)]
    world.events = [
        (START_MS + 200 * MINUTE_MS, lambda at=hour_ms: world.pay(at, 0.001)) for hour_ms in hours
    ]

    world.run(config, minutes=210)

    run = replay(config, world.journaled(config)).run
    assert amounts(run) == amounts(backtest(world, config))
    assert [payment.ts_ms for payment in run.payments] == hours[:2]
    assert {payment.booked_ms for payment in run.payments} == {START_MS + 200 * MINUTE_MS}


def test_rates_are_written_with_the_minute_that_books_them(world: World) -> None:
    config = make_session_config(world, charged())
    world.pay_each_hour(2)

    world.run(config, minutes=130)

    found = rows(
        world.db_path,
        "SELECT e.ts_ms, e.at_ms, b.seen_ms FROM session_events e JOIN session_bars b"
        " ON b.ts_ms + 60000 = e.ts_ms WHERE e.kind = 'rate' ORDER BY e.number",
    )
    assert [ts_ms for ts_ms, _, _ in found] == [
        START_MS + number * HOUR_MS + MINUTE_MS for number in (1, 2)
    ]
    assert all(at_ms == seen_ms for _, at_ms, seen_ms in found)
    for event in world.journaled(config).outputs["payment"]:
        assert event.ts_ms == json.loads(event.body)["booked_ms"]


def test_a_payment_at_the_start_of_a_session_is_not_charged(world: World) -> None:
    world.pay(START_MS, 0.001)
    config = make_session_config(world, charged())
    world.pay_each_hour(1)

    world.run(config, minutes=65)

    rates = world.journaled(config).rates
    assert [json.loads(event.body)["ts_ms"] for event in rates] == [START_MS + HOUR_MS]


def test_a_minute_that_is_read_late_books_the_payment_of_its_own_end(world: World) -> None:
    config = make_session_config(world, scripted({10: "1"}, funding="history"), stale_ms=HOUR_MS)
    end_ms = START_MS + HOUR_MS
    world.events = [
        (START_MS + 50 * MINUTE_MS, lambda: setattr(world, "holds_until_ms", end_ms + 300_000)),
        (end_ms + 25_000, lambda: world.pay(end_ms, 0.001)),
    ]

    world.run(config, minutes=70)

    (payment,) = world.journaled(config).outputs["payment"]
    assert payment.ts_ms == end_ms
    assert json.loads(payment.body)["booked_ms"] is None


def test_a_rate_that_is_changed_after_its_use_changes_nothing_and_is_listed(world: World) -> None:
    config = make_session_config(world, scripted({10: "1"}, funding="history"))
    world.events = [(START_MS + HOUR_MS + 25_000, lambda: world.pay(START_MS + HOUR_MS, 0.001))]
    world.run(config, minutes=70)
    before = bodies(world.journaled(config), "payment")
    shell(world.db_path, "UPDATE funding SET rate = 0.002")

    world.run(config, minutes=5)
    world.run(config, minutes=5)

    journaled = world.journaled(config)
    assert bodies(journaled, "payment") == before
    (note,) = rows(world.db_path, "SELECT body FROM session_events WHERE kind = 'corrected'")
    assert json.loads(note[0]) == {
        "symbol": "BTC/USDT",
        "used": {"ts_ms": START_MS + HOUR_MS, "rate": 0.001},
        "now": {"ts_ms": START_MS + HOUR_MS, "rate": 0.002},
    }
    replay(config, journaled)


@pytest.mark.parametrize(
    ("strategy", "is_recorded"),
    [(charged(), False), (ema(funding="fixed"), True)],
    ids=["not recorded", "a fixed rate is asked for"],
)
def test_without_recorded_funding_the_fixed_rate_is_charged(
    world: World, strategy: Any, is_recorded: bool
) -> None:
    there = on_venue(strategy, "hyperliquid", is_funding_recorded=is_recorded)
    config = make_session_config(world, strategy=there)
    world.pay_each_hour(1)

    world.run(config, minutes=70)

    assert there.funding == "fixed"
    assert rows(world.db_path, "SELECT count(*) FROM session_events WHERE kind = 'rate'") == [(0,)]


def test_any_split_of_the_minutes_books_the_same(world: World) -> None:
    config = make_session_config(world, charged(warm_up_ms=HOUR_MS))
    world.pay_each_hour(4)
    world.pass_time(7300)
    world.run(config, minutes=130)
    journaled = world.journaled(config)

    runs = []
    for size in (1, 7, 1000):
        with Driver(config.strategy, journaled.session) as driver:
            rates = journaled.rates
            for first in range(0, len(journaled.minutes), size):
                list(driver.feed(journaled.minutes[first : first + size], rates))
                rates = []
            runs.append(driver.run())

    assert runs[0] == runs[1] == runs[2]
    assert runs[0].payments


# The rates of one symbol


def awaited(*payments: tuple[int, int, str, int]) -> AwaitedRates:
    """Return rates of payments: booked at a minute, of an hour, at a rate, for hours."""
    rates = AwaitedRates()
    rates.extend(
        FundingPayments.of(
            (hour * HOUR_MS, D(rate), hours, "mexc", minute * MINUTE_MS)
            for minute, hour, rate, hours in payments
        )
    )
    return rates


def test_the_next_time_is_a_full_hour_or_a_booking() -> None:
    rates = awaited((121, 2, "1", 1), (200, 3, "1", 1))

    times = [START_MS * 0]
    for _ in range(5):
        times.append(rates.due_after(times[-1]))
        rates.due_at(times[-1], Holding(D(1), D(1)))

    assert [time // MINUTE_MS for time in times[1:]] == [60, 120, 121, 180, 200]


def test_a_payment_for_several_hours_uses_the_position_at_its_end() -> None:
    rates = awaited((1000, 16, "0.1", 8), (1001, 8, "0.2", 8))
    for hour in range(1, 17):
        assert not rates.due_at(hour * HOUR_MS, Holding(D(hour), D(100)))

    (second,) = rates.due_at(1000 * MINUTE_MS, Holding(D(99), D(1)))
    (first,) = rates.due_at(1001 * MINUTE_MS, Holding(D(99), D(1)))

    assert (second.hour_ms, second.holding.position) == (16 * HOUR_MS, D(16))
    assert (first.hour_ms, first.holding.position, first.rate) == (8 * HOUR_MS, D(8), D("0.2"))


def test_a_position_opened_after_the_hour_pays_nothing() -> None:
    rates = awaited((61, 1, "0.1", 1))
    rates.due_at(HOUR_MS, Holding(D(0), D(100)))

    (due,) = rates.due_at(61 * MINUTE_MS, Holding(D(5), D(100)))

    assert due.holding.position == 0
