"""The end of doit on a signal: Ctrl-C, SIGTERM, the death of a process of `doit -n 2`.

Committed work is safe in any case, so the process only has to end soon, with one line of text. An
exception raised by a signal is lost where Python swallows exceptions (callbacks of weak references,
`__del__`); the work would then go on, or a process would wait for ever. So the process ends right
there, and in any case a few seconds after the signal.

While native code runs, no signal handler and no thread of Python can run. So a second process, the
watchdog, gets the signals through a pipe, which the C part of Python's handler writes to, and kills
a process that does not end in time.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

_GRACE_S = 4
_CHILD_GRACE_S = 3  # less than that of its parent, which waits for it
_KILL_AFTER_S = 1.5  # after the grace, if no Python code could run
_MAX_FILES = 4096
_ANNOUNCED = b"\0"  # written to the pipe once the line is printed; other bytes are signals
_INTERRUPTED = "interrupted: finished work is kept, run the same command to continue"
_STUCK = (
    "interrupted, and killed since native code did not return: finished work is kept, run the same "
    "command to continue"
)
_KILLED = (
    "ERROR: a process of `doit -n` was killed, perhaps for lack of memory: finished work is kept, "
    "run again with fewer processes"
)


def end_cleanly() -> None:
    """End this process and its forks on SIGINT and SIGTERM; call it once."""
    main = os.getpid()
    exit_code: int | None = None  # once the process is ending

    def begin_to_end(code: int, message: str) -> None:
        nonlocal exit_code
        exit_code = code
        in_child = os.getpid() != main
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(code))
        signal.alarm(_CHILD_GRACE_S if in_child else _GRACE_S)
        if not in_child:
            os.write(2, f"{message}\n".encode())  # the signal may have interrupted a print()
        if _watchdog.pipe is not None:
            os.write(_watchdog.pipe, _ANNOUNCED)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        code = 128 + number
        if exit_code is None:
            begin_to_end(code, _INTERRUPTED)
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(code)
        if os.getpid() == main:  # a child gets two signals: of Ctrl-C, and of its parent
            os._exit(code)

    def on_child(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == main and exit_code is None and _is_child_killed():
            begin_to_end(1, _KILLED)
            raise SystemExit(1)

    def on_uncaught(
        kind: type[BaseException], e: BaseException, traceback: TracebackType | None
    ) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, e, traceback)

    def on_swallowed(swallowed: sys.UnraisableHookArgs) -> None:
        if exit_code is not None and isinstance(
            swallowed.exc_value, KeyboardInterrupt | SystemExit
        ):
            with suppress(OSError, ValueError):  # the reader of stdout may be gone
                sys.stdout.flush()
            os._exit(exit_code)
        sys.__unraisablehook__(swallowed)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGCHLD, on_child)
    sys.excepthook = on_uncaught
    sys.unraisablehook = on_swallowed
    os.register_at_fork(after_in_child=_end_with_parent)
    _watchdog.main = main


class _Watchdog:
    """The watchdog process, once it is started.

    Attributes:
        main: The process that called `end_cleanly`; 0 before.
        owner: The process that created `pipe`.
        pipe: The end of the pipe that signals are written to.
        starting: True while a watchdog is being forked.
    """

    def __init__(self) -> None:
        self.main = self.owner = 0
        self.pipe: int | None = None
        self.starting = False


_watchdog = _Watchdog()


def watch_native_code() -> None:
    """Start the watchdog process, which kills this one if it does not end after a signal.

    Call it before work in native code. A second call does nothing, nor does a call before
    `end_cleanly`.
    """
    if not _watchdog.main or _watchdog.owner == os.getpid():
        return
    owner, parent = os.getpid(), os.getppid()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    _watchdog.starting = True
    try:
        if os.fork() == 0:  # the signals stay blocked there: Ctrl-C reaches it too
            try:
                os.closerange(3, reading)
                os.closerange(reading + 1, _MAX_FILES)
                _watch(reading, owner, None if owner == _watchdog.main else parent)
            finally:
                os._exit(0)
        _watchdog.pipe, _watchdog.owner = writing, owner
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    finally:
        os.close(reading)
        _watchdog.starting = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(pipe: int, owner: int, parent: int | None) -> None:
    """Kill `owner` some seconds after its signal, or after its parent has ended."""
    grace_s = (_GRACE_S if parent is None else _CHILD_GRACE_S) + _KILL_AFTER_S
    kill_s: float | None = None
    is_announced = parent is not None
    while kill_s is None or time.monotonic() < kill_s:
        wait_s = 0.5 if kill_s is None else max(0.0, kill_s - time.monotonic())
        if select.select([pipe], [], [], wait_s)[0]:
            received = os.read(pipe, 100)
            if not received:
                return  # the owner has ended
            is_announced = is_announced or _ANNOUNCED in received
            must_end = signal.SIGINT in received or signal.SIGTERM in received
        else:
            must_end = parent is not None and not Path(f"/proc/{parent}").exists()
        if must_end and kill_s is None:
            kill_s = time.monotonic() + grace_s
    if not is_announced:
        os.write(2, f"{_STUCK}\n".encode())
    os.kill(owner, signal.SIGKILL)


def _is_child_killed() -> bool:
    codes = (child.exitcode for child in tuple(multiprocessing.process._children))  # type: ignore[attr-defined]
    return any(code is not None and code < 0 for code in codes)


def _end_with_parent() -> None:
    """End a forked process soon after its parent, which may have been killed."""
    if _watchdog.starting:
        return
    signal.set_wakeup_fd(-1)
    _watchdog.pipe = None
    end_with_parent(os.getppid())


def end_with_parent(parent: int) -> None:
    """Send this process SIGTERM soon after its parent has ended; the parent may be gone already."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
