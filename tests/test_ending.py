"""Told to end, a process ends, though Python swallows what its signals raise."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.builders import ROOT

SWALLOWING = """
import signal, time
from tbv8.ending import end_cleanly

class Dying:
    def __del__(self):
        print("dying", flush=True)
        time.sleep(60)

end_cleanly()
dying = Dying()
del dying
time.sleep(60)
"""
SAID = "interrupted: what was finished is kept, the same command goes on from there"


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, id="SIGTERM"), pytest.param(signal.SIGINT, 130, id="INT")],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_swallowed_signal_ends_the_process_soon_and_a_second_one_at_once(
    number: int, code: int, times: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SWALLOWING],
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == "dying\n"

    child.send_signal(number)
    assert child.stderr.readline() == f"{SAID}\n"
    told_s = time.monotonic()
    if times == 2:
        child.send_signal(number)
    child.communicate(timeout=30)

    assert child.returncode == code
    assert time.monotonic() - told_s < (4 if times == 2 else 20)
