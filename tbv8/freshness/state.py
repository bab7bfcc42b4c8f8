"""The state of a task's output: fresh, or stale for a list of reasons."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

import msgspec

from tbv8.market import DAY_MS, Span, iso_day
from tbv8.text import counted


class Part(msgspec.Struct, frozen=True):
    """One part of a key: its present digest, and the digest at the time of the output."""

    name: str
    current: str | None
    recorded: str | None


class State(msgspec.Struct, frozen=True):
    """The reasons why a task's output is stale, empty if it is fresh; and the parts of its key."""

    reasons: tuple[str, ...]
    parts: tuple[Part, ...] = ()


def digest_text(parts: Iterable[str]) -> str:
    """Return the sha256 over lines of text."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def count_days(spans: Iterable[Span]) -> str:
    """Return `1 day` or `12 days`: the number of UTC days in `spans`."""
    return days_text(len({day_ms for span in spans for day_ms in span.days()}))


def days_text(count: int) -> str:
    """Return `1 day` or `12 days`."""
    return counted(count, "day")


def from_to(days: Collection[int]) -> str:
    """Return the first and the last of some UTC days as text, with a note if days are missing."""
    first, last = iso_day(min(days)), iso_day(max(days))
    if first == last:
        return first
    if len(set(days)) == (max(days) - min(days)) // DAY_MS + 1:
        return f"{first} .. {last}"
    return f"{first} and {last}" if len(set(days)) == 2 else f"{first} .. {last}, not all between"
