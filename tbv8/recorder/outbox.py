"""The rows that wait for the writer; when full, ticks are dropped, counted and listed as a gap."""

from __future__ import annotations

from tbv8.store.ticks import Batch

LIMIT = 200_000
"""Rows: about 90 MB, some minutes of a busy day with 40 series."""


class Outbox:
    """The batch being filled, and the state of the batch being written.

    `stuck`: the database cannot be written now. `crowded`: it can, but rows arrive faster; the
    sockets are then read more slowly, and nothing is dropped.

    Args:
        limit: The largest number of waiting rows, in both batches together.
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
        """True if ticks must be dropped: once the limit is reached, until half is free again."""
        return self._full

    def update_flags(self) -> None:
        """Update `full`; called often, but not for every tick."""
        rows = len(self)
        self._full = rows >= (self._limit // 2 if self._full else self._limit)
        self.crowded = rows >= self._limit // 2 and not self.stuck

    def take(self) -> Batch:
        """Return the waiting batch for the writer, and begin the next one."""
        batch, self.batch = self.batch, Batch()
        self.writing = len(batch)
        return batch

    def mark_written(self) -> None:
        """Note that the taken batch is in the database."""
        self.writing, self.stuck = 0, False
        self.update_flags()
