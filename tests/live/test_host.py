"""A session's host: identity with a backtest, kills, late and lost minutes, the stop file."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tbv8.backtest.feed import run_session
from tbv8.errors import ConfigError, DataError
from tbv8.live.driver import Driver
from tbv8.live.replay import replay
from tbv8.live.session_config import with_session_span
from tbv8.manifest import Input
from tbv8.market import HOUR_MS, MINUTE_MS, iso, parse_timeframe
from tbv8.store.sessions import open_journal
from tbv8.trading.loading import StrategyError
from tests.backtest.builders import rules
from tests.builders import rows, shell
from tests.live.rig import (
    START_MS,
    Killed,
    World,
    bodies,
    ema,
    make_session_config,
    scripted,
    whole,
)

LONGER: dict[str, Any] = {
    "a timeframe of minutes": {},
    "longer bars beside it": {"bars": (parse_timeframe("15m"), parse_timeframe("1h"))},
    "a warm-up": {"warm_up_ms": 2 * HOUR_MS},
    "bar by bar": {"detail": "none"},
}


@pytest.mark.parametrize("how", LONGER)
def test_a_session_is_the_backtest_of_its_bars(world: World, how: str) -> None:
    strategy = ema(**LONGER[how])
    config = make_session_config(world, strategy)
    world.pass_time(3 * 3600 + 360)  # in the middle of a longer bar

    world.run(config, minutes=40)
    world.run(config, minutes=41)

    journaled = world.journaled(config)
    session = journaled.session
    assert session.done_ms == START_MS + (186 + 80) * MINUTE_MS
    fed = with_session_span(config.strategy, session, session.done_ms)
    bars = whole(world, fed, session.first_ms, session.done_ms)
    expected = run_session(
        fed, "hyperliquid", bars, stop=False, decimals=session.decimals, with_chart_lines=True
    )
    assert repr(replay(config, journaled).run) == repr(expected)  # lines may begin with NaN
    assert len(expected.fills) > 4
    assert bodies(journaled, "fill") == [
        msgspec.json.encode(fill).decode() for fill in expected.fills
    ]
    assert bodies(journaled, "denial") == [
        msgspec.json.encode(denial).decode() for denial in expected.denials
    ]
    assert len(bodies(journaled, "order")) == len(expected.submitted)


def test_killed_anywhere_it_goes_on_as_if_nothing_had_happened(
    world: World, db_path: Path, tmp_path: Path
) -> None:
    config = make_session_config(world)
    calm = World(Path(tmp_path / "calm.sqlite"))
    calm.db_path.write_bytes(db_path.read_bytes())
    calm.run(make_session_config(calm), minutes=60)
    chance = random.Random(3)

    kills = 0
    while world.now_ms < START_MS + 60 * MINUTE_MS:
        left = (START_MS + 60 * MINUTE_MS - world.now_ms) // MINUTE_MS + 1
        try:
            world.run(config, minutes=left, kill_at=chance.randint(3, 150))
        except Killed:
            kills += 1

    expected, found = calm.journaled(make_session_config(calm)), world.journaled(config)
    assert kills > 10
    assert [m.bars for m in found.minutes[:55]] == [m.bars for m in expected.minutes[:55]]
    until_ms = found.minutes[54].close_ms
    for kind in ("order", "fill", "denial", "halt", "payment"):
        before = [e.body for e in expected.outputs[kind] if e.ts_ms <= until_ms]
        assert [e.body for e in found.outputs[kind] if e.ts_ms <= until_ms] == before
    assert len(expected.outputs["fill"]) > 2


def test_power_may_fail_at_any_moment(world: World, tmp_path: Path) -> None:
    # given copies of the files as a disk may have them: of any moment, the log torn at any byte
    config, chance, copies = make_session_config(world), random.Random(8), list[tuple[Path, int]]()

    def copy() -> None:
        wal = world.db_path.with_name(f"{world.db_path.name}-wal")
        if chance.random() > 0.03 or len(copies) == 12 or not wal.exists():
            return
        path = tmp_path / f"{len(copies)}.sqlite"
        copier.submit(shutil.copyfile, world.db_path, path).result()  # what is opened here is noted
        copier.submit(shutil.copyfile, wal, f"{path}-wal").result()
        copies.append((path, world.now_ms))

    with ThreadPoolExecutor(1) as copier:
        world.run(config, minutes=60, on_call=copy)
    expected = world.journaled(config)

    assert len(copies) == 12
    for path, now_ms in copies:
        log = path.with_name(f"{path.name}-wal")
        size = log.stat().st_size
        os.truncate(log, chance.choice([size, chance.randrange(size // 2, size)]))
        again = World(path, now_ms=now_ms)
        again.run(make_session_config(again), minutes=20)

        found = again.journaled(make_session_config(again))
        both = [[m.bars for m in journal.minutes] for journal in (found, expected)]
        assert all(one == other for one, other in zip(*both, strict=False))
        until_ms = min(found.session.done_ms, expected.session.done_ms)
        for kind in ("order", "fill"):
            one, other = (
                [e.body for e in journal.outputs[kind] if e.ts_ms <= until_ms]
                for journal in (found, expected)
            )
            assert one == other


def test_a_commit_is_on_the_disk_when_it_returns(world: World) -> None:
    with open_journal(world.db_path) as journal:
        assert journal.query("PRAGMA journal_mode") == [("wal",)]
        assert journal.query("PRAGMA synchronous") == [(2,)]  # FULL: the log is synced by each


def test_a_minute_is_written_before_it_is_used(world: World) -> None:
    config = make_session_config(world, scripted({1: "1", 2: "-1"}))
    kinds = []
    for kill_at in range(1, 200, 9):
        try:
            world.run(config, minutes=4, kill_at=kill_at)
        except Killed:
            fills = rows(world.db_path, "SELECT ts_ms FROM session_events WHERE kind = 'fill'")
            bars = rows(world.db_path, "SELECT ts_ms + 60000 FROM session_bars")
            assert set(fills) <= set(bars)
            kinds.append(len(fills))
        else:
            break
    assert len(set(kinds)) > 1


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE session_events SET body = replace(body, 'market', 'limit')"
            " WHERE kind = 'order' AND number = 1",
            "order 2 at 2026-09-21T",
        ),
        ("DELETE FROM session_events WHERE kind = 'fill' AND number = 2", "fill 3 at 2026-09-21T"),
        (
            "UPDATE session_bars SET close = close + 50, high = high + 50 WHERE ts_ms ="
            " (SELECT ts_ms - 60000 FROM session_events WHERE kind = 'fill' AND number = 2)",
            "fill 3 at 2026-09-21T",
        ),
        ("UPDATE sessions SET state = replace(state, '\"fills\":', '\"fills\":1')", "the account"),
    ],
)
def test_a_journal_that_was_changed_is_refused(world: World, statement: str, said: str) -> None:
    config = make_session_config(world)
    world.run(config, minutes=60)
    before = rows(world.db_path, "SELECT count(*) FROM session_events")
    if "number = 2" in statement:  # the key leaves no hole
        shell(world.db_path, "DELETE FROM session_events WHERE kind = 'fill' AND number > 2")
        before = [(before[0][0],)]
    shell(world.db_path, statement)
    count = rows(world.db_path, "SELECT count(*) FROM session_events")

    with pytest.raises(DataError) as e:
        world.run(config, minutes=10)

    assert "test_v1: its replay differs from its journal: " in str(e.value)
    assert said in str(e.value)
    assert "`doit paper:test_v1 --new` begins another session" in str(e.value)
    assert rows(world.db_path, "SELECT count(*) FROM session_events") == count


def test_a_start_names_the_session_that_begins_or_continues(world: World) -> None:
    config = make_session_config(world, scripted({2: "1"}))

    for minutes in (1, 4, 2):
        world.run(config, minutes=minutes)

    session = f"paper session 1 at hyperliquid, counted from {iso(START_MS)}"
    assert world.texts("began") == [f"{session} on"]
    begun, without_minutes, continued = world.texts("replayed")
    assert (begun, without_minutes) == ("", f"{session}: no minute yet")
    assert re.fullmatch(rf"{session}: 4 minutes in \d\.\d s, without a difference", continued)


@pytest.mark.parametrize(
    ("tick", "share", "warned"),
    [("1", "", 0), ("10", r"0\.\d\d% of", 2), ("100000", r"\d\d times", 0)],
)
def test_each_start_warns_of_a_coarse_tick_and_an_impossible_one_is_refused(
    world: World, tick: str, share: str, warned: int
) -> None:
    own = {"BTC/USDT": rules(tick_size=tick)}
    instruments = {"hyperliquid": own, "mexc": {"BTC/USDT": rules(tick_size="200")}}
    config = make_session_config(world, scripted({2: "1"}, instruments=instruments))

    try:
        for minutes in (3, 3):
            world.run(config, minutes=minutes)
        refused = ""
    except ConfigError as e:
        refused = str(e)

    assert bool(refused) == (tick == "100000")
    texts = world.texts("warning") or [refused]
    assert len(world.texts("warning")) == warned
    for text in texts if share else ():
        assert re.match(
            rf"config/venues/hyperliquid\.yaml:\d+: instruments\.BTC/USDT\.tick_size: {tick} is "
            rf"{share} the price of \d+: ",
            text,
        )


def test_a_session_of_other_code_is_refused_and_a_new_one_leaves_it_readable(
    world: World,
) -> None:
    keys: list[dict[str, Input]] = [
        {"config": Input("1", {"params": {"fast": 3}}), "strategy": Input("1", {})},
        {"config": Input("2", {"params": {"fast": 4}}), "strategy": Input("2", {"mine.py": "2"})},
    ]
    config, changed = (
        msgspec.structs.replace(make_session_config(world), inputs=inputs) for inputs in keys
    )
    world.run(config, minutes=30)

    with pytest.raises(DataError) as e:
        world.run(changed, minutes=30)
    world.run(msgspec.structs.replace(changed, is_new=True), minutes=30)

    assert (
        "its session cannot continue: its config (params.fast: was 3, now 4) and the strategy's "
        "code (mine.py) changed since it began at 2026-09-21T"
    ) in str(e.value)
    assert "restore that, or begin another session with `doit paper:" in str(e.value)
    found = rows(world.db_path, "SELECT session_id, ended_ms IS NULL FROM sessions ORDER BY 1")
    assert found == [(1, 0), (2, 1)]
    kept = rows(world.db_path, "SELECT DISTINCT session_id FROM session_bars")
    assert kept == [(1,), (2,)]


# What is too late


def test_minutes_that_come_late_open_nothing(world: World) -> None:
    config = make_session_config(
        world, scripted({3: "1", 10: "1", 30: "1"}), stale_ms=3 * MINUTE_MS
    )
    hold_ms = START_MS + 25 * MINUTE_MS
    world.events = [
        (START_MS + 5 * MINUTE_MS, lambda: setattr(world, "holds_until_ms", hold_ms)),
    ]

    world.run(config, minutes=40)

    journaled = world.journaled(config)
    barred = [m.ts_ms for m in journaled.minutes if m.barred]
    late = (f"stale_bar age_s={(hold_ms - ms) / 1000 - 60:g} limit_s=180" for ms in barred)
    assert [m.barred for m in journaled.minutes if m.barred] == list(late)
    assert barred == [START_MS + n * MINUTE_MS for n in range(4, 21)]
    denied = [json.loads(body) for body in bodies(journaled, "denial")]
    assert [(d["rule"], d["ts_ms"]) for d in denied] == [("stale_bar", START_MS + 10 * MINUTE_MS)]
    assert len(bodies(journaled, "fill")) == 2
    assert [m.ts_ms for m in journaled.minutes] == [
        START_MS + n * MINUTE_MS for n in range(len(journaled.minutes))
    ]
    since = iso(START_MS + 4 * MINUTE_MS)
    gaps = "`doit status` shows the recorder's gaps"
    assert world.texts("stale") == [f"no closed minute since {since}: {gaps}"]
    assert world.texts("fresh") == ["closed minutes arrive again"]
    replay(config, journaled)


@pytest.mark.parametrize("error_ms", [-60_000, 60_000])
def test_a_clock_that_is_wrong_opens_nothing(world: World, error_ms: int) -> None:
    config = make_session_config(world, scripted({3: "1", 12: "1"}))
    world.events = [(START_MS + n * MINUTE_MS - 20_000, world.trade) for n in range(1, 20)]
    world.events.append(
        (START_MS + 8 * MINUTE_MS, lambda: setattr(world, "clock_error_ms", error_ms))
    )
    world.events.sort(key=lambda event: event[0])

    world.run(config, minutes=18)

    journaled = world.journaled(config)
    denied = [json.loads(body)["rule"] for body in bodies(journaled, "denial")]
    assert denied == ["clock"]
    assert len(bodies(journaled, "fill")) == 1


def test_minutes_missing_in_all_sources_are_skipped_and_listed(world: World) -> None:
    config = make_session_config(world)
    world.run(config, minutes=20)
    gone_ms = world.now_ms // MINUTE_MS * MINUTE_MS
    world.now_ms += 26 * HOUR_MS  # the ledger has one span a day
    back_ms = world.now_ms // HOUR_MS * HOUR_MS
    world.forget(back_ms)

    world.run(config, minutes=30)

    journaled = world.journaled(config)
    (note,) = rows(world.db_path, "SELECT body FROM session_events WHERE kind = 'gap'")
    gap = json.loads(note[0])
    assert gap["to_ms"] == back_ms
    missing = [m.ts_ms for m in journaled.minutes if m.bars["BTC/USDT"] is None]
    assert missing == list(range(gap["from_ms"], back_ms, MINUTE_MS))
    assert abs(gap["from_ms"] - gone_ms) <= 2 * MINUTE_MS
    (text,) = [report.text for report in world.reports if report.kind == "gap"]
    assert text == (
        f"BTC/USDT: the minutes that closed at {iso(gap['from_ms'] + MINUTE_MS)} to "
        f"{iso(back_ms)} were not recorded: they are skipped"
    )
    assert journaled.minutes[-1].bars["BTC/USDT"] is not None
    (skipped,) = [report for report in world.reports if report.done_ms == back_ms]
    assert skipped.lag_ms is None  # nothing was read


def test_a_bar_that_the_recorder_corrects_changes_nothing_and_is_listed(world: World) -> None:
    config = make_session_config(world)
    world.run(config, minutes=30)
    shell(world.db_path, f"UPDATE bars_1m SET volume = 77 WHERE ts_ms = {START_MS + 600_000}")

    world.run(config, minutes=10)
    world.run(config, minutes=10)

    (note,) = rows(world.db_path, "SELECT body FROM session_events WHERE kind = 'corrected'")
    value = json.loads(note[0])
    used = world.bars()[10]
    assert value["used"]["volume"] == used.volume
    assert value["now"] == msgspec.to_builtins(used) | {"volume": 77.0}
    replay(config, world.journaled(config))


# The warm-up


def test_a_warm_up_without_bars_is_refused_with_the_missing_span(world: World) -> None:
    config = make_session_config(
        world, ema(warm_up_ms=5 * HOUR_MS), history_ms=START_MS - 3 * HOUR_MS
    )
    world.pass_time(2 * 3600)

    with pytest.raises(DataError) as e:
        world.run(config, minutes=10)

    first, held = iso(START_MS - 3 * HOUR_MS), iso(START_MS)
    assert str(e.value) == (
        f"hyperliquid:BTC/USDT: the warm-up needs 1m bars from {first} on, and those of {first} .. "
        f"{held} are missing: fetch them by `doit venue=hyperliquid start={first[:10]} "
        f"end={held} backfill:hyperliquid:BTC/USDT`, record that long, or shorten backtest.warm_up"
    )
    assert rows(world.db_path, "SELECT count(*) FROM sessions") == [(0,)]


def test_a_warm_up_longer_than_the_history_is_not_to_be_fetched(world: World) -> None:
    config = make_session_config(world, ema(warm_up_ms=HOUR_MS), history_ms=START_MS)

    with pytest.raises(DataError, match="are missing: record that long, or shorten backtest"):
        world.run(config, minutes=10)


def test_a_warm_up_waits_for_the_minutes_that_the_recorder_still_fetches(world: World) -> None:
    config = make_session_config(world, ema(warm_up_ms=HOUR_MS))
    world.pass_time(2 * 3600)
    world.holds_until_ms = world.now_ms + 40 * MINUTE_MS
    world.now_ms += 30 * MINUTE_MS

    world.run(config, minutes=60)

    journaled = world.journaled(config)
    assert "for the recorder to fetch the last minutes" in world.texts("waiting")
    assert all(m.bars["BTC/USDT"] is not None for m in journaled.minutes)


def test_the_last_minutes_of_a_warm_up_are_reported_as_not_counted(world: World) -> None:
    config = make_session_config(world, ema(warm_up_ms=HOUR_MS))
    world.pass_time(2 * 3600)
    world.holds_until_ms = world.now_ms + 150_000
    world.now_ms += 120_000

    world.run(config, minutes=10)

    counted_ms = world.journaled(config).session.counted_ms
    minutes = [report for report in world.reports if report.kind == "minute"]
    is_counted = {report.done_ms: report.state["is_counting"] for report in minutes}
    assert is_counted == {ms: ms >= counted_ms for ms in is_counted if ms is not None}
    assert set(is_counted.values()) == {True, False}
    assert {r.state["equity"] for r in minutes if not r.state["is_counting"]} == {"10000"}
    ends = [
        (r.done_ms, json.loads(body))
        for r in minutes
        for kind, body in r.events
        if kind == "counting"
    ]
    ((done_ms, end),) = ends
    assert (done_ms, end["ts_ms"]) == (counted_ms, counted_ms)
    assert set(end["positions"]) == {"BTC/USDT"}


# What goes wrong around it


def test_a_locked_database_is_waited_for(world: World) -> None:
    config = make_session_config(world)
    world.run(config, minutes=20)
    other = sqlite3.connect(world.db_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    held = World.record
    world.events = [(world.now_ms + 30_000, lambda: other.execute("ROLLBACK"))]
    world.holds_until_ms = world.now_ms + 31_000
    world.now_ms += 1
    fresh = START_MS + 20 * MINUTE_MS
    assert held
    shell_free = world.journaled(config).session.done_ms

    world.run(config, minutes=20)

    other.close()
    assert world.journaled(config).session.done_ms >= max(fresh, shell_free)


def test_a_strategy_that_raises_ends_it_the_same_way_each_time(world: World) -> None:
    config = make_session_config(world, scripted({3: "no number"}))

    said = []
    for _ in range(2):
        with pytest.raises(StrategyError) as e:
            world.run(config, minutes=10)
        said.append(str(e.value))

    assert said[0] == said[1]
    assert "on_bar" in said[0]
    assert len(rows(world.db_path, "SELECT * FROM session_bars")) == 3


def test_the_driver_gives_the_account_as_text(world: World) -> None:
    config = make_session_config(world, scripted({1: "1"}))
    world.run(config, minutes=5)
    journaled = world.journaled(config)

    with Driver(config.strategy, journaled.session) as driver:
        for _ in driver.replay(journaled.minutes, journaled.commands, journaled.rates):
            pass
        state = driver.state()

    assert state == journaled.session.state
    assert state["positions"] == {"BTC/USDT": "1"}
    assert (state["orders"], state["fills"], state["barred"]) == (1, 1, None)
