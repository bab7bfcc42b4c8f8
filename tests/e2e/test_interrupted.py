"""Killed, interrupted, doubled: nothing is lost, and the next run ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import ONE_WEEK, Project, copy_project
from tests.lines import Line

ALL = (*ONE_WEEK, "aggregate", "backtest")
State = dict[str, object]
Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


def wait_for_line(child: subprocess.Popen[str], part: str) -> None:
    """Read what doit prints until a line holds `part`."""
    assert child.stdout is not None
    for line in child.stdout:
        if part in line:
            return
    raise AssertionError(f"doit ended without saying {part!r}: {child.communicate()}")


MIGRATE, FILL, RUN = "migrate", "backfill:sample:BTC/USDT", "backtest:btc_usdt_perp_v1"
BUILD, BUILD_LAST = "aggregate:sample:BTC/USDT:5m", "aggregate:sample:ETH/USDT:4h"


@pytest.fixture
def at_stage(finished: Project, migrated_db: Path, tmp_path: Path) -> Callable[[str], Project]:
    """Return a function for a project in which the next thing to be done is of a stage."""
    root = tmp_path / "clone"

    def make(stage: str) -> Project:
        if stage in (MIGRATE, FILL):
            project = copy_project(root)
            if stage == FILL:
                shutil.copy(migrated_db, project.db_path)
            return project
        shutil.copytree(finished.root, root)
        project = Project(root)
        shutil.rmtree(project.results)
        if stage in (BUILD, BUILD_LAST):
            bars = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'bars_%'"
            for (table,) in project.sql(bars):
                project.sql(f"DELETE FROM {table}")
            project.sql("DELETE FROM history_coverage WHERE dataset LIKE 'bars_%'")
        return project

    return make


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(MIGRATE, id="while migrating"),
        pytest.param(FILL, id="while filling"),
        pytest.param(BUILD, id="while aggregating"),
        pytest.param(BUILD_LAST, id="while aggregating the last"),
        pytest.param(RUN, id="while backtesting"),
    ],
)
def test_a_killed_run_is_finished_by_the_next(
    at_stage: Callable[[str], Project], finished_state: State, children: Keep, stage: str
) -> None:
    project = at_stage(stage)
    child = children(project.start(*ALL))
    wait_for_line(child, f".  {stage}")
    time.sleep(random.random() / 5)  # somewhere inside of the stage, another place in each run
    os.kill(child.pid, signal.SIGKILL)
    child.wait(30)

    project.doit(*ALL)

    assert project.state() == finished_state


INTERRUPTED = Line("interrupted: ...\n")
CTRL_C, TERM = (signal.SIGINT, 130), (signal.SIGTERM, 143)


@pytest.mark.parametrize(  # every two of stage, signal and processes meet
    ("stage", "number", "code", "at_once"),
    [
        pytest.param(MIGRATE, *CTRL_C, (), id="Ctrl-C while migrating"),
        pytest.param(MIGRATE, *TERM, ("-n", "2"), id="SIGTERM while migrating, two at a time"),
        pytest.param(FILL, *TERM, (), id="SIGTERM while filling"),
        pytest.param(FILL, *CTRL_C, ("-n", "2"), id="Ctrl-C while filling, two at a time"),
        pytest.param(BUILD, *CTRL_C, (), id="Ctrl-C while building"),
        pytest.param(BUILD, *TERM, ("-n", "2"), id="SIGTERM while building, two at a time"),
        pytest.param(RUN, *TERM, (), id="SIGTERM in a backtest"),
        pytest.param(RUN, *CTRL_C, ("-n", "2"), id="Ctrl-C in a backtest, two at a time"),
    ],
)
def test_an_interrupted_run_says_one_line(
    at_stage: Callable[[str], Project],
    finished_state: State,
    children: Keep,
    stage: str,
    number: int,
    code: int,
    at_once: tuple[str, ...],
) -> None:
    project = at_stage(stage)
    child = children(project.start(*at_once, *ALL))
    wait_for_line(child, f".  {stage}")
    time.sleep(random.random() / 5)
    if number == signal.SIGINT:
        os.killpg(child.pid, number)  # a terminal sends it to all that run in it
    else:
        os.kill(child.pid, number)
    _, err = child.communicate(timeout=60)

    project.doit(*ALL)

    if child.returncode != 0 and err:  # it may have been done just before
        # as a shell tells it, whether the signal ended it or its own end after some seconds
        ended = 128 - child.returncode if child.returncode < 0 else child.returncode
        assert (ended, err) == (code, INTERRUPTED)
    assert project.state() == finished_state


@pytest.mark.parametrize("command", ["list", "plan", "backtest"])
def test_an_interrupt_while_tasks_are_made_is_one_line(
    project: Project, children: Keep, command: str
) -> None:
    os.mkfifo(project.root / "config" / "strategies" / "never_written.yaml")
    child = children(project.start(*ONE_WEEK, command))
    pipe = os.open(project.root / "config/strategies/never_written.yaml", os.O_WRONLY)  # it reads

    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    os.close(pipe)

    assert (child.returncode, err) == (-signal.SIGINT, INTERRUPTED)


DEAF = """while True:
            try:
                time.sleep(9)
            except BaseException:
                pass"""


@pytest.mark.parametrize(
    "work",
    [
        pytest.param("time.sleep(0.05)", id="slow"),
        pytest.param("while True: pass", id="endless"),
        pytest.param(DEAF, id="deaf"),
    ],
)
@pytest.mark.parametrize(("number", "code"), [CTRL_C, TERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_backtest_ends_soon_however_long_it_or_one_of_its_callbacks_takes(
    done: Project, children: Keep, work: str, number: int, code: int
) -> None:
    first_line = "        if not self.slow.initialized"
    begun = f"        import time\n        print('bar')\n        {work}\n{first_line}"
    done.edit("tbv8/strategies/ema_cross.py", first_line, begun)
    child = children(done.start(*ONE_WEEK, "backtest"))
    wait_for_line(child, "bar")
    time.sleep(random.random() / 5)

    child.send_signal(number)
    told_s = time.monotonic()
    _, err = child.communicate(timeout=60)

    ended = 128 - child.returncode if child.returncode < 0 else child.returncode
    assert (ended, err) == (code, INTERRUPTED)
    assert time.monotonic() - told_s < 20


def test_no_process_outlives_a_killed_run(project: Project, children: Keep) -> None:
    child = children(project.start("-n", "2", *ALL))
    wait_for_line(child, ".  aggregate:sample")
    os.kill(child.pid, signal.SIGKILL)

    child.communicate(timeout=60)  # until nobody has its stdout open any more
    give_up = time.monotonic() + 30
    while is_group_alive(child.pid) and time.monotonic() < give_up:
        time.sleep(0.1)

    assert not is_group_alive(child.pid)


def is_group_alive(group: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, of_group, *_ = stat.read_text().rpartition(")")[2].split()
            if of_group == str(group) and state != "Z":
                return True
    return False


def test_a_killed_process_of_two_ends_the_run(
    project: Project, finished_state: State, children: Keep
) -> None:
    child = children(project.start("-n", "2", *ALL))
    wait_for_line(child, ".  backfill:sample")
    below = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    os.kill(int(below[0]), signal.SIGKILL)
    _, err = child.communicate(timeout=60)

    project.doit(*ALL)

    assert child.returncode == 1
    assert err.startswith("ERROR: a process of `doit -n` was killed")
    assert err.count("\n") == 1
    assert project.state() == finished_state


def test_two_runs_at_once_do_no_harm(
    project: Project, finished_state: State, children: Keep
) -> None:
    runs = [children(project.start(*ALL)) for _ in range(2)]
    ends = [run.communicate(timeout=110) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], ends
    assert project.state() == finished_state


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


def test_a_state_file_that_cannot_be_is_done_without(done: Project) -> None:
    done.sql("DELETE FROM history_coverage WHERE dataset = 'bars_1h'")
    (done.root / "data" / ".doit.db").unlink()
    (done.root / "data" / ".doit.db-journal").mkdir()  # SQLite can neither make it nor write there

    again = done.doit(*ALL)

    assert {line for line in again.stdout.splitlines() if line.startswith(".")} == {
        ".  aggregate:sample:ETH/USDT:1h",
        ".  aggregate:sample:BTC/USDT:1h",
    }
    assert again.stderr == ""


def test_a_missing_data_folder_is_made(bare: Project) -> None:
    (bare.root / "data").rmdir()

    bare.doit(*ONE_WEEK, "migrate")

    assert bare.db_path.exists()


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
