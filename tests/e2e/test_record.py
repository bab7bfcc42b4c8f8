"""The recorder as users run it: `doit record`, then bars and a backtest from what it wrote."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

import pytest

from tbv8.market import iso
from tests.e2e.conftest import Project
from tests.lines import Line
from tests.recorder.rig import recording, venue, wait_until
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_market import VenueClock
from tests.servers.live_process import running_process
from tests.servers.live_server import LiveServer

STRATEGY = """\
strategy_id: live
symbol: BTC/USDT
timeframe: 1m
params: {fast: 2, slow: 3}
routing: {primary: hyperliquid}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10, max_leverage: 2}
backtest: {market_data_venue: hyperliquid}
"""


def point_to(project: Project, server: Any) -> None:
    """Let `hyperliquid` be a local server, and the only venue that is recorded."""
    project.edit("config/venues/hyperliquid.yaml", "wss://api.hyperliquid.xyz/ws", server.ws_url)
    project.edit("config/venues/hyperliquid.yaml", "https://api.hyperliquid.xyz", server.rest_url)
    project.edit("config/venues/mexc.yaml", "enabled: true", "enabled: false")


def count(project: Project, table: str) -> int:
    ((found,),) = project.sql(f"SELECT count(*) FROM {table}")
    assert isinstance(found, int)
    return found


def record_minutes(project: Project, server: LiveServer, minutes: int) -> None:
    """Record so many more bars, on the server's clock, while doit looks on."""
    clock = server.clock
    venues = [venue("hyperliquid", server, {"BTC/USDT": "BTC"})]
    wanted = count(project, "bars_1m") + minutes
    with recording(project.db_path, venues, local_ms=lambda: int(clock.true_ms())):
        wait_until(lambda: count(project, "bars_1m") >= wanted)


def check_fives(project: Project, server: LiveServer) -> None:
    """Compare the 5m bars with the trades that the venue made."""
    built = project.sql("SELECT ts_ms, open, high, low, close, volume FROM bars_5m ORDER BY ts_ms")
    minutes = server.truth("BTC").bars
    assert built
    for ts_ms, *values in built:
        within = [bar for bar in minutes if 0 <= bar.ts_ms - int(str(ts_ms)) < 300_000]
        high, low = max(bar.high for bar in within), min(bar.low for bar in within)
        assert values[:4] == [within[0].open, high, low, within[-1].close]
        assert values[4] == pytest.approx(sum(bar.volume for bar in within), abs=1e-8)


