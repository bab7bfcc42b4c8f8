"""A limit of trials that run at once on a machine: as many as cores, for all processes together.

A slot is a lock on a file in the system's temporary folder; the kernel releases the lock of a
process that is killed.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.02


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


@contextmanager
def take_slot(cores: int) -> Iterator[int]:
    """Wait for a free slot, and yield its number; the slot is free again after the block."""
    folder = Path(tempfile.gettempdir()) / f"tbv8-slots-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    handles = [os.open(folder / str(n), os.O_RDWR | os.O_CREAT, 0o600) for n in range(cores)]
    try:
        yield _wait_for_lock(handles)
    finally:
        for handle in handles:
            os.close(handle)


def _wait_for_lock(handles: list[int]) -> int:
    while True:
        for number, handle in enumerate(handles):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return number
        time.sleep(_POLL_S)
