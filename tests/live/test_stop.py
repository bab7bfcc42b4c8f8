"""The stop file: `doit stop` and `doit start`, while a session is up to date, late, or killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.live.check import check_replay
from tbv8.live.replay import replay
from tbv8.live.results import write_results
from tbv8.live.session_config import SessionConfig
from tbv8.live.stopping import (
    SessionReply,
    await_close,
    closed_line,
    closing_text,
    left_line,
    positions_text,
    read_reply,
    start_line,
    stop_line,
    write_stop,
)
from tbv8.market import HOUR_MS, MINUTE_MS, ONE_MINUTE, iso, parse_timeframe
from tbv8.store.locks import session_lock
from tests.builders import shell
from tests.live.rig import START_MS, Killed, World, bodies, make_session_config, scripted

STOP, CLOSE = {"do": "stop", "close": False}, {"do": "stop", "close": True}
START = {"do": "start", "close": False}


def at(minute: float) -> int:
    """Return a time, in minutes of the world."""
    return START_MS + round(minute * MINUTE_MS)


def make_stoppable(world: World, orders: dict[int, str], **changes: Any) -> SessionConfig:
    """Return a config whose stop file can be written."""
    config = make_session_config(world, scripted({}, params={"orders": orders, **changes}))
    config.stop_path.parent.mkdir(parents=True)
    return config


def commands(world: World, config: SessionConfig) -> list[tuple[float, dict[str, Any]]]:
    """Return the executed commands, each with the minute of its execution; check their times.

    None may count before the last close before its request, no position be closed before it.
    """
    journaled = world.journaled(config)
    replay(config, journaled)
    found = []
    for event in journaled.commands:
        body = json.loads(event.body)
        assert event.ts_ms + MINUTE_MS > event.at_ms
        found.append(((event.ts_ms - START_MS) / MINUTE_MS, body))
    asked = {event.ts_ms: event.at_ms for event in journaled.commands}
    for fill in fills(world, config):
        assert fill["tags"] != "doit stop" or fill["ts_ms"] >= asked[fill["ts_ms"]]
    return found


def fills(world: World, config: SessionConfig) -> Sequence[dict[str, Any]]:
    return [json.loads(body) for body in bodies(world.journaled(config), "fill")]


def sides(world: World, config: SessionConfig) -> list[str]:
    return [fill["side"] for fill in fills(world, config)]


def barred(world: World, config: SessionConfig) -> list[str | None]:
    minutes = world.journaled(config).minutes
    return [minute.barred and minute.barred.partition(" ")[0] for minute in minutes]


@pytest.mark.parametrize("close", [False, True])
def test_the_stop_file_cancels_and_denies_until_it_is_gone(world: World, close: bool) -> None:
    config = make_stoppable(world, {2: "1", 12: "1", 22: "1"}, limits={3: "1@1000"})
    world.events = [
        (at(7.5), lambda: write_stop(config.stop_path, close=close)),
        (at(17.5), config.stop_path.unlink),
    ]

    world.run(config, minutes=10)
    world.run(config, minutes=20)  # a restart stays stopped

    stops = [(7, STOP), (8, CLOSE)] if close else [(7, STOP)]
    assert commands(world, config) == [*stops, (17, START)]
    assert sides(world, config) == (["buy", "sell", "buy"] if close else ["buy", "buy"])
    journaled = world.journaled(config)
    denied = [json.loads(body)["rule"] for body in bodies(journaled, "denial")]
    assert denied == ["stopped"]
    (end,) = bodies(journaled, "end")
    assert json.loads(end)["ts_ms"] == at(7)
    assert [r.kind for r in world.reports if r.kind in ("stopped", "started")] == [
        "stopped",
        "stopped",  # after the restart
        "started",
    ]


def test_a_position_is_closed_at_the_first_close_after_the_request(world: World) -> None:
    config = make_stoppable(world, {2: "1"})
    world.events = [(at(5.5), lambda: write_stop(config.stop_path, close=True))]

    world.run(config, minutes=8)

    _, closing = fills(world, config)
    assert closing["ts_ms"] == at(6)
    assert float(closing["price"]) == world.bars()[5].close
    seen = iso(world.journaled(config).commands[0].at_ms // 1000 * 1000)
    assert world.texts("stopped") == [
        f"opens nothing until `doit start test_v1`; a position is closed at the first close from "
        f"{seen} on"
    ]


def test_without_a_position_a_stop_that_closes_waits_for_nothing(world: World) -> None:
    config = make_stoppable(world, {}, limits={3: "1@1000"})
    world.events = [(at(5.5), lambda: write_stop(config.stop_path, close=True))]

    world.run(config, minutes=8)

    assert commands(world, config) == [(5, CLOSE)]
    assert world.journaled(config).session.state["cancelled"] == 1


def test_after_a_downtime_a_stop_counts_after_its_minutes(world: World) -> None:
    # given a long position with a stop loss, which the eighth minute reaches
    config = make_stoppable(world, {2: "1", 9: "1"}, stops={3: "-1@1500"})
    world.bars()[7] = replace(world.bars()[7], low=1400.0)
    world.run(config, minutes=5)

    # when nothing runs for a while, and then the session is stopped
    world.pass_time(7.5 * 60)
    world.reports.clear()
    write_stop(config.stop_path, close=True)
    world.run(config, minutes=3)

    # then the stop loss is filled in its minute, and nothing is opened
    assert [(fill["ts_ms"], fill["side"]) for fill in fills(world, config)] == [
        (at(2), "buy"),
        (at(8), "sell"),
    ]
    assert float(fills(world, config)[1]["price"]) == 1500
    assert commands(world, config) == [(12, CLOSE)]
    assert set(barred(world, config)[4:]) == {"stopped"}
    kinds = [report.kind for report in world.reports]
    assert kinds.index("stopped") < kinds.index("minute")


def test_results_of_before_a_stop_in_the_same_minute_are_reproduced(world: World) -> None:
    config = make_stoppable(world, {2: "1"}, limits={3: "1@1000"})
    world.now_ms += 20_000
    world.run(config, minutes=5)
    write_results({"primary": config})
    world.events = [(at(5.5), lambda: write_stop(config.stop_path, close=True))]

    world.run(config, minutes=3)

    ends = world.journaled(config).outputs["end"]
    assert [event.ts_ms for event in ends] == [at(5)]
    assert check_replay({"primary": config}).endswith(f", as of {iso(at(5))}")


def test_an_entry_that_works_in_a_downtime_is_filled_before_the_stop(world: World) -> None:
    config = make_stoppable(world, {}, limits={3: "1@1500"})
    world.bars()[9] = replace(world.bars()[9], low=1400.0)
    world.run(config, minutes=4)
    world.pass_time(7.5 * 60)
    write_stop(config.stop_path, close=True)

    world.run(config, minutes=3)

    assert [(fill["ts_ms"], fill["tags"]) for fill in fills(world, config)] == [
        (at(10), ""),
        (at(12), "doit stop"),
    ]
    assert commands(world, config) == [(11, STOP), (12, CLOSE)]


def test_a_request_at_a_close_counts_after_it(world: World) -> None:
    config = make_stoppable(world, {2: "1"}, stops={3: "-1@1500"})
    world.bars()[4] = replace(world.bars()[4], low=1400.0)
    world.run(config, minutes=4)
    world.now_ms = at(5)
    write_stop(config.stop_path, close=False)

    world.run(config, minutes=3)

    assert [fill["ts_ms"] for fill in fills(world, config)] == [at(2), at(5)]
    assert world.journaled(config).commands[0].at_ms == at(5)
    assert commands(world, config) == [(5, STOP)]


def test_after_a_downtime_a_position_is_closed_at_a_new_price(world: World) -> None:
    config = make_stoppable(world, {2: "1", 9: "1"}, limits={3: "-1@9000"})
    world.run(config, minutes=5)

    world.pass_time(7.5 * 60)
    write_stop(config.stop_path, close=True)
    world.run(config, minutes=3)

    assert commands(world, config) == [(12, STOP), (13, CLOSE)]
    assert {event.at_ms for event in world.journaled(config).commands} == {at(12.5)}
    closing = fills(world, config)[-1]
    assert (closing["ts_ms"], float(closing["price"])) == (at(13), world.bars()[12].close)


def test_a_start_lets_no_minute_before_it_open_a_position(world: World) -> None:
    config = make_stoppable(world, {9: "1", 14: "1"})
    write_stop(config.stop_path, close=False)
    world.run(config, minutes=5)

    world.pass_time(7.5 * 60)
    config.stop_path.unlink()
    world.run(config, minutes=5)

    assert commands(world, config) == [(0, STOP), (12, START)]
    assert barred(world, config) == ["stopped"] * 12 + [None] * 5
    assert [fill["ts_ms"] for fill in fills(world, config)] == [at(14)]
    kinds = [r.kind for r in world.reports if r.kind in ("stopped", "started")]
    assert kinds == ["stopped", "started"]


def test_a_stop_that_is_withdrawn_before_its_time_leaves_no_command(world: World) -> None:
    config = make_stoppable(world, {8: "1"}, limits={3: "1@1000"})
    world.holds_until_ms = at(7)
    world.events = [
        (at(5.5), lambda: write_stop(config.stop_path, close=True)),
        (at(6.7), config.stop_path.unlink),
    ]

    world.run(config, minutes=10)

    assert commands(world, config) == []
    assert sides(world, config) == ["buy"]
    assert world.journaled(config).session.state["working"] == 1
    assert [r.kind for r in world.reports if r.kind in ("stopped", "started")] == [
        "stopped",
        "started",
    ]


def test_a_stop_waits_for_minutes_that_come_late(world: World) -> None:
    # given a recorder that is late by two minutes
    config = make_stoppable(world, {2: "1"}, stops={3: "-1@1500"})
    world.bars()[5] = replace(world.bars()[5], low=1400.0)
    world.run(config, minutes=5)
    world.holds_until_ms = at(8.1)
    world.events = [(at(6.5), lambda: write_stop(config.stop_path, close=False))]
    world.run(config, minutes=2)
    assert commands(world, config) == []

    world.run(config, minutes=3)

    assert [fill["ts_ms"] for fill in fills(world, config)] == [at(2), at(6)]
    assert [command for _, command in commands(world, config)] == [STOP]


def test_a_gap_delays_no_stop_and_gives_no_price(world: World) -> None:
    # given a position, and a recorder that begins again a minute after the request
    config = make_stoppable(world, {2: "1"}, limits={3: "-1@9000"})
    world.run(config, minutes=5)
    world.now_ms += 26 * HOUR_MS  # the ledger has one span a day
    back = 26 * 60 + 6
    world.forget(at(back))
    write_stop(config.stop_path, close=True)

    # when
    world.run(config, minutes=4)

    # then
    assert commands(world, config) == [(back, STOP), (back + 1, CLOSE)]
    assert world.journaled(config).minutes[back - 1].bars["BTC/USDT"] is None
    assert float(fills(world, config)[-1]["price"]) == world.bars()[back].close


def test_orders_that_bars_match_are_closed_at_the_close_of_a_bar(world: World) -> None:
    strategy = scripted({2: "1"}, timeframe=parse_timeframe("5m"), detail="none")
    config = make_session_config(world, strategy)
    world.events = [(at(12.5), lambda: write_stop(config.stop_path, close=True))]

    world.run(config, minutes=17)

    assert commands(world, config) == [(12, STOP), (15, CLOSE)]
    closing = fills(world, config)[-1]
    assert (closing["ts_ms"], float(closing["price"])) == (at(15), world.bars()[14].close)


def test_the_events_of_a_command_are_written_at_the_next_start(world: World) -> None:
    # given a host that is killed between the command and what came of it
    config = make_stoppable(world, {2: "1"})
    world.run(config, minutes=5)
    world.pass_time(3)  # the fifth minute is recorded
    write_stop(config.stop_path, close=True)

    def kill() -> None:
        if len(world.journaled(config).commands) == 2:
            raise Killed

    with pytest.raises(Killed):
        world.run(config, minutes=3, on_call=kill)
    assert sides(world, config) == ["buy"]

    world.run(config, minutes=1)

    assert sides(world, config) == ["buy", "sell"]
    assert world.journaled(config).session.state["positions"] == {"BTC/USDT": "0"}


def test_a_stop_can_become_a_close(world: World) -> None:
    config = make_stoppable(world, {2: "1"})
    world.events = [
        (at(5.5), lambda: write_stop(config.stop_path, close=False)),
        (at(7.5), lambda: write_stop(config.stop_path, close=True)),
        (at(7.7), lambda: write_stop(config.stop_path, close=False)),  # withdraws nothing
    ]

    world.run(config, minutes=10)

    assert commands(world, config) == [(5, STOP), (8, CLOSE)]
    assert sides(world, config) == ["buy", "sell"]


def test_a_close_that_becomes_a_stop_by_hand_closes_nothing(world: World) -> None:
    config = make_stoppable(world, {2: "1"})
    world.events = [
        (at(5.5), lambda: write_stop(config.stop_path, close=True)),
        (at(5.8), lambda: config.stop_path.write_text("")),
    ]

    world.run(config, minutes=10)

    assert commands(world, config) == [(5, STOP)]


def test_a_stop_file_that_cannot_be_read_stops(world: World) -> None:
    config = make_stoppable(world, {2: "1", 6: "1"})
    world.events = [(at(4.5), config.stop_path.mkdir)]

    world.run(config, minutes=10)

    assert sides(world, config) == ["buy"]
    assert commands(world, config) == [(4, STOP)]


def test_a_stop_is_executed_wherever_the_host_is_killed(world: World) -> None:
    config = make_stoppable(world, {2: "1", 8: "1"}, limits={3: "1@1000"})
    world.events = [(at(5.5), lambda: write_stop(config.stop_path, close=True))]

    kill_at = 1
    while world.now_ms < at(12):
        try:
            world.run(config, minutes=12, kill_at=kill_at)
        except Killed:
            kill_at += 1

    assert kill_at > 20
    assert [command for _, command in commands(world, config)] == [STOP, CLOSE]
    assert sides(world, config) == ["buy", "sell"]
    state = world.journaled(config).session.state
    assert (state["working"], state["positions"]) == (0, {"BTC/USDT": "0"})


def test_the_minute_of_a_crash_opens_nothing_once_it_is_stopped(world: World) -> None:
    config = make_stoppable(world, {2: "1", 5: "1", 8: "1"})
    world.run(config, minutes=5)
    # as when it is killed between the minute and its events, of which there were none
    shell(world.db_path, "UPDATE sessions SET done_ms = done_ms - 60000")
    write_stop(config.stop_path, close=False)

    world.run(config, minutes=5)

    assert commands(world, config) == [(5, STOP)]
    assert barred(world, config) == [None] * 3 + ["stopped"] * 6
    denied = [json.loads(body)["rule"] for body in bodies(world.journaled(config), "denial")]
    assert denied == ["stopped"] * 2
    assert sides(world, config) == ["buy"]


# What the command prints


def test_the_line_of_a_stop_has_cancelled_orders_and_positions(world: World) -> None:
    # given a long position, and a limit to buy and a stop loss below the market
    config = make_stoppable(world, {2: "0.5"}, limits={3: "0.1@1000"}, stops={4: "-0.5@1000"})
    world.events = [(at(7.5), lambda: write_stop(config.stop_path, close=False))]

    # when
    world.run(config, minutes=9)

    # then
    state = world.journaled(config).session.state
    assert stop_line("live", SessionReply("done", state)) == (
        "live: stopped: 2 working orders cancelled, among them 1 stop: the position has no stop "
        "now; holds 0.5 BTC long; `doit stop live --close` closes it; the process goes on, Ctrl-C "
        "ends it"
    )
    no_session = SessionReply("no session", state)
    assert stop_line("live", no_session) == (
        "live: no session runs, 0.5 BTC long is held: the next `doit paper:live` uses the minutes "
        "before it, and opens nothing until `doit start live`; `doit stop live --close` closes it"
    )
    closing = closing_text(ONE_MINUTE, at(8.5))
    assert stop_line("live", no_session, closing=closing) == (
        "live: no session runs, 0.5 BTC long is held: the next `doit paper:live` uses the minutes "
        "before it, closes any position at its first close, and opens nothing until `doit start "
        "live`"
    )
    waiting = SessionReply("no session", {**state, "positions": {}, "working": 1})
    assert stop_line("live", waiting) == (
        "live: no session runs, no position is held: the next `doit paper:live` uses the minutes "
        "before it with 1 working order, and opens nothing until `doit start live`"
    )
    assert stop_line("live", SessionReply("done", state), closing=closing) == (
        "live: stopped: 2 working orders cancelled, among them 1 stop: the position has no stop "
        f"now; 0.5 BTC is sold at the close of this minute, {iso(at(9))}"
    )

    assert left_line("live", state) == (
        "live: still holds 0.5 BTC long: the next `doit paper:live` continues with it; to close "
        "it, run `doit stop live --close` first"
    )
    assert " with 1 working order:" in left_line("live", {**state, "working": 1})

    # and when it is stopped once more
    again = read_reply(world.db_path, "test_v1", action="stop", after=1)

    # then no order is cancelled for a second time
    assert again is not None
    seen = iso(world.journaled(config).commands[0].at_ms // 1000 * 1000)
    assert stop_line("live", again) == (
        f"live: was stopped at {seen} already: holds 0.5 BTC long; `doit stop live --close` closes "
        "it; the process goes on, Ctrl-C ends it"
    )
    assert stop_line("live", again, closing=closing) == (
        f"live: was stopped at {seen} already: 0.5 BTC is sold at the close of this minute, "
        f"{iso(at(9))}"
    )
    assert read_reply(world.db_path, "test_v1", action="stop", close=True) is None

    # and when
    write_stop(config.stop_path, close=True)
    world.run(config, minutes=2)

    # then
    state = world.journaled(config).session.state
    assert (state["commands"], state["cancelled"], positions_text(state)) == (2, 0, "")
    reply = read_reply(world.db_path, "test_v1", action="stop", close=True)
    assert reply is not None
    (fill,) = reply.fills
    assert left_line("live", state) == ""
    assert closed_line("live", reply) == (
        f"live: closed at {iso(at(9))}: sold 0.5 BTC/USDT at {fill['price']}, holds no position; "
        "the process goes on, Ctrl-C ends it"
    )
    assert "not closed yet" in closed_line("live", SessionReply("no reply"))
    by_itself = replace(reply, fills=[])
    assert closed_line("live", by_itself).startswith("live: no position is left to close; ")


def test_a_start_before_the_first_command_is_confirmed(world: World) -> None:
    config = make_stoppable(world, {})
    world.run(config, minutes=2)

    reply = read_reply(world.db_path, "test_v1", action="start")

    assert reply is not None
    assert start_line("live", reply) == ("live: may open positions again, confirmed by the session")


def test_a_long_bar_is_named() -> None:
    closing = closing_text(parse_timeframe("1h"), START_MS + 1)
    assert closing == f"at the close of this 1h bar, {iso(START_MS + 60 * MINUTE_MS)}"


def test_a_stop_file_that_closes_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "paper" / "a.stop"
    for close, text in ((False, "\n"), (True, "close\n"), (False, "close\n")):
        write_stop(path, close=close)
        assert path.read_text() == text


def test_ctrl_c_ends_only_the_wait_for_a_close(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_stoppable(world, {2: "1"})
    world.events = [(at(5.5), lambda: write_stop(config.stop_path, close=True))]
    world.run(config, minutes=6)  # not closed yet
    interrupt = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))

    with session_lock(world.db_path, "test_v1"):
        interrupt.start()
        code = await_close(world.db_path, "test_v1")

    assert code == 130
    assert capsys.readouterr().out == (
        "test_v1: the session goes on closing; `doit status` shows it\n"
    )
    assert config.stop_path.read_text() == "close\n"
