"""The graph as users meet it: what runs, what does not, and what is said about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import SHIPPED
from tests.e2e.conftest import ONE_WEEK, Project, copy_project

BACKTEST = "backtest:btc_usdt_perp_v1"
SECOND = """\
strategy_id: eth_fast
symbol: ETH/USDT
timeframe: 15m
params: {fast: 5, slow: 12}
routing: {primary: sample_perp, mode: PRIMARY_ONLY}
risk: {max_position_eth: 0.2, max_daily_loss_usd: 50, max_leverage: 2}
"""
SECOND_VENUE = """\
venue: sample_perp
symbols: [ETH/USDT]
instruments:
  ETH/USDT: {tick_size: "0.01", lot_size: "0.001", maker_fee: "0.0002", taker_fee: "0.0005"}
"""


def add_second_strategy(project: Project) -> None:
    project.write("config/strategies/eth_fast.yaml", SECOND)
    project.write("config/venues/sample_perp.yaml", SECOND_VENUE)


def planned(project: Project, *words: str) -> dict[str, dict[str, list[str]]]:
    tasks = json.loads(project.doit("plan", "--json", *words).stdout)["tasks"]
    return {task["task"]: task for task in tasks}


def test_a_backtest_builds_what_it_needs_and_nothing_else(project: Project) -> None:
    ran = project.doit(*ONE_WEEK, BACKTEST)

    assert "BTC/USDT 5m, 2,016 bars of sample, simulated, " in ran.stdout
    held = project.sql("SELECT DISTINCT symbol, dataset FROM history_coverage ORDER BY 1, 2")
    assert [dataset for symbol, dataset in held if symbol == "BTC/USDT"] == [
        "bars_5m",
        "funding",
        "ohlcv_1m",
    ]
    assert len(held) == 3
    assert sorted(path.name for path in project.results.iterdir()) == ["btc_usdt_perp_v1"]


def test_a_second_run_does_nothing(done: Project) -> None:
    before = done.state()

    again = done.doit(*ONE_WEEK, "aggregate", "backtest")

    assert ".  " not in again.stdout
    assert done.state() == before
    assert planned(done, *ONE_WEEK) == {}


def test_list_names_every_task_with_a_line(project: Project) -> None:
    lines = dict(line.split(None, 1) for line in project.doit("list").stdout.splitlines())

    assert {
        "migrate",
        "backfill",
        "backfill:sample:BTC/USDT",
        "backfill:sample:ETH/USDT",
        "aggregate",
        "aggregate:5m",
        "aggregate:sample:BTC/USDT:5m",
        "aggregate:sample:ETH/USDT:4h",
        "backtest",
        BACKTEST,
    } <= lines.keys()
    assert all(len(text) > 10 for text in lines.values())
    assert "simulated" in lines[BACKTEST]


def test_plan_tells_the_order_and_carries_reasons_down(bare: Project) -> None:
    tasks = planned(bare, *ONE_WEEK, BACKTEST)

    assert list(tasks) == [
        "migrate",
        "backfill:sample:BTC/USDT",
        "funding:sample:BTC/USDT",
        "aggregate:sample:BTC/USDT:5m",
        BACKTEST,
    ]
    assert tasks["backfill:sample:BTC/USDT"]["after"] == ["migrate"]
    assert tasks["aggregate:sample:BTC/USDT:5m"]["after"] == ["backfill:sample:BTC/USDT"]
    assert sorted(tasks[BACKTEST]["after"]) == [
        "aggregate:sample:BTC/USDT:5m",
        "backfill:sample:BTC/USDT",
        "funding:sample:BTC/USDT",
    ]


def test_a_backtest_waits_for_every_symbol_and_timeframe_that_it_reads(project: Project) -> None:
    add_second_strategy(project)
    project.edit("config/venues/sample_perp.yaml", "[ETH/USDT]", "[ETH/USDT, BTC/USDT]")
    project.edit(
        "config/venues/sample_perp.yaml",
        "  ETH/USDT: {",
        '  BTC/USDT: {tick_size: "1", lot_size: "0.001", maker_fee: "0", taker_fee: "0"}\n'
        "  ETH/USDT: {",
    )
    name = "config/strategies/eth_fast.yaml"
    project.edit(name, "symbol: ETH/USDT", "symbols: [ETH/USDT, BTC/USDT]\nbars: [1d]")
    project.edit(name, "params: {fast: 5, slow: 12}", "strategy: pairs.Pairs")
    project.edit(name, "max_position_eth: 0.2", "max_position_eth: 0.2, max_position_btc: 0.1")

    project.edit("config/venues/sample_perp.yaml", '"0.0005"', "0.05")

    said = project.doit("plan", "--json", *ONE_WEEK, "backtest:eth_fast")

    assert said.stderr == (
        "WARNING: config/venues/sample_perp.yaml:5: instruments.ETH/USDT.taker_fee: 0.05 is 5 % of "
        "the notional: if you meant 0.05 %, write 0.0005\n"
    )
    (task,) = [t for t in json.loads(said.stdout)["tasks"] if t["task"] == "backtest:eth_fast"]
    assert sorted(task["after"]) == [
        f"{name}:sample:{symbol}{timeframe}"
        for name, symbol, timeframe in (
            ("aggregate", "BTC/USDT", ":15m"),
            ("aggregate", "BTC/USDT", ":1d"),
            ("aggregate", "ETH/USDT", ":15m"),
            ("aggregate", "ETH/USDT", ":1d"),
            ("backfill", "BTC/USDT", ""),
            ("backfill", "ETH/USDT", ""),
            ("funding", "BTC/USDT", ""),
            ("funding", "ETH/USDT", ""),
        )
    ]


@pytest.mark.parametrize("data", ["there", "absent"])
def test_looking_writes_nothing(bare: Project, data: str) -> None:
    if data == "absent":
        (bare.root / "data").rmdir()
    before = contents(bare)

    for words in (("plan",), ("plan", "--json", BACKTEST), ("why", BACKTEST), ("list",)):
        bare.doit(*ONE_WEEK, *words, PYTHONDONTWRITEBYTECODE="1")

        assert contents(bare) == before, words


def test_looking_at_what_is_done_writes_nothing(done: Project) -> None:
    before = contents(done)

    done.doit(*ONE_WEEK, "plan", PYTHONDONTWRITEBYTECODE="1")
    done.doit(*ONE_WEEK, "plan", "start=2024-01-02", PYTHONDONTWRITEBYTECODE="1")
    done.doit(*ONE_WEEK, "why", BACKTEST, PYTHONDONTWRITEBYTECODE="1")
    done.doit("list", PYTHONDONTWRITEBYTECODE="1")

    assert contents(done) == before


def contents(project: Project) -> dict[str, tuple[int, bytes] | None]:
    """Return every file and when it was written, and every folder.

    But for the two files that SQLite itself keeps beside a database while somebody reads it.
    """
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else None
        for path in [project.root, *project.root.rglob("*")]
        if not path.name.endswith(("-shm", "-wal"))
    }


NO_NETWORK = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
"""


