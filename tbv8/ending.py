"""How doit ends when it is told to: Ctrl-C, SIGTERM, the death of a process of `doit -n 2`.

Everything that is committed stays, whatever happens, so all that matters here is that the end
comes, comes soon, and is said in one line. An exception raised by a signal is lost where Python
swallows exceptions (callbacks of weak references, `__del__`), and then the work would go on, or a
process wait for ever: then the process ends there, and whatever it does a few seconds later.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType

_GRACE_S = 5
_CHILD_GRACE_S = 3  # before its parent, which waits for it
_INTERRUPTED = "interrupted: what was finished is kept, the same command goes on from there"
_KILLED = (
    "ERROR: a process of `doit -n` was killed, out of memory perhaps: what was finished is kept, "
    "run again, with fewer processes"
)


def end_cleanly() -> None:
    """End this process, and those that it forks, on SIGINT and SIGTERM; to be called once."""
    main = os.getpid()
    ending: int | None = None  # with this exit code

    def begin_to_end(code: int, said: str) -> None:
        nonlocal ending
        ending = code
        in_child = os.getpid() != main
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(code))
        signal.alarm(_CHILD_GRACE_S if in_child else _GRACE_S)
        if not in_child:
            os.write(2, f"{said}\n".encode())  # print() may be what was interrupted

    def on_signal(number: int, _frame: FrameType | None) -> None:
        code = 128 + number
        if ending is None:
            begin_to_end(code, _INTERRUPTED)
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(code)
        if (
            os.getpid() == main
        ):  # a child is told twice: Ctrl-C reaches all, then it is by its parent
            os._exit(code)

    def on_child(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == main and ending is None and _is_child_killed():
            begin_to_end(1, _KILLED)
            raise SystemExit(1)

    def on_uncaught(
        kind: type[BaseException], e: BaseException, traceback: TracebackType | None
    ) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, e, traceback)

    def on_swallowed(swallowed: sys.UnraisableHookArgs) -> None:
        if ending is not None and isinstance(swallowed.exc_value, KeyboardInterrupt | SystemExit):
            with suppress(OSError, ValueError):  # whoever read it may be gone
                sys.stdout.flush()
            os._exit(ending)
        sys.__unraisablehook__(swallowed)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGCHLD, on_child)
    sys.excepthook = on_uncaught
    sys.unraisablehook = on_swallowed
    os.register_at_fork(after_in_child=_end_with_parent)


def _is_child_killed() -> bool:
    codes = (child.exitcode for child in tuple(multiprocessing.process._children))  # type: ignore[attr-defined]
    return any(code == -signal.SIGKILL for code in codes)


def _end_with_parent() -> None:
    """End a forked process soon after its parent, which may have been killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
