"""Told to end, a process ends, though Python swallows what its signals raise."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders import ROOT

SOON_S = 25.0  # and less than a minute, on a slow machine too
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
PATIENT = """
from tbv8 import ending

ending._GRACE_S = 60  # what ends at once does not wait for that
"""
DEAF = """
import ctypes
from tbv8.ending import end_cleanly, watch_native_code

end_cleanly()
watch_native_code()
libc, mutex = ctypes.{kind}(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(mutex)
print("here", flush=True)
libc.pthread_mutex_lock(mutex)  # for ever, whatever signal comes
"""
SAID = "interrupted: finished work is kept, run the same command to continue"


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, id="SIGTERM"), pytest.param(signal.SIGINT, 130, id="INT")],
)
@pytest.mark.parametrize(
    ("program", "times"),
    [
        pytest.param(PATIENT + DYING, 1, id="by Python: at once"),
        pytest.param(CARELESS, 1, id="by code: soon"),
        pytest.param(PATIENT + CARELESS, 2, id="by code, told twice: at once"),
    ],
)
def test_a_swallowed_signal_ends_the_process(
    number: int, code: int, program: str, times: int
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
    if times == 2:
        child.send_signal(number)
    _, more = child.communicate(timeout=SOON_S)

    assert (child.returncode, more) == (code, "")


def start_deaf(kind: str) -> subprocess.Popen[str]:
    """Start a program that is in native code for ever; as a PyDLL that holds Python's lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", DEAF.format(kind=kind)],
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2][0] != "S":
        time.sleep(0.01)  # from its last line of Python into the native code, which sleeps
    return child


def test_native_code_that_never_comes_back_is_killed() -> None:
    told = {"PyDLL": signal.SIGTERM, "CDLL": signal.SIGINT}
    children = {kind: start_deaf(kind) for kind in told}
    for kind, child in children.items():
        child.send_signal(told[kind])
    errs = [child.communicate(timeout=SOON_S)[1] for child in children.values()]

    assert [child.returncode for child in children.values()] == [-signal.SIGKILL] * 2
    said = (
        "interrupted, and killed since native code did not return: finished work is kept, run the "
        "same command to continue\n"
    )
    assert errs == [said] * 2


def test_the_process_that_watches_ends_with_the_one_that_it_watches() -> None:
    child = start_deaf("PyDLL")
    child.kill()

    child.communicate(timeout=SOON_S)  # until nobody has its stderr open any more


def test_signals_are_handled_from_the_first_module_that_pydoit_imports() -> None:
    code = "import signal, tbv8.commands.about; print(signal.getsignal(signal.SIGINT).__name__)"

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert child.stdout == "on_signal\n"
