"""When a buffer is full, when it is only crowded, and what counts as waiting."""

from __future__ import annotations

import pytest

from tbv8.recorder.outbox import Outbox
from tbv8.store.ticks import bbo_row
from tests.recorder.by_hand import quote


def fill(outbox: Outbox, rows: int) -> None:
    outbox.batch.bbo.extend(bbo_row(quote(second, 1.0), 0) for second in range(rows))
    outbox.update_flags()


def test_rows_being_written_count_as_waiting() -> None:
    outbox = Outbox(10)
    fill(outbox, 3)

    taken = outbox.take()
    fill(outbox, 2)
    assert (len(taken), len(outbox)) == (3, 5)

    outbox.mark_written()
    assert len(outbox) == 2


def test_the_outbox_is_full_from_its_limit_until_half_of_it_is_free() -> None:
    outbox = Outbox(10)
    fill(outbox, 9)
    assert not outbox.full
    fill(outbox, 1)
    assert outbox.full

    for left, full in ((9, True), (5, True), (4, False), (5, False)):
        outbox.batch.bbo.clear()
        fill(outbox, left)
        assert outbox.full == full, left


@pytest.mark.parametrize(
    ("rows", "stuck", "crowded"), [(4, False, False), (5, False, True), (5, True, False)]
)
def test_the_outbox_is_crowded_from_half_its_limit_unless_the_database_is_stuck(
    rows: int, stuck: bool, crowded: bool
) -> None:
    outbox = Outbox(10)
    outbox.stuck = stuck

    fill(outbox, rows)

    assert outbox.crowded == crowded


def test_written_rows_make_room_and_end_the_stuck_state() -> None:
    outbox = Outbox(10)
    fill(outbox, 10)
    outbox.take()
    outbox.stuck = True
    outbox.update_flags()
    assert outbox.full

    outbox.mark_written()

    assert (outbox.full, outbox.stuck, outbox.crowded) == (False, False, False)
