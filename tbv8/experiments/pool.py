"""Trials in plain subprocesses: each runs one job at a time, and only this process writes.

Killed children of multiprocessing would end doit (tbv8/ending.py), and concurrent.futures loses
every running trial with one killed worker. Here a worker that dies costs only its own trial: that
is run again, and the second death is its outcome.
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
from tbv8.experiments.messages import Context, Finished, Ready, receive, send
from tbv8.experiments.worker import BUG
from tbv8.page.words import length
from tbv8.text import one_line

_MOST_DEATHS = 2
_RECYCLED_AFTER, _SETTLED_AFTER, _GROWTH = 200, 10, 1.5  # trials; against the memory after 10
_CLOSED = (EOFError, ConnectionError)
_TAIL = 400

# BLAS, Arrow and polars have threads of their own, and there is a process a core already.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}

type OnOutcome = Callable[[int, Any], None]


class Died(msgspec.Struct, frozen=True):
    """The outcome of a trial that ends its process."""

    line: str


class _Worker:
    """One process, and the number of the job that it runs, if any."""

    def __init__(self, context: Context) -> None:
        parent_end, child_end = socket.socketpair()
        with child_end:
            self.output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tbv8.experiments.worker"),
                    *(str(child_end.fileno()), str(os.getpid())),
                ],
                pass_fds=[child_end.fileno(), *context.tables.values()],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                process_group=0,  # Ctrl-C in a terminal is for the parent alone
                env=os.environ
                | _ENVIRONMENT
                | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self.socket, self.file = parent_end, parent_end.makefile("rwb")
        self.job: int | None = None
        self.is_ready = False
        self.trials = self.settled_peak = 0
        send(self.file, context)

    def is_worn(self, peak: int) -> bool:
        """Return True if a worker has run enough trials: its memory grows with each."""
        self.trials += 1
        if self.trials == _SETTLED_AFTER:
            self.settled_peak = peak
        return self.trials >= _RECYCLED_AFTER or bool(
            self.settled_peak and peak > _GROWTH * self.settled_peak
        )

    def end(self, *, kill: bool = False) -> str:
        """End it, and return how it ended: by its exit code or signal, and its last line."""
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
        ending = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{ending}: {last}" if last else ending


class Pool:
    """Workers for one run of an experiment.

    Use it as a context manager: workers that still run at its end are killed.

    Args:
        context: The inputs that all trials share.
        workers: The largest number of processes.
        made_by: The digest of the code that the trials' keys were made with; a worker with other
            code is refused.
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

    def run(self, jobs: Iterable[tuple[int, Job]], on_outcome: OnOutcome) -> None:
        """Run jobs, and pass on each outcome as it comes: an Outcome, or Died.

        Raises:
            DataError: A worker could not start, or has other code than this process.
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
                except _CLOSED:
                    self._replace(worker, on_outcome)
                    continue
                self._on_message(worker, message, on_outcome)

    def _workers(self) -> list[_Worker]:
        return [key.data for key in self._selector.get_map().values()]

    def _start(self) -> None:
        worker = _Worker(self._context)
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _drop(self, worker: _Worker, *, kill: bool = False) -> str:
        self._selector.unregister(worker.socket)
        return worker.end(kill=kill)

    def _on_message(self, worker: _Worker, message: Any, on_outcome: OnOutcome) -> None:
        """Process a worker's message, and send it the next job."""
        if isinstance(message, Ready):
            if message.made_by != self._made_by:
                raise DataError(CHANGED)
            worker.is_ready, self._failed_starts = True, 0
        elif isinstance(message, Finished):
            if message.outcome is None:
                raise DataError(CHANGED)
            number, worker.job = worker.job, None
            self.peak = max(self.peak, message.peak)
            assert number is not None
            on_outcome(number, message.outcome)
            if worker.is_worn(message.peak):
                self._drop(worker)
                if self._waiting:
                    self._start()
                return
        self._send_next(worker)

    def _send_next(self, worker: _Worker) -> None:
        if self._waiting and worker.is_ready and worker.job is None:
            worker.job, job = self._waiting.pop()
            with suppress(*_CLOSED):  # the next read of its socket fails, too
                send(worker.file, job)

    def _replace(self, worker: _Worker, on_outcome: OnOutcome) -> None:
        """Replace a worker that died."""
        number, ending = worker.job, self._drop(worker)
        if worker.process.returncode == BUG:
            raise RuntimeError(f"a worker failed: {ending}")
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts == _MOST_DEATHS:
                raise DataError(f"workers cannot start: the last one ended {ending}")
        elif number is not None and worker.process.returncode == -signal.SIGALRM:
            on_outcome(number, Died(over_limit(self._context.limit_ms)))
        elif number is not None:
            self._deaths[number] += 1
            if self._deaths[number] < _MOST_DEATHS:  # the trial need not be the cause
                self._waiting.append((number, self._jobs[number]))
            else:
                on_outcome(number, Died(f"its process ended {ending}, twice"))
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
    """Yield open Arrow files of tables; workers map them, so they are in memory once for all.

    They have no name, so that they vanish with this process however it ends.
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
