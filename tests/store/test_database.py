"""Questions to the file through the standard library: what they see, and what they refuse."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tbv8.errors import DataError
from tbv8.store.database import file_problem, open_reader, revision
from tests.builders import BTC, closed_folder, days, hold, open_shell, shell


def test_an_absent_database_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused, open_reader(tmp_path / "tbv8.sqlite"):
        pass

    output = f"{tmp_path}/tbv8.sqlite: there is no database: run `doit migrate`"
    assert str(refused.value) == output
    assert not list(tmp_path.iterdir())


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    shell(tmp_path / "tbv8.sqlite", "VACUUM")

    with pytest.raises(DataError) as refused, open_reader(tmp_path / "tbv8.sqlite"):
        pass

    output = f"{tmp_path}/tbv8.sqlite: has no tables yet: run `doit migrate`"
    assert str(refused.value) == output


def test_a_reader_cannot_write(db_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"), open_reader(db_path) as query:
        query("DELETE FROM trades", ())


def test_a_reader_sees_one_state_while_others_write(db_path: Path) -> None:
    def bars() -> int:
        ((count,),) = query("SELECT count(*) FROM trades", ())
        return int(count)

    with open_reader(db_path) as query:
        assert bars() == 0
        shell(db_path, "INSERT INTO trades VALUES ('sample', 'BTC/USDT', 1, 't', 1, 1, 'buy', 1)")
        assert bars() == 0

    with open_reader(db_path) as query:
        assert bars() == 1


def test_a_reader_does_not_wait_for_a_writer(db_path: Path) -> None:
    with closing(open_shell(db_path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")

        with open_reader(db_path, timeout_s=0) as query:
            assert query("SELECT count(*) FROM bars_5m", ()) == [(0,)]


def test_a_reader_of_a_locked_file_without_wal_is_refused(db_path: Path) -> None:
    with closing(open_shell(db_path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(DataError) as refused, open_reader(db_path, timeout_s=0):
            pass

    assert str(refused.value).startswith(f"{db_path}: locked by another program for a minute: ")


def test_a_reader_without_permission_is_refused(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 1))

    with (
        closed_folder(db_path) as folder,
        pytest.raises(DataError) as refused,
        open_reader(folder / db_path.name),
    ):
        pass

    assert str(refused.value) == (
        f"{folder}/{db_path.name}: cannot be written: check the permissions of the file and its "
        "folder"
    )


def test_a_wrong_query_is_a_bug_and_keeps_its_traceback(db_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError), open_reader(db_path) as query:
        query("SELECT prise FROM bars_5m", ())


def test_the_connection_is_closed_at_the_end_and_after_an_error(db_path: Path) -> None:
    with open_reader(db_path) as query:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        query("SELECT 1", ())

    with pytest.raises(ZeroDivisionError), open_reader(db_path) as query:
        raise ZeroDivisionError
    with pytest.raises(sqlite3.ProgrammingError):
        query("SELECT 1", ())


def test_the_revision_of_a_database_before_its_first_migration_is_none(tmp_path: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:

        def query(sql: str, values: object) -> list[tuple[object, ...]]:
            return connection.execute(sql).fetchall()

        assert revision(query) is None
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        assert revision(query) is None
        connection.execute("INSERT INTO alembic_version VALUES ('0007')")
        assert revision(query) == "0007"


@pytest.mark.parametrize(
    ("message", "output"),
    [
        ("database is locked", "locked by another program"),
        ("IO: Failed to step query: database table is locked: x", "locked by another program"),
        ("file is not a database", "not a database, or damaged"),
        ("database disk image is malformed", "damaged: restore a copy"),
        ("disk I/O error", "the disk cannot be read or written"),
        ("unable to open database file", "cannot be opened"),
        ("attempt to write a readonly database", "cannot be written"),
        ("IO: Failed to step query: database or disk is full", "the disk is full"),
        ("no such table: bars_9m", None),
    ],
)
def test_errors_of_the_driver_become_messages_with_a_cure(message: str, output: str | None) -> None:
    problem = file_problem(Path("nowhere/tbv8.sqlite"), message)

    assert (problem is None) == (output is None)
    if problem is not None and output is not None:
        assert problem.startswith(f"nowhere/tbv8.sqlite: {output}")
