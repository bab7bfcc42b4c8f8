"""The status of a running recorder, as plain records: for the table, lines and metrics."""

from __future__ import annotations

import msgspec

from tbv8.market import Series


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stream; times and lags on the venue's clock.

    Args:
        state: `up`, `quiet` (silent, and REST knows nothing new), `problems`, `down`, or `unlisted`
            when the venue does not know the symbol.
        silent_s: The time since its last proof that nothing is missing.
        lag_ms: The age of its newest event on arrival; replays do not count.
    """

    series: Series
    channel: str
    state: str
    silent_s: float
    lag_ms: int | None
    price: float | None
    events: int
    duplicates: int
    gaps: int
    minutes: int
    minutes_waiting: int

    @property
    def is_stale(self) -> bool:
        """True if data is being missed now."""
        return self.state in ("stale", "down", "unlisted")


class VenueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's connection.

    Args:
        marks: The number of recorded mark prices.
        payments: The number of recorded payments of funding.
    """

    venue: str
    state: str
    frames: int
    reconnects: int
    unreadable: int
    failed: int
    offset_ms: int
    streams: tuple[StreamStatus, ...]
    marks: int = 0
    payments: int = 0

    @property
    def has_sent(self) -> bool:
        """Return True if anything was ever received."""
        return bool(self.frames or self.marks or self.payments)


class RecorderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The recorder as a whole; `trades`, `bbo` and `minutes` are rows in the database."""

    venues: tuple[VenueStatus, ...]
    trades: int
    bbo: int
    minutes: int
    waiting: int
    dropped: int
    commits: int
    stuck_s: float
    running_s: float

    @property
    def streams(self) -> list[StreamStatus]:
        """All streams of all venues."""
        return [stream for venue in self.venues for stream in venue.streams]

    @property
    def problems(self) -> list[str]:
        """The names of stale streams and other problems, for `/healthz`."""
        names = [f"{s.series} {s.channel}" for s in self.streams if s.is_stale]
        return [*names, *(["database"] if self.stuck_s > 5 or self.dropped_now else [])]

    dropped_now: bool = False
