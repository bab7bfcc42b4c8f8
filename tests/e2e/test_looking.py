"""Status, schema, prune and export as a user types them: what they print, refuse and leave."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import polars as pl
import pytest

from tbv8 import api
from tbv8.errors import DataError
from tbv8.market import Bbo, Series, Trade, iso
from tbv8.store.ticks import Batch, bbo_row, open_ticks, trade_row
from tests.backtest.builders import read_rows
from tests.builders import copy_config, day, days, hold, write_manifest
from tests.e2e.conftest import ONE_WEEK, Project
from tests.lines import Line

DAY_S = 86_400
STRATEGY = "btc_usdt_perp_v1"
COMMANDS = ("status", "schema", "prune", "export", "verify", "plan", "why")


def record_old_ticks(project: Project) -> None:
    """Hold a trade and a quote of each of 100 days, each an hour older than whole days."""
    with closing(sqlite3.connect(project.db_path)) as connection:
        ((now_s,),) = connection.execute("SELECT unixepoch()").fetchall()
    key = ("hyperliquid", "BTC/USDT")
    moments = [(now_s - 3600 - n * DAY_S) * 1000 for n in range(100)]
    with open_ticks(project.db_path) as store:
        trades = [trade_row(Trade(*key, ms, f"t{ms}", 5.0, 1.0, "buy"), ms) for ms in moments]
        quotes = [bbo_row(Bbo(*key, ms, 1.0, 1.0, None, None), ms) for ms in reversed(moments)]
        store.commit(Batch(trades=trades, bbo=quotes), now_ms=1)


def on_terminal(project: Project, *words: str, typed: str = "", **env: str) -> tuple[int, str]:
    """Run doit on a terminal, and return its exit code and all that it showed."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "doit", *words],
        cwd=project.root,
        env=os.environ | {"PYTHONPATH": str(project.root), "TERM": "xterm-256color"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    said = b""
    with suppress(OSError):  # the end of a terminal is an error
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    return child.wait(60), said.decode()


def test_status_shows_what_is_there(finished: Project) -> None:
    shown = finished.doit(*ONE_WEEK, "status").stdout
    told = json.loads(finished.doit(*ONE_WEEK, "status", "--json").stdout)

    assert "Bars (sample: simulated)" in shown
    assert shown.isascii()
    series = {(one["symbol"], one["dataset"]): one for one in told["series"]}
    assert series["BTC/USDT", "ohlcv_1m"]["first"] == "2024-01-01T00:00:00Z"
    assert series["BTC/USDT", "ohlcv_1m"]["last"] == "2024-01-07T23:59:00Z"
    for (symbol, dataset), one in series.items():
        ((rows,),) = finished.sql(
            f"SELECT count(*) FROM {dataset} WHERE venue = 'sample' AND symbol = '{symbol}'"
        )
        assert (one["bars"], one["gaps"]) == (rows, 0)
    (strategy,) = told["strategies"]
    assert (strategy["fresh"], strategy["reasons"], strategy["simulated"]) == (True, [], True)
    folder = finished.results / "btc_usdt_perp_v1"
    summary = json.loads((folder / "summary.json").read_text())
    assert strategy["numbers"]["return"] == summary["primary"]["return"]


def test_status_agrees_with_plan_about_what_is_stale(done: Project) -> None:
    """A changed 1m bar makes the result stale by what lies between them."""
    done.sql("UPDATE ohlcv_1m SET close = close + 1 WHERE ts_ms = 1704067260000")

    plan = json.loads(done.doit(*ONE_WEEK, "plan", "--json", "backtest").stdout)
    (strategy,) = json.loads(done.doit(*ONE_WEEK, "status", "--json").stdout)["strategies"]

    assert "backtest:btc_usdt_perp_v1" in [task["task"] for task in plan["tasks"]]
    assert strategy["fresh"] is False
    (planned,) = [t for t in plan["tasks"] if t["task"] == "backtest:btc_usdt_perp_v1"]
    because = "aggregate:sample:BTC/USDT:5m must run first"
    assert strategy["reasons"] == [*planned["reasons"], because]


def test_status_without_a_database_makes_none(bare: Project) -> None:
    told = json.loads(bare.doit("status", "--json").stdout)

    assert told["database"]["problem"] == Line("data/tbv8.sqlite: there is no database: ...")
    assert [one["fresh"] for one in told["strategies"]] == [False]
    assert bare.doit("status").stdout.count("there is no database") == 1
    assert not bare.db_path.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refusal_is_one_line_and_no_json(project: Project, command: str) -> None:
    project.edit("config/history.yaml", "refresh", "refrsh")
    words = (command, "--json") if command in ("status", "verify", "plan", "why") else (command,)
    if command == "schema":  # it helps to mend just that
        project.doit(command)
        return

    end = project.doit(*words, code=3)

    assert end.stdout == ""
    assert end.stderr == (
        Line("ERROR: config/history.yaml:8: history.refrsh: unknown key ... 'refresh'?\n")
    )


def test_help_of_a_group_lists_the_options_of_its_subtasks(project: Project) -> None:
    said = project.doit("help", "paper").stdout

    assert "\noptions of paper:NAME:\n  --for=ARG " in said
    assert said.count("--metrics-port") == 1
    assert "`doit help run`" in project.doit("help", "backtest").stdout
    assert "config:" not in said


def test_help_names_each_group_of_tasks(project: Project) -> None:
    copy_config(project.root)
    listed = project.doit("list", "--quiet").stdout.split()

    tasks = project.doit("help").stdout.partition("\nTasks\n")[2].partition("\nCommands\n")[0]

    groups = {name.partition(":")[0] for name in listed} - {"migrate"}
    assert {"backtest", "paper", "walkforward"} <= groups
    assert {group for group in groups if not re.search(rf"\b{group}\b", tasks)} == set()


def test_why_aligns_the_parts_of_every_task(finished: Project) -> None:
    names = ("backtest:btc_usdt_perp_v1", "backfill:sample:BTC/USDT")

    said = finished.doit(*ONE_WEEK, "why", *names).stdout.splitlines()

    parts = [line for line in said if "  made with " in line]
    assert len(parts) > 5
    assert len({(line.index(" now "), line.index("  made with ")) for line in parts}) == 1


@pytest.mark.parametrize("command", ["new", "why"])
def test_help_of_our_commands_has_no_options_of_pydoit_s_database(
    project: Project, command: str
) -> None:
    said = project.doit("help", command).stdout

    assert not re.search("backend|--db-file|--check_file_uptodate|--seek-file", said)
    assert ("OPTIONS" in said) == (command == "why")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_what_each_option_does(project: Project, command: str) -> None:
    said = project.doit("help", command).stdout

    assert "DESCRIPTION" in said
    assert "config:" not in said
    assert said.isascii()


@pytest.mark.parametrize("command", ["status", "export", "prune", "schema", "verify"])
def test_a_stray_word_is_refused(finished: Project, command: str) -> None:
    end = finished.doit(command, "btc", code=3)

    assert end.stdout == ""
    assert end.stderr.startswith("ERROR: 'btc': ")
    assert len(end.stderr.splitlines()) == 1


def test_trades_lists_the_last_round_trips_as_wide_as_the_terminal(finished: Project) -> None:
    rows = read_rows(finished.results / "btc_usdt_perp_v1" / "positions.csv")

    listed = finished.doit("trades", "--last", "3", "btc_usdt_perp_v1").stdout.splitlines()
    told = json.loads(finished.doit("trades", "btc_usdt_perp_v1", "--shadow", "--json").stdout)
    _, narrow = on_terminal(finished, "trades", "btc_usdt_perp_v1", "--last", "3", COLUMNS="80")

    head, names, *shown = listed
    assert f": the last 3 of {len(rows)} round trips" in head
    heads = "opened closed side quantity entry exit PnL % of entry MAE MFE by"
    assert " ".join(names.split()) == heads
    for line, row in zip(shown, rows[-3:], strict=True):
        cells = re.split(r"  +", line.strip())
        assert cells[2:6] == [row["side"], row["quantity"], row["entry_price"], row["exit_price"]]
        assert cells[6] == f"{float(row['pnl']):+,.2f}"
        assert cells[0] == iso(int(row["opened_ms"]))[:16].replace("T", " ")
        assert re.fullmatch(r"\d+\.\d\d%", cells[8])
        assert cells[10] in ("market", "halt")
    assert {len(line) for line in shown} <= {len(shown[0]), len(shown[0]) - 2}
    shadow = read_rows(finished.results / "btc_usdt_perp_v1" / "shadow" / "positions.csv")
    assert (told["venue"], told["count"]) == ("mexc", len(shadow))
    assert [trip["pnl"] for trip in told["trades"]] == [float(r["pnl"]) for r in shadow[-20:]]
    last = narrow.splitlines()[-1]
    assert last.startswith("left out at 80 columns: % of entry, quantity, MFE, MAE")
    assert max(map(len, narrow.splitlines()[1:])) <= 80


def test_numbers_of_files_that_were_changed_are_not_shown(done: Project) -> None:
    folder = Path("data/results", STRATEGY)
    done.edit(f"{folder}/summary.json", '"trades": ', '"trades": 1')

    stderrs = [
        done.doit("trades", STRATEGY, code=3).stderr,
        done.doit("compare", STRATEGY, STRATEGY, code=3).stderr,
    ]
    (row,) = json.loads(done.doit("status", "--json").stdout)["strategies"]
    with pytest.raises(DataError) as caught:
        api.load_result(STRATEGY, project=done.root)

    problem = f"{folder}: summary.json was changed since the result was written: run `doit "
    assert all(problem in text for text in [*stderrs, str(caught.value)])
    assert row["numbers"]["trades"] is None
    assert "summary.json was changed" in row["reasons"]


def test_what_opened_trades_is_listed_unless_all_were_market_orders_without_tags(
    done: Project,
) -> None:
    folder = done.results / "btc_usdt_perp_v1"
    orders = {row["order_id"] for row in read_rows(folder / "fills.csv")}

    before = done.doit("trades", "btc_usdt_perp_v1").stdout.splitlines()
    (folder / "tags.csv").write_text("order_id,tags\n" + "".join(f"{id_},dip\n" for id_ in orders))
    write_manifest(folder)
    listed = done.doit("trades", "btc_usdt_perp_v1", "--last", "3").stdout.splitlines()

    assert "entry by" not in before[1]
    assert "entry by" in listed[1]
    assert [line.split()[-2:] for line in listed[2:5]] == [["dip", "dip"]] * 3


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("btc_usdt_perp",), "unknown strategy 'btc_usdt_perp', did you mean 'btc_usdt_perp_v1'"),
        ((), "name one strategy"),
        (("btc_usdt_perp_v1", "--last", "0"), "--last: expected a whole number from 1"),
        (("btc_usdt_perp_v1", "--lst", "1"), "option --lst not recognized, did you mean '--last'"),
    ],
)
def test_trades_refuses(finished: Project, words: tuple[str, ...], problem: str) -> None:
    assert problem in finished.doit("trades", *words, code=3).stderr


