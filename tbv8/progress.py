"""The progress of a long action: a bar with ETA on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_LINE_EVERY_S = 10.0
_MEASURED_S = 0.05  # a rate of less time would be one of the clock


class Advance(Protocol):
    """Tells that an amount was finished, and what else there is to say by now."""

    def __call__(self, amount: int, note: str = "") -> None:
        """Show it."""


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Advance]:
    """Show the progress towards `total`; call the yielded function with each finished amount."""
    if sys.stdout.isatty():
        yield from _bar(label, total, unit)
    else:
        yield from _lines(label, total, unit)


def _bar(label: str, total: int, unit: str) -> Iterator[Advance]:
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
    started = time.monotonic()
    with Progress(*columns, console=Console(file=sys.stdout), transient=True) as shown:
        task = shown.add_task(label, total=total, unit=unit, rate="0", note="")
        done = 0

        def advance(amount: int, note: str = "") -> None:
            nonlocal done
            done += amount
            shown.update(task, completed=done, rate=_rate(done, started), note=note)

        yield advance
    _closing_line(label, done, unit, started)


def _lines(label: str, total: int, unit: str) -> Iterator[Advance]:
    started = printed_s = time.monotonic()
    done = 0

    def advance(amount: int, note: str = "") -> None:
        nonlocal done, printed_s
        done += amount
        now = time.monotonic()
        if now - printed_s >= _LINE_EVERY_S and done < total:
            printed_s = now
            rate = done / (now - started)
            print(
                f"   {label}: {done:,} of {total:,} {unit}, {_rate(done, started)}/s, "
                f"{(total - done) / max(rate, 1e-3):,.0f} s to go{f', {note}' if note else ''}",
                flush=True,
            )

    yield advance
    _closing_line(label, done, unit, started)


def _closing_line(label: str, done: int, unit: str, started: float) -> None:
    elapsed_s = time.monotonic() - started
    unit = unit.removesuffix("s") if done == 1 else unit
    rate = f" ({_rate(done, started)}/s)" if elapsed_s >= _MEASURED_S else ""
    print(f"   {label}: {done:,} {unit} in {elapsed_s:.1f} s{rate}", flush=True)


def _rate(done: int, started: float) -> str:
    rate = done / max(time.monotonic() - started, 1e-3)
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
