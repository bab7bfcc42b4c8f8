"""The gaps of one channel of a series; each change becomes a row for the database."""

from __future__ import annotations

from msgspec.structs import replace

from tbv8.market import Series
from tbv8.recorder.outbox import Outbox
from tbv8.store.ledger import RECORDED
from tbv8.store.ticks import Batch, Gap


class Gaps:
    """The gaps of one channel of a series, by time; each change adds a row to the outbox.

    Attributes:
        items: The gaps in memory: all of minutes, the newest of other channels.
        count: The number of gaps that began in this run.
    """

    def __init__(self, series: Series, channel: str, outbox: Outbox) -> None:
        self._series, self._channel, self._outbox = series, channel, outbox
        self.items: list[Gap] = []
        self.count = 0
        self._opening_batch: Batch | None = None  # the batch with the row of the newest gap

    def _write(self, gap: Gap) -> None:
        self._outbox.batch.gaps[gap.series, gap.channel, gap.start_ms] = gap

    @property
    def last(self) -> Gap | None:
        """The newest gap, if any."""
        return self.items[-1] if self.items else None

    @property
    def is_open(self) -> bool:
        """True if the newest gap has no end yet."""
        return bool(self.items) and self.items[-1].end_ms is None

    def open(self, start_ms: int, reason: str) -> None:
        """Begin a gap; if it is adjacent to the newest one, continue that instead."""
        last = self.last
        if last is not None and (last.end_ms is None or start_ms <= last.end_ms):
            if last.end_ms is not None:
                self.set(last, replace(last, end_ms=None, healed=False))
            return
        self.count += 1
        gap = Gap(
            series=self._series,
            channel=self._channel,
            start_ms=start_ms,
            end_ms=None,
            reason=reason,
        )
        self.items.append(gap)
        self._write(gap)
        self._opening_batch = self._outbox.batch
        if self._channel != RECORDED:  # without its gap, a minute would count as complete
            del self.items[:-1000]

    def adopt(self, gap: Gap) -> None:
        """Continue a gap from an earlier run; its row exists already."""
        self.items.append(gap)
        self._opening_batch = None

    def close(self, end_ms: int) -> None:
        """End the open gap; if it is empty and its row is not written yet, remove it."""
        if not self.is_open:
            return
        last = self.items[-1]
        if end_ms <= last.start_ms and self._opening_batch is self._outbox.batch:
            self.items.pop()
            del self._outbox.batch.gaps[self._series, self._channel, last.start_ms]
            self.count -= 1
        else:
            self.set(last, replace(last, end_ms=max(end_ms, last.start_ms)))

    def set(self, old: Gap, new: Gap) -> None:
        """Replace a gap in memory and write its row."""
        self.items[self.items.index(old)] = new
        self._write(new)

    def add(self, gap: Gap) -> None:
        """Write the row of a gap that is not in memory."""
        self._write(gap)