def test_plan_of_the_real_market_asks_no_network(bare: Project) -> None:
    bare.write("sitecustomize.py", NO_NETWORK)

    tasks = planned(bare, "venue=binance_spot", "start=2024-01-01", "end=2024-03-10", BACKTEST)

    assert list(tasks)[1] == "backfill:binance_spot:BTC/USDT"


def test_a_folder_that_nobody_may_write_can_be_looked_at(done: Project, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "doit", *ONE_WEEK]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to be less")
        run = ["setpriv", "--bounding-set=-dac_override", *run]
    every = [done.root, *done.root.rglob("*")]
    for path in every:
        path.chmod(path.stat().st_mode & 0o555)

    ends = [
        subprocess.run(
            [*run, *words],
            cwd=done.root,
            env={"PYTHONPATH": str(done.root), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        for words in (
            *(["plan"], ["backtest"], ["start=2024-01-02"], ["verify"]),
            ["reproduce:btc_usdt_perp_v1"],
            ["export", "--dataset", "bars_5m", "--to", str(tmp_path / "export")],
            ["export", "--database", str(tmp_path / "copy.sqlite")],
            ["export", "--dataset", "bars_5m"],
        )
    ]

    for path in every:
        path.chmod(path.stat().st_mode | 0o200)
    fresh, nothing, refused, *looked, closed = ends
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (
        0,
        "nothing to do: everything is fresh\n",
        "",
    )
    assert (nothing.returncode, nothing.stderr) == (0, "")
    assert ".  " not in nothing.stdout
    assert refused.returncode == 1
    assert refused.stderr.startswith("ERROR: backtest:btc_usdt_perp_v1: ")
    assert refused.stderr.count("\n") == 1
    assert [(end.returncode, end.stderr) for end in looked] == [(0, "")] * 4
    assert len(list((tmp_path / "export").rglob("*.parquet"))) == 2 * 7
    assert closed.returncode == 3
    assert closed.stderr == (
        "ERROR: data/export: Permission denied: fix that and run again, no data is lost\n"
    )


def test_plan_in_words_says_because(project: Project) -> None:
    said = project.doit("plan", *ONE_WEEK, BACKTEST).stdout

    assert "backfill:sample:BTC/USDT must run first" in said


def test_every_example_that_ships_runs_in_the_order_of_the_plan(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone", examples="*")
    names = {path.stem for path in SHIPPED if path.parent.name == "strategies"}
    plan = list(planned(clone, *ONE_WEEK))

    said = clone.doit(*ONE_WEEK).stdout

    assert [line[3:] for line in said.splitlines() if line.startswith(".  ")] == plan

    assert {path.name for path in clone.results.iterdir()} == names
    assert len(names) >= 4
    assert all(f"{name}: BTC/USDT" in said for name in names)


def test_two_processes_give_the_same_bytes_as_one(project: Project, tmp_path: Path) -> None:
    add_second_strategy(project)
    other = Project(shutil.copytree(project.root, tmp_path / "parallel"))

    project.doit(*ONE_WEEK, "aggregate", "backtest")
    other.doit("-n", "2", *ONE_WEEK, "aggregate", "backtest", PYTHONHASHSEED="7")

    assert other.state() == project.state()
    assert {path.name for path in project.results.iterdir()} == {"btc_usdt_perp_v1", "eth_fast"}


def test_aggregate_options_build_just_that(project: Project) -> None:
    project.doit(
        *ONE_WEEK,
        "aggregate",
        "--symbol",
        "ETH/USDT",
        "--timeframes",
        "15m,7h",
        "--chunk-days",
        "2",
    )

    built = project.sql(
        "SELECT DISTINCT symbol, dataset FROM history_coverage WHERE source = 'built' ORDER BY 2"
    )
    assert built == [("ETH/USDT", "bars_15m"), ("ETH/USDT", "bars_7h")]


def test_aggregate_options_do_not_remove_what_a_backtest_needs(done: Project) -> None:
    done.sql("DELETE FROM history_coverage WHERE source = 'built'")
    shutil.rmtree(done.results)

    done.doit(*ONE_WEEK, BACKTEST, "aggregate", "--timeframes", "1h")

    assert (done.results / "btc_usdt_perp_v1" / "summary.json").exists()
    built = done.sql("SELECT DISTINCT dataset FROM history_coverage WHERE source = 'built'")
    assert sorted(built) == [("bars_1h",), ("bars_5m",)]


def test_chunk_days_change_nothing(done: Project) -> None:
    expected = done.state()["ledger"]
    done.sql("DELETE FROM history_coverage WHERE source = 'built'")

    done.doit(*ONE_WEEK, "aggregate", "--chunk-days", "3")

    assert done.state()["ledger"] == expected


def test_why_shows_every_part_of_a_key(done: Project) -> None:
    done.edit("config/strategies/btc_usdt_perp_v1.yaml", "fast: 20", "fast: 21")

    (task,) = json.loads(done.doit("why", "--json", *ONE_WEEK, BACKTEST).stdout)["tasks"]

    assert task["task"] == BACKTEST
    assert not task["fresh"]
    differing = {p["name"] for p in task["parts"] if p["current"] != p["recorded"]}
    assert differing == {"config"}
    assert task["reasons"] == ["params.fast: was 20, now 21"]


def test_why_of_a_group_shows_its_tasks_that_a_user_can_name(done: Project) -> None:
    tasks = json.loads(done.doit("why", "--json", *ONE_WEEK, "backfill").stdout)["tasks"]

    names = [task["task"] for task in tasks]
    assert sorted(names) == ["backfill:sample:BTC/USDT", "backfill:sample:ETH/USDT"]


def test_a_candle_changed_in_a_shell_is_noticed_refused_and_repaired(done: Project) -> None:
    expected = done.state()
    done.sql("UPDATE ohlcv_1m SET close = close + 1 WHERE ts_ms = 1704153600000")

    stale = planned(done, *ONE_WEEK, BACKTEST)
    (why,) = json.loads(done.doit("why", "--json", *ONE_WEEK, BACKTEST).stdout)["tasks"]
    refused = done.doit(*ONE_WEEK, BACKTEST, code=1)
    done.doit("verify", "--repair")
    done.doit(*ONE_WEEK, "aggregate", "backtest")

    assert list(stale) == ["aggregate:sample:BTC/USDT:5m", BACKTEST]
    assert "2024-01-02" in stale["aggregate:sample:BTC/USDT:5m"]["reasons"][0]
    assert not why["fresh"]
    refusal, because = why["reasons"]
    assert refusal.startswith("1 day of ohlcv_1m of sample:BTC/USDT was changed outside of tbv8")
    assert because == "aggregate:sample:BTC/USDT:5m must run first"
    differing = {p["name"] for p in why["parts"] if p["current"] != p["recorded"]}
    assert differing == {"bars:BTC/USDT:1m"}
    assert refused.stderr.count("\n") == 1
    assert "doit verify" in refused.stderr
    assert done.state() == expected


def test_a_built_bar_changed_in_a_shell_is_built_again(done: Project) -> None:
    expected = done.state()
    done.sql("UPDATE bars_5m SET close = close + 1 WHERE ts_ms = 1704153600000")

    done.doit(*ONE_WEEK, "aggregate", "backtest")

    assert done.state() == expected


def test_an_unrelated_change_leaves_all_fresh(done: Project) -> None:
    done.edit("config/strategies/btc_usdt_perp_v1.yaml", "# Long", "# A comment. Long")
    done.sql(
        "UPDATE ohlcv_1m SET close = close + 1 WHERE symbol = 'ETH/USDT' AND ts_ms = 1704153600000"
    )

    assert planned(done, *ONE_WEEK, BACKTEST) == {}


def test_verify_finds_nothing_in_a_finished_project(done: Project) -> None:
    assert json.loads(done.doit("verify", "--json").stdout) == {"problems": [], "dropped_days": 0}
