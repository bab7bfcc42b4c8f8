"""The buffer between the trackers and the writer; when it is full, ticks are dropped."""

from __future__ import annotations

from tbv8.store.ticks import Batch

LIMIT = 200_000
"""The default number of rows: about 90 MB, or some minutes of a busy day with 40 series."""


class Outbox:
    """The batch being filled, and the size of the batch being written.

    Args:
        limit: The largest number of waiting rows, in both batches together.

    Attributes:
        batch: The batch being filled.
        dropped: The number of events dropped so far.
        writing: The number of rows in the batch being written.
        stuck: True while the database cannot be written.
        crowded: True while rows arrive faster than they are written; the sockets are then read
            more slowly (backpressure), and nothing is dropped.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.batch = Batch()
        self.dropped = 0
        self.writing = 0
        self.stuck = False
        self.crowded = False
        self._limit = limit
        self._full = False

    def __len__(self) -> int:
        return len(self.batch) + self.writing

    @property
    def full(self) -> bool:
        """True if ticks must be dropped: from the limit on, until half of it is free again."""
        return self._full

    def update_flags(self) -> None:
        """Update `full` and `crowded`; call it often, but not for every tick."""
        rows = len(self)
        self._full = rows >= (self._limit // 2 if self._full else self._limit)
        self.crowded = rows >= self._limit // 2 and not self.stuck

    def take(self) -> Batch:
        """Return the filled batch for the writer, and begin the next one."""
        batch, self.batch = self.batch, Batch()
        self.writing = len(batch)
        return batch

    def mark_written(self) -> None:
        """Note that the taken batch is in the database."""
        self.writing, self.stuck = 0, False
        self.update_flags()
