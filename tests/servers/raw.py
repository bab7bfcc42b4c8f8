"""A reply as bytes, in place of a true one: `tests.servers.hostile` has many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """`head`, then `part` so many times with a pause behind each, then the end."""

    head: bytes
    part: bytes = b""
    times: int = 0
    pause_s: float = 0.0

    def parts(self) -> Iterator[bytes]:
        """Yield all of it in pieces to be sent."""
        yield self.head
        for _ in range(self.times):
            yield self.part
