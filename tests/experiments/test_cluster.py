"""Ray, where it is installed: the pool's answers, on one node and on two, after a kill too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tbv8.config.records import Strategy
from tbv8.errors import DataError
from tbv8.experiments.cluster import Cluster, import_ray
from tbv8.experiments.keys import code_digest, to_trial
from tbv8.experiments.pool import ProcessDeath
from tbv8.experiments.trial import TrialData, run_trial
from tests.experiments.builders import days, ema, tables
from tests.experiments.test_pool import jobs, mischief

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra `cluster` is not installed"),
]


@pytest.fixture
def two_nodes() -> Iterator[str]:
    import_ray()
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


def strategies() -> list[Strategy]:
    return [
        to_trial(ema(days(0, 2), params={"fast": fast, "slow": slow}))
        for fast in (5, 10, 20)
        for slow in (15, 30, 60)
    ]


def run(
    asked: list[Strategy],
    *,
    address: str | None = None,
    code: str = "",
    kills: bool = False,
    limit_ms: int | None = None,
) -> list[Any]:
    answers: dict[int, Any] = {}

    def take(number: int, answer: Any) -> None:
        answers[number] = answer
        if kills and len(answers) == 2:
            for pid in workers():
                os.kill(pid, signal.SIGKILL)

    digest = code or code_digest(asked[0])
    data = TrialData(tables=dict(tables(2)), funding={})
    with Cluster(
        asked[0], data, address=address, workers=2, code_digest=digest, limit_ms=limit_ms
    ) as cluster:
        cluster.run(jobs(asked), take)
    return [answers[number] for number in range(len(asked))]


def workers() -> list[int]:
    """Return the processes that run tasks of Ray."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_run"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_one_node_gives_the_serial_answers_after_a_kill_too() -> None:
    asked = strategies()
    serial = [run_trial(strategy, tables(2)) for strategy in asked]
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert run(asked, kills=True) == serial
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_two_nodes_give_the_serial_answers(two_nodes: str) -> None:
    asked = strategies()

    assert run(asked, address=two_nodes, kills=True) == [
        run_trial(each, tables(2)) for each in asked
    ]


def test_deaths_and_other_code(tmp_path: Path) -> None:
    asked = [mischief(tmp_path, mode) for mode in ("exit", "trade", "raise")]

    died, traded, raised = run(asked)

    assert died == ProcessDeath("its process ended, twice")
    assert (traded.status, raised.status) == ("ok", "failed")
    with pytest.raises(DataError, match="the code was changed"):
        run(asked[1:], code="another")


def test_a_trial_that_never_ends_is_ended(tmp_path: Path) -> None:
    asked = [mischief(tmp_path, mode) for mode in ("hang", "trade")]

    hung, traded = run(asked, limit_ms=3000)

    assert hung == ProcessDeath(
        "its process ended, twice, or took longer than 3 s (run.trial_limit)"
    )
    assert traded.status == "ok"


def test_a_cluster_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DataError, match=r"run.address: no Ray cluster at '127.0.0.1:1'"):
        run(strategies()[:1], address="127.0.0.1:1")
