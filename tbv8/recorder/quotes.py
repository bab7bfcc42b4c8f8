"""The changes of the best bid and offer of one series; equal quotes are not recorded."""

from __future__ import annotations

from collections import deque

from tbv8.market import Bbo
from tbv8.recorder.outbox import Outbox
from tbv8.store.ticks import bbo_row


class QuoteChanges:
    """Records the quotes that differ from the quote before them.

    Args:
        newest: The newest quote in the database; None if there is none.
        outbox: The destination of the rows.
    """

    def __init__(self, newest: Bbo | None, outbox: Outbox) -> None:
        self._newest = newest
        self._is_written = True
        self._late_quotes: deque[object] = deque(maxlen=64)
        self._outbox = outbox

    def is_newest(self, bbo: Bbo) -> bool:
        """Return True if the newest quote has the same prices and sizes."""
        return self._newest is not None and _values(bbo) == _values(self._newest)

    def add(self, bbo: Bbo, received_ms: int) -> bool:
        """Record a quote; return False if its prices and sizes are unchanged, so it is skipped."""
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
                # The newest was skipped as unchanged; the late quote now precedes it and differs.
                self._is_written = True
                self._outbox.batch.bbo.append(bbo_row(last, received_ms))
        else:
            self._newest, self._is_written = bbo, True
        self._outbox.batch.bbo.append(bbo_row(bbo, received_ms))
        return True


def _values(bbo: Bbo) -> tuple[float | None, ...]:
    return bbo.bid_price, bbo.bid_size, bbo.ask_price, bbo.ask_size
