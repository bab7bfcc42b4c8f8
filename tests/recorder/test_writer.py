"""The writer with a real database that is locked at times: every batch once, in order."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tbv8.recorder.outbox import Outbox
from tbv8.recorder.pace import Pace
from tbv8.recorder.writer import BatchWriter
from tbv8.store.ticks import Batch, TickStore, bbo_row, open_ticks, trade_row
from tests.builders import rows
from tests.recorder.by_hand import BTC, ByHand, quote, trade

QUICK = Pace(commit_s=0.01, busy_s=0.01, give_up_s=0.1)


@pytest.fixture
def store(db_path: Path) -> Iterator[TickStore]:
    with open_ticks(db_path) as store:
        store._connection.execute("PRAGMA busy_timeout = 1")
        yield store


class Scene:
    """A writer, what it said, and the trades of each batch that it committed."""

    def __init__(self, store: TickStore, outbox: Outbox, *, pace: Pace = QUICK) -> None:
        self.output: list[str] = []
        self.committed: list[list[float]] = []
        self.outbox = outbox
        self.hand = ByHand()
        self.writer = BatchWriter(
            store,
            outbox,
            {BTC: self.hand.tracker},
            local_ms=lambda: 7,
            pace=pace,
            log=self.output.append,
            on_commit=self._note,
        )

    def _note(self, batch: Batch, at_ms: int) -> None:
        assert at_ms == 7
        self.committed.append([row[4] for row in batch.trades])

    def put(self, *prices: float) -> None:
        self.outbox.batch.trades.extend(trade_row(trade(price, price=price), 0) for price in prices)

    def play(self, scene: Callable[[], Awaitable[None]]) -> int:
        """Run the writer during `scene`, then let it finish; return how many rows are left."""

        async def main() -> int:
            running = asyncio.create_task(self.writer.run())
            await asyncio.wait_for(scene(), 20)
            self.writer.stop()
            await asyncio.wait_for(running, 20)
            return await asyncio.wait_for(self.writer.finish(), 20)

        return asyncio.run(main())


@contextmanager
def lock(db_path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  the writer has no event for what is awaited here
        await asyncio.sleep(0.002)


async def nothing() -> None:
    return None


def prices(db_path: Path) -> list[float]:
    return [price for (price,) in rows(db_path, "SELECT price FROM trades ORDER BY ts_ms")]


def test_a_failed_batch_is_written_once_and_before_later_rows(
    db_path: Path, store: TickStore
) -> None:
    scene = Scene(store, Outbox())
    scene.put(1.0, 2.0)

    async def play() -> None:
        with lock(db_path):
            await until(lambda: scene.writer.waiting_since_s)
            assert scene.outbox.stuck
            scene.put(3.0)
            await asyncio.sleep(0.03)
            assert scene.committed == []
        await until(lambda: len(scene.committed) == 2)

    assert scene.play(play) == 0
    assert scene.committed == [[1.0, 2.0], [3.0]]
    assert prices(db_path) == [1.0, 2.0, 3.0]
    assert (scene.writer.trades, scene.writer.commits) == (3, 2)
    assert scene.writer.waiting_since_s is None
    assert not scene.outbox.stuck
    assert "2 rows in memory" in scene.output[0]
    assert "can be written again" in scene.output[-1]


def test_the_commit_callback_runs_when_readers_see_the_rows(
    db_path: Path, store: TickStore
) -> None:
    seen: list[int] = []
    outbox = Outbox()
    outbox.batch.trades.append(trade_row(trade(1), 0))
    writer = BatchWriter(
        store,
        outbox,
        {},
        local_ms=lambda: 7,
        pace=QUICK,
        log=print,
        on_commit=lambda _batch, _ms: seen.append(len(prices(db_path))),
    )

    assert asyncio.run(writer.finish()) == 0
    assert seen == [1]


def test_the_end_writes_the_remaining_rows(db_path: Path, store: TickStore) -> None:
    scene = Scene(store, Outbox(), pace=Pace(commit_s=60.0))
    scene.put(1.0)

    assert scene.play(nothing) == 0
    assert prices(db_path) == [1.0]
    assert not db_path.with_name(f"{db_path.name}-wal").stat().st_size


def test_the_end_gives_up_after_a_while_and_returns_the_unwritten_rows(
    db_path: Path, store: TickStore
) -> None:
    scene = Scene(store, Outbox())
    scene.put(1.0, 2.0)

    with lock(db_path):
        assert scene.play(nothing) == 2
    assert scene.committed == []


def test_the_end_waits_for_a_database_that_can_be_written_again(
    db_path: Path, store: TickStore
) -> None:
    scene = Scene(store, Outbox(), pace=Pace(commit_s=60.0, busy_s=0.01, give_up_s=20.0))
    scene.put(1.0)

    async def main() -> int:
        with lock(db_path):
            finishing = asyncio.create_task(scene.writer.finish())
            await until(lambda: scene.writer.waiting_since_s)
        return await asyncio.wait_for(finishing, 20)

    assert asyncio.run(main()) == 0
    assert prices(db_path) == [1.0]


def test_a_crowded_buffer_is_written_without_a_pause_and_another_is_not(
    db_path: Path, store: TickStore
) -> None:
    scene = Scene(store, Outbox(4), pace=Pace(commit_s=60.0))
    scene.put(1.0, 2.0)
    scene.outbox.update_flags()
    assert scene.outbox.crowded

    async def play() -> None:
        await until(lambda: scene.committed)
        scene.put(3.0)
        scene.outbox.update_flags()
        await asyncio.sleep(0.05)
        assert scene.committed == [[1.0, 2.0]]

    scene.play(play)
    assert scene.committed == [[1.0, 2.0], [3.0]]


def test_a_late_trade_without_a_bar_returns_to_its_tracker(store: TickStore) -> None:
    scene = Scene(store, Outbox())
    scene.hand.up("trades", -10)
    scene.outbox.batch.late.append(trade_row(trade(10, price=9.0), 0))

    scene.play(nothing)
    scene.hand.note_event(62.5)
    scene.hand.tick(63)

    assert scene.hand.written == [(0, 9.0)]
    assert scene.writer.trades == 1


def test_written_rows_are_counted(store: TickStore) -> None:
    scene = Scene(store, Outbox())
    scene.put(1.0, 1.0)
    scene.outbox.batch.bbo.extend(bbo_row(quote(second, 1.0), 0) for second in range(3))

    scene.play(nothing)

    assert (scene.writer.trades, scene.writer.bbo, scene.writer.minutes) == (1, 3, 0)


def test_dropped_events_are_logged_once_there_is_room_again(store: TickStore) -> None:
    scene = Scene(store, Outbox(4))

    async def play() -> None:
        scene.outbox.dropped = 3
        for count, price in enumerate((1.0, 2.0), start=1):
            scene.put(price)
            await until(lambda count=count: len(scene.committed) == count)
        scene.outbox.dropped = 5
        scene.put(3.0)
        await until(lambda: len(scene.committed) == 3)

    scene.play(play)
    told = [line.partition(" dropped ")[2] for line in scene.output if "dropped" in line]
    assert told == [f"{lost} events: see recording_gaps" for lost in (3, 2)]
