"""Trials in plain subprocesses: one job at a time each, and only this process writes.

Not by multiprocessing, whose killed children end doit (tbv8/ending.py), and not by
concurrent.futures, which loses every running trial with one killed worker. A worker that dies costs
its own trial: it is run again, and the second death is the trial's answer.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import msgspec

from tbv8.errors import DataError
from tbv8.experiments.jobs import Job
from tbv8.experiments.messages import Context, Done, Ready, receive, send
from tbv8.experiments.worker import BUG
from tbv8.page.words import length
from tbv8.text import one_line

_MOST_DEATHS = 2
_RECYCLED_AFTER, _SETTLED_AFTER, _GROWTH = 200, 10, 1.5  # trials; memory against that after 10
_GONE = (EOFError, ConnectionError)
_TAIL = 400

# BLAS, Arrow and polars have threads of their own, and there is a process a core already.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}

type Take = Callable[[int, Any], None]


class Died(msgspec.Struct, frozen=True):
    """The answer of a trial that ends its process."""

    line: str


class _Worker:
    """One process, and the number of the job that it has, if any."""

    def __init__(self, context: Context) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tbv8.experiments.worker"),
                    *(str(theirs.fileno()), str(os.getpid())),
                ],
                pass_fds=[theirs.fileno(), *context.tables.values()],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                process_group=0,  # Ctrl-C in a terminal is ours
                env=os.environ
                | _ENVIRONMENT
                | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self.socket, self.file = ours, ours.makefile("rwb")
        self.job: int | None = None
        self.is_ready = False
        self.done = self.settled = 0
        send(self.file, context)

    def is_worn(self, peak: int) -> bool:
        """Return True if a worker has run enough trials: its memory grows with each."""
        self.done += 1
        if self.done == _SETTLED_AFTER:
            self.settled = peak
        return self.done >= _RECYCLED_AFTER or bool(self.settled and peak > _GROWTH * self.settled)

    def end(self, *, kill: bool = False) -> str:
        """End it and say how it ended: by its last words, or the signal."""
        if kill:
            self.process.kill()
        self.file.close()
        self.socket.close()
        code = self.process.wait()
        self.output.seek(0)
        output = self.output.read().decode("utf-8", "replace")
        self.output.close()
        lines = [one_line(line) for line in output.splitlines() if line.strip()]
        last = output if code == BUG else lines[-1][:_TAIL] if lines else ""
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{how}: {last}" if last else how


class Pool:
    """Workers for one run of an experiment.

    Use it as a context manager: what still runs at its end is killed.

    Args:
        context: What all trials share.
        workers: How many processes at most.
        made_by: The digest of the code whose keys the trials have; a worker of another is refused.
    """

    def __init__(self, context: Context, *, workers: int, made_by: str) -> None:
        self._context, self._most, self._made_by = context, workers, made_by
        self._selector = selectors.DefaultSelector()
        self._deaths: Counter[int] = Counter()
        self._waiting: list[tuple[int, Job]] = []
        self._jobs: Mapping[int, Job] = {}
        self._failed_starts = 0
        self.peak = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self._workers():
            self._drop(worker, kill=True)
        self._selector.close()

    def run(self, jobs: Iterable[tuple[int, Job]], take: Take) -> None:
        """Run jobs, and hand each answer on as it comes: an Outcome, or Died.

        Raises:
            DataError: A worker could not start, or its code is not ours.
        """
        numbered = list(jobs)
        self._jobs = dict(numbered)
        self._waiting = numbered[::-1]
        for worker in self._workers():
            self._send_next(worker)
        while len(self._workers()) < min(self._most, len(numbered)):
            self._start()
        while self._waiting or any(worker.job is not None for worker in self._workers()):
            for key, _ in self._selector.select():
                worker = key.data
                try:
                    message = receive(worker.file)
                except _GONE:
                    self._replace(worker, take)
                    continue
                self._handle(worker, message, take)

    def _workers(self) -> list[_Worker]:
        return [key.data for key in self._selector.get_map().values()]

    def _start(self) -> None:
        worker = _Worker(self._context)
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _drop(self, worker: _Worker, *, kill: bool = False) -> str:
        self._selector.unregister(worker.socket)
        return worker.end(kill=kill)

    def _handle(self, worker: _Worker, message: Any, take: Take) -> None:
        """Take a worker's message, and give it the next job."""
        if isinstance(message, Ready):
            if message.made_by != self._made_by:
                raise DataError(CHANGED)
            worker.is_ready, self._failed_starts = True, 0
        elif isinstance(message, Done):
            if message.outcome is None:
                raise DataError(CHANGED)
            number, worker.job = worker.job, None
            self.peak = max(self.peak, message.peak)
            assert number is not None
            take(number, message.outcome)
            if worker.is_worn(message.peak):
                self._drop(worker)
                if self._waiting:
                    self._start()
                return
        self._send_next(worker)

    def _send_next(self, worker: _Worker) -> None:
        if self._waiting and worker.is_ready and worker.job is None:
            worker.job, job = self._waiting.pop()
            with suppress(*_GONE):  # its socket says so next
                send(worker.file, job)

    def _replace(self, worker: _Worker, take: Take) -> None:
        """Go on without a worker that died."""
        number, how = worker.job, self._drop(worker)
        if worker.process.returncode == BUG:
            raise RuntimeError(f"a worker failed: {how}")
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts == _MOST_DEATHS:
                raise DataError(f"workers cannot start: the last one ended {how}")
        elif number is not None and worker.process.returncode == -signal.SIGALRM:
            take(number, Died(over_limit(self._context.limit_ms)))
        elif number is not None:
            self._deaths[number] += 1
            if self._deaths[number] < _MOST_DEATHS:  # it may have been no fault of the trial's
                self._waiting.append((number, self._jobs[number]))
            else:
                take(number, Died(f"its process ended {how}, twice"))
        if self._waiting:
            self._start()


def over_limit(limit_ms: int | None) -> str:
    """Return the line of a trial that took too long."""
    return (
        f"it did not end within {length(limit_ms or 0)}: raise run.trial_limit, and let "
        "`doit prune --trials --died` have it run again"
    )


CHANGED = (
    "the code was changed while the experiment ran, so that its keys do not hold any more: run it "
    "again, finished trials are kept"
)


@contextmanager
def shared_tables(tables: Mapping[Any, Any]) -> Iterator[dict[Any, int]]:
    """Yield open Arrow files of tables, that workers map: the page cache holds them once for all.

    They have no name, so that they are gone with this process however it ends.
    """
    import pyarrow as pa

    with ExitStack() as stack:
        files = {}
        for name, table in tables.items():
            file = stack.enter_context(tempfile.TemporaryFile())
            with pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table.combine_chunks())
            file.flush()
            files[name] = file.fileno()
        yield files
