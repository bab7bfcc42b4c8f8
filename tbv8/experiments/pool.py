"""A pool of subprocesses for trials: each runs one job at a time, and only this process writes.

Killed children of multiprocessing would end doit (tbv8/ending.py), and concurrent.futures loses
every running trial with one killed worker. Here a dead worker loses only its own trial, which is
run again; a second death is its outcome.
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

_MAX_DEATHS = 2
_MAX_TRIALS, _SETTLED_AFTER, _MAX_GROWTH = 200, 10, 1.5  # growth of the memory since 10 trials
_CLOSED = (EOFError, ConnectionError)
_MAX_LAST_LINE = 400  # characters

# BLAS, Arrow and polars start threads of their own, but there is already a process per core.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}

type OnOutcome = Callable[[int, Any], None]


class ProcessDeath(msgspec.Struct, frozen=True):
    """The outcome of a trial that ended its process."""

    error: str


class _Worker:
    """A worker process, and the number of the job that it runs, if any."""

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
        """Count a trial; return True if the worker must be replaced, since its memory grew."""
        self.trials += 1
        if self.trials == _SETTLED_AFTER:
            self.settled_peak = peak
        return self.trials >= _MAX_TRIALS or bool(
            self.settled_peak and peak > _MAX_GROWTH * self.settled_peak
        )

    def end(self, *, kill: bool = False) -> str:
        """End the process; return its exit code or signal, and its last line, as text."""
        if kill:
            self.process.kill()
        self.file.close()
        self.socket.close()
        code = self.process.wait()
        self.output.seek(0)
        output = self.output.read().decode("utf-8", "replace")
        self.output.close()
        lines = [one_line(line) for line in output.splitlines() if line.strip()]
        last = output if code == BUG else lines[-1][:_MAX_LAST_LINE] if lines else ""
        ending = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{ending}: {last}" if last else ending


class Pool:
    """Workers for one run of an experiment.

    Use it as a context manager: workers that still run at its end are killed.

    Args:
        context: The inputs that all trials share.
        workers: The largest number of processes.
        code_digest: The digest of the code in the trials' keys; a worker with other code is
            refused.
    """

    def __init__(self, context: Context, *, workers: int, code_digest: str) -> None:
        self._context, self._max_workers, self._made_by = context, workers, code_digest
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
        """Run jobs, and pass each outcome on as it arrives: an Outcome, or ProcessDeath.

        Raises:
            DataError: A worker could not start, or has other code than this process.
        """
        numbered = list(jobs)
        self._jobs = dict(numbered)
        self._waiting = numbered[::-1]
        for worker in self._workers():
            self._send_next(worker)
        while len(self._workers()) < min(self._max_workers, len(numbered)):
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
        """Handle a worker's message, and send it the next job."""
        if isinstance(message, Ready):
            if message.code_digest != self._made_by:
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
            if self._failed_starts == _MAX_DEATHS:
                raise DataError(f"workers cannot start: the last one ended {ending}")
        elif number is not None and worker.process.returncode == -signal.SIGALRM:
            on_outcome(number, ProcessDeath(over_limit(self._context.limit_ms)))
        elif number is not None:
            self._deaths[number] += 1
            if self._deaths[number] < _MAX_DEATHS:  # the trial need not be the cause
                self._waiting.append((number, self._jobs[number]))
            else:
                on_outcome(number, ProcessDeath(f"its process ended {ending}, twice"))
        if self._waiting:
            self._start()


def over_limit(limit_ms: int | None) -> str:
    """Return the error of a trial that took too long."""
    return (
        f"it did not end within {length(limit_ms or 0)}: raise run.trial_limit and run "
        "`doit prune --trials --died`, so that it is run again"
    )


CHANGED = (
    "the code was changed while the experiment ran: run it again; finished trials are kept if the "
    "change does not affect them"
)


@contextmanager
def shared_tables(tables: Mapping[Any, Any]) -> Iterator[dict[Any, int]]:
    """Yield the descriptors of open Arrow files of tables, which all workers map into memory.

    The files have no name, so that they vanish with this process however it ends.
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
