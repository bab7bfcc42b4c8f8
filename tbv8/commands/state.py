"""pydoit's own state file, which tbv8 does not depend on: freshness is computed from the data.

tbv8's loader for pydoit imports this module first. On import it reopens closed standard streams,
installs the handlers of signals, and postpones garbage collection.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sqlite3
import sys
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from doit.dependency import DatabaseException, SqliteDB
from doit.exceptions import InvalidCommand

from tbv8.ending import end_cleanly


def fill_closed_streams() -> None:
    """Reopen standard streams that were closed before the start (`>&-`).

    Otherwise the next opened file would get number 1. That may be the database, and a library's
    output would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


_NAME = ".doit.db"  # a damaged file of this name is moved aside, others are left alone

fill_closed_streams()
end_cleanly()
# Garbage collection takes a sixth of a `doit` with nothing to do, and finds nothing so early.
gc.set_threshold(20_000)
atexit.register(gc.freeze)


class StateFile(SqliteDB):  # type: ignore[misc]  # doit ships no types
    """pydoit's state in SQLite with one transaction per write: parallel runs never wait.

    pydoit's own class holds a lock from the first failure of a run to its end, and creates the file
    even for commands that only read.

    Raises:
        InvalidCommand: `--db-file` names a file or folder of something else.
    """

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        path = Path(name)
        if path.name != _NAME and path.exists() and not _is_whole(path):
            raise InvalidCommand(
                f"--db-file: {name!r} is no state file of pydoit: leave the option out; the "
                "database is db_path in config/data.yaml"
            )
        self.name, self.codec = name, codec
        self._cache: dict[str, dict[str, Any]] = {}
        self._dirty: set[str] = set()

    @cached_property
    def _conn(self) -> Any:
        """The open file, or a database in memory if it cannot be written."""
        path = Path(self.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and not _is_whole(path):
                aside = path.with_name(f"{path.name}.damaged")
                path.replace(aside)
                print(f"{path}: damaged, moved to {aside}; no data is lost", file=sys.stderr)
            if all(os.access(place, os.W_OK) for place in (path.parent, path) if place.exists()):
                return self._open(self.name)
        except (OSError, sqlite3.Error, DatabaseException):
            pass  # the task that writes its data there reports the problem
        return self._open(":memory:")

    def _open(self, name: str) -> Any:
        connection = self._sqlite3(name)
        connection.isolation_level = None
        return connection

    def dump(self) -> None:
        """Save and close the file, if it was opened or there is something to save."""
        if self._dirty or "_conn" in vars(self):
            with suppress(sqlite3.Error):  # a full disk
                super().dump()

    def remove(self, task_id: str) -> None:
        """Forget a task."""
        with suppress(sqlite3.Error):
            super().remove(task_id)


def _is_whole(path: Path) -> bool:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT task_data FROM doit").fetchall()
            sound = connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            return sound and all(isinstance(json.loads(text), dict) for (text,) in rows)
        finally:
            connection.close()
    except sqlite3.OperationalError as e:
        return "locked" in str(e) or "busy" in str(e)
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return False
