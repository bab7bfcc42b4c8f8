"""Which minutes a tracker gives away: watched from end to end, the venue's own, empty, or lost."""

from __future__ import annotations

import pytest

from tbv8.market import Bar
from tbv8.store.ticks import Gap, RecordedState
from tests.recorder.by_hand import BTC, NOON, ByHand, bar, minutes, ms

MIDNIGHT_S = 12 * 3600.0


@pytest.fixture
def tracker() -> ByHand:
    """Return one whose trades are up since 10 s before noon."""
    tracker = ByHand(channels=("trades",))
    tracker.up("trades", -10)
    return tracker


def only_bar(tracker: ByHand) -> Bar:
    (minute,) = tracker.outbox.batch.minutes
    return minute.bar


# Watched minutes.


def test_a_minute_is_complete_if_its_stream_is_up_two_seconds_before_it() -> None:
    tracker = ByHand(stored=RecordedState())
    tracker.up("trades", -2.0)
    for second in (10, 70, 122.5):
        tracker.note_event(second)

    tracker.tick(130)

    assert tracker.written == [(0, 5.0), (1, 5.0)]
    assert tracker.gaps("bars_1m") == []


def test_of_the_minute_under_way_at_the_first_start_the_venues_own_bar_is_fetched() -> None:
    tracker = ByHand(stored=RecordedState())
    tracker.up("trades", -1.9)
    for second in (10, 70, 122.5):
        tracker.note_event(second)

    tracker.tick(130)
    assert tracker.written == []
    assert tracker.gaps("bars_1m") == [(0.0, 60.0, False)]
    tracker.refill(minutes(0, 1), [bar(0)], sent_s=130)

    assert tracker.written == [(0, 7.0), (1, 5.0)]
    assert tracker.gaps("bars_1m") == [(0.0, 60.0, True)]


def test_a_minute_is_emitted_when_the_watermark_is_two_seconds_after_its_end(
    tracker: ByHand,
) -> None:
    tracker.note_event(10)
    tracker.note_event(61.9, at_s=70)
    tracker.tick(70)
    assert tracker.written == []

    tracker.note_event(62, at_s=70)
    tracker.tick(70)
    assert tracker.written == [(0, 5.0)]


def test_a_bar_has_the_first_and_last_trade_by_time_and_all_sizes(tracker: ByHand) -> None:
    tracker.note_event(20, price=5.0, size=0.1)
    tracker.note_event(30, price=9.0, size=0.2)
    tracker.note_event(10, price=4.0, size=0.3, at_s=31)
    tracker.note_event(25, price=3.0, size=0.4, at_s=32)
    tracker.note_event(62.5)
    tracker.tick(63)

    assert only_bar(tracker) == Bar(NOON, 4.0, 9.0, 3.0, 9.0, 1.0)


def test_trades_of_equal_times_count_in_the_order_of_arrival(tracker: ByHand) -> None:
    tracker.note_event(10, price=5.0, trade_id="9")
    tracker.note_event(10, price=6.0, trade_id="8")
    tracker.note_event(62.5)
    tracker.tick(63)

    assert only_bar(tracker) == Bar(NOON, 5.0, 6.0, 5.0, 6.0, 2.0)


def test_the_volume_does_not_depend_on_the_order_of_the_sizes(tracker: ByHand) -> None:
    for second, size in enumerate((0.1, 0.2, 0.3)):
        tracker.note_event(second, size=size)
    tracker.note_event(62.5)
    tracker.tick(63)

    assert only_bar(tracker).volume == 0.6


def test_a_complete_minute_without_a_trade_is_flat_at_the_last_close(tracker: ByHand) -> None:
    tracker.note_event(10, price=5.0)
    tracker.note_event(70, price=5.5)
    tracker.note_event(71, price=6.0)
    tracker.note_event(182.5, price=7.0)
    tracker.tick(183)

    assert tracker.written == [(0, 5.0), (1, 6.0), (2, 6.0)]
    assert tracker.outbox.batch.minutes[2].bar == Bar(ms(120), 6.0, 6.0, 6.0, 6.0, 0.0)


def test_before_the_first_price_there_is_no_bar(tracker: ByHand) -> None:
    tracker.recent([], sent_s=65)
    tracker.tick(65)
    tracker.note_event(75, price=6.0)
    tracker.note_event(122.5)
    tracker.tick(123)

    assert tracker.written == [(1, 6.0)]


