"""The stop file of a session: `doit stop` writes it, `doit start` removes it.

A request blocks entries at once. It is executed after the minutes that had closed before it, as if
the session had received it then; a position is closed at a price from after the request.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tbv8.live.driver import Command
from tbv8.market import MINUTE_MS, Timeframe, iso
from tbv8.risk.events import Breach
from tbv8.risk.rules.blocked import stop_breach


class Request(msgspec.Struct, frozen=True):
    """A command to execute; `seen_ms` is when the session saw the request, by our clock."""

    command: Command
    seen_ms: int

    def text(self, name: str) -> str:
        """Return the effect of a request that closes positions; an empty text for any other."""
        if not self.command.close:
            return ""
        since = iso(self.seen_ms // 1000 * 1000)
        return (
            f"opens nothing until `doit start {name}`; a position is closed at the first close "
            f"from {since} on"
        )


class StopFile:
    """The stop file of a session.

    Args:
        path: Its path.
        step: The timeframe of the bars that match orders.

    Attributes:
        last: The last executed request.
    """

    def __init__(self, path: Path, step: Timeframe) -> None:
        self._path, self._step = path, step
        self.last = Request(Command(do="start"), 0)
        self._request: Request | None = None

    @property
    def is_stopped(self) -> bool:
        """True if no minute may open a position: after a stop, and once one is requested."""
        return self.block is not None

    @property
    def block(self) -> Breach | None:
        """The rule by which nothing may be opened, with the time of the stop; None if it may."""
        for request in (self.last, self._request):
            if request is not None and request.command.do == "stop":
                return stop_breach(request.seen_ms)
        return None

    def read(self, now_ms: int) -> Request | None:
        """Read the file; return its request if that is new."""
        command = self._unexecuted()
        if command is None:
            self._request = None
        elif self._request is None or self._request.command != command:
            self._request = Request(command, now_ms)
            return self._request
        return None

    def due(
        self, done_ms: int, *, open_symbols: Set[str], without_price: Set[str]
    ) -> Request | None:
        """Return the request to execute now; None if there is none, or it has to wait.

        Until positions can be closed, a stop that also closes them only cancels orders.

        Args:
            done_ms: The close of the last used minute.
            open_symbols: The symbols with a position.
            without_price: The symbols without a price since a gap.
        """
        request = self._request
        if request is None or done_ms + MINUTE_MS <= request.seen_ms:
            return None
        is_before = self._step.floor(done_ms) < request.seen_ms  # the last price
        if request.command.close and open_symbols and (is_before or open_symbols & without_price):
            return (
                None
                if self.last.command.do == "stop"
                else replace(request, command=Command(do="stop"))
            )
        return request

    def _unexecuted(self) -> Command | None:
        """Return the command of the file; None if it is executed. An unreadable file stops."""
        last = self.last.command
        try:
            text = self._path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return Command(do="start") if last.do == "stop" else None
        except OSError:
            text = ""
        command = Command(do="stop", close="close" in text)
        is_done = last.do == "stop" and (last.close or not command.close)
        return None if is_done else command