def test_a_recorded_day_that_was_changed_is_refused_until_it_is_given_up(done: Project) -> None:
    # given three recorded days
    recorded = Series("hyperliquid", "BTC/USDT")
    aggregate = ("aggregate", "--venue", "hyperliquid", "--timeframes", "1h")
    name = f"aggregate:{recorded}:1h"
    hold(done.db_path, recorded, days(0, 3), dataset="bars_1m", source="record")
    done.doit(*aggregate)
    done.sql(f"UPDATE bars_1m SET close = close + 1 WHERE ts_ms = {day(1)}")

    # when
    (refused,) = json.loads(done.doit("plan", "--json", name).stdout)["tasks"]
    done.doit(*aggregate, code=1)
    reported = done.doit("verify", "--repair", code=1).stdout
    alone = done.doit("verify", "--give-up", code=3)
    given_up = done.doit("verify", "--repair", "--give-up").stdout
    done.doit(*aggregate)

    # then
    assert refused["reasons"] == [
        Line(f"1 day of bars_1m of {recorded} was changed outside of tbv8: 2024-01-02: ...")
    ]
    assert reported.splitlines()[-1] == (
        "1 day cannot be fetched or built again: restore a copy of the database, or drop them with "
        "`doit verify --repair --give-up`"
    )
    assert alone.stderr == "ERROR: --give-up: needs --repair: add it\n"
    assert given_up.splitlines()[-1] == "dropped 1 day permanently"
    lines = done.doit("verify").stdout.splitlines()
    assert all(line.endswith(": no problems") for line in lines)
    assert done.sql("SELECT start_ms, end_ms FROM recording_gaps") == [(day(1), day(2))]
    assert done.sql(
        "SELECT day_ms, bars FROM history_coverage WHERE venue = 'hyperliquid' ORDER BY 1, 2"
    ) == [(day(0), 24), (day(0), 1440), (day(2), 24), (day(2), 1440)]