FIVE = ("--venue", "hyperliquid", "--symbol", "BTC/USDT", "--timeframes", "5m")


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_bars_and_a_backtest_follow_what_is_recorded(project: Project) -> None:
    # given: a venue an hour ago, so that what is recorded of it lies before now
    clock = VenueClock(start_ms=int(time.time() - 3600) // 300 * 300_000, speed=25.0)
    market = hyperliquid_market("BTC", rate=2, quote_rate=1)
    with hyperliquid_server([market], clock=clock) as server:
        server.control(options={"limits": False})
        point_to(project, server)
        project.doit("migrate")
        record_minutes(project, server, 11)

        # when
        project.doit("aggregate", *FIVE)

        # then
        check_fives(project, server)
        built = count(project, "bars_5m")
        assert ".  aggregate" not in project.doit("aggregate", *FIVE).stdout

        # and when
        record_minutes(project, server, 6)

        # then
        assert (
            "aggregate:hyperliquid:BTC/USDT:5m" in project.doit("plan", "aggregate", *FIVE).stdout
        )
        project.doit("aggregate", *FIVE)
        check_fives(project, server)
        assert count(project, "bars_5m") > built

        # and when
        ((start_ms, end_ms),) = project.sql("SELECT min(ts_ms), max(ts_ms) + 300000 FROM bars_5m")
        dates = f"start_date: '{iso(int(str(start_ms)))}', end_date: '{iso(int(str(end_ms)))}'"
        venue_only = "market_data_venue: hyperliquid"
        strategy = STRATEGY.replace("1m", "5m").replace(venue_only, f"{venue_only}, {dates}")
        project.write("config/strategies/live.yaml", strategy)
        project.doit("backtest:live")

        # then
        folder = project.results / "live"
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["bars"] == count(project, "bars_5m")
        assert "-- backtest:live" in project.doit("backtest:live").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_doit_record_with_everything_written(
    project: Project, children: Callable[[Popen[str]], Popen[str]], number: signal.Signals
) -> None:
    with hyperliquid_server([hyperliquid_market("BTC", rate=20, quote_rate=20)]) as server:
        point_to(project, server)
        project.doit("migrate")

        child = children(project.start("record"))
        wait_until(lambda: count(project, "trades") > 20 and count(project, "bbo") > 20)
        refused = project.doit("record", code=1)
        child.send_signal(number)
        said, wrong = child.communicate(timeout=60)

    assert "another recorder (process" in refused.stderr
    assert child.returncode == 0, said + wrong
    assert "Traceback" not in said + wrong
    assert f"recorded {count(project, 'trades'):,} trades" in said


def test_a_run_that_heard_nothing_fails_with_one_line(project: Project) -> None:
    class Nobody:
        ws_url, rest_url = "ws://127.0.0.1:9/ws", "http://127.0.0.1:9"

    point_to(project, Nobody)

    end = project.doit("record", "--for", "2s", code=1)

    assert end.stderr == (
        Line("ERROR: record: hyperliquid sent no data in 2 s, nothing was recorded: ...\n")
    )
    assert "hyperliquid SENT NO DATA" in end.stdout


@pytest.mark.parametrize("task", ["record", "paper:btc_usdt_perp_v1"])
def test_a_duration_without_unit_is_refused_before_anything_runs(bare: Project, task: str) -> None:
    end = bare.doit(task, "--for", "20", code=3)

    assert end.stdout == ""
    assert end.stderr == Line("ERROR: --for: '20' is not a duration: ...\n")
    assert not bare.db_path.exists()


def test_a_reader_that_has_gone_ends_it_silently(
    project: Project, children: Callable[[Popen[str]], Popen[str]]
) -> None:
    with hyperliquid_server([hyperliquid_market("BTC", rate=20, quote_rate=20)]) as server:
        point_to(project, server)
        project.doit("migrate")
        child = children(project.start("record"))
        wait_until(lambda: count(project, "trades") > 20)
        assert child.stdout is not None
        child.stdout.close()
        child.stdout = None
        _, wrong = child.communicate(timeout=60)

    assert (wrong, child.returncode) == ("", 128 + signal.SIGPIPE)
    lines = project.doit("verify").stdout.splitlines()
    assert all(line.endswith(": no problems") for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_was_recorded_is_aggregated_and_backtested(project: Project) -> None:
    # given
    with running_process("tests.servers.hyperliquid", "--symbols", "BTC", "--rate", "20") as server:
        point_to(project, server)

        # when
        said = project.doit("record", "--for", "5m").stdout

        # then
        recorded = project.sql("SELECT count(*), count(DISTINCT trade_id) FROM trades")
        ((trades, ids),) = recorded
        ((minutes,),) = project.sql("SELECT count(*) FROM bars_1m")
        assert trades == ids
        assert isinstance(trades, int)
        assert trades > 100
        assert isinstance(minutes, int)
        assert minutes >= 3
        assert "hyperliquid" in said
        assert json.loads(project.doit("verify", "--json").stdout)["problems"] == []

        # and when
        options = ("--venue", "hyperliquid", "--symbol", "BTC/USDT", "--timeframes", "2m")
        project.doit("aggregate", *options)

        # then
        ((built,),) = project.sql("SELECT count(*) FROM bars_2m WHERE minutes = 2")
        assert isinstance(built, int)
        assert built >= 1

        # and when
        project.edit("config/history.yaml", "refresh: 1d", "refresh: 1m")  # of today, too
        project.write("config/strategies/live.yaml", STRATEGY)
        project.doit("backtest:live")

        # then
        summary = json.loads(
            (project.results / "live" / "summary.json").read_text(encoding="utf-8")
        )
        assert summary["bars"] >= minutes
