"""The database file through Python's sqlite3: quick read-only queries, and clear errors.

Every start of doit reads the database before pydoit forks, so this module must be light to import.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tbv8.errors import DataError, MovedError, NotMigratedError, UnreadableError
from tbv8.market import Series

REVISION = "0005"
"""The Alembic revision that this code reads and writes; a test compares it with migrations/."""

BUSY_TIMEOUT_S = 60
"""The time that a statement waits for another writer."""

COMMIT_TIMEOUT_S = 1
"""The same for writers of live data, which keep their rows and try again."""

_TEMPORARY = ("locked", "busy", "full", "disk I/O", "unable to open", "readonly")
_UNKNOWN_NAME_ERRORS = ("no such column", "no such table", "no column named")
_WATCH_S = 0.5

type Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""A function that runs one statement and returns all rows, by sqlite3 or by ADBC."""


class BusyError(DataError):
    """The database cannot be written at the moment; the same rows may be written later."""


@contextmanager
def open_reader(db_path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Iterator[Query]:
    """Open the database read-only, for queries of one consistent snapshot.

    Raises:
        NotMigratedError: The file is absent, or of another revision.
        DataError: It is damaged or locked.
    """
    with open_any_revision(db_path, timeout_s=timeout_s) as query:
        current = revision(query)
        if current != REVISION:
            raise NotMigratedError(wrong_revision(db_path, current))
        yield query


@contextmanager
def open_any_revision(db_path: Path, *, timeout_s: float = BUSY_TIMEOUT_S) -> Iterator[Query]:
    """Open the database as `open_reader` does, at any revision.

    Raises:
        NotMigratedError: The file is absent.
        DataError: It is damaged or locked.
    """
    if not db_path.is_file():
        raise NotMigratedError(f"{db_path}: there is no database: run `doit migrate`")
    with translated_errors(db_path):
        connection = sqlite3.connect(reader_uri(db_path), uri=True, timeout=timeout_s)
        try:
            connection.execute("BEGIN")

            def query(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
                return connection.execute(sql, values).fetchall()

            yield query
        finally:
            connection.close()


def check_revision(db_path: Path) -> None:
    """Check that a file is a database of this revision.

    Raises:
        NotMigratedError: The file is absent, or of another revision.
        DataError: It is damaged or locked.
    """
    with open_reader(db_path):
        pass


@contextmanager
def open_live_writer(
    db_path: Path, pragmas: Sequence[str], *, one_thread: bool = True
) -> Iterator[sqlite3.Connection]:
    """Open the database for a writer of live data; the caller begins and ends transactions.

    The process must not open the file by ADBC at the same time (see `tbv8.store.bars`).

    Args:
        db_path: The database.
        pragmas: The settings of the connection.
        one_thread: False to let the connection move between threads.

    Raises:
        NotMigratedError: The file is absent, or of another revision.
        DataError: It is damaged or locked.
    """
    check_revision(db_path)
    with translated_errors(db_path):
        connection = sqlite3.connect(
            db_path, timeout=COMMIT_TIMEOUT_S, isolation_level=None, check_same_thread=one_thread
        )
    with closing(connection):
        with translated_errors(db_path):
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the files
        yield connection


def reader_uri(db_path: Path) -> str:
    """Return the URI to open the database read-only, even in a folder without write permission."""
    uri = f"{db_path.absolute().as_uri()}?mode=ro"
    if not os.access(db_path.parent, os.W_OK) and not _wal(db_path).exists():
        uri += "&immutable=1"  # SQLite would create a WAL even for reading
    return uri


def _wal(db_path: Path) -> Path:
    return db_path.with_name(f"{db_path.name}-wal")


class DatabaseFiles:
    """The identity, by device and inode, of the files that a connection has open.

    They are the database and its WAL. Create it after the connection's first read, since SQLite
    opens the files then.

    Args:
        db_path: The path of the database.
    """

    def __init__(self, db_path: Path) -> None:
        self._db_path = db_path
        self._paths = [path for path in (db_path, _wal(db_path)) if path.exists()]
        self._opened = [_file_id(path) for path in self._paths]

    def has_database(self) -> bool:
        """Return True if the opened database is still at its path; the WAL does not matter."""
        return _file_id(self._db_path) == self._opened[0]

    def check(self) -> None:
        """Compare the opened files with those at the paths now; takes microseconds.

        Raises:
            MovedError: A file was replaced or is gone.
        """
        if [_file_id(path) for path in self._paths] != self._opened:
            raise MovedError(
                f"{self._db_path}: was removed, moved or replaced while it was open, so the last "
                "writes may be in the moved file: run again"
            )


@contextmanager
def watch_files(files: DatabaseFiles) -> Iterator[None]:
    """Check the files twice a second during the block, and interrupt the block if they change.

    Only the main thread can be interrupted; in other threads, each transaction checks the files.

    Raises:
        MovedError: A file was replaced or is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended, main = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not ended.wait(_WATCH_S):
            try:
                files.check()
            except MovedError:
                signal.pthread_kill(main, signal.SIGUSR1)
                return

    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: files.check())
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def revision(query: Query) -> str | None:
    """Return the Alembic revision of the database; None before the first migration."""
    if not query("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'", ()):
        return None
    rows = query("SELECT version_num FROM alembic_version", ())
    return str(rows[0][0]) if rows else None


@contextmanager
def translated_errors(db_path: Path) -> Iterator[None]:
    """Turn sqlite3's errors about the file into UnreadableErrors with a cure."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as e:  # an error may quote a damaged name
        if (problem := file_problem(db_path, str(e))) is None:
            raise
        raise UnreadableError(problem) from e


def series_in(query: Query, table: str) -> Iterator[Series]:
    """Yield each series with rows in a table, sorted; it skips along the index between them."""
    after = ("", "")
    while rows := query(
        f'SELECT venue, symbol FROM "{table}" WHERE (venue, symbol) > (?, ?)'
        " ORDER BY venue, symbol LIMIT 1",
        after,
    ):
        after = (str(rows[0][0]), str(rows[0][1]))
        yield Series(*after)


def is_temporary(e: sqlite3.DatabaseError | UnicodeDecodeError) -> bool:
    """Return True if an error of a writer may end by itself: a lock, or a full disk."""
    return isinstance(e, sqlite3.OperationalError) and any(word in str(e) for word in _TEMPORARY)


def file_problem(db_path: Path, message: str) -> str | None:
    """Return the user's message for an error of a driver; None if the file is not its cause."""
    damaged = "damaged: restore a copy, or move it away and run again to rebuild it"
    causes = {
        "locked": "locked by another program for a minute: close it (a sqlite3 shell, a database "
        "browser, another doit) and run again",
        "not a database": "not a database, or damaged: restore a copy, or move it away and run "
        "again to rebuild it",
        "decode": damaged,
        "malformed": damaged,
        "unsupported file format": damaged,
        "disk I/O": "the disk cannot be read or written, it may be full: free some space or check "
        "the disk, then run `doit verify`",
        "unable to open": "cannot be opened: check that its folder exists and may be written",
        "readonly": "cannot be written: check the permissions of the file and its folder",
        "disk is full": "the disk is full, no stored data is lost: free some space and run again",
    }
    for part, cause in causes.items():
        if part in message:
            return f"{db_path}: {cause}"
    if any(part in message for part in _UNKNOWN_NAME_ERRORS) and db_path.is_file():
        from tbv8.store.schema import has_expected_tables  # heavy, and needed for this error only

        if not has_expected_tables(db_path):
            return f"{db_path}: its tables are not those of tbv8: {damaged}"
    return None


def wrong_revision(db_path: Path, current: str | None) -> str:
    """Return the user's message about a database of another revision."""
    if current is None:
        return f"{db_path}: has no tables yet: run `doit migrate`"
    return (
        f"{db_path}: has revision {current}, but this tbv8 needs {REVISION}: "
        "run `doit migrate`, or update tbv8"
    )