def test_schema_writes_a_file_for_each_kind(project: Project) -> None:
    said = project.doit("schema").stdout.split()

    kinds = ("data", "history", "venue", "strategy", "experiment")
    assert said == [f"config/.schemas/{kind}.schema.json" for kind in kinds]
    for name in said:
        assert json.loads((project.root / name).read_text())["properties"]


def test_a_series_of_another_market_is_stale_refused_and_dropped_by_the_cure(done: Project) -> None:
    done.edit("config/venues/sample.yaml", "[BTC/USDT, ETH/USDT]", "{BTC/USDT: ETH/USDT}")

    plan = done.doit("plan", "backfill:sample:BTC/USDT").stdout
    refused = done.doit("backfill", code=1).stderr
    (cure,) = re.findall(r"`doit (prune .*)`", refused)
    end = done.doit(*cure.split(), "--yes").stdout

    assert "the stored rows of sample:BTC/USDT are of 'BTC/USDT'" in plan
    assert "config/venues/sample.yaml: symbols.BTC/USDT: " in refused
    assert "   ohlcv_1m of sample:BTC/USDT: " in end
    assert done.sql("SELECT count(*) FROM ohlcv_1m WHERE symbol = 'BTC/USDT'") == [(0,)]
    done.doit("backfill")
    assert done.sql("SELECT native FROM native_markets WHERE symbol = 'BTC/USDT'") == [
        ("ETH/USDT",)
    ]


