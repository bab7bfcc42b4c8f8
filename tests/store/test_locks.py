"""The lock files: one process at a time, and never longer than that process."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest

from tbv8.errors import DataError
from tbv8.store.locks import (
    recorder_lock,
    recorder_owner,
    recorder_runs,
    session_lock,
    session_runs,
)


def _hold_both(path: Path, ready: Any) -> None:
    with recorder_lock(path), session_lock(path, "trend"):
        ready.set()
        signal.pause()


def test_a_lock_is_held_until_its_process_ends_even_by_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "tbv8.sqlite"
    assert (recorder_runs(path), session_runs(path, "trend")) == (False, False)
    assert recorder_owner(path) == ""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold_both, args=(path, ready))
    holder.start()
    assert ready.wait(30)

    with pytest.raises(DataError, match=f"process {holder.pid}"), recorder_lock(path):
        pass
    with pytest.raises(DataError, match=f"`kill {holder.pid}`"), session_lock(path, "trend"):
        pass
    assert (recorder_runs(path), session_runs(path, "trend")) == (True, True)
    assert not session_runs(path, "other")

    holder.kill()
    holder.join()

    assert recorder_owner(path) == str(holder.pid)
    assert (recorder_runs(path), session_runs(path, "trend")) == (False, False)
    with recorder_lock(path), session_lock(path, "trend"):
        pass
