"""The recorder's output: a live table on a terminal, a status line at intervals elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from tbv8.market import iso
from tbv8.recorder.pace import Pace
from tbv8.recorder.status import RecorderStatus, StreamStatus, VenueStatus
from tbv8.text import counted, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_REPEAT_EVERY_S = 10.0
_WIDE = 104  # a terminal of this width has room for the wide columns


class RecorderView:
    """Prints log lines and the status to stdout; similar lines are counted instead of repeated.

    Args:
        pace: The intervals of status lines and of the table.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._print: Callable[[str], None] = _print_plain
        self._printed: dict[str, tuple[float, int]] = {}
        self._rates = EventRates()

    def log(self, text: str) -> None:
        """Print a line with the time, unless a similar line was printed within the last 10 s."""
        text = one_line(text)
        topic = "".join(letter for letter in text if not letter.isdigit())[:80]
        now_s = time.monotonic()
        printed_s, omitted = self._printed.get(topic, (-_REPEAT_EVERY_S, 0))
        if now_s - printed_s < _REPEAT_EVERY_S:
            self._printed[topic] = printed_s, omitted + 1
            return
        if len(self._printed) > 1000:
            self._printed.clear()
        self._printed[topic] = now_s, 0
        repeats = f" (and {omitted} similar lines before)" if omitted else ""
        self._print(f"{iso(int(time.time()) * 1000)} {text}{repeats}")

    async def run(self, read_status: Callable[[], RecorderStatus]) -> None:
        """Show the status until cancelled."""
        if sys.stdout.isatty():
            from rich.console import Console

            console = Console(file=sys.stdout)
            if not console.is_dumb_terminal:
                await self._show_table(console, read_status)
        while True:
            await asyncio.sleep(self._pace.line_s)
            self._print(line(read_status(), self._rates))

    async def _show_table(
        self, console: Console, read_status: Callable[[], RecorderStatus]
    ) -> None:
        from rich.console import Group
        from rich.live import Live

        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as shown:
            self._print = lambda text: console.print(text, markup=False, highlight=False)
            try:
                while True:
                    width, height = console.size
                    lines = table(read_status(), self._rates, width=width, height=height - 1)
                    shown.update(Group(*lines), refresh=True)
                    await asyncio.sleep(self._pace.frame_s)
            finally:
                self._print = _print_plain