def test_prune_drops_and_says_what(done: Project) -> None:
    record_old_ticks(done)
    bars = done.sql("SELECT count(*), sum(close) FROM ohlcv_1m")

    unasked = done.doit("prune", "--older-than", "90d", code=3)
    end = done.doit("prune", "--older-than", "90d", "--yes")

    assert unasked.stderr == (
        "ERROR: prune asks for confirmation, but there is no terminal: add --yes\n"
    )
    assert "   trades of hyperliquid:BTC/USDT: 10 rows, 20" in end.stdout
    assert "   bbo of hyperliquid:BTC/USDT: 10 rows, 20" in end.stdout
    assert "keeps its size" in end.stdout
    assert done.sql("SELECT count(*) FROM bbo") == [(90,)]
    assert done.sql("SELECT count(*) FROM trades") == [(90,)]
    assert done.sql("SELECT count(*), sum(close) FROM ohlcv_1m") == bars
    assert done.doit("prune", "--older-than", "99d", "-y").stdout.startswith("nothing is older")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param((), "--older-than: missing: write an age, such as --older-than 90d", id="-"),
        pytest.param(
            ("--older-than", "soon", "--yes"),
            "--older-than: 'soon' is not a duration: ...",
            id="no duration",
        ),
        pytest.param(
            ("--older-than", "90d", "--yes", "--venue", "mex"),
            "--venue: unknown venue 'mex' ... 'mexc'?...",
            id="no venue",
        ),
    ],
)
def test_prune_refuses(finished: Project, words: tuple[str, ...], problem: str) -> None:
    end = finished.doit("prune", *words, code=3)

    assert (end.stdout, end.stderr) == ("", Line(f"ERROR: {problem}\n"))


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 100), ("y\n", 0, 10)])
def test_prune_asks_on_a_terminal(done: Project, answer: str, code: int, left: int) -> None:
    record_old_ticks(done)

    ended, said = on_terminal(
        done, "prune", "--older-than", "10d", "--symbol", "BTC/USDT", typed=answer, NO_COLOR="1"
    )

    assert ended == code
    assert "rows for good? [y/N]" in said
    assert done.sql("SELECT count(*) FROM bbo") == [(left,)]


