"""The time zone of ISO times in a file, and how they are read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tbv8.market import parse_time
from tbv8.text import quoted


@dataclass(frozen=True, slots=True)
class Zone:
    """The time zone of times without a zone ("" for none), and the way to set it."""

    name: str
    cure: str


def is_local_iso(text: str) -> bool:
    """Return True for an ISO time without a zone."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).tzinfo is None
    return False


def parse_iso(text: str, zone: Zone, *, is_local: bool) -> int:
    """Parse an ISO time to milliseconds; a local time is parsed as if it were UTC.

    Raises:
        ValueError: The text is no such time.
    """
    if is_local:
        if not is_local_iso(text):
            raise ValueError(f"{quoted(text)} is no time without a zone as the first is")
        return parse_time(f"{text}Z" if len(text) > len("2024-01-31") else text)
    try:
        return parse_time(text)
    except ValueError as e:
        raise ValueError(f"{e}, or {zone.cure}" if is_local_iso(text) else str(e)) from None
