"""Defer Ctrl-C and SIGTERM while the engine runs: it would log their exception as a callback's."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_CALLBACK_GRACE_S = 1.0  # a callback still running this long after Ctrl-C is interrupted


@contextmanager
def defer_signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` on Ctrl-C and SIGTERM, and raise their exception at the end of the block.

    A callback that still runs a second later is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    raised: list[BaseException] = []

    def defer(number: int, _frame: FrameType | None) -> None:
        if not arrived:
            arrived.append(number)
            interrupt()
            signal.signal(signal.SIGALRM, give_up)
            signal.setitimer(signal.ITIMER_REAL, _CALLBACK_GRACE_S)

    def give_up(_number: int, _frame: FrameType | None) -> None:
        release()
        try:
            signal.raise_signal(arrived[0])
        except BaseException as e:
            raised.append(e)
            raise

    def release() -> None:
        if arrived:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, defer)
    signal.signal(signal.SIGTERM, defer)
    try:
        yield
    finally:
        if raised:  # give_up has released the handlers already
            raise raised[0]
        release()
        if arrived:
            signal.raise_signal(arrived[0])
