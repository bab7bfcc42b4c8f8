"""Bad input, each with one clear line on stderr, no traceback, and nothing lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tbv8.store.database import REVISION
from tests.e2e.conftest import ONE_WEEK, ROOT, Project
from tests.lines import Line


def refused(project: Project, *words: str, code: int) -> str:
    """Run doit, and return the one line that it says."""
    end = project.doit(*words, code=code)
    assert "Traceback" not in end.stdout + end.stderr
    (line,) = end.stderr.strip().splitlines()
    return line


def test_a_misspelt_key_names_file_line_and_cure(project: Project) -> None:
    project.edit("config/strategies/btc_usdt_perp_v1.yaml", "max_leverage", "max_leverag")

    assert refused(project, "backtest", code=3) == (
        Line(
            "ERROR: config/strategies/btc_usdt_perp_v1.yaml:9: risk.max_leverag: unknown key ... "
            "'max_leverage'?"
        )
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(
            ("venue=binance",),
            "ERROR: command line: venue: unknown venue 'binance' ... 'binance_spot'?...",
            id="venue",
        ),
        pytest.param(
            ("strat=2024-01-01",),
            "ERROR: command line: strat: unknown variable 'strat' ... 'start'?...",
            id="variable",
        ),
        pytest.param(
            ("start=2024-02-01", "end=2024-01-01"),
            "ERROR: command line: end: '2024-01-01' is not after the start, 2024-02-01T00:00:00Z",
            id="end before start",
        ),
    ],
)
def test_a_wrong_word_on_the_command_line_is_refused(
    project: Project, words: tuple[str, ...], line: str
) -> None:
    assert refused(project, *words, code=3) == Line(line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(("",), "unknown task '': `doit list` shows all tasks", id="task"),
        pytest.param(("trials", "", "--top", "3"), "unknown experiment ''...", id="name"),
        pytest.param(
            ("trades", "btc_usdt_perp_v1", "--last", ""), "--last: expected ... got ''", id="option"
        ),
        pytest.param(("-f", ""), "-f: '' is a folder: write the path of a dodo.py", id="file"),
        pytest.param(("=",), "command line: unknown variable ''; known: ...", id="variable"),
    ],
)
def test_an_empty_word_is_refused(finished: Project, words: tuple[str, ...], line: str) -> None:
    assert refused(finished, *words, code=3) == Line(f"ERROR: {line}")


@pytest.mark.parametrize("name", ["data/tbv8.sqlite", "data", "README.md", ""])
def test_a_file_that_is_no_state_of_pydoit_is_refused_and_left_alone(
    finished: Project, name: str
) -> None:
    def names() -> list[str]:  # other tests read the same database: its WAL comes and goes
        found = finished.root.glob("data/*")
        return sorted(path.name for path in found if not path.name.startswith("tbv8.sqlite-"))

    before = names()

    assert refused(finished, "--db-file", name, "migrate", code=3) == Line(
        f"ERROR: --db-file: {name!r} is no state file of pydoit: leave the option out; ..."
    )
    assert finished.root.is_dir()
    assert names() == before


@pytest.mark.parametrize(
    ("name", "problem"),
    [("data/tbv8.sqlite", "data/tbv8.sqlite is the database itself..."), ("", "'' is a folder...")],
)
def test_an_output_file_is_neither_the_database_nor_a_folder(
    finished: Project, name: str, problem: str
) -> None:
    size = finished.db_path.stat().st_size

    line = refused(finished, "-o", name, "migrate", code=3)

    assert line == Line(f"ERROR: --output-file: {problem}")
    assert finished.db_path.stat().st_size == size


TAKE_TASKS = ["", "plan", "why", "list", "info", "help"]


@pytest.mark.parametrize("command", TAKE_TASKS)
def test_a_task_that_is_none_is_refused(finished: Project, command: str) -> None:
    assert refused(finished, *command.split(), "backtest:btc_usdt_perp", code=3) == (
        "ERROR: unknown task 'backtest:btc_usdt_perp', did you mean 'backtest:btc_usdt_perp_v1'? "
        "`doit list` shows all tasks"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("statsu", "unknown task 'statsu', did you mean the command `doit status`?"),
        ("help plna", "unknown task 'plna' ... `doit plan`?"),
        ("list lsit", "unknown task 'lsit': `doit list` shows all tasks"),
        ("nope", "unknown task 'nope': ..."),
        (
            "backtest btc_usdt_perp_v1",
            "unknown task 'btc_usdt_perp_v1', did you mean `doit backtest:btc_usdt_perp_v1`?",
        ),
        (
            "plan aggregate sample BTC/USDT 5m",
            "unknown task 'sample', did you mean `doit plan aggregate:sample:BTC/USDT:5m`?",
        ),
        ("backtest --start 2024-01-01", "option --start not recognized: write `start=...` ..."),
        ("backtst", "unknown task 'backtst' ... 'backtest'? ..."),
        (
            "backtest:nope",
            "unknown task 'backtest:nope'; known: backtest:btc_usdt_perp_v1",
        ),
        (
            "backfill:BTC",
            "unknown task 'backfill:BTC', did you mean 'backfill:sample:BTC/USDT'? Known: "
            "backfill:sample:BTC/USDT, backfill:sample:ETH/USDT",
        ),
        (
            "aggregate:sample:BTC/USD:5m",
            "unknown task 'aggregate:sample:BTC/USD:5m' ... 'aggregate:sample:BTC/USDT:5m'? ...",
        ),
        (
            "plan funding:binance_perp:BTC/USDT",
            "unknown task 'funding:binance_perp:BTC/USDT': config/history.yaml and the strategies "
            "need no such data: write `venue=binance_perp` before it",
        ),
        ("backtest:nope*", "unknown task 'backtest:nope*' ... backtest:btc_usdt_perp_v1"),
        ("plan backtst*", "unknown task 'backtst*' ... 'backtest'? ..."),
        ("info backtest:*", "`doit info` needs exactly one task: `doit list` shows them"),
        ("info", "`doit info` needs exactly one task: ..."),
        ("info backtest backfill", "`doit info` needs exactly one task: ..."),
    ],
)
def test_what_was_meant_is_said(finished: Project, words: str, line: str) -> None:
    assert refused(finished, *words.split(), code=3) == Line(f"ERROR: {line}")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("status --jsn", "option --jsn not recognized, did you mean '--json'?"),
        ("schema --jsn", "option --jsn not recognized: `doit help schema` ..."),
        ("verify --against", "option --against requires argument"),
        ("aggregate --tmeframes 5m", "option --tmeframes not recognized ... '--timeframes'?"),
        ("--nothing-like-it", "option --nothing-like-it not recognized: `doit help run` ..."),
        ("list --alll", "option --alll not recognized ... '--all'?"),
        ("info --no-statsu", "option --no-statsu not recognized ... '--no-status'?"),
        ("clean --dryrun", "option --dryrun not recognized ... '--dry-run'?"),
        ("forget --alll", "option --alll not recognized ... '--all'?"),
        ("ignore -x", "option -x not recognized: ..."),
        ("help -x", "option -x not recognized: ..."),
        ("tabcompletion --shell", "option --shell requires argument"),
        (
            "tabcompletion --shell csh",
            "--shell: unknown choice 'csh', did you mean 'zsh'? Known: bash, fish, zsh",
        ),
        (
            "list --sort nam",
            "--sort: unknown choice 'nam', did you mean 'name'? Known: definition, name",
        ),
        ("reset-dep -x", "option -x not recognized: ..."),
        ("dumpdb -x", "option -x not recognized: ..."),
        ("strace -x", "option -x not recognized: ..."),
        ("-n two", "--process: expected a whole number, got 'two'"),
        ("-n -3 backtest", "--process: expected a whole number, got '-3'"),
        (
            "-r nope",
            "--reporter: unknown choice 'nope'; known: console, error-only, "
            "executed-only, json, zero",
        ),
        ("list backtest --jsn", "option --jsn not recognized: `doit help list` ..."),
        ("backtest --fro", "option --fro not recognized: `doit help run` lists the options"),
        ("paper:btc_usdt_perp_v1 --fro 1s", "option --fro not recognized, did you mean '--for'?"),
        ("record --metrics-port 0", "--metrics-port: expected a whole number from 1, got '0'"),
        ("record --metrics-port 70000", "--metrics-port: expected a port up to 65535, got '70000'"),
        ("record --with-parent x", "--with-parent: expected a whole number from 1, got 'x'"),
        ("aggregate --chunk-days 0", "--chunk-days: expected a whole number from 1, got '0'"),
        ("aggregate --timeframes 1m", "--timeframes: 1m bars are not built: ..."),
        ("aggregate --timeframes 5x", "--timeframes: '5x' is not a timeframe: ..."),
        ("aggregate --venue mxc", "--venue: unknown venue 'mxc', did you mean 'mexc'? ..."),
        ("record --help", "--help: write `doit help record`"),
        (
            "-f nope.py list",
            "Could not find dodo file '{root}/nope.py'. Please use '-f' to specify file name.",
        ),
        (
            "list --template {nme}",
            "--template: '{nme}': use only {name}, {doc} and {status}",
        ),
        (
            "dumpdb",
            "pydoit's state is SQLite: `sqlite3 data/.doit.db 'SELECT * FROM doit'` shows it; "
            "tbv8 does not depend on it",
        ),
        (
            "ignore backtest",
            "freshness is computed from the data, and no stale task is skipped silently: name the "
            "tasks to run",
        ),
        (
            "forget",
            "freshness is computed from the data, so there is nothing to forget: "
            "`doit -a TASK` runs a task even if it is fresh",
        ),
        (
            "clean",
            "tasks have nothing to clean: results are folders of data/results, and "
            "`doit verify --repair` drops damaged days",
        ),
        ("verify --sample 3", "--sample: needs --against rest: add it"),
        ("verify --seed 3", "--seed: needs --against rest: add it"),
        ("verify --against rest", "--against rest: no stored history of a venue with an API: ..."),
        (
            "reset-dep backtest",
            "freshness is computed from the data, so there is nothing to reset: "
            "`doit why TASK` shows the reasons",
        ),
        (
            "strace migrate",
            "pydoit traces only shell commands, and no task here is one: "
            "`strace -f doit TASK` traces any task",
        ),
    ],
)
def test_an_option_that_is_none_is_refused(finished: Project, words: str, line: str) -> None:
    said = refused(finished, *words.split(), code=3)

    assert said == Line(f"ERROR: {line.replace('{root}', str(finished.root))}")


def test_a_benchmark_that_is_none_is_refused() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "lst"]
    end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (end.returncode, end.stdout) == (3, "")
    assert end.stderr.startswith(
        "ERROR: unknown benchmark 'lst', did you mean 'list'? Known: aggregate, backfill, "
    )
    assert end.stderr.count("\n") == 1


def test_info_tells_why_a_task_runs_and_no_addresses(done: Project) -> None:
    name = "aggregate:sample:BTC/USDT:5m"
    said = done.doit(*ONE_WEEK, "info", name).stdout
    assert said == (
        f"{name}: 5m bars of BTC/USDT at sample (simulated) from 1m bars\n"
        "    after backfill:sample:BTC/USDT\n"
        "    fresh\n"
    )

    shown = done.doit(*ONE_WEEK, "info", "backtest:btc_usdt_perp_v1").stdout
    assert "after _" not in shown

    done.sql("DELETE FROM history_coverage WHERE dataset = 'ohlcv_1m' AND day_ms = 1704067200000")

    assert done.doit(*ONE_WEEK, "info", name, code=1).stdout.splitlines()[-1] == (
        "    runs: backfill:sample:BTC/USDT must run first"
    )
    assert "    runs: backfill:sample:BTC/USDT must run first" in (
        done.doit(*ONE_WEEK, "info", "backtest", code=1).stdout.splitlines()
    )


def test_params_that_cannot_be_are_refused_before_anything_is_fetched(bare: Project) -> None:
    bare.edit("config/strategies/btc_usdt_perp_v1.yaml", "fast: 20", "fast: 60")

    line = refused(bare, *ONE_WEEK, code=1)

    assert "config/strategies/btc_usdt_perp_v1.yaml" in line
    assert "fast" in line
    assert not bare.db_path.exists()


def test_a_damaged_database_is_refused_and_left_alone(done: Project) -> None:
    damage = b"not a database at all, but somebody's notes" * 100
    for suffix in ("-wal", "-shm"):
        done.db_path.with_name(done.db_path.name + suffix).unlink(missing_ok=True)
    done.db_path.write_bytes(damage)

    line = refused(done, *ONE_WEEK, code=1)

    assert line == Line("ERROR: migrate: data/tbv8.sqlite: not a database, or damaged: ...")
    assert done.db_path.read_bytes() == damage


def test_a_plan_that_cannot_look_into_its_database_is_none(done: Project) -> None:
    """To tell that `migrate` would run would be to tell that all is well."""
    for suffix in ("-wal", "-shm"):
        done.db_path.with_name(done.db_path.name + suffix).unlink(missing_ok=True)
    done.db_path.write_bytes(b"somebody's notes" * 100)

    lines = [
        refused(done, *ONE_WEEK, *words, code=3)
        for words in (("plan",), ("plan", "--json"), ("plan", "migrate"), ("why", "migrate"))
    ]
    listed = done.doit("list", "--status")
    done.db_path.unlink()
    absent = done.doit(*ONE_WEEK, "plan", "migrate").stdout

    assert lines == [Line("ERROR: data/tbv8.sqlite: not a database, or damaged: ...")] * 4
    assert (listed.stderr, len(listed.stdout.splitlines()) > 5) == ("", True)
    assert absent == "migrate\n    data/tbv8.sqlite: there is no database\n"


def test_a_database_of_a_newer_tbv8_is_refused(done: Project) -> None:
    done.sql("UPDATE alembic_version SET version_num = '9999'")

    line = refused(done, *ONE_WEEK, code=1)

    assert line == (
        Line(
            "ERROR: migrate: data/tbv8.sqlite: comes from a newer tbv8, this one needs revision "
            f"{REVISION}: ..."
        )
    )


def test_text_of_a_torn_page_is_refused(done: Project) -> None:
    done.sql(
        "UPDATE history_coverage SET (source, built_from) = (SELECT torn, torn FROM"
        " (SELECT CAST(x'96ff' AS TEXT) AS torn)) WHERE dataset = 'bars_5m'"
    )
    done.sql("UPDATE bars_5m SET symbol = CAST(x'96ff' AS TEXT) WHERE symbol = 'ETH/USDT'")

    damaged = "data/tbv8.sqlite: damaged: ..."
    assert refused(done, *ONE_WEEK, "verify", code=3) == Line(f"ERROR: {damaged}")
    assert refused(done, *ONE_WEEK, "aggregate:sample:BTC/USDT:5m", code=1) == Line(
        f"ERROR: aggregate:sample:BTC/USDT:5m: {damaged}"
    )


def test_a_folder_of_the_user_is_refused_before_anything_is_fetched(bare: Project) -> None:
    bare.edit("config/data.yaml", "results_path: data/results", "results_path: research")
    notes = bare.root / "research" / "btc_usdt_perp_v1" / "notes.md"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    (bare.root / "research" / "index.html").write_text("mine")

    said = refused(bare, *ONE_WEEK, "backtest:btc_usdt_perp_v1", code=1)
    report = refused(bare, "report", code=3)

    assert said == (
        "ERROR: folder:btc_usdt_perp_v1: research/btc_usdt_perp_v1: has 'notes.md' but no "
        "manifest.json of tbv8, so no result can replace it: move it elsewhere, or set another "
        "results_path in config/data.yaml"
    )
    assert report.startswith("ERROR: research/index.html: is not a page of tbv8")
    assert notes.read_text() == "mine"
    assert not bare.db_path.exists()


@pytest.mark.parametrize(
    "words",
    [
        "why backtest:btc_usdt_perp_v1 --json",
        "plan aggregate --timeframes 5m --json",
        "list backtest --status",
        "list backtest -q",
        "info migrate --no-status",
        "aggregate --timeframes 5m -n 2",
        "aggregate --timeframes 5m --process=2 migrate",
    ],
)
def test_options_of_a_command_may_stand_behind_the_names_of_tasks(
    finished: Project, words: str
) -> None:
    end = finished.doit(*ONE_WEEK, *words.split())

    assert end.stderr == ""
    assert end.stdout.startswith("{") == ("--json" in words)
    assert ".  " not in end.stdout  # nothing was left to do


BREAKOUT = """strategy_id: broken
symbol: BTC/USDT
timeframe: 5m
routing: {primary: hyperliquid}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10.0, max_leverag: 2.0}
"""
STRATEGY_SAID = "config/strategies/broken.yaml:5: risk.max_leverag: unknown key ... 'max_leverage'?"
VENUE_SAID = "config/venues/binance_spot.yaml:1: symbls: unknown key ... 'symbols'?"


SHOWS_ALL = ("plan", "list", "list --all --quiet", "status", "report")


@pytest.fixture
def half_broken(done: Project) -> Project:
    """Return a finished project in which one strategy and one venue are wrong."""
    done.write("config/strategies/broken.yaml", BREAKOUT)
    done.write("config/venues/binance_spot.yaml", "{venue: binance_spot, symbls: [BTC/USDT]}")
    return done


@pytest.mark.parametrize(
    ("words", "code", "warned", "refused"),
    [
        ("backtest:btc_usdt_perp_v1", 0, [VENUE_SAID, STRATEGY_SAID], []),
        ("plan migrate", 0, [VENUE_SAID, STRATEGY_SAID], []),
        ("verify", 0, [VENUE_SAID, STRATEGY_SAID], []),
        ("backtest:broken", 3, [VENUE_SAID], [STRATEGY_SAID]),
        ("why backtest:broken", 3, [VENUE_SAID], [STRATEGY_SAID]),
        ("backtest", 3, [VENUE_SAID], [STRATEGY_SAID]),
        ("lookahead:broken", 3, [VENUE_SAID], [STRATEGY_SAID]),
        ("record --for 1s", 3, [STRATEGY_SAID], [VENUE_SAID]),
        ("venue=binance_spot backfill", 3, [STRATEGY_SAID], [VENUE_SAID]),
        ("prune --trials --yes", 0, [VENUE_SAID, STRATEGY_SAID], []),
        ("trades broken", 3, [VENUE_SAID], [STRATEGY_SAID]),
        ("rules --venue binance_spot", 3, [STRATEGY_SAID], [VENUE_SAID]),
        ("", 3, [], [VENUE_SAID, STRATEGY_SAID]),
        *((words, 0, [VENUE_SAID, STRATEGY_SAID], []) for words in SHOWS_ALL),
    ],
)
def test_what_is_wrong_stops_only_what_needs_it(
    half_broken: Project, words: str, code: int, warned: list[str], refused: list[str]
) -> None:
    end = half_broken.doit(*ONE_WEEK, *words.split(), code=code)

    said = [*(f"WARNING: {one}" for one in warned), *(f"ERROR: {one}" for one in refused)]
    assert end.stderr.splitlines() == [Line(line) for line in said]


def test_a_venue_without_a_symbol_stops_only_the_strategies_of_that_symbol(done: Project) -> None:
    text = (done.root / "config/strategies/btc_usdt_perp_v1.yaml").read_text()
    eth = text.replace("btc_usdt_perp_v1", "eth").replace("BTC/USDT", "ETH/USDT")
    done.write("config/strategies/eth.yaml", eth.replace("max_position_btc", "max_position_eth"))
    done.write("config/venues/sample.yaml", "{venue: sample, symbols: [BTC/USDT]}")

    end = done.doit(*ONE_WEEK, "backtest:btc_usdt_perp_v1")

    (line,) = end.stderr.splitlines()
    assert line.startswith("WARNING: config/strategies/eth.yaml:")
    assert "unknown symbol of sample 'ETH/USDT'" in line


def test_paper_without_a_name_names_the_strategies(project: Project) -> None:
    text = (project.root / "config/strategies/btc_usdt_perp_v1.yaml").read_text()
    project.write("config/strategies/early.yaml", text.replace("btc_usdt_perp_v1", "early"))

    assert refused(project, "paper", code=3) == (
        "ERROR: `doit paper` needs the name of a strategy: type `doit paper:NAME`, with one of "
        "btc_usdt_perp_v1, early"
    )


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        ("plan backtest:early", 0, "WARNING"),
        ("plan backtest", 0, "WARNING"),
        ("plan", 0, "WARNING"),
        ("plan backfill", 0, "WARNING"),
        ("status", 0, "WARNING"),
        ("plan backtest:btc_usdt_perp_v1", 3, "ERROR"),
        ("plan backfill:sample:BTC/USDT", 3, "ERROR"),
        ("plan aggregate:sample:BTC/USDT:5m", 3, "ERROR"),
        ("plan lookahead:btc_usdt_perp_v1", 3, "ERROR"),
    ],
)
def test_what_the_options_leave_without_history_stops_only_what_needs_it(
    project: Project, words: str, code: int, kind: str
) -> None:
    text = (project.root / "config/strategies/btc_usdt_perp_v1.yaml").read_text()
    early = text.replace("btc_usdt_perp_v1", "early")
    project.write(
        "config/strategies/early.yaml", f"{early}\nbacktest: {{market_data_venue: binance_spot}}\n"
    )

    end = project.doit("start=2023-01-02", "end=2023-01-05", *words.split(), code=code)

    (line,) = end.stderr.splitlines()
    assert line.startswith(f"{kind}: command line: end: sample has no history of 2023-01-02")
    runs_it = words in ("plan", "plan backtest", "plan backtest:early")
    assert ("backtest:early" in end.stdout) == runs_it


def test_a_bug_of_ours_in_a_command_ends_with_2_and_its_traceback(done: Project) -> None:
    done.edit("tbv8/commands/plan.py", "planned = [", "1 / 0\n        planned = [")

    end = done.doit("plan", code=2)

    assert end.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert end.stderr.count("Traceback") == 1


@pytest.mark.parametrize("limit_kb", [700_000, 1_200_000, 2_000_000])
def test_a_limit_of_address_space_that_hangs_the_libraries_is_refused(
    done: Project, limit_kb: int
) -> None:
    done.sql("DELETE FROM history_coverage WHERE dataset = 'bars_5m'")
    doit = f"{sys.executable} -m doit {' '.join(ONE_WEEK)} aggregate:sample:BTC/USDT:5m"

    end = subprocess.run(
        ["/bin/bash", "-c", f"ulimit -v {limit_kb}; exec {doit}"],
        cwd=done.root,
        env={"PYTHONPATH": str(done.root), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert end.returncode == 1
    (line,) = end.stderr.splitlines()
    start = "ERROR: aggregate:sample:BTC/USDT:5m: the limit of address space is "
    assert line.startswith(start)