class EventRates:
    """The rates of counters, each since its last reading."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}

    def rate(self, name: str, count: int, now_s: float) -> float:
        """Return the increase of a counter per second since its last reading."""
        before_s, before = self._before.get(name, (0.0, 0))
        self._before[name] = now_s, count
        return (count - before) / max(now_s - before_s, 1e-3)


def summary(status: RecorderStatus) -> str:
    """Return one line about the whole run: written rows, reconnects, gaps, problems."""
    gaps = sum(stream.gaps for stream in status.streams)
    reconnects = sum(venue.reconnects for venue in status.venues)
    marks = sum(venue.marks for venue in status.venues)
    payments = sum(venue.payments for venue in status.venues)
    rows = [
        counted(status.trades, "trade"),
        counted(status.bbo, "quote"),
        counted(status.minutes, "minute"),
        *([counted(marks, "mark price")] if marks else []),
        *([counted(payments, "funding payment")] if payments else []),
    ]
    return (
        f"recorded {', '.join(rows[:-1])} and {rows[-1]} in {status.running_s:.0f} s; "
        f"{counted(reconnects, 'reconnect')}, {counted(gaps, 'gap')}"
        + (f"; DROPPED {counted(status.dropped, 'event')}" if status.dropped else "")
        + "".join(f"; {v.venue} SENT NO DATA" for v in status.venues if not v.has_sent)
    )


def line(status: RecorderStatus, rates: EventRates) -> str:
    """Return the status as one line."""
    now_s = status.running_s
    venues = []
    for venue in status.venues:
        rate = rates.rate(venue.venue, venue.frames, now_s)
        stale = sum(stream.is_stale for stream in venue.streams)
        ok = len(venue.streams) - stale
        venues.append(
            f"{venue.venue} {venue.state}, {ok}/{len(venue.streams)} streams, {rate:,.0f}/s"
        )
    return (
        f"   record: {'; '.join(venues)}; {counted(status.trades, 'trade')}, {status.bbo:,} bbo, "
        f"{counted(status.minutes, 'minute')}, {status.waiting:,} waiting"
        + (f", {status.dropped:,} DROPPED" if status.dropped else "")
    )


class _Column(msgspec.Struct, frozen=True):
    """A column of the table; `wide` columns are shown on wide terminals only."""

    head: str
    width: int
    wide: bool = False


_NAME, _STATE = _Column("symbol", 16), _Column("state", 11)
_NUMBERS = (
    _Column("price", 11),
    _Column("msg/s", 7),
    _Column("lag ms", 7),
    _Column("trades", 8),
    _Column("bbo", 8),
    _Column("bars", 7),
    _Column("gaps", 5),
    _Column("again", 8, wide=True),
    _Column("silent s", 10, wide=True),
)


def table(status: RecorderStatus, rates: EventRates, *, width: int, height: int) -> list[Text]:
    """Return the lines of the live table: one per symbol, none wider than `width`.

    If the symbols do not fit into `height` lines, those with problems come first.
    """
    from rich.text import Text

    wide = width >= _WIDE
    heads = "".join(c.head.rjust(c.width) for c in _NUMBERS if wide or not c.wide)
    shown = [
        Text(_title(status), style="bold"),
        Text(f"  {_NAME.head:{_NAME.width - 2}}{_STATE.head:{_STATE.width}}{heads}", style="dim"),
    ]
    last = _last_line(status)
    bodies = [
        [_venue_line(venue, rates, status.running_s), *_symbol_lines(venue, rates, status, wide)]
        for venue in status.venues
    ]
    room = max(height - len(shown) - 1, 1)
    if sum(len(body) for body in bodies) > room:
        bodies = [_fit(body, max(room // len(bodies), 3)) for body in bodies]
    for body in bodies:
        shown += body
    shown.append(last)
    for text in shown:
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
    return shown


def _fit(body: list[Text], room: int) -> list[Text]:
    """Return at most `room` lines of a venue; symbols with problems come first."""
    from rich.text import Text

    if len(body) <= room:
        return body
    symbols = sorted(body[1:], key=lambda text: not text.spans)  # only problems have a colour
    visible, hidden = symbols[: room - 2], symbols[room - 2 :]
    with_problems = sum(bool(text.spans) for text in hidden)
    condition = f"{with_problems} of them with problems" if with_problems else "all well"
    return [body[0], *visible, Text(f"  ... and {len(hidden)} more, {condition}", style="dim")]


def _title(status: RecorderStatus) -> str:
    return (
        f"tbv8 record {_duration(status.running_s)}   queue {status.waiting:,}   written: "
        f"{counted(status.trades, 'trade')}, {status.bbo:,} bbo, {counted(status.minutes, 'bar')}"
    )


def _last_line(status: RecorderStatus) -> Text:
    from rich.text import Text

    problems = []
    if status.stuck_s:
        problems.append(f"the database could not be written for {status.stuck_s:.0f} s")
    if status.dropped:
        problems.append(f"{counted(status.dropped, 'event')} DROPPED")
    if problems:
        return Text(f"{'; '.join(problems)}; Ctrl-C stops", style="bold red")
    return Text("Ctrl-C stops", style="dim")


def _venue_line(venue: VenueStatus, rates: EventRates, now_s: float) -> Text:
    from rich.text import Text

    parts = [
        f"{rates.rate(venue.venue, venue.frames, now_s):,.0f} msg/s",
        counted(venue.reconnects, "reconnect"),
        *([f"{venue.unreadable} unreadable"] if venue.unreadable else []),
        *([f"{counted(venue.failed, 'REST call')} failed"] if venue.failed else []),
    ]
    text = Text()
    text.append(f"{venue.venue} ", style="bold")
    text.append(venue.state, style="green" if venue.state == "up" else "red")
    text.append(f"   {', '.join(parts)}")
    return text


def _symbol_lines(
    venue: VenueStatus, rates: EventRates, status: RecorderStatus, wide: bool
) -> list[Text]:
    streams = groupby(venue.streams, key=lambda stream: stream.series)
    return [_symbol_line(list(group), rates, status.running_s, wide) for _series, group in streams]


def _symbol_line(
    streams: Sequence[StreamStatus], rates: EventRates, now_s: float, wide: bool
) -> Text:
    from rich.text import Text

    by_channel = {stream.channel: stream for stream in streams}
    first, trades, quotes = streams[0], by_channel.get("trades"), by_channel.get("bbo")
    states = list(dict.fromkeys(stream.state for stream in streams))
    lags = [stream.lag_ms for stream in streams if stream.lag_ms is not None]
    rate = sum(rates.rate(f"{s.series} {s.channel}", s.events, now_s) for s in streams)
    waiting = f"+{trades.minutes_waiting}" if trades and trades.minutes_waiting else ""
    cells = (
        "" if first.price is None else f"{first.price:,.8g}",
        f"{rate:,.1f}",
        f"{max(lags):,}" if lags else "",
        _count_text(trades.events) if trades else "",
        _count_text(quotes.events) if quotes else "",
        f"{trades.minutes:,}{waiting}" if trades else "",
        str(sum(stream.gaps for stream in streams)),
        _count_text(sum(stream.duplicates for stream in streams)),
        f"{max(stream.silent_s for stream in streams):,.0f}",
    )
    text = Text()
    text.append(f"  {first.series.symbol:{_NAME.width - 2}}")
    with_problems = any(stream.is_stale for stream in streams)
    text.append(f"{'/'.join(states):{_STATE.width}}", style="red" if with_problems else None)
    for column, cell in zip(_NUMBERS, cells, strict=True):
        if wide or not column.wide:
            text.append(cell.rjust(column.width))
    return text


def _count_text(count: int) -> str:
    """Return a count in 7 characters at most."""
    if count < 1_000_000:
        return f"{count:,}"
    return f"{count / 1e6:,.2f}M" if count < 100_000_000 else f"{count / 1e6:,.0f}M"


def _duration(seconds: float) -> str:
    minutes, whole_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_seconds:02}"


def _print_plain(text: str) -> None:
    print(text, flush=True)
