"""A process that runs one trial after another: `python -m tbv8.experiments.worker FD PARENT`.

It has a socket to its parent, the process that started it (messages.py), and opens no database. It
ends with its parent, even in the middle of a trial, and ignores Ctrl-C, which the parent handles.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType

from tbv8.config.records import Strategy
from tbv8.config.source import strategy_sources
from tbv8.experiments.messages import Context, Finished, Ready, receive, send
from tbv8.experiments.slots import take_slot

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
BUG = 70
"""The exit code after an exception that is not the strategy's fault."""
_OUT_OF_MEMORY = 71


def main(descriptor: int, parent: int) -> None:
    """Run jobs until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)
    sys.excepthook = end_by_error
    file = socket.socket(fileno=descriptor).makefile("rwb")
    with suppress(EOFError, ConnectionError):
        serve(file)


def end_by_error(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Print an uncaught exception, and end with an exit code that only this function uses."""
    sys.__excepthook__(kind, error, traceback)
    sys.stderr.flush()
    os._exit(_OUT_OF_MEMORY if issubclass(kind, MemoryError) else BUG)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; end it if the parent has died."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def serve(file: BufferedIOBase) -> None:
    """Run one job at a time, and send its outcome."""
    context: Context = receive(file)
    sources = Sources(context.strategy)
    import pyarrow as pa

    from tbv8.experiments.jobs import Job, run_job, time_limit
    from tbv8.experiments.keys import code_digest

    tables = {}
    for name, number in context.tables.items():
        tables[name] = pa.ipc.open_file(pa.memory_map(f"/dev/fd/{number}")).read_all()
    send(file, Ready(code_digest(context.strategy)))
    while True:
        job: Job = receive(file)
        with take_slot(context.cores), time_limit(context.limit_ms):
            outcome = run_job(job, tables, context.funding)
        is_same = sources.are_same()
        discard_output()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        send(file, Finished(outcome if is_same else None, peak))


class Sources:
    """The files of a strategy's code, and their state when this was created."""

    def __init__(self, strategy: Strategy) -> None:
        self._paths, _ = strategy_sources(strategy.module, root=strategy.root)
        self._stamps = self._read_stamps()

    def are_same(self) -> bool:
        """Return True if no file was written to or replaced since."""
        return self._read_stamps() == self._stamps

    def _read_stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def discard_output() -> None:
    """Discard the output of the strategy, which would grow with each trial."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with suppress(OSError):
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
