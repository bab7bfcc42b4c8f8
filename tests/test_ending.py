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
    time.sleep(0.3)  # from its last line of Python into the native code
    return child


def test_native_code_that_never_comes_back_is_killed_within_six_seconds() -> None:
    told = {"PyDLL": signal.SIGTERM, "CDLL": signal.SIGINT}
    children = {kind: start_deaf(kind) for kind in told}
    told_s = time.monotonic()
    for kind, child in children.items():
        child.send_signal(told[kind])
    errs = [child.communicate(timeout=30)[1] for child in children.values()]

    assert time.monotonic() - told_s < 6
    assert [child.returncode for child in children.values()] == [-signal.SIGKILL] * 2
    said = (
        "interrupted, and killed since native code did not return: finished work is kept, run the "
        "same command to continue\n"
    )
    assert errs == [said] * 2


def test_the_process_that_watches_ends_with_the_one_that_it_watches() -> None:
    child = start_deaf("PyDLL")
    began_s = time.monotonic()
    child.kill()
    child.communicate(timeout=30)  # until nobody has its stderr open any more

    assert time.monotonic() - began_s < 2


def test_signals_are_handled_from_the_first_module_that_pydoit_imports() -> None:
    code = "import signal, tbv8.commands.about; print(signal.getsignal(signal.SIGINT).__name__)"

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert child.stdout == "on_signal\n"
