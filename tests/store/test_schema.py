"""The tables, and every way in which making them can go wrong."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from tbv8.errors import DataError
from tbv8.freshness.data import migration_state
from tbv8.market import parse_timeframe
from tbv8.store import schema
from tbv8.store.bars import open_bars
from tbv8.store.database import REVISION, open_reader
from tbv8.store.schema import alembic_config, create_bars_table, migrate
from tests.builders import (
    BTC,
    ROOT,
    closed_folder,
    day,
    days,
    hold,
    ledger_in,
    open_shell,
    rows,
    shell,
)
from tests.lines import Line

TABLES = [
    "alembic_version",
    "bars_12h",
    "bars_15m",
    "bars_1d",
    "bars_1h",
    "bars_1m",
    "bars_1mo",
    "bars_1w",
    "bars_2h",
    "bars_30m",
    "bars_4h",
    "bars_5m",
    "bbo",
    "experiment_trials",
    "funding",
    "history_coverage",
    "mark",
    "native_markets",
    "ohlcv_1m",
    "recording_gaps",
    "session_bars",
    "session_events",
    "sessions",
    "trades",
    "trial_details",
    "trials",
]
WRITTEN_DOWN = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


def tables(db_path: Path) -> list[str]:
    found = rows(db_path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found]


def columns(db_path: Path, table: str) -> dict[str, str]:
    return {row[1]: row[2] for row in rows(db_path, f'PRAGMA table_info("{table}")')}


def key(db_path: Path, table: str) -> list[str]:
    info = [row for row in rows(db_path, f'PRAGMA table_info("{table}")') if row[5]]
    return [row[1] for row in sorted(info, key=lambda row: row[5])]


def check(db_path: Path) -> None:
    command.check(alembic_config(db_path, root=ROOT))


def forked(child: str, *paths: Path) -> list[int]:
    """Run `child(path)` for each path, all at once in processes of their own; return their ends."""
    code = f"""
import multiprocessing, os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, Table, event
from tbv8.store.schema import migrate
{child}
together = multiprocessing.get_context("fork").Barrier(len(sys.argv) - 1, timeout=60)
children = []
for path in sys.argv[1:]:
    pid = os.fork()
    if pid == 0:
        child(Path(path))
        os._exit(0)
    children.append(pid)
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""
    host = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert host.stderr == ""
    return [int(end) for end in host.stdout.split()]


def test_migrating_creates_the_file_its_folder_and_every_table(tmp_path: Path) -> None:
    db_path = tmp_path / "not" / "there" / "tbv8.sqlite"

    migrate(db_path, root=ROOT)

    assert tables(db_path) == TABLES
    assert rows(db_path, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    assert rows(db_path, "PRAGMA journal_mode") == [("wal",)]
    assert not migration_state(db_path).reasons


def test_tables_have_the_columns_and_keys_that_the_design_names(db_path: Path) -> None:
    prices = {name: "FLOAT" for name in ("open", "high", "low", "close", "volume")}
    minute = {"venue": "VARCHAR", "symbol": "VARCHAR", "ts_ms": "INTEGER", **prices}

    assert columns(db_path, "ohlcv_1m") == minute
    assert columns(db_path, "bars_1m") == minute
    assert columns(db_path, "bars_5m") == {**minute, "minutes": "INTEGER"}
    assert columns(db_path, "bars_1mo") == {**minute, "minutes": "INTEGER"}
    assert list(columns(db_path, "history_coverage")) == [
        "venue",
        "symbol",
        "dataset",
        "day_ms",
        "start_ms",
        "end_ms",
        "bars",
        "missing",
        "source",
        "digest",
        "built_from",
        "updated_ms",
    ]
    assert key(db_path, "ohlcv_1m") == key(db_path, "bars_1w") == ["venue", "symbol", "ts_ms"]
    assert key(db_path, "history_coverage") == ["venue", "symbol", "dataset", "day_ms"]
    assert key(db_path, "trades") == ["venue", "symbol", "ts_ms", "trade_id"]
    assert key(db_path, "recording_gaps") == ["venue", "symbol", "channel", "start_ms"]
    assert rows(db_path, "SELECT name FROM pragma_index_info('ix_bbo_series')") == [
        ("venue",),
        ("symbol",),
        ("ts_ms",),
    ]
    for table in ("ohlcv_1m", "bars_1m", "bars_5m", "history_coverage"):
        ((sql,),) = rows(db_path, "SELECT sql FROM sqlite_master WHERE name = ?", (table,))
        assert sql.rstrip().endswith("WITHOUT ROWID"), table


def test_migrating_again_changes_nothing(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 1))
    before = rows(db_path, WRITTEN_DOWN), ledger_in(db_path, BTC)

    migrate(db_path, root=ROOT)

    assert (rows(db_path, WRITTEN_DOWN), ledger_in(db_path, BTC)) == before


