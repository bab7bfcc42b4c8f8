"""The status of a running recorder as plain records, for the view and the metrics."""

from __future__ import annotations

import msgspec

from tbv8.market import Series


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one stream.

    Args:
        series: The series.
        channel: `trades` or `bbo`.
        state: `up`; `quiet` (silent, and REST has nothing new either); `stale` (events may be
            missing); `down`; or `unlisted` (the venue does not list the symbol, or not as one that
            can be recorded).
        silent_s: The time since its watermark, or since REST last had nothing new.
        lag_ms: The delay of its newest event on arrival; None before the first. Replays do not
            count.
        price: The last price of the series; None before the first.
        events: The number of events received.
        duplicates: The number of events that were not recorded again.
        gaps: The number of gaps since the start.
        minutes: The number of minutes of the series since the start.
        minutes_waiting: The number of minutes that wait for the venue's own bar.
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
    """The status of one venue.

    Args:
        venue: The venue's name.
        state: The state of its socket: `up`, or another one as text for the user.
        frames: The number of frames received.
        reconnects: The number of connections after the first.
        unreadable: The number of unreadable frames and rejected events.
        failed: The number of failed REST requests.
        offset_ms: Our clock minus the venue's.
        streams: Its streams.
        marks: The number of recorded mark prices.
        payments: The number of recorded funding payments.
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
        """True if any data was received."""
        return bool(self.frames or self.marks or self.payments)


class RecorderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of the whole recorder.

    Args:
        venues: The venues.
        trades: The number of trades written to the database.
        bbo: The number of quotes written.
        minutes: The number of 1m bars written.
        waiting: The number of rows that wait to be written.
        dropped: The number of events dropped because the buffer was full.
        commits: The number of transactions.
        stuck_s: The time since the database could be written; 0 if it can be now.
        running_s: The time since the start.
        dropped_now: True while events are being dropped.
    """

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
        """The names of the parts that lose or delay data now, for `/healthz`."""
        names = [f"{s.series} {s.channel}" for s in self.streams if s.is_stale]
        return [*names, *(["database"] if self.stuck_s > 5 or self.dropped_now else [])]

    dropped_now: bool = False
