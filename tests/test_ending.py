"""Told to end, a process ends, though Python swallows what its signals raise."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.builders import ROOT

DYING = """
import time
from tbv8.ending import end_cleanly

class Dying:
    def __del__(self):
        print("here", flush=True)
        time.sleep(60)

end_cleanly()
dying = Dying()
del dying
time.sleep(60)
"""
CARELESS = """
import time
from tbv8.ending import end_cleanly

end_cleanly()
try:
    print("here", flush=True)
    time.sleep(60)
except BaseException:
    time.sleep(60)
"""
SAID = "interrupted: what was finished is kept, the same command goes on from there"


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, id="SIGTERM"), pytest.param(signal.SIGINT, 130, id="INT")],
)
@pytest.mark.parametrize(
    ("program", "times", "within_s"),
    [
        pytest.param(DYING, 1, 4, id="by Python: at once"),
        pytest.param(CARELESS, 1, 20, id="by code: soon"),
        pytest.param(CARELESS, 2, 4, id="by code, told twice: at once"),
    ],
)
def test_a_swallowed_signal_ends_the_process(
    number: int, code: int, program: str, times: int, within_s: float
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == "here\n"

    child.send_signal(number)
    assert child.stderr.readline() == f"{SAID}\n"
    told_s = time.monotonic()
    if times == 2:
        child.send_signal(number)
    _, more = child.communicate(timeout=30)

    assert (child.returncode, more) == (code, "")
    assert time.monotonic() - told_s < within_s