def test_export_writes_what_polars_reads(finished: Project, tmp_path: Path) -> None:
    end = finished.doit(
        *("export", "--venue", "sample", "--symbol", "BTC/USDT", "--dataset", "ohlcv_1m"),
        *("--start", "2024-01-02", "--end", "2024-01-05", "--to", str(tmp_path / "out")),
    )

    assert end.stdout.endswith(f"   {tmp_path}/out/sample/BTC-USDT/ohlcv_1m/: 3 files written\n")
    read = pl.read_parquet(tmp_path / "out" / "*" / "*" / "ohlcv_1m" / "*.parquet")
    ((rows, close),) = finished.sql(
        "SELECT count(*), sum(close) FROM ohlcv_1m WHERE symbol = 'BTC/USDT'"
        " AND ts_ms >= 1704153600000 AND ts_ms < 1704412800000"
    )
    assert len(read) == rows
    assert read["close"].sum() == pytest.approx(close, rel=1e-12)


def test_export_of_a_span_into_one_file(finished: Project, tmp_path: Path) -> None:
    path = tmp_path / "out" / "bars.parquet"

    end = finished.doit(
        *("export", "--dataset", "bars_5m", "--symbol", "BTC/USDT", "--into", str(path)),
        *("--start", "2024-01-02", "--end", "2024-01-05"),
    )

    assert end.stdout.endswith(f"   {path}: bars_5m of sample:BTC/USDT\n")
    ((rows,),) = finished.sql(
        "SELECT count(*) FROM bars_5m WHERE symbol = 'BTC/USDT'"
        " AND ts_ms >= 1704153600000 AND ts_ms < 1704412800000"
    )
    assert len(pl.read_parquet(path)) == rows


def test_export_of_several_series_into_one_file_names_the_columns_that_tell_them_apart(
    finished: Project, tmp_path: Path
) -> None:
    path = tmp_path / "bars.parquet"

    end = finished.doit("export", "--dataset", "bars_5m", "--into", str(path))

    assert end.stdout.endswith(
        f"   {path}: bars_5m of sample:BTC/USDT, sample:ETH/USDT, distinguished by the columns "
        "venue and symbol\n"
    )
    found = pl.read_parquet(path).select("venue", "symbol").unique().sort("symbol")
    assert found.rows() == [("sample", "BTC/USDT"), ("sample", "ETH/USDT")]


