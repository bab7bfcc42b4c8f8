"""Commits the outbox to the database, one transaction at a time, in a thread and with retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from tbv8.errors import MovedError
from tbv8.market import Series
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.pace import Pace
from tbv8.recorder.tracker import SeriesTracker
from tbv8.store.database import BusyError
from tbv8.store.ticks import (
    Batch,
    TickStore,
)
from tbv8.text import counted
from tbv8.venues.base import Log

_SHRINK_EVERY_S = 300.0

type OnCommit = Callable[[Batch, int], None]
"""A callback for each committed batch, with the time of the commit by our clock, in ms."""


class BatchWriter:
    """Commits the batches of the outbox to the database.

    Args:
        store: The database.
        outbox: The waiting rows.
        trackers: The trackers; they get back late trades whose minute is not written yet.
        local_ms: Our clock, in milliseconds UTC.
        pace: The interval of transactions and the time limit for the last ones.
        log: Prints a line for the user.
        on_commit: Called after each commit.

    Attributes:
        trades: The number of new trades written.
        bbo: The number of quotes written.
        minutes: The number of 1m bars written.
        commits: The number of transactions.
        waiting_since_s: The monotonic time since which the database cannot be written; None if it
            can.
        moved: True after the database was removed, moved or replaced.
    """

    def __init__(
        self,
        store: TickStore,
        outbox: Outbox,
        trackers: Mapping[Series, SeriesTracker],
        *,
        local_ms: Callable[[], int],
        pace: Pace,
        log: Log,
        on_commit: OnCommit | None = None,
    ) -> None:
        self.trades = self.bbo = self.minutes = self.commits = 0
        self.waiting_since_s: float | None = None
        self.moved = False
        self._store, self._outbox, self._trackers = store, outbox, trackers
        self._local_ms, self._pace, self._log = local_ms, pace, log
        self._on_commit = on_commit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._failed: Batch | None = None
        self._is_in_moved_file = False  # the failed batch is committed, but in a moved file
        self._shrunk_s = time.monotonic()
        self._dropped = 0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Commit at intervals until `stop`; never cancel it, or a batch is written twice.

        Raises:
            MovedError: The database was removed, moved or replaced; see `unwritten`.
        """
        while not await self._stopped_within(0 if self._outbox.crowded else self._pace.commit_s):
            if not await self._commit():
                await self._stopped_within(self._pace.busy_s)
            if time.monotonic() - self._shrunk_s >= _SHRINK_EVERY_S:
                self._shrunk_s = time.monotonic()
                await self._in_thread(self._store.shrink_wal)

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def stop(self) -> None:
        """Request `run` to return."""
        self._stopping.set()

    async def finish(self) -> int:
        """Commit the remaining rows, after `run`; return the number of rows still unwritten.

        Raises:
            MovedError: The database was removed, moved or replaced; see `unwritten`.
        """
        give_up_s = time.monotonic() + self._pace.give_up_s
        while self._failed is not None or len(self._outbox.batch):
            if not await self._commit():
                if time.monotonic() >= give_up_s:
                    break
                await asyncio.sleep(self._pace.busy_s)
        await self._in_thread(self._store.shrink_wal)
        self._check_place()
        self.close()
        return len(self._outbox)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def unwritten(self, *, except_moved: bool = False) -> Batch:
        """Return the ticks and gaps that are not in the file at the database's path.

        Minutes and late trades are left out, since they belong to the bars of the moved file; the
        next run fetches the minutes from the venue.

        Args:
            except_moved: True to leave out rows that were committed to the moved file.
        """
        failed = None if except_moved and self._is_in_moved_file else self._failed
        waiting = [batch for batch in (failed, self._outbox.batch) if batch is not None]
        return Batch(
            trades=[row for batch in waiting for row in (*batch.trades, *batch.late)],
            bbo=[row for batch in waiting for row in batch.bbo],
            gaps={key: gap for batch in waiting for key, gap in batch.gaps.items()},
            marks=[row for batch in waiting for row in batch.marks],
        )

    def _check_place(self) -> None:
        try:
            self._store.check_files()
        except MovedError:
            self.moved = True
            raise

    async def _commit(self) -> bool:
        """Commit the waiting rows; return False if the database cannot be written now."""
        self._check_place()
        batch = self._failed or self._outbox.take()
        if not len(batch):
            return True
        self._failed = batch
        commit = partial(self._store.commit, batch, now_ms=self._local_ms())
        try:
            written = await self._in_thread(commit)
        except BusyError as e:
            self._check_place()
            is_first = self.waiting_since_s is None
            if is_first:
                self.waiting_since_s = time.monotonic()
            self._outbox.stuck = True
            self._outbox.update_flags()
            if is_first:
                self._log(f"{e}: waiting, with {counted(len(self._outbox), 'row')} in memory")
            return False
        self._is_in_moved_file = True
        self._check_place()
        self._failed, self._is_in_moved_file = None, False
        self._outbox.mark_written()
        if self.waiting_since_s is not None:
            waited_s = time.monotonic() - self.waiting_since_s
            self._log(f"the database can be written again, after {waited_s:.0f} s")
            self.waiting_since_s = None
        if self._outbox.dropped > self._dropped and not self._outbox.full:
            dropped, self._dropped = self._outbox.dropped - self._dropped, self._outbox.dropped
            self._log(
                f"WARNING: the buffer was full and dropped {counted(dropped, 'event')}: see "
                "recording_gaps"
            )
        self.commits += 1
        self.trades += written.trades
        self.bbo += written.bbo
        self.minutes += len(batch.minutes)
        for trade in written.without_bar:
            series = Series(trade.venue, trade.symbol)
            self._trackers[series].minutes.add_trade_without_bar(trade)
        for warning in written.warnings:
            self._log(f"WARNING: {warning}")
        if self._on_commit is not None:
            self._on_commit(batch, self._local_ms())
        return True

    async def _in_thread[T](self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
