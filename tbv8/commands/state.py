"""pydoit's own state file, in which nothing is that matters: freshness is read from the data.

pydoit imports this module before all others of tbv8, so signals are taken care of from here on.
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

from tbv8.ending import end_cleanly


def fill_closed_streams() -> None:
    """Open what was closed before the start (`>&-`): the next file would get its number.

    That may be the database, and what a library prints to number 1 would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


fill_closed_streams()
end_cleanly()
# Looking for garbage takes a sixth of a `doit` that has nothing to do: there is none yet.
gc.set_threshold(20_000)
atexit.register(gc.freeze)


class StateFile(SqliteDB):  # type: ignore[misc]  # doit ships no types
    """pydoit's state in SQLite, each write by itself: two runs at once never wait for each other.

    pydoit's own keeps a lock from the first failure of a run to its end, and makes the file even
    for those who only look.
    """

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:
        self.name, self.codec = name, codec
        self._cache: dict[str, dict[str, Any]] = {}
        self._dirty: set[str] = set()

    @cached_property
    def _conn(self) -> Any:
        """The open file; nothing but memory where it cannot be written."""
        path = Path(self.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not _is_whole(path):
                aside = path.with_name(f"{path.name}.damaged")
                path.replace(aside)
                print(f"{path}: damaged, moved aside to {aside}; nothing is lost", file=sys.stderr)
            if all(os.access(each, os.W_OK) for each in (path.parent, path) if each.exists()):
                return self._open(self.name)
        except (OSError, sqlite3.Error, DatabaseException):
            pass  # whoever has something to write there will say what is wrong
        return self._open(":memory:")

    def _open(self, name: str) -> Any:
        connection = self._sqlite3(name)
        connection.isolation_level = None
        return connection

    def dump(self) -> None:
        """Save and close, if anything was asked or is to be saved."""
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