def test_a_stream_that_stalls_silently_makes_no_flat_minutes(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.note_event(62.5)
    tracker.tick(10_000)

    assert tracker.written == [(0, 5.0)]


# Minutes that were not watched.


@pytest.fixture
def waiting(tracker: ByHand) -> ByHand:
    """Return one with minute 0 written, minute 1 not watched, and minute 2 behind it."""
    tracker.note_event(10)
    tracker.note_event(62.5, price=6.0)
    tracker.tick(63)
    tracker.lost(70)
    tracker.up("trades", 75)
    tracker.note_event(130, price=8.0)
    tracker.note_event(182.5, price=8.0)
    tracker.tick(190)
    assert tracker.written == [(0, 5.0)]
    assert tracker.gaps("bars_1m") == [(60.0, 120.0, False)]
    return tracker


def test_an_incomplete_minute_and_all_later_ones_wait_for_the_venues_own_bar(
    waiting: ByHand,
) -> None:
    waiting.refill(minutes(1, 2), [bar(1, 7.0)], sent_s=190)

    assert waiting.written == [(0, 5.0), (1, 7.0), (2, 8.0)]
    assert [m.refilled for m in waiting.outbox.batch.minutes] == [False, True, False]
    assert waiting.gaps("bars_1m") == [(60.0, 120.0, True)]


def test_the_venues_bars_are_requested_from_the_first_missing_minute_to_now(
    waiting: ByHand,
) -> None:
    assert waiting.needed_span(190) == minutes(1, 4)


def test_a_complete_minute_keeps_the_bar_of_its_trades(waiting: ByHand) -> None:
    waiting.refill(minutes(1, 4), [bar(1, 7.0), bar(2, 99.0)], sent_s=190)

    assert waiting.written == [(0, 5.0), (1, 7.0), (2, 8.0)]


def test_a_minute_counts_as_empty_after_two_requests_twenty_seconds_apart(
    waiting: ByHand,
) -> None:
    waiting.refill(minutes(1, 2), [], sent_s=190)
    waiting.refill(minutes(1, 2), [], sent_s=209.9)
    assert waiting.written == [(0, 5.0)]

    waiting.refill(minutes(1, 2), [], sent_s=210)

    assert waiting.written == [(0, 5.0), (1, 5.0), (2, 8.0)]
    assert waiting.outbox.batch.minutes[1].bar.volume == 0


def test_a_bar_in_the_second_reply_is_used(waiting: ByHand) -> None:
    waiting.refill(minutes(1, 2), [], sent_s=190)
    waiting.refill(minutes(1, 2), [bar(1, 7.0)], sent_s=210)

    assert waiting.written == [(0, 5.0), (1, 7.0), (2, 8.0)]


def test_a_minute_counts_as_empty_at_once_if_the_reply_has_a_later_bar(waiting: ByHand) -> None:
    waiting.refill(minutes(1, 4), [bar(2)], sent_s=190)

    assert waiting.written == [(0, 5.0), (1, 5.0), (2, 8.0)]


def test_the_next_request_is_sooner_after_progress(waiting: ByHand) -> None:
    waiting.tracker.minutes.refill(minutes(1, 2), [], sent_ms=ms(190))
    assert waiting.needed_span(209.9) is None
    assert waiting.needed_span(210) is not None


@pytest.mark.parametrize(("sent_s", "taken"), [(122.9, False), (123, True)])
def test_the_venues_bar_is_final_three_seconds_after_its_end(
    tracker: ByHand, sent_s: float, taken: bool
) -> None:
    tracker.note_event(10)
    tracker.note_event(62.5)
    tracker.tick(63)
    tracker.lost(70)
    tracker.up("trades", 75)

    assert (tracker.needed_span(sent_s) is not None) == taken
    tracker.refill(minutes(1, 2), [bar(1, 7.0)], sent_s=sent_s)

    assert ((1, 7.0) in tracker.written) == taken


def lost_in_minute_1() -> ByHand:
    """Return a tracker with minute 0 written, of a venue that keeps 100, lost after 70 s."""
    tracker = ByHand(channels=("trades",), kept_minutes=100)
    tracker.up("trades", -10)
    tracker.note_event(10)
    tracker.note_event(62.5)
    tracker.tick(63)
    tracker.lost(70)
    return tracker


@pytest.fixture
def long_gap() -> ByHand:
    """Return one with minute 0 written, and minutes 1 to 3 not watched."""
    tracker = lost_in_minute_1()
    tracker.up("trades", 190)
    tracker.note_event(245, price=8.0)
    tracker.note_event(302.5, price=8.0)
    assert tracker.gaps("bars_1m") == [(60.0, 240.0, False)]
    return tracker


def test_a_gap_of_minutes_is_healed_only_when_its_last_minute_is_emitted(long_gap: ByHand) -> None:
    long_gap.refill(minutes(1, 3), [bar(1), bar(2)], sent_s=310)
    assert long_gap.written == [(0, 5.0), (1, 7.0), (2, 7.0)]
    assert long_gap.gaps("bars_1m") == [(60.0, 240.0, False)]

    long_gap.refill(minutes(3, 4), [bar(3)], sent_s=320)
    assert long_gap.written == [(0, 5.0), (1, 7.0), (2, 7.0), (3, 7.0), (4, 8.0)]
    assert long_gap.gaps("bars_1m") == [(60.0, 240.0, True)]


def test_refilled_minutes_are_not_requested_again(long_gap: ByHand) -> None:
    long_gap.tracker.minutes.refill(minutes(2, 3), [bar(2)], sent_ms=ms(310))
    long_gap.tracker.minutes.refill(minutes(1, 2), [bar(1)], sent_ms=ms(310))

    assert long_gap.needed_span(320) == minutes(3, 6)


def test_the_oldest_waiting_minute_gives_the_pending_time(long_gap: ByHand) -> None:
    assert long_gap.tracker.minutes.pending_ms(ms(310)) == 250_000

    long_gap.refill(minutes(1, 2), [bar(1)], sent_s=310)
    assert long_gap.tracker.minutes.pending_ms(ms(310)) == 190_000

    long_gap.refill(minutes(2, 4), [bar(2), bar(3)], sent_s=320)
    assert long_gap.tracker.minutes.pending_ms(ms(320)) == 0


# Minutes that the venue no longer keeps: of 100 it is believed to keep 99.


@pytest.mark.parametrize(("sent_s", "lost"), [(6000, False), (6000.1, True)])
def test_a_minute_older_than_the_venues_history_is_lost_and_not_empty(
    sent_s: float, lost: bool
) -> None:
    tracker = lost_in_minute_1()
    tracker.up("trades", 75)

    tracker.refill(minutes(1, 2), [], sent_s=sent_s)

    # The ledger knows one span a day: the rest of the day is left out with it.
    assert tracker.gaps("bars_1m") == [(60.0, MIDNIGHT_S if lost else 120.0, False)]
    assert tracker.written == [(0, 5.0)]


def test_after_lost_minutes_the_next_day_begins_without_a_price(long_gap: ByHand) -> None:
    long_gap.refill(minutes(1, 2), [], sent_s=6001)
    long_gap.note_event(MIDNIGHT_S + 70, price=9.0)
    long_gap.note_event(MIDNIGHT_S + 122.5)
    long_gap.tick(MIDNIGHT_S + 123)

    assert long_gap.written == [(0, 5.0), (721, 9.0)]


def test_minutes_refilled_before_a_loss_are_healed_and_the_loss_stays_listed(
    long_gap: ByHand,
) -> None:
    long_gap.refill(minutes(1, 2), [bar(1)], sent_s=310)
    long_gap.refill(minutes(2, 3), [], sent_s=6060.1)

    assert long_gap.written == [(0, 5.0), (1, 7.0)]
    assert long_gap.gaps("bars_1m") == [(60.0, 120.0, True), (120.0, MIDNIGHT_S, False)]


def test_on_a_day_without_bars_only_the_lost_minutes_are_skipped() -> None:
    tracker = ByHand(channels=("trades",), kept_minutes=100)
    tracker.up("trades", -10)
    tracker.note_event(10)
    tracker.lost(11)
    tracker.up("trades", 20)
    tracker.note_event(65, price=8.0)
    tracker.note_event(122.5)

    tracker.refill(minutes(0, 1), [], sent_s=6000.1)

    assert tracker.gaps("bars_1m") == [(0.0, 60.0, False)]
    assert tracker.written == [(1, 8.0)]


# After a restart.


def test_minutes_continue_at_the_end_of_the_last_run_with_its_close() -> None:
    tracker = ByHand(channels=("trades",), stored=RecordedState(minute_ms=ms(60), close=4.0))
    tracker.up("trades", 130)  # the third minute is the first that is watched

    tracker.refill(minutes(1, 3), [bar(2)], sent_s=190)

    assert tracker.written == [(1, 4.0), (2, 7.0)]


def test_gaps_of_earlier_runs_within_a_healed_gap_are_healed_with_it() -> None:
    left = tuple(
        Gap(series=BTC, channel="bars_1m", start_ms=ms(start), end_ms=end, reason="x")
        for start, end in ((60, None), (120, None), (180, ms(240)))
    )
    tracker = ByHand(
        channels=("trades",), stored=RecordedState(minute_ms=ms(60), close=4.0, open_gaps=left)
    )
    tracker.up("trades", 290)

    tracker.refill(minutes(1, 5), [bar(1), bar(2), bar(3)], sent_s=400)
    assert tracker.gaps("bars_1m") == [(60.0, 300.0, False)]
    tracker.refill(minutes(4, 5), [bar(4)], sent_s=402)

    assert tracker.gaps("bars_1m") == [
        (60.0, 300.0, True),
        (120.0, 300.0, True),
        (180.0, 240.0, True),
    ]
