"""The database file as the standard library sees it: quick read-only questions, and clear refusals.

Freshness is asked on each start and before pydoit forks, so nothing here imports more than sqlite3.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbv8.errors import DataError, MovedError, NotMigratedError

REVISION = "0004"
"""The Alembic revision that this code reads and writes; a test compares it with migrations/."""

BUSY_TIMEOUT_S = 60

_NAMES_GONE = ("no such column", "no such table", "no column named")
_WATCH_S = 0.5

type Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Run one statement and return all its rows: the same for sqlite3 and for ADBC."""


@contextmanager
def open_reader(db_path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Iterator[Query]:
    """Open the database read-only for a few questions that see one state of it.

    Raises:
        NotMigratedError: The file is absent, or of another revision.
        DataError: It is damaged or locked.
    """
    with open_any_revision(db_path, timeout_s=timeout_s) as query:
        found = revision(query)
        if found != REVISION:
            raise NotMigratedError(other_revision(db_path, found))
        yield query


@contextmanager
def open_any_revision(db_path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Iterator[Query]:
    """Open the database as `open_reader` does, whatever its revision.

    Raises:
        NotMigratedError: The file is absent.
        DataError: It is damaged or locked.
    """
    if not db_path.is_file():
        raise NotMigratedError(f"{db_path}: there is no database: run `doit migrate`")
    with refusals(db_path):
        connection = sqlite3.connect(reader_uri(db_path), uri=True, timeout=timeout_s)
        try:
            connection.execute("BEGIN")

            def query(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
                return connection.execute(sql, values).fetchall()

            yield query
        finally:
            connection.close()


def reader_uri(db_path: Path) -> str:
    """Return the URI to open the database read-only, also where nothing can be written."""
    uri = f"{db_path.absolute().as_uri()}?mode=ro"
    if not os.access(db_path.parent, os.W_OK) and not _wal(db_path).exists():
        uri += "&immutable=1"  # SQLite wants to make a WAL even in order to read
    return uri


def _wal(db_path: Path) -> Path:
    return db_path.with_name(f"{db_path.name}-wal")


class Place:
    """The files of an open connection, by device and inode: the database and its WAL.

    Make it once the connection has read something: before that SQLite has not opened them.

    Args:
        db_path: Where they were opened.
    """

    def __init__(self, db_path: Path) -> None:
        self._db_path = db_path
        self._paths = [path for path in (db_path, _wal(db_path)) if path.exists()]
        self._opened = [_file_id(path) for path in self._paths]

    def is_there(self) -> bool:
        """Return True if the database, whatever its WAL, is the file that was opened."""
        return _file_id(self._db_path) == self._opened[0]

    def check(self) -> None:
        """Compare with what is at the paths now; a question of microseconds.

        Raises:
            MovedError: Another file is there, or none.
        """
        if [_file_id(path) for path in self._paths] != self._opened:
            raise MovedError(
                f"{self._db_path}: was removed, moved or replaced while it was open: what was "
                "written last may be in the file that was moved; run again"
            )


@contextmanager
def watched(place: Place) -> Iterator[None]:
    """Check a place twice a second while the block lasts, and end the block, also out of a wait.

    In another thread than the main one nothing can be interrupted: there the check of each
    transaction must do.

    Raises:
        MovedError: Another file is there, or none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over, main = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not over.wait(_WATCH_S):
            try:
                place.check()
            except MovedError:
                signal.pthread_kill(main, signal.SIGUSR1)
                return

    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: place.check())
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def revision(query: Query) -> str | None:
    """Return the Alembic revision of the database; None before the first migration."""
    if not query("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'", ()):
        return None
    rows = query("SELECT version_num FROM alembic_version", ())
    return str(rows[0][0]) if rows else None


@contextmanager
def refusals(db_path: Path) -> Iterator[None]:
    """Turn sqlite3's errors about the file into DataErrors that name the cure."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as e:  # an error may quote a damaged name
        if (problem := file_problem(db_path, str(e))) is None:
            raise
        raise DataError(problem) from e


def file_problem(db_path: Path, message: str) -> str | None:
    """Translate a driver's message for a user; None when it is not about the file."""
    damaged = "damaged: restore a copy, or move it aside and run again to build it anew"
    causes = {
        "locked": "locked by another program for a minute: close it (a sqlite3 shell, a database "
        "browser, another doit) and run again",
        "not a database": "not a database, or damaged: restore a copy, or move it aside and run "
        "again to build it anew",
        "decode": damaged,
        "malformed": damaged,
        "unsupported file format": damaged,
        "disk I/O": "the disk cannot be read or written, it may be full: free some space, else "
        "check it, then run `doit verify`",
        "unable to open": "cannot be opened: check that its folder exists and may be written",
        "readonly": "cannot be written: check the permissions of the file and its folder",
        "disk is full": "the disk is full: free some space and run again, nothing is lost",
    }
    for part, cause in causes.items():
        if part in message:
            return f"{db_path}: {cause}"
    if any(part in message for part in _NAMES_GONE) and db_path.is_file():
        from tbv8.store.schema import is_as_made  # heavy, and for an error alone

        if not is_as_made(db_path):
            return f"{db_path}: its tables are not those that tbv8 made: {damaged}"
    return None


def other_revision(db_path: Path, found: str | None) -> str:
    """Say that the database is not of this tbv8's revision, and the cure."""
    if found is None:
        return f"{db_path}: has no tables yet: run `doit migrate`"
    return (
        f"{db_path}: is of revision {found}, this tbv8 knows {REVISION}: "
        "run `doit migrate`, or update tbv8"
    )
