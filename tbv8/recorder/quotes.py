"""The quotes of one series; only changes are recorded."""

from __future__ import annotations

from collections import deque

from tbv8.market import Bbo
from tbv8.recorder.outbox import Outbox
from tbv8.store.ticks import bbo_row


class QuoteChanges:
    """The newest quote, and recorded late ones.

    Args:
        newest: The newest in the database.
        outbox: The rows' destination.
    """

    def __init__(self, newest: Bbo | None, outbox: Outbox) -> None:
        self._newest = newest
        self._is_written = True
        self._late_quotes: deque[object] = deque(maxlen=64)
        self._outbox = outbox

    def is_newest(self, bbo: Bbo) -> bool:
        """Return True if the newest quote has the same four values."""
        return self._newest is not None and _values(bbo) == _values(self._newest)

    def add(self, bbo: Bbo, received_ms: int) -> bool:
        """Record a quote if one of its four values changed; return False if none did."""
        last = self._newest
        is_late = last is not None and bbo.ts_ms < last.ts_ms
        if (last is not None and _values(bbo) == _values(last)) or (
            is_late and (bbo.ts_ms, _values(bbo)) in self._late_quotes
        ):
            if last is not None and bbo.ts_ms > last.ts_ms:
                self._newest, self._is_written = bbo, False
            return False
        if is_late and last is not None:
            self._late_quotes.append((bbo.ts_ms, _values(bbo)))
            if not self._is_written:
                # It was skipped as equal to the quote before it; now it follows another one.
                self._is_written = True
                self._outbox.batch.bbo.append(bbo_row(last, received_ms))
        else:
            self._newest, self._is_written = bbo, True
        self._outbox.batch.bbo.append(bbo_row(bbo, received_ms))
        return True


def _values(bbo: Bbo) -> tuple[float | None, ...]:
    return bbo.bid_price, bbo.bid_size, bbo.ask_price, bbo.ask_size