def test_the_revision_in_the_code_is_the_head_of_the_migrations(db_path: Path) -> None:
    scripts = ScriptDirectory.from_config(alembic_config(db_path, root=ROOT))

    assert scripts.get_heads() == [REVISION]


def test_alembic_is_configured_by_pyproject_alone(tmp_path: Path) -> None:
    assert not (ROOT / "alembic.ini").exists()
    moved = tmp_path / "a folder with 100% of it"
    moved.mkdir()
    shutil.copy(ROOT / "pyproject.toml", moved)
    shutil.copytree(ROOT / "migrations", moved / "migrations")

    migrate(tmp_path / "tbv8.sqlite", root=moved)

    assert tables(tmp_path / "tbv8.sqlite") == TABLES


@pytest.mark.parametrize("name", ["what?.sqlite", "100%25.sqlite", "a b#c.sqlite", "бары.sqlite"])
def test_a_database_may_have_any_name(tmp_path: Path, name: str) -> None:
    migrate(tmp_path / name, root=ROOT)

    hold(tmp_path / name, BTC, days(0, 1))

    assert [path.name for path in tmp_path.iterdir()] == [name]
    with open_reader(tmp_path / name) as query:
        assert query("SELECT count(*) FROM ohlcv_1m", ()) == [(1440,)]


def test_alembic_finds_nothing_to_change_in_an_empty_database(db_path: Path) -> None:
    check(db_path)


def test_alembic_finds_nothing_to_change_in_one_with_bars_of_any_timeframe(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2))
    create_bars_table(db_path, parse_timeframe("7m"))

    check(db_path)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("ALTER TABLE trades ADD COLUMN note TEXT", id="a column more"),
        pytest.param("ALTER TABLE bars_1m DROP COLUMN volume", id="a column less"),
        pytest.param("DROP TABLE bbo", id="a table less"),
        pytest.param("DROP INDEX ix_bbo_series", id="an index less"),
    ],
)
def test_alembic_finds_changes_by_hand(db_path: Path, sql: str) -> None:
    shell(db_path, sql)

    with pytest.raises(CommandError, match="New upgrade operations detected"):
        check(db_path)


def test_down_to_nothing_and_up_again_gives_the_same_tables(db_path: Path) -> None:
    made = rows(db_path, WRITTEN_DOWN)
    hold(db_path, BTC, days(0, 2))
    create_bars_table(db_path, parse_timeframe("7m"))

    command.downgrade(alembic_config(db_path, root=ROOT), "base")

    assert tables(db_path) == ["alembic_version"]
    with (
        pytest.raises(DataError, match="has no tables yet: run `doit migrate`"),
        open_reader(db_path),
    ):
        pass

    migrate(db_path, root=ROOT)

    assert rows(db_path, WRITTEN_DOWN) == made
    assert ledger_in(db_path, BTC) == []


def test_a_killed_migration_is_finished_by_the_next(tmp_path: Path, db_path: Path) -> None:
    # given two processes that die by kill -9, in the middle and just before the end
    paths = {moment: tmp_path / f"{moment}.sqlite" for moment in ("middle", "end")}
    ended = forked(
        """
def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)

def die_at_an_hour(table, *_args, **_more):
    if table.name == "bars_1h":
        die()

def child(path):
    if path.stem == "middle":
        event.listen(Table, "after_create", die_at_an_hour)
    else:
        event.listen(Engine, "commit", die)
    migrate(path, root=Path.cwd())
""",
        *paths.values(),
    )
    assert ended == [-signal.SIGKILL] * 2

    for path in paths.values():
        # then nothing of it is there, and it is known to be stale
        assert tables(path) == []
        (reason,) = migration_state(path).reasons
        assert reason == f"{path}: has no tables yet"

        # and when it is run again, then everything is
        migrate(path, root=ROOT)

        assert rows(path, WRITTEN_DOWN) == rows(db_path, WRITTEN_DOWN)
        assert not migration_state(path).reasons


