"""Killed, interrupted, doubled: nothing is lost, and the next run ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import ONE_WEEK, Project

ALL = (*ONE_WEEK, "aggregate", "backtest")
Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


def wait_for_line(child: subprocess.Popen[str], part: str) -> None:
    """Read what doit prints until a line holds `part`."""
    assert child.stdout is not None
    for line in child.stdout:
        if part in line:
            return
    raise AssertionError(f"doit ended without saying {part!r}: {child.communicate()}")


STAGES = [
    pytest.param("migrate", id="while migrating"),
    pytest.param("backfill:sample:BTC/USDT", id="while filling"),
    pytest.param("aggregate:sample:BTC/USDT:5m", id="while aggregating"),
    pytest.param("aggregate:sample:ETH/USDT:4h", id="while aggregating the last"),
    pytest.param("backtest:btc_usdt_perp_v1", id="while backtesting"),
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_is_finished_by_the_next(
    project: Project, finished: Project, children: Keep, stage: str
) -> None:
    child = children(project.start(*ALL))
    wait_for_line(child, f".  {stage}")
    time.sleep(random.random() / 5)  # somewhere inside of the stage, another place in each run
    os.kill(child.pid, signal.SIGKILL)
    child.wait(30)

    project.doit(*ALL)

    assert project.state() == finished.state()


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        pytest.param("migrate", signal.SIGINT, -signal.SIGINT, id="Ctrl-C while migrating"),
        pytest.param("backfill:sample:BTC/USDT", signal.SIGTERM, 143, id="SIGTERM while filling"),
        pytest.param(
            "aggregate:sample:BTC/USDT:5m",
            signal.SIGINT,
            -signal.SIGINT,
            id="Ctrl-C while building",
        ),
        pytest.param(
            "backtest:btc_usdt_perp_v1", signal.SIGINT, -signal.SIGINT, id="Ctrl-C in a backtest"
        ),
        pytest.param("backtest:btc_usdt_perp_v1", signal.SIGTERM, 143, id="SIGTERM in a backtest"),
    ],
)
def test_an_interrupted_run_says_one_line(
    project: Project, finished: Project, children: Keep, stage: str, number: int, code: int
) -> None:
    child = children(project.start(*ALL))
    wait_for_line(child, f".  {stage}")
    os.kill(child.pid, number)
    _, err = child.communicate(timeout=60)

    project.doit(*ALL)

    if child.returncode != 0:  # it may have been done just before
        assert child.returncode == code
        assert err == (
            "interrupted: what was finished is kept, the same command goes on from there\n"
        )
    assert project.state() == finished.state()


def test_two_runs_at_once_do_no_harm(project: Project, finished: Project, children: Keep) -> None:
    runs = [children(project.start(*ALL)) for _ in range(2)]
    ends = [run.communicate(timeout=110) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], ends
    assert project.state() == finished.state()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"this is not a database" * 200, id="text"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 5000, id="torn pages"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_damaged_state_file_of_pydoit_is_moved_aside(done: Project, damage: bytes) -> None:
    state_file = done.root / "data" / ".doit.db"
    state_file.write_bytes(damage)

    again = done.doit(*ALL)

    assert ".  " not in again.stdout
    assert len(again.stderr.splitlines()) <= 1


def test_a_deleted_state_file_rebuilds_nothing(done: Project) -> None:
    (done.root / "data" / ".doit.db").unlink()

    again = done.doit(*ALL)

    assert ".  " not in again.stdout
    assert again.stderr == ""


def test_a_missing_data_folder_is_made(project: Project) -> None:
    (project.root / "data").rmdir()

    project.doit(*ONE_WEEK, "migrate")

    assert project.db_path.exists()


def test_a_writer_waits_for_another_program(project: Project, children: Keep) -> None:
    project.doit("migrate")
    other = sqlite3.connect(project.db_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    child = children(project.start(*ONE_WEEK, "backfill"))
    wait_for_line(child, ".  backfill:sample")

    other.execute("ROLLBACK")
    other.close()
    _, err = child.communicate(timeout=60)

    assert (child.returncode, err) == (0, "")
