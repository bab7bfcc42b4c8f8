"""The surroundings of a session's process: its clock, its reports, its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from tbv8.live.plan import Report
from tbv8.store.ticks import BusyError

BUSY_S = 0.5
"""How long to wait for a database that is locked, or for its full disk."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Given to a host; a test has its own.

    Attributes:
        now_ms: Our clock.
        report: Takes each report.
        is_over: Tells whether to end.
        sleep: Waits so many seconds.
    """

    now_ms: Callable[[], int]
    report: Callable[[Report], None]
    is_over: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep

    def tell(self, kind: str, **parts: Any) -> None:
        """Report something."""
        self.report(Report(kind=kind, **parts))

    def persist[R](self, act: Callable[[], R]) -> R:
        """Read or write, again and again while the database is locked or its disk is full.

        Raises:
            BusyError: It still is, and all is over.
        """
        while True:
            try:
                return act()
            except BusyError as e:
                self.tell("waiting", text=str(e))
                if self.is_over():
                    raise
                self.sleep(BUSY_S)