def test_a_copied_database_is_as_good_as_its_source(done: Project) -> None:
    done.doit("export", "--database", "backup/copy.sqlite")
    done.edit("config/data.yaml", "data/tbv8.sqlite", "backup/copy.sqlite")

    lines = done.doit("verify").stdout.splitlines()
    assert all(line.endswith(": no problems") for line in lines)
    assert done.doit(*ONE_WEEK, "backtest").stdout.count(".  ") == 0
    again = done.doit("export", "--database", "backup/copy.sqlite", code=3)
    assert again.stderr == (
        "ERROR: --database: backup/copy.sqlite is the database itself: write another name\n"
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param(
            (),
            "--dataset: missing: write a table, such as --dataset ohlcv_1m, or --database FILE "
            "for a copy of the whole database",
            id="nothing asked",
        ),
        pytest.param(
            ("--dataset", "ohlcv"),
            "--dataset: unknown dataset 'ohlcv', did you mean 'ohlcv_1m'? Known: bars_15m, "
            "bars_1h, bars_4h, bars_5m, bbo, funding, mark, ohlcv_1m, trades",
            id="no dataset",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--symbol", "BTC"),
            "--symbol: unknown symbol 'BTC'; known: BTC/USDT, ETH/USDT",
            id="no symbol",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--start", "2025-01-01"),
            "no rows of ohlcv_1m are stored for this selection: ...",
            id="nothing held",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--start", "2024-01-01T12:00Z"),
            "--start: '2024-01-01T12:00Z' is not midnight UTC: write a date alone",
            id="part of a day",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--start", "2024-02-01", "--end", "2024-01-01"),
            "--end: '2024-01-01' is not after the start: write the day after the last one",
            id="end before start",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--to", "dodo.py"),
            "dodo.py/sample/BTC-USDT/ohlcv_1m: Not a directory: fix that and run again, "
            "no data is lost",
            id="a file for a folder",
        ),
        pytest.param(
            ("--database", "dodo.py"),
            "--database: dodo.py exists already: add --yes to replace it",
            id="a file in its place",
        ),
        pytest.param(
            ("--database", "data"),
            "--database: data is a folder: write the path of a file",
            id="data",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--into", "data/tbv8.sqlite", "--yes"),
            "--into: data/tbv8.sqlite is the database itself: ...",
            id="bars over the database",
        ),
        pytest.param(
            ("--dataset", "ohlcv_1m", "--into", "x.parquet", "--partition", "month"),
            "--into writes a single file: leave --to and --partition out",
            id="one file by month",
        ),
        pytest.param(
            ("--database", "copy.sqlite", "--dataset", "bbo"),
            "--database copies the whole database: leave the other options out",
            id="both",
        ),
    ],
)
def test_export_refuses(finished: Project, words: tuple[str, ...], problem: str) -> None:
    end = finished.doit("export", *words, code=3)

    assert (end.stdout, end.stderr) == ("", Line(f"ERROR: {problem}\n"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """Return a folder on a disk of 300 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a small disk")
    return folder


def test_a_full_disk_is_one_line(
    finished: Project, small_disk: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: subprocess.run(["umount", str(small_disk)], check=True))

    bars = finished.doit("export", "--dataset", "ohlcv_1m", "--to", str(small_disk), code=3)
    left = [path for path in small_disk.rglob("*") if path.is_file()]
    whole = [len(pl.read_parquet(path)) for path in left]
    for path in left:
        path.unlink()
    copy = finished.doit("export", "--database", str(small_disk / "copy.sqlite"), code=3)

    assert len(bars.stderr.splitlines()) == len(copy.stderr.splitlines()) == 1
    assert bars.stderr.startswith(f"ERROR: {small_disk}/sample/BTC-USDT/ohlcv_1m/2024-01-0")
    assert ".parquet: No space left on device: fix that and run again" in bars.stderr
    assert "MB free: free some space, or write it to another disk" in copy.stderr
    assert whole
    assert min(whole) > 1000
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "status --json",
        "list",
        "list --help",
        "plan",
        "why backtest",
        "help",
        "help record",
        "info backtest",
        "tabcompletion",
        "verify",
        "schema",
        "-a backtest",
        "-n 2 -a backtest",
    ],
)
def test_a_reader_that_has_seen_enough_is_no_error(
    done: Project, words: str, children: Callable[..., subprocess.Popen[str]]
) -> None:
    """It ends as any program in a pipe: silently, as if SIGPIPE (13) had killed it."""
    child = children(done.start(*ONE_WEEK, *words.split()))
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None

    _, err = child.communicate(timeout=60)

    assert (err, child.returncode) == ("", 128 + 13)


@pytest.mark.parametrize(
    "words", [("status",), (*ONE_WEEK, "backfill"), (*ONE_WEEK, "aggregate")], ids=str
)
def test_no_colour_where_none_is_wanted(done: Project, words: tuple[str, ...]) -> None:
    if words != ("status",):
        shutil.rmtree(done.root / "data")
    code, said = on_terminal(done, *words, NO_COLOR="1")

    assert code == 0
    assert "\x1b[3" not in said.replace("\x1b[39m", "")  # colours are 30 to 38, and 90 to 97
    assert "\x1b[9" not in said
