"""The progress of a long action: a bar with ETA on a terminal, elsewhere a line every 10 s."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tbv8.text import counted, plural

_LINE_EVERY_S = 10.0
_MIN_MEASURED_S = 0.05  # a shorter time gives no meaningful rate


class Advance(Protocol):
    """A function that adds finished work to the progress."""

    def __call__(self, amount: int, note: str = "") -> None:
        """Add an amount of finished work, and show a note about the present state."""


@contextmanager
def progress(label: str, total: int, noun: str) -> Iterator[Advance]:
    """Show the progress towards `total`; call the yielded function with each finished amount.

    `noun` is the unit in the singular.
    """
    if sys.stdout.isatty():
        yield from _bar(label, total, noun)
    else:
        yield from _lines(label, total, noun)


def _bar(label: str, total: int, noun: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("   {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]} {task.fields[unit]}/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    started_s = time.monotonic()
    with Progress(*columns, console=Console(file=sys.stdout), transient=True) as shown:
        task = shown.add_task(label, total=total, unit=plural(noun), rate="0", note="")
        finished = 0

        def advance(amount: int, note: str = "") -> None:
            nonlocal finished
            finished += amount
            shown.update(task, completed=finished, rate=_rate(finished, started_s), note=note)

        yield advance
    _closing_line(label, finished, noun, started_s)


def _lines(label: str, total: int, noun: str) -> Iterator[Advance]:
    started_s = printed_s = time.monotonic()
    finished = 0

    def advance(amount: int, note: str = "") -> None:
        nonlocal finished, printed_s
        finished += amount
        now_s = time.monotonic()
        if now_s - printed_s >= _LINE_EVERY_S and finished < total:
            printed_s = now_s
            left_s = (total - finished) / max(finished / (now_s - started_s), 1e-3)
            rate = f"{_rate(finished, started_s)}/s, {left_s:,.0f} s to go"
            print(
                f"   {label}: {finished:,} of {counted(total, noun)}, {rate}"
                f"{f', {note}' if note else ''}",
                flush=True,
            )

    yield advance
    _closing_line(label, finished, noun, started_s)


def _closing_line(label: str, finished: int, noun: str, started_s: float) -> None:
    elapsed_s = time.monotonic() - started_s
    rate = f" ({_rate(finished, started_s)}/s)" if elapsed_s >= _MIN_MEASURED_S else ""
    print(f"   {label}: {counted(finished, noun)} in {elapsed_s:.1f} s{rate}", flush=True)


def _rate(finished: int, started_s: float) -> str:
    rate = finished / max(time.monotonic() - started_s, 1e-3)
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
