"""The display of a paper session: a live table on a terminal, a line per minute elsewhere."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

import msgspec

from tbv8.live.event_lines import event_lines, held_text
from tbv8.live.output import ProcessReport
from tbv8.market import iso
from tbv8.page.words import length
from tbv8.text import counted, one_line

if TYPE_CHECKING:
    from rich.table import Table


_HEADS = (
    "state",
    "last minute",
    "position",
    "working orders",
    "equity",
    "day's loss",
    "fills",
    "denied",
)


_EFFECTS = {
    "stopped": "opens nothing until `doit start {name}`",
    "started": "may open positions again",
}


class SessionView(msgspec.Struct, kw_only=True):
    """The view of one session.

    Attributes:
        minute: The last report of a minute, or of the replay.
        minutes: The number of minutes used since the start.
        problem: `stopped`, `stale`, `waiting`, `failed` ...; empty without a problem.
    """

    minute: ProcessReport | None = None
    minutes: int = 0
    problem: str = "starting"

    def update(self, report: ProcessReport) -> None:
        """Update the view by a report."""
        if report.kind in ("minute", "replayed"):
            self.minute = report
            self.minutes += report.kind == "minute" and report.lag_ms is not None
            is_stopped = report.state.get("barred") == "stopped" or (
                report.kind == "replayed" and self.problem == "stopped"  # by a request
            )
            self.problem = "stopped" if is_stopped else ""
        elif report.kind == "fresh" or report.kind == "started":
            self.problem = ""
        elif report.kind in ("stopped", "stale", "waiting", "failed", "differs", "killed"):
            self.problem = report.kind


class SessionDisplay:
    """Prints the events of a strategy's sessions; on a terminal, below them a table."""

    def __init__(self, name: str, sessions: Mapping[str, SessionView]) -> None:
        self._name, self._sessions = name, sessions
        self._print: Callable[[str], None] = lambda text: print(text, flush=True)
        self._redraw: Callable[[], None] | None = None

    def log(self, text: str) -> None:
        """Print a line."""
        self._print(f"   {self._name}: {one_line(text)}")

    def draw(self) -> None:
        """Redraw the table."""
        if self._redraw is not None:
            self._redraw()

    def show(self, role: str, report: ProcessReport) -> None:
        """Print a report; a minute without events is not printed beside a table."""
        prefix = "" if role == "primary" else f"{role}: "
        if report.kind == "minute":
            lines = list(event_lines(report))
            if self._redraw is None or lines:
                for line in (*lines, minute_line(report)):
                    self.log(f"{prefix}{line}")
        elif report.kind not in ("alive", "failed", "differs") and (
            report.text
            or report.kind != "replayed"  # a new session without a warm-up replays nothing
        ):
            text = report.text or _EFFECTS.get(report.kind, "").format(name=self._name)
            self.log(f"{prefix}{report.kind}{': ' if text else ''}{text}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show a table during the block, if this process has a terminal for itself."""
        if not sys.stdout.isatty() or multiprocessing.parent_process() is not None:
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout)
        if console.is_dumb_terminal:
            yield
            return
        before = self._print
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            self._print = lambda text: console.print(text, markup=False, highlight=False)
            self._redraw = lambda: live.update(
                session_table(self._name, self._sessions), refresh=True
            )
            try:
                yield
            finally:
                self._print, self._redraw = before, None


def session_table(name: str, sessions: Mapping[str, SessionView]) -> Table:
    """Return the present state of a strategy's sessions, with a column for each."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column(f"   {name}", no_wrap=True)
    for role in sessions:
        table.add_column(role, justify="right", no_wrap=True)
    cells = [[shown.problem or "running", *_cells(shown.minute)] for shown in sessions.values()]
    for head, *values in zip_longest(_HEADS, *cells, fillvalue=""):
        table.add_row(f"   {head}", *values)
    return table


def _cells(report: ProcessReport | None) -> list[str]:
    if report is None:
        return []
    state, done_ms = report.state, report.done_ms
    last = "none yet"
    if done_ms is not None:
        ago = length(max(0, int(time.time() - done_ms / 1000)) * 1000)
        last = f"{iso(done_ms)[11:16]} UTC, {ago} ago"
    return [
        last,
        held_text(state["positions"]),
        f"{state['working']:,}",
        f"{float(state['equity']):,.2f}",
        f"{float(state['day_loss']):,.2f}",
        f"{state['fills']:,}",
        f"{state['denials']:,}",
    ]


def minute_line(report: ProcessReport) -> str:
    """Return the line of a minute."""
    state = report.state
    working = f", {counted(state['working'], 'working order')}" if state["working"] else ""
    barred = f", opens nothing: {state['barred']}" if state["barred"] else ""
    read = f", read {report.lag_ms / 1000:.1f} s after its close" if report.lag_ms else ""
    account = (
        f"equity {float(state['equity']):,.2f}, day's loss {float(state['day_loss']):,.2f}"
        if state["is_counting"]
        else "warm-up, not counted"
    )
    position = f"position {held_text(state['positions'])}{working}"
    return f"{iso(report.done_ms or 0)} {position}, {account}{read}{barred}"
