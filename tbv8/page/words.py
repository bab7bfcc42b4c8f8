"""Numbers, times and counts as text for the pages."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tbv8.market import iso
from tbv8.page.html import Html, element

NONE = "–"
"""The text in place of a missing number; it sorts last."""

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


def number(value: Any, form: str) -> str:
    """Return a number in Python's format; `NONE` for None."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return format(value, form) if is_number else NONE


def minute(ts_ms: int) -> str:
    """Return `2024-01-31 12:00`, UTC; with seconds if they are not zero."""
    text = iso(ts_ms - ts_ms % 1000).removesuffix("Z").replace("T", " ")
    return text.removesuffix(":00")


def length(ms: int) -> str:
    """Return `3 d 4 h`, `4 h 5 min`, `5 min` or `5.0 s`."""
    if ms < _MINUTE_MS:
        return f"{ms / 1000:,.1f} s"
    days, hours, minutes = ms // _DAY_MS, ms % _DAY_MS // _HOUR_MS, ms % _HOUR_MS // _MINUTE_MS
    if days:
        return f"{days:,} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def length_cell(ms: int) -> Html:
    """Return a length that sorts by its size."""
    return element("span", length(ms), data_value=ms)


def capital(text: str) -> str:
    """Return text with a capital first letter."""
    return f"{text[0].upper()}{text[1:]}"


def often(count: int) -> str:
    """Return `once`, `2,000 times`."""
    return "once" if count == 1 else f"{count:,} times"


def part_of(listed: int, count: int, which: str) -> str:
    """Return `the first 200 of 1,000`, or `12` if all are listed."""
    return f"{count:,}" if listed == count else f"the {which} {listed:,} of {count:,}"
