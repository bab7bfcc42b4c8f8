"""The state of one stream: a series' trades or quotes from the socket. Pure, no I/O, no clock."""

from __future__ import annotations

from msgspec.structs import replace

from tbv8.market import Span
from tbv8.recorder.gaps import Gaps

MARGIN_MS = 2000
GRACE_MS = 2000
SETTLE_MS = 3000
"""After this time a minute's bar at the venue is final, and a trade has reached all sockets."""

_MIN_SILENCE_MS, _MAX_SILENCE_MS = 10_000, 60_000


class Stream:
    """The state of one stream; all times are on the venue's clock.

    Args:
        gaps: The gaps of the stream.

    Attributes:
        up: True while the stream is confirmed and delivers.
        up_ms: The time of its confirmation.
        watermark_ms: The time up to which all events have arrived.
        newest_ms: The own time of the newest event.
        last_event_ms: The time of the last arrival in this connection; 0 before the first.
        next_check_ms: The earliest time of the next check by REST.
        needs_check: True if it came up and no REST reply covers that moment yet.
        fetched: The span of which REST returned every trade.
        unchanged_ms: The last time when REST had nothing new.
        stalled: True after it stalled: only an event later than its next ack brings it up again.
        acked_ms: The time of that ack; None before it.
        mismatch_ms: The time of a quote by REST that differs from the newest one; None without.
        events: The number of events.
        duplicates: The number of duplicate events.
        lag_ms: The delay of the newest event on arrival; None before the first.
    """

    def __init__(self, gaps: Gaps) -> None:
        self.gaps = gaps
        self.up = False
        self.up_ms = 0
        self.watermark_ms = 0
        self.newest_ms = 0
        self.last_event_ms = 0
        self.next_check_ms = 0
        self.needs_check = False
        self.fetched: Span | None = None
        self.unchanged_ms = 0
        self.stalled = False
        self.acked_ms: int | None = None
        self.mismatch_ms: int | None = None
        self.events = 0
        self.duplicates = 0
        self.lag_ms: int | None = None
        self._interval_ms = 1000.0

    @property
    def silence_limit_ms(self) -> float:
        """The longest usual silence; after it, REST checks whether the stream is quiet or dead."""
        return min(max(20 * self._interval_ms, _MIN_SILENCE_MS), _MAX_SILENCE_MS)

    def confirm(self, at_ms: int) -> bool:
        """Note the venue's confirmation; return True if it brings the stream up. Repeatable."""
        if self.up:
            return False
        if self.stalled:
            self.acked_ms = at_ms
            return False
        self.up, self.up_ms = True, at_ms
        self.watermark_ms = max(self.watermark_ms, at_ms)
        self.last_event_ms, self.next_check_ms, self.unchanged_ms, self.mismatch_ms = 0, 0, 0, None
        self.gaps.close(at_ms + MARGIN_MS)
        return True

    def note_event(self, now_ms: int, ts_ms: int) -> None:
        """Note the arrival of an event; it moves the watermark, since events arrive in order."""
        self.events += 1
        if self.last_event_ms:
            self._interval_ms += 0.05 * (now_ms - self.last_event_ms - self._interval_ms)
        self.last_event_ms = now_ms
        watermark_ms = min(ts_ms, now_ms)
        if watermark_ms > self.watermark_ms:
            self.watermark_ms = watermark_ms
        self.mismatch_ms = None

    def is_silent_too_long(self, now_ms: int) -> bool:
        """Return True if the silence exceeds its limit."""
        return now_ms - max(self.watermark_ms, self.unchanged_ms) > self.silence_limit_ms

    def may_be_checked(self, now_ms: int) -> bool:
        """Return True if REST can check it: it is up, or was subscribed again some seconds ago."""
        if now_ms < self.next_check_ms:
            return False
        return self.up or (self.acked_ms is not None and now_ms - self.acked_ms >= 2 * SETTLE_MS)

    def should_be_checked(self, now_ms: int) -> bool:
        """Return True if REST should check its state or its last events."""
        return (
            not self.up
            or self.needs_check
            or self.is_silent_too_long(now_ms)
            or self.mismatch_ms is not None
        )

    def may_have_stalled(self, now_ms: int) -> bool:
        """Return True if it may have stopped silently before its connection ended."""
        return self.is_silent_too_long(now_ms) or self.mismatch_ms is not None

    def complete_until_ms(self, last_ms: int) -> int:
        """Return the time up to which all events had arrived when the connection ended.

        Args:
            last_ms: The time of the connection's last frame.
        """
        if self.may_have_stalled(last_ms - SETTLE_MS):
            return self.watermark_ms
        return max(self.watermark_ms, last_ms - SETTLE_MS - int(self.silence_limit_ms))

    def heal(self, span: Span) -> None:
        """Heal the gaps within a span of which REST returned every trade.

        The span must begin before a gap and reach to the event that ended it. A venue may return
        only a few trades per reply, so overlapping spans are joined.
        """
        before = self.fetched
        if before is not None and span.start_ms <= before.end_ms:
            span = Span(min(span.start_ms, before.start_ms), max(span.end_ms, before.end_ms))
        self.fetched = span
        for gap in list(self.gaps.items):
            if gap.end_ms is not None and not gap.healed:
                last_event_ms = max(gap.end_ms - MARGIN_MS, gap.start_ms)
                if span.start_ms < gap.start_ms and span.end_ms >= last_event_ms:
                    self.gaps.set(gap, replace(gap, healed=True))
