"""The recorder for eyes: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tbv8.market import iso
from tbv8.recorder.pace import Pace
from tbv8.recorder.status import Status, StreamStatus

if TYPE_CHECKING:
    from rich.table import Table

_SAME_EVERY_S = 10.0
_COLOURS = {"up": "green", "quiet": "green", "stale": "red", "down": "red", "unlisted": "red"}


class View:
    """Prints to stdout; a line that was said a moment ago is only counted.

    Args:
        pace: How often.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._print: Callable[[str], None] = _print_plain
        self._said: dict[str, tuple[float, int]] = {}
        self._rates = _Rates()

    def say(self, text: str) -> None:
        """Print a line with the time, unless the like of it was printed within 10 s."""
        topic = "".join(letter for letter in text if not letter.isdigit())[:80]
        now_s = time.monotonic()
        said_s, unsaid = self._said.get(topic, (-_SAME_EVERY_S, 0))
        if now_s - said_s < _SAME_EVERY_S:
            self._said[topic] = said_s, unsaid + 1
            return
        if len(self._said) > 1000:
            self._said.clear()
        self._said[topic] = now_s, 0
        more = f" (and {unsaid} more like it before)" if unsaid else ""
        self._print(f"{iso(int(time.time()) * 1000)} {text}{more}")

    async def run(self, read_status: Callable[[], Status]) -> None:
        """Show the status until cancelled."""
        if sys.stdout.isatty():
            await self._show_table(read_status)
        else:
            while True:
                await asyncio.sleep(self._pace.line_s)
                self._print(self._rates.line(read_status()))

    async def _show_table(self, read_status: Callable[[], Status]) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout)
        with Live(console=console, auto_refresh=False, transient=False) as shown:
            self._print = lambda text: console.print(text, markup=False, highlight=False)
            try:
                while True:
                    shown.update(self._rates.table(read_status()), refresh=True)
                    await asyncio.sleep(self._pace.frame_s)
            finally:
                self._print = _print_plain


def summary(status: Status) -> str:
    """Return what a run wrote, as one line."""
    gaps = sum(stream.gaps for stream in status.streams)
    reconnects = sum(venue.reconnects for venue in status.venues)
    return (
        f"recorded {status.trades:,} trades, {status.bbo:,} quotes and {status.minutes:,} minutes "
        f"in {status.running_s:.0f} s; {reconnects} reconnects, {gaps} gaps"
        + (f"; DROPPED {status.dropped:,} events" if status.dropped else "")
    )


class _Rates:
    """Messages a second, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}

    def rate(self, name: str, count: int, now_s: float) -> float:
        before_s, before = self._before.get(name, (0.0, 0))
        self._before[name] = now_s, count
        return (count - before) / max(now_s - before_s, 1e-3)

    def line(self, status: Status) -> str:
        now_s = status.running_s
        venues = []
        for venue in status.venues:
            rate = self.rate(venue.venue, venue.frames, now_s)
            stale = sum(stream.is_stale for stream in venue.streams)
            ok = len(venue.streams) - stale
            venues.append(
                f"{venue.venue} {venue.state}, {ok}/{len(venue.streams)} streams, {rate:,.0f}/s"
            )
        return (
            f"   record: {'; '.join(venues)}; {status.trades:,} trades, {status.bbo:,} bbo, "
            f"{status.minutes:,} minutes, {status.waiting:,} waiting"
            + (f", {status.dropped:,} DROPPED" if status.dropped else "")
        )

    def table(self, status: Status) -> Table:
        from rich.table import Table

        table = Table(
            title=f"tbv8 record, {_duration(status.running_s)}",
            title_justify="left",
            caption=_caption(status),
            caption_justify="left",
            expand=False,
        )
        table.add_column("stream", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for name in ("price", "msg/s", "lag ms", "silent s", "events", "again", "gaps", "bars"):
            table.add_column(name, justify="right", no_wrap=True)
        for venue in status.venues:
            rate = self.rate(venue.venue, venue.frames, status.running_s)
            connection = [f"{rate:,.0f}", "", "", f"{venue.frames:,}", "", f"{venue.reconnects}×"]
            table.add_row(f"[bold]{venue.venue}[/]", _short(venue.state), "", *connection, "")
            for stream in venue.streams:
                table.add_row(*self._row(stream, status.running_s))
        return table

    def _row(self, stream: StreamStatus, now_s: float) -> list[str]:
        name = f"{stream.series} {stream.channel}"
        waiting = f" +{stream.minutes_waiting}" if stream.minutes_waiting else ""
        return [
            f"  {stream.series.symbol} {stream.channel}",
            f"[{_COLOURS[stream.state]}]{stream.state}[/]",
            "" if stream.price is None else f"{stream.price:,.10g}",
            f"{self.rate(name, stream.events, now_s):,.1f}",
            "" if stream.lag_ms is None else f"{stream.lag_ms:,}",
            f"{stream.silent_s:,.0f}",
            f"{stream.events:,}",
            f"{stream.duplicates:,}",
            str(stream.gaps),
            f"{stream.minutes:,}{waiting}" if stream.channel == "trades" else "",
        ]


def _caption(status: Status) -> str:
    text = (
        f"{status.trades:,} trades, {status.bbo:,} bbo, {status.minutes:,} bars written; "
        f"queue {status.waiting:,}"
    )
    if status.stuck_s:
        text += f"; [red]database not writable for {status.stuck_s:.0f} s[/]"
    if status.dropped:
        text += f"; [red]{status.dropped:,} events dropped[/]"
    return f"{text}; Ctrl-C stops"


def _short(state: str) -> str:
    return state if len(state) <= 28 else f"{state[:27]}…"


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def _print_plain(text: str) -> None:
    print(text, flush=True)