def test_concurrent_migrations_all_succeed(tmp_path: Path, db_path: Path) -> None:
    # given three processes that come to the same absent files at the same time
    ended = forked(
        """
def child(folder):
    for number in range(20):
        together.wait()
        migrate(folder / f"{number}.sqlite", root=Path.cwd())
""",
        *[tmp_path / "many"] * 3,
    )

    assert ended == [0, 0, 0]
    for path in (tmp_path / "many").glob("*.sqlite"):
        assert rows(path, WRITTEN_DOWN) == rows(db_path, WRITTEN_DOWN)
        assert rows(path, "SELECT version_num FROM alembic_version") == [(REVISION,)]


def test_a_database_of_a_newer_tbv8_is_refused_in_one_line(db_path: Path) -> None:
    shell(db_path, "UPDATE alembic_version SET version_num = '0099'")

    with pytest.raises(DataError) as upgrading:
        migrate(db_path, root=ROOT)
    with pytest.raises(DataError) as reading, open_reader(db_path):
        pass

    assert str(upgrading.value) == (
        f"{db_path}: comes from a newer tbv8, this one needs revision {REVISION}: "
        "update tbv8, or set another db_path in config/data.yaml"
    )
    assert str(reading.value) == (
        f"{db_path}: has revision 0099, but this tbv8 needs {REVISION}: "
        "run `doit migrate`, or update tbv8"
    )
    assert migration_state(db_path).reasons == (str(reading.value),)


def damage(db_path: Path, kind: str) -> None:
    whole = db_path.read_bytes()
    db_path.write_bytes(
        {
            "text": b"ts_ms,open,high,low,close\n" * 400,
            "a word": b"bars",
            "header": b"\xff" * 100 + whole[100:],
            "first page": whole[:100] + b"\xff" * 3996 + whole[4096:],
            "half": whole[: len(whole) // 2],
        }[kind]
    )


@pytest.mark.parametrize("kind", ["text", "a word", "header", "first page", "half"])
def test_a_damaged_file_is_refused_in_one_line_by_all(db_path: Path, kind: str) -> None:
    damage(db_path, kind)
    before = db_path.read_bytes()

    with pytest.raises(DataError) as upgrading:
        migrate(db_path, root=ROOT)
    with pytest.raises(DataError) as reading, open_reader(db_path):
        pass
    with pytest.raises(DataError) as writing, open_bars(db_path) as store:
        store.query("SELECT name FROM sqlite_master")

    for refused in (upgrading, reading, writing):
        output = str(refused.value)
        assert output.startswith(f"{db_path}: ")
        assert "damaged: restore a copy, or move it away and run again" in output
        assert "\n" not in output
    assert db_path.read_bytes() == before


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "tbv8.sqlite").touch()

    migrate(tmp_path / "tbv8.sqlite", root=ROOT)

    assert tables(tmp_path / "tbv8.sqlite") == TABLES


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_locked_database_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0)
    db_path = tmp_path / "tbv8.sqlite"
    other = open_shell(db_path)
    other.execute(f"PRAGMA journal_mode = {journal}")
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(DataError) as refused:
        migrate(db_path, root=ROOT)

    assert str(refused.value) == (
        f"{db_path}: locked by another program for a minute: close it (a sqlite3 shell, a database "
        "browser, another doit) and run again"
    )
    other.close()
    migrate(db_path, root=ROOT)
    assert tables(db_path) == TABLES


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DataError) as refused:
        migrate(tmp_path / "file" / "tbv8.sqlite", root=ROOT)

    assert str(refused.value) == (
        f"{tmp_path / 'file'}: cannot be created: File exists: create that folder, or set another "
        "db_path in config/data.yaml"
    )


def test_a_folder_in_the_place_of_the_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        migrate(tmp_path, root=ROOT)

    assert str(refused.value) == (
        f"{tmp_path}: cannot be opened: check that its folder exists and may be written"
    )


def test_a_folder_without_permission_is_refused_in_one_line(
    db_path: Path,
) -> None:
    with closed_folder(db_path) as folder:
        output = {}
        for name in ("absent.sqlite", "below/absent.sqlite", db_path.name):
            with pytest.raises(DataError) as refused:
                migrate(folder / name, root=ROOT)
            output[name] = str(refused.value)

    assert output == {
        "absent.sqlite": Line(f"{folder}/absent.sqlite: cannot be opened: ..."),
        "below/absent.sqlite": f"{folder}/below: cannot be created: Permission denied: create "
        "that folder, or set another db_path in config/data.yaml",
        db_path.name: Line(f"{folder}/{db_path.name}: cannot be written: ..."),
    }


