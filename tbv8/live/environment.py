"""The environment of a session's process: its clock, its reports and its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from tbv8.live.output import ProcessReport
from tbv8.store.database import BusyError

BUSY_S = 0.5
"""The pause between two attempts if the database is locked or its disk is full."""


def our_clock() -> int:
    """Return the time, milliseconds UTC."""
    return time.time_ns() // 1_000_000


class HostEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """The clock and the callbacks of a host; tests pass their own.

    Attributes:
        now_ms: Our clock.
        report: Called with each report.
        is_over: Returns True if the process should end.
        sleep: Waits for some seconds.
    """

    now_ms: Callable[[], int]
    report: Callable[[ProcessReport], None]
    is_over: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep

    def send(self, kind: str, **parts: Any) -> None:
        """Send a report."""
        self.report(ProcessReport(kind=kind, **parts))

    def persist[R](self, act: Callable[[], R]) -> R:
        """Call `act` until the database is no longer locked and its disk no longer full.

        Raises:
            BusyError: It still is, and the process should end.
        """
        while True:
            try:
                return act()
            except BusyError as e:
                self.send("waiting", text=str(e))
                if self.is_over():
                    raise
                self.sleep(BUSY_S)
