"""Paper trading as users run it: `doit paper`, `stop`, `start`, `status`, `replay`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.freshness.result import session_inputs
from tbv8.live.results import write_results
from tbv8.live.session_config import on_venue
from tbv8.store.locks import session_lock
from tests.backtest.builders import read_rows
from tests.builders import is_alive
from tests.e2e.conftest import Project
from tests.e2e.test_record import point_to
from tests.lines import Line
from tests.live.rig import World, ema, make_session_config
from tests.recorder.rig import wait_until
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server

STRATEGY = """\
strategy_id: live
symbol: BTC/USDT
timeframe: 1m
params: {fast: 2, slow: 3}
routing: {primary: hyperliquid}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10, max_leverage: 2}
"""


def session(project: Project) -> dict[str, Any]:
    status = json.loads(project.doit("status", "--json").stdout)
    (found,) = status["sessions"]
    assert isinstance(found, dict)
    return found


def recorder_of(project: Project) -> str:
    """Return the process id of the recorder, "" where there was none."""
    lock = project.db_path.with_name("tbv8.sqlite.recorder.lock")
    return lock.read_text() if lock.exists() else ""


def test_a_session_from_its_start_to_its_replay(
    project: Project, children: Callable[[Popen[str]], Popen[str]]
) -> None:
    project.write("config/strategies/live.yaml", STRATEGY)
    with hyperliquid_server([hyperliquid_market("BTC", rate=5, quote_rate=5)]) as server:
        point_to(project, server)
        project.doit("migrate")

        # when
        child = children(project.start("paper:live"))
        wait_until(lambda: project.sql("SELECT 1 FROM sessions"))
        wait_until(lambda: recorder_of(project))
        recorder = recorder_of(project)

        # then
        refused = project.doit("paper:live", code=1)
        assert "ERROR: paper:live: its session is already running (process" in refused.stderr
        assert session(project)["state"] == "running"

        # and when
        confirmed = (  # the first line may be "not confirmed yet"
            r"live: (stopped: no order to cancel; |was stopped at \S+ already: )holds no position"
            r"; the process goes on, Ctrl-C ends it\n"
        )
        wait_until(lambda: re.fullmatch(confirmed, project.doit("stop", "live", "--close").stdout))

        # then
        assert session(project)["state"] == "stopped"
        assert (
            "live: may open positions again, confirmed by the session\n"
            in project.doit("start", "live").stdout
        )
        assert project.doit("start", "live").stdout == "live: is not stopped\n"

        # and when
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)

        # then
        assert (child.returncode, err) == (0, ""), out
        assert "live: results are written to data/paper/live: first at 20" in out
        assert "; `doit paper:live` continues the session" in out
        assert "a recorder was started, for every enabled venue (hyperliquid)" in out
        assert not is_alive(recorder)
        commands = project.sql("SELECT body FROM session_events WHERE kind = 'command'")
        assert [json.loads(str(body))["do"] for (body,) in commands] == ["stop", "start"]
        assert session(project)["state"] == "not running"
        assert json.loads(project.doit("status", "--json").stdout)["tick_rows"]["trades"] > 0
        assert "rows in total" not in project.doit("status", "--venue", "hyperliquid").stdout
        replayed = project.doit("replay:live").stdout
        assert (
            "live: nothing to replay: no minute was used yet, the first one closes at" in replayed
        )
        assert "; no session runs, `doit paper:live` continues it" in replayed

        # and when
        project.edit("config/strategies/live.yaml", "slow: 3", "slow: 4")
        refused = project.doit("paper:live", "--for", "20s", code=1)

        # then
        assert "cannot continue: its config (params.slow: was 3, now 4) changed" in refused.stderr
        project.edit("config/venues/hyperliquid.yaml", ", funding]", "]")
        end = project.doit("paper:live", "--new", "--for", "3s")
        assert end.stderr == ""
        assert "live: the session at hyperliquid is charged its funding_rate_8h" in end.stdout
        assert len(project.sql("SELECT 1 FROM sessions")) == 2


def test_two_sessions_at_once_have_a_process_each_and_one_recorder(
    project: Project, children: Callable[[Popen[str]], Popen[str]]
) -> None:
    for name in ("one", "two"):
        project.write(f"config/strategies/{name}.yaml", STRATEGY.replace("live", name))
    with hyperliquid_server([hyperliquid_market("BTC", rate=5, quote_rate=5)]) as server:
        point_to(project, server)
        project.doit("migrate")

        child = children(project.start("-n", "2", "paper:one", "paper:two"))
        wait_until(lambda: len(project.sql("SELECT 1 FROM sessions")) == 2)
        wait_until(lambda: recorder_of(project))
        recorder = recorder_of(project)
        locks = [
            project.db_path.with_name(f"tbv8.sqlite.paper.{name}.primary.lock").read_text()
            for name in ("one", "two")
        ]
        assert is_alive(recorder)
        assert all(map(is_alive, locks))
        assert len(set(locks)) == 2
        time.sleep(0.5)  # in which it is said
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)

    assert (child.returncode, err.count("\n")) == (130, 1), (
        out,
        err,
    )  # doit was interrupted itself
    assert out.count("no results: no minute was used yet") == 2  # the results as of the end
    assert out.count("a recorder was started") == 1
    assert not any(map(is_alive, [recorder, *locks]))


def test_a_recorder_ends_with_a_session_that_is_killed(
    project: Project, children: Callable[[Popen[str]], Popen[str]]
) -> None:
    project.write("config/strategies/live.yaml", STRATEGY)
    with hyperliquid_server([hyperliquid_market("BTC", rate=5, quote_rate=5)]) as server:
        point_to(project, server)
        project.doit("migrate")
        child = children(project.start("paper:live"))
        wait_until(lambda: recorder_of(project))
        recorder = recorder_of(project)

        child.kill()

        wait_until(lambda: not is_alive(recorder), seconds=20)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param(
            "config/venues/hyperliquid.yaml",
            ("enabled: true", "enabled: false"),
            "config/venues/hyperliquid.yaml:4: a paper session of live needs its trades recorded: "
            "write `enabled: true`, and `trades` among its channels",
            id="a venue that is not recorded",
        ),
        pytest.param(
            "config/venues/sample.yaml",
            ("enabled: false", "enabled: true"),
            "config/venues/sample.yaml: enabled: tbv8 cannot record this venue, only backfill it: "
            "set `enabled: false`",
            id="another venue that cannot be recorded",
        ),
        pytest.param(
            "config/data.yaml",
            ("db_path:", "notify: {urls_env: TBV8_NO_SUCH_VARIABLE}\ndb_path:"),
            "config/data.yaml: notify.urls_env: ... TBV8_NO_SUCH_VARIABLE is not set: ...",
            id="no URLs",
        ),
        pytest.param(
            "config/strategies/live.yaml",
            ("fast: 2", "fast: 5"),
            "config/strategies/live.yaml:4: params: ... fast=5 and slow=3",
            id="params that the strategy refuses",
        ),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(
    project: Project, name: str, text: tuple[str, str], said: str
) -> None:
    project.write("config/strategies/live.yaml", STRATEGY)
    project.edit(name, *text)

    end = project.doit("paper:live", "--for", "5s", code=1)

    assert end.stderr == Line(f"ERROR: paper:live: {said}\n")
    assert not is_alive(recorder_of(project) or "none")


def test_a_venue_that_cannot_be_recorded_is_refused_before_what_it_lacks(project: Project) -> None:
    shipped = (project.root / "config/venues/bybit.yaml").read_text(encoding="utf-8")
    rules = shipped.partition("\ninstruments:")[2]
    project.edit("config/venues/sample.yaml", "\nenabled:", f"\ninstruments:{rules}enabled:")
    project.write("config/strategies/live.yaml", STRATEGY.replace("hyperliquid", "sample"))

    end = project.doit("paper:live", code=1)

    assert end.stderr == (
        "ERROR: paper:live: config/strategies/live.yaml:5: routing.primary: tbv8 cannot record "
        "sample, so no paper session can run there: write one of bybit, hyperliquid, mexc\n"
    )


def test_a_session_without_history_of_its_strategy_can_be_replayed(project: Project) -> None:
    project.write("config/strategies/live.yaml", f"{STRATEGY}backtest: {{warm_up: 10m}}\n")

    end = project.doit("replay:live", code=1)

    assert end.stderr.splitlines() == [
        "ERROR: replay:live: there is no session: run `doit paper:live`",
    ]


def test_trades_of_a_session_are_those_of_its_results(project: Project) -> None:
    world = World(project.db_path)
    inputs = session_inputs(on_venue(ema(), "hyperliquid", is_funding_recorded=True), {})
    config = make_session_config(world, folder=project.root / "data/paper/test_v1", inputs=inputs)
    world.run(config, minutes=60)
    write_results({"primary": config})
    rows = read_rows(config.folder / "positions.csv")

    said = project.doit("trades", "test_v1", "--paper", "--json").stdout
    head = project.doit("trades", "test_v1", "--paper").stdout.splitlines()[0]

    trades = json.loads(said)["trades"]
    assert len(trades) == len(rows) > 3
    assert [trade["pnl"] for trade in trades] == [float(row["pnl"]) for row in rows]
    assert all(trade["mae"] >= 0 and trade["mfe"] >= 0 for trade in trades)
    assert max(trade["mae"] for trade in trades) > 0
    assert f": {len(rows)} round trips in the paper session, as of 20" in head
    assert "there is no result yet: run `doit paper:btc_usdt_perp_v1`\n" in (
        project.doit("trades", "btc_usdt_perp_v1", "--paper", code=3).stderr
    )

    # and when the session goes on
    world.run(config, minutes=60)
    fills = len(world.journaled(config).outputs["fill"])
    count = fills - len(read_rows(config.folder / "fills.csv"))
    later = project.doit("trades", "test_v1", "--paper").stdout.splitlines()
    shutil.rmtree(config.folder)
    project.write("config/strategies/test_v1.yaml", STRATEGY.replace("live", "test_v1"))
    no_result = project.doit("trades", "test_v1", "--paper", code=3).stderr

    # then
    assert count > 1
    assert later[0] == head
    assert re.match(rf"{count} fills since then: in the next result, written about", later[1])
    assert f"has {fills} fills so far; results are written about every five minutes" in no_result


def test_a_session_is_pruned_with_its_shadow_unless_it_runs(project: Project) -> None:
    project.write("config/strategies/test_v1.yaml", STRATEGY.replace("live", "test_v1"))
    world = World(project.db_path)
    config = make_session_config(world, folder=project.root / "data/paper/test_v1")
    shadow = replace(config, role="shadow")
    other = replace(config, strategy=replace(config.strategy, strategy_id="other"))
    for one in (config, shadow, other):
        world.run(one, minutes=40)
    write_results({"primary": config})

    unasked = project.doit("prune", "--session", "test_v1", code=3).stderr
    unknown = project.doit("prune", "--session", "9", "--yes", code=3).stderr
    with session_lock(project.db_path, "test_v1"):
        running = project.doit("prune", "--session", "1", "--yes", code=3).stderr
    before = json.loads(project.doit("status", "--json").stdout)["sessions"]
    end = project.doit("prune", "--session", "test_v1", "--yes").stdout

    assert "there is no terminal: add --yes" in unasked
    assert "--session: unknown session '9'; known: other, test_v1\n" in unknown
    assert "test_v1: its session is already running (process " in running
    assert [one["role"] for one in before] == ["primary", "shadow"]
    assert re.search(r"session 1 of test_v1 at hyperliquid \(primary\): \d\d\d? rows, 2026-", end)
    assert "dropped 2 sessions\n   data/paper/test_v1: its result files stay" in end
    assert json.loads(project.doit("status", "--json").stdout)["sessions"] == []
    for table in ("sessions", "session_bars", "session_events"):
        assert project.sql(f"SELECT DISTINCT session_id FROM {table}") == [(3,)]
    assert "dropped 1 session\n" in project.doit("prune", "--session", "3", "-y").stdout


def test_the_switch_wants_a_strategy_that_there_is(project: Project) -> None:
    assert "name one strategy: `doit stop <strategy_id>`" in project.doit("stop", code=3).stderr
    wrong = project.doit("start", "btc_usdt_perp_v2", code=3).stderr
    assert "did you mean 'btc_usdt_perp_v1'" in wrong
    said = project.doit("stop", "btc_usdt_perp_v1").stdout
    assert said == (
        "btc_usdt_perp_v1: no session runs: the next `doit paper:btc_usdt_perp_v1` opens nothing "
        "until `doit start btc_usdt_perp_v1`\n"
    )


def test_the_cure_of_a_missing_warm_up_cures_as_it_stands(project: Project) -> None:
    project.write("config/strategies/live.yaml", f"{STRATEGY}backtest: {{warm_up: 90m}}\n")
    with hyperliquid_server([hyperliquid_market("BTC", rate=5, quote_rate=5)]) as server:
        point_to(project, server)
        refused = project.doit("paper:live", "--for", "20s", code=1)
        command = re.search(r"missing: fetch them by `doit ([^`]+)`", refused.stderr)
        assert command

        project.doit(*command[1].split())
        end = project.doit("paper:live", "--for", "1s")

    address = server.ws_url.removesuffix("/ws")
    assert f"began: paper session 1 at hyperliquid, bars from {address} and " in end.stdout