@pytest.mark.parametrize(
    ("timeframe", "dataset"), [("7m", "bars_7m"), ("3d", "bars_3d"), ("1M", "bars_1mo")]
)
def test_a_table_created_for_a_timeframe_equals_those_of_the_migrations(
    db_path: Path, timeframe: str, dataset: str
) -> None:
    create_bars_table(db_path, parse_timeframe(timeframe))
    create_bars_table(db_path, parse_timeframe(timeframe))

    usual, made = (
        [
            (kind, name.replace(table, "T"), sql.replace(table, "T"))
            for kind, name, sql in rows(
                db_path,
                "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = ? ORDER BY name",
                (table,),
            )
        ]
        for table in ("bars_5m", dataset)
    )
    assert [(kind, name) for kind, name, _sql in made] == [
        ("table", "T"),
        ("trigger", "T_delete"),
        ("trigger", "T_insert"),
        ("trigger", "T_update"),
    ]
    assert made == usual


@pytest.mark.parametrize("dataset", ["ohlcv_1m", "bars_1m", "bars_5m", "bars_1mo", "bars_7m"])
@pytest.mark.parametrize(
    ("sql", "forgotten"),
    [
        pytest.param("UPDATE {} SET volume = 7 WHERE ts_ms = :first", [0], id="a value changed"),
        pytest.param("DELETE FROM {} WHERE ts_ms = :last", [1], id="a row deleted"),
        pytest.param(
            "UPDATE {} SET ts_ms = :free WHERE ts_ms = :last", [1, 2], id="a row moved to a day"
        ),
        pytest.param(
            "UPDATE {} SET symbol = 'ETH/USDT' WHERE ts_ms = :last", [1, 11], id="another symbol"
        ),
        pytest.param("DELETE FROM {}", [0, 1], id="all rows deleted"),
        pytest.param(
            "REPLACE INTO {0} SELECT * FROM {0} WHERE ts_ms = :first",
            [0],
            id="a row put in the place of another",
        ),
        pytest.param(
            "INSERT INTO {0} VALUES ('sample', 'ETH/USDT', :free, {1})", [12], id="a row added"
        ),
    ],
)
def test_editing_rows_clears_the_digests_of_their_days_only(
    db_path: Path, dataset: str, sql: str, forgotten: list[int]
) -> None:
    # given three days of two symbols in two datasets, and rows on the first two of one of them
    create_bars_table(db_path, parse_timeframe("7m"))
    other = "bars_1h" if dataset == "bars_5m" else "bars_5m"
    moments = {"first": day(0), "last": day(2) - 60_000, "free": day(2)}
    values = "1, 1, 1, 1, 1" + ("" if dataset.endswith("_1m") else ", 1")
    shell(
        db_path,
        f"INSERT INTO {dataset} VALUES ('sample', 'BTC/USDT', ?, {values}),"
        f" ('sample', 'BTC/USDT', ?, {values})",
        (moments["first"], moments["last"]),
    )
    shell(
        db_path,
        "INSERT INTO history_coverage SELECT 'sample', symbol, dataset, day, day, day + 86400000,"
        " 1, 0, 'rest', 'digest', NULL, 1 FROM"
        " (SELECT 'BTC/USDT' AS symbol UNION VALUES ('ETH/USDT')),"
        " (SELECT ? AS dataset UNION VALUES (?)),"
        " (SELECT ? AS day UNION VALUES (?), (?))",
        (dataset, other, day(0), day(1), day(2)),
    )

    given = {name: value for name, value in moments.items() if f":{name}" in sql}
    shell(db_path, sql.format(dataset, values), given)

    found = rows(
        db_path,
        "SELECT (symbol = 'ETH/USDT') * 10 + (day_ms - ?) / 86400000 FROM history_coverage"
        " WHERE digest IS NULL AND dataset = ? ORDER BY 1",
        (day(0), dataset),
    )
    assert [number for (number,) in found] == forgotten
    assert rows(
        db_path,
        "SELECT count(*) FROM history_coverage WHERE digest IS NULL AND dataset = ?",
        (other,),
    ) == [(0,)]


def test_usual_queries_use_the_primary_key(db_path: Path) -> None:
    plan = rows(
        db_path,
        "EXPLAIN QUERY PLAN SELECT min(ts_ms) FROM ohlcv_1m WHERE venue = 'x' AND symbol = 'y'",
    )

    assert [row[3] for row in plan] == ["SEARCH ohlcv_1m USING PRIMARY KEY (venue=? AND symbol=?)"]
