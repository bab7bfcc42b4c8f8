"""Lock files beside the database: one recorder per database, one process per paper session.

A lock file has the id of the process that holds the lock, or held it last. The kernel releases the
lock when that process ends, in whatever way.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tbv8.errors import DataError

_RETRY_S = 0.05


@contextmanager
def recorder_lock(db_path: Path) -> Iterator[None]:
    """Hold the lock of the database's only recorder during the block.

    Raises:
        DataError: Another recorder holds it, or the lock file cannot be written.
    """

    def problem(owner: str) -> str:
        return f"{db_path}: another recorder (process {owner}) is writing to it: stop that first"

    with _hold(_recorder_path(db_path), problem):
        yield


@contextmanager
def session_lock(db_path: Path, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a paper session during the block.

    Args:
        db_path: The database.
        name: The strategy's id, or another name of the session.
        wait_s: The time to wait for a process that is ending.

    Raises:
        DataError: Another process holds it, or the lock file cannot be written.
    """

    def problem(owner: str) -> str:
        return (
            f"{name}: its session is already running (process {owner}): end that process by Ctrl-C "
            f"or `kill {owner}` (`doit stop` ends its trading, not the process)"
        )

    with _hold(_session_path(db_path, name), problem, wait_s=wait_s):
        yield


def session_runs(db_path: Path, strategy_id: str) -> bool:
    """Return True if a process runs the session of a strategy."""
    return _is_held(_session_path(db_path, strategy_id))


def recorder_runs(db_path: Path) -> bool:
    """Return True if a recorder writes to the database."""
    return _is_held(_recorder_path(db_path))


def recorder_owner(db_path: Path) -> str:
    """Return the id of the process that last held the recorder's lock; "" if none ever did."""
    path = _recorder_path(db_path)
    return path.read_text("utf-8", errors="replace").strip() if path.exists() else ""


def _recorder_path(db_path: Path) -> Path:
    return db_path.with_name(f"{db_path.name}.recorder.lock")


def _session_path(db_path: Path, name: str) -> Path:
    return db_path.with_name(f"{db_path.name}.paper.{name}.lock")


@contextmanager
def _hold(path: Path, problem: Callable[[str], str], *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock during the block; `problem` returns the error for the process that holds it."""
    try:
        lock = path.open("a+")
    except OSError as e:
        raise DataError(f"{path}: cannot be written: {e.strerror}: make it writable") from e
    until_s = time.monotonic() + wait_s
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                if time.monotonic() < until_s:
                    time.sleep(_RETRY_S)
                    continue
                lock.seek(0)
                raise DataError(problem(lock.read().strip() or "unknown")) from e
            break
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _is_held(path: Path) -> bool:
    try:
        with path.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
