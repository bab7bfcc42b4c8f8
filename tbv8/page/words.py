"""Numbers, times and counts as text for the pages."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, iso
from tbv8.page.html import Html, element

NONE = "–"
"""The text in place of a missing number; it sorts last."""

_UNITS = (
    (HOUR_MS, "min", MINUTE_MS, "s", 1000),
    (DAY_MS, "h", HOUR_MS, "min", MINUTE_MS),
    (math.inf, "d", DAY_MS, "h", HOUR_MS),
)
"""Pairs of units with their lengths in ms, each behind the length up to which it is used."""


def number(value: Any, form: str) -> str:
    """Return a number in Python's format; `NONE` for None."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return format(value, form) if is_number else NONE


def minute(ts_ms: int) -> str:
    """Return `2024-01-31 12:00`, UTC; with seconds if they are not zero."""
    text = iso(ts_ms - ts_ms % 1000).removesuffix("Z").replace("T", " ")
    return text.removesuffix(":00")


def length(ms: int) -> str:
    """Return a rounded length: `3 d 4 h`, `4 h 5 min`, `4 h`, `1 min 40 s` or `5.2 s`."""
    if ms < MINUTE_MS - 50:
        return f"{round(ms / 1000, 1):g} s"
    large, large_ms, small, small_ms = next(
        units[1:] for units in _UNITS if ms + units[4] // 2 < units[0]
    )
    whole, rest = divmod((ms + small_ms // 2) // small_ms, large_ms // small_ms)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"


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
