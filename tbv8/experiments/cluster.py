"""A Ray cluster for trials, with the same interface as the pool.

Each outcome comes with the digest of the code that made it, so that a node with another tbv8 is
refused. Nothing is stored in Ray: this process writes each outcome to the database as soon as it
arrives, so that a dead node, or a dead cluster, loses only the trials that were running.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterable
from typing import Any

from tbv8.config.records import Strategy
from tbv8.errors import DataError
from tbv8.experiments.jobs import Job, run_job, time_limit
from tbv8.experiments.keys import code_digest
from tbv8.experiments.pool import CHANGED, OnOutcome, ProcessDeath
from tbv8.experiments.trial import TrialData
from tbv8.experiments.worker import Sources
from tbv8.page.words import length

_RETRIES = 1  # the second death of its process is a trial's outcome
_TASKS_PER_CORE = 2  # in flight: bounds the memory, and no core waits
_CONNECT_TIMEOUT_S = 5.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would install the project again
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)

_sources: dict[str, Sources] = {}  # in a worker's process: its strategy's files when it began


class Cluster:
    """A connection to a Ray cluster, opened by the first trial; it may start a cluster here.

    Use it as a context manager.

    Args:
        strategy: The strategy that is varied.
        data: The bars and the funding of all trials.
        address: The cluster's address, `auto` for the one of this machine; None starts one.
        workers: The number of trials that run at once in a cluster that is started here.
        code_digest: The digest of the code in the trials' keys.
        limit_ms: The longest time that a trial may take.
    """

    def __init__(
        self,
        strategy: Strategy,
        data: TrialData,
        *,
        address: str | None,
        workers: int,
        code_digest: str,
        limit_ms: int | None = None,
    ) -> None:
        self._context, self._limit_ms = (strategy, data, limit_ms), limit_ms
        self._address, self._workers, self._made_by = address, workers, code_digest
        self._ray: Any = None
        self.peak = 0  # Ray watches its workers' memory

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._ray is not None:
            self._ray.shutdown()

    def _connect(self) -> tuple[Any, Any]:
        """Return the context at the cluster, and the remote function that runs a trial there."""
        ray = import_ray()
        address = self._address or "local"  # None would join any cluster that Ray knows of here
        if self._address is not None:
            _check_address(address)
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        started = {} if self._address else {"num_cpus": self._workers, "include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **started)
        except (ConnectionError, ValueError, RuntimeError) as e:
            raise DataError(f"run.address: no Ray cluster at {address!r}: {e}") from e
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._ray = ray
        context = ray.put(self._context)
        return context, ray.remote(num_cpus=1, max_retries=_RETRIES)(_run)

    def run(self, jobs: Iterable[tuple[int, Job]], on_outcome: OnOutcome) -> None:
        """Run jobs, and pass each outcome on as it arrives: an Outcome, or ProcessDeath.

        Raises:
            DataError: There is no cluster, or a node has other code than this one.
        """
        if self._ray is None:
            self._at_cluster, self._task = self._connect()
        ray, waiting = self._ray, list(jobs)[::-1]
        running: dict[Any, int] = {}
        while waiting or running:
            cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(running) < _TASKS_PER_CORE * cores:
                number, job = waiting.pop()
                running[self._task.remote(self._at_cluster, job)] = number
            (finished, *_), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(finished)
            try:
                outcome, code = ray.get(finished)
            except ray.exceptions.WorkerCrashedError:
                on_outcome(number, ProcessDeath(f"its process ended, twice{self._or_over_limit()}"))
                continue
            if code != self._made_by or outcome is None:
                raise DataError(CHANGED)
            on_outcome(number, outcome)

    def _or_over_limit(self) -> str:
        """Return the other possible cause of a death; Ray does not report signals."""
        limit_ms = self._limit_ms
        return f", or took longer than {length(limit_ms)} (run.trial_limit)" if limit_ms else ""


def import_ray() -> Any:
    """Import Ray, with the environment variables that it reads only during its import."""
    os.environ.update(_QUIET)
    import ray

    return ray


def _check_address(address: str) -> None:
    """Refuse an address that does not answer: Ray would try for minutes, then end the process."""
    match = re.fullmatch(r"(?:ray://)?([^:/]+):([0-9]+)", address)
    if match is None:
        if address != "auto":
            raise DataError(f"run.address: {address!r}: write auto or host:port, such as head:6379")
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as e:
        raise DataError(f"run.address: no Ray cluster at {address!r}: {e}") from e


def _run(context: tuple[Strategy, TrialData, int | None], job: Job) -> tuple[Any, str]:
    """Run a job in a worker of Ray; the outcome is None if the strategy was edited meanwhile."""
    strategy, data, limit_ms = context
    sources = _sources.setdefault(str(strategy.module_path), Sources(strategy))
    code = code_digest(strategy)
    with time_limit(limit_ms):
        outcome = run_job(job, data.tables, data.funding)
    return outcome if sources.are_same() else None, code
