"""What a tracker knows of its streams: up, lost, dead or quiet; gaps; what came twice or late."""

from __future__ import annotations

import pytest

from tbv8.errors import VenueError
from tbv8.market import DAY_MS
from tbv8.store.ticks import NOT_RUNNING, Gap, RecordedState, trade_row
from tests.recorder.by_hand import BTC, NOON, ByHand, ms, quote, trade


@pytest.fixture
def tracker() -> ByHand:
    """Return one whose streams are up since 10 s before noon, of which REST had no news."""
    tracker = ByHand()
    tracker.up("trades", -10)
    tracker.up("bbo", -10)
    tracker.recent([], sent_s=-5)
    return tracker


# Trades.


@pytest.mark.parametrize("trade_id", ["7", "a7"], ids=["numbers", "text"])
def test_a_trade_that_comes_twice_counts_once(tracker: ByHand, trade_id: str) -> None:
    tracker.note_event(10, trade_id=trade_id)
    tracker.note_event(10, trade_id=trade_id)

    assert tracker.trades == [10.0]
    assert tracker.tracker.streams["trades"].duplicates == 1


@pytest.mark.parametrize("trade_id", ["7", "a7"], ids=["numbers", "text"])
def test_an_id_that_is_used_again_at_another_time_is_another_trade(
    tracker: ByHand, trade_id: str
) -> None:
    tracker.note_event(10, trade_id=trade_id)
    tracker.note_event(11, trade_id=trade_id)

    assert tracker.trades == [10.0, 11.0]


def test_before_the_first_minute_the_database_finds_duplicates() -> None:
    tracker = ByHand(stored=RecordedState())
    tracker.recent([trade(5)], sent_s=10)

    assert tracker.late == [5.0]


def test_a_trade_from_far_ahead_is_refused(tracker: ByHand) -> None:
    with pytest.raises(VenueError):
        tracker.note_event(400, at_s=99.9)
    assert (tracker.late, tracker.trades) == ([], [])

    tracker.note_event(400, at_s=100)
    assert tracker.trades == [400.0]


def test_duplicates_of_an_emitted_minute_are_found_by_the_database(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.note_event(62.5)
    tracker.tick(63)

    tracker.note_event(59.9, at_s=63)
    tracker.note_event(60, at_s=63)

    assert tracker.late == [59.9]
    assert tracker.trades == [10.0, 62.5, 60.0]


def test_duplicates_older_than_three_minutes_are_found_by_the_database(
    tracker: ByHand,
) -> None:
    # given a first minute that waits for the venue's own bar, so that later ones wait too
    tracker.note_event(10)
    tracker.lost(11)
    tracker.up("trades", 20)
    tracker.tick(240)

    tracker.note_event(59.9, at_s=240)
    tracker.note_event(60, at_s=240)

    assert tracker.late == [59.9]
    assert tracker.trades == [10.0, 60.0]


def test_the_price_is_that_of_the_newest_trade_not_of_the_last_to_arrive(tracker: ByHand) -> None:
    tracker.note_event(10, price=5.0)
    tracker.note_event(9, price=4.0)

    assert tracker.tracker.price == 5.0


# Quotes.


def test_an_unchanged_quote_is_not_written(tracker: ByHand) -> None:
    tracker.see(1, 5.0)
    tracker.see(2, 5.0)
    tracker.see(3, 6.0)

    assert tracker.bids == [5.0, 6.0]
    assert tracker.tracker.streams["bbo"].duplicates == 1


def test_a_late_quote_restores_the_unchanged_quote_skipped_after_it(
    tracker: ByHand,
) -> None:
    tracker.see(1, 5.0)
    tracker.see(3, 5.0)
    tracker.see(2, 4.0, at_s=3.5)

    written = [((row[2] - NOON) / 1000, row[3]) for row in tracker.outbox.batch.bbo]
    assert sorted(written) == [(1.0, 5.0), (2.0, 4.0), (3.0, 5.0)]


def test_a_late_quote_that_comes_twice_is_written_once(tracker: ByHand) -> None:
    tracker.see(3, 5.0)
    tracker.see(2, 4.0, at_s=3.5)
    tracker.see(2, 4.0, at_s=3.6)

    assert sorted(tracker.bids) == [4.0, 5.0]


def test_a_late_quote_does_not_become_the_newest(tracker: ByHand) -> None:
    tracker.see(3, 5.0)
    tracker.see(2, 5.0, at_s=3.5)
    tracker.see(2.5, 4.0, at_s=3.6)
    tracker.see(4, 5.0)

    assert tracker.bids == [5.0, 4.0]
    assert not tracker.book(5.0, sent_s=5)
    assert tracker.tracker.streams["bbo"].unchanged_ms == ms(5)


def test_without_trades_the_price_is_the_bid() -> None:
    quotes_only, both = ByHand(channels=("bbo",)), ByHand()

    for tracker in (quotes_only, both):
        tracker.see(1, 5.0)

    assert (quotes_only.tracker.price, both.tracker.price) == (5.0, None)


# A full buffer.


def test_a_full_buffer_drops_events_and_opens_a_gap_before_the_last_one() -> None:
    tracker = ByHand(limit=4)
    tracker.up("trades", -10)
    tracker.up("bbo", -10)
    for second in (1, 2, 3, 4):
        tracker.note_event(second)
    tracker.outbox.update_flags()

    tracker.note_event(5)
    tracker.see(5, 1.0)

    assert tracker.outbox.dropped == 2
    assert tracker.trades == [1.0, 2.0, 3.0, 4.0]
    assert tracker.bids == []
    assert tracker.gaps("trades") == [(2.0, None, False)]
    assert tracker.gaps("bbo") == [(-12.0, None, False)]
    assert tracker.gaps("bars_1m") == [(0.0, None, False)]


# Up and lost.


def test_a_lost_connection_leaves_a_gap_from_two_seconds_before_to_two_after(
    tracker: ByHand,
) -> None:
    tracker.note_event(30)
    tracker.lost(31)
    tracker.up("trades", 40)

    assert tracker.gaps("trades") == [(28.0, 42.0, False)]
    assert tracker.gaps("bars_1m") == [(0.0, 60.0, False)]


def test_a_gap_adjacent_to_the_last_one_continues_it(tracker: ByHand) -> None:
    tracker.note_event(30)
    tracker.lost(31)
    tracker.up("trades", 40)
    tracker.note_event(44)
    tracker.lost(45)

    assert tracker.gaps("trades") == [(28.0, None, False)]
    assert tracker.tracker.streams["trades"].gaps.count == 1


def test_a_gap_apart_from_the_last_one_is_another(tracker: ByHand) -> None:
    tracker.note_event(30)
    tracker.lost(31)
    tracker.up("trades", 40)
    tracker.note_event(44.1)
    tracker.lost(45)

    assert tracker.gaps("trades") == [(28.0, 42.0, False), (42.1, None, False)]
    assert tracker.tracker.streams["trades"].gaps.count == 2


def test_a_continued_gap_is_no_longer_healed(tracker: ByHand) -> None:
    tracker.note_event(30)
    tracker.lost(31)
    tracker.up("trades", 40)
    tracker.recent([trade(27), trade(41)], sent_s=45)
    assert tracker.gaps("trades") == [(28.0, 42.0, True)]

    tracker.lost(45)

    assert tracker.gaps("trades") == [(28.0, None, False)]


def test_only_the_last_thousand_gaps_of_a_stream_stay_in_memory() -> None:
    tracker = ByHand(channels=("bbo",))
    for number in range(1010):
        tracker.up("bbo", 20 * number)
        tracker.see(20 * number + 9, 1.0)
        tracker.lost(20 * number + 9.5)

    gaps = tracker.tracker.streams["bbo"].gaps
    assert (gaps.count, len(gaps.items)) == (1010, 1000)
    assert len(tracker.gaps("bbo")) == 1010


def test_an_empty_gap_is_removed_unless_its_row_is_written() -> None:
    for is_written, left in ((False, []), (True, [(0.0, 0.0, False)])):
        tracker = ByHand()
        tracker.up("trades", -10)
        tracker.lost(-9)
        if is_written:
            tracker.outbox.take()

        tracker.up("trades", -8)

        assert tracker.gaps("bars_1m") == left
        assert tracker.tracker.minutes.gaps.count == len(left)


def test_a_quiet_stream_confirmed_by_rest_may_have_missed_only_its_silence_limit(
    tracker: ByHand,
) -> None:
    tracker.see(0, 5.0)
    tracker.book(5.0, sent_s=90)
    tracker.lost(95)

    assert tracker.gaps("bbo") == [(70.0, None, False)]  # 95 - 3 - 20 - 2


def test_a_stream_contradicted_by_rest_has_a_gap_since_its_last_event(tracker: ByHand) -> None:
    tracker.see(0, 5.0)
    tracker.book(6.0, sent_s=10)
    tracker.lost(15)

    assert tracker.gaps("bbo") == [(-2.0, None, False)]


def test_an_event_brings_an_unconfirmed_stream_up() -> None:
    tracker = ByHand()
    tracker.note_event(10, at_s=11)

    assert tracker.tracker.streams["trades"].up
    assert tracker.tracker.streams["trades"].up_ms == ms(11)


def test_an_unreadable_frame_is_a_gap_of_the_streams_that_were_up(tracker: ByHand) -> None:
    only_trades = ByHand()
    only_trades.up("trades", -10)
    for each in (tracker, only_trades):
        each.note_event(30)
        each.tracker.mark_unreadable(ms(31), ms(31))

    assert tracker.gaps("trades") == [(28.0, 33.0, False)]
    assert tracker.gaps("bbo") == [(-12.0, 33.0, False)]
    assert only_trades.gaps("trades") == [(28.0, 33.0, False)]
    reasons = {gap.reason for gap in only_trades.outbox.batch.gaps.values()}
    assert [reason for reason in reasons if "unreadable" not in reason] == []
    assert reasons
    assert only_trades.gaps("bbo") == []
    assert not only_trades.tracker.streams["bbo"].up


def test_a_stopping_recorder_emits_complete_minutes_and_opens_a_gap(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.note_event(62.5)

    tracker.tracker.stop(ms(63))

    assert tracker.written == [(0, 5.0)]
    assert tracker.gaps("trades") == [(60.5, None, False)]
    assert {gap.reason for gap in tracker.outbox.batch.gaps.values()} == {NOT_RUNNING}


# Dead or quiet, as REST tells.


def test_a_stream_is_stalled_if_rest_has_a_trade_that_never_arrived(tracker: ByHand) -> None:
    tracker.note_event(30)

    assert not tracker.recent([trade(30), trade(60)], sent_s=62.9)  # it may be under way
    assert tracker.gaps("trades") == []

    tracker = ByHand()
    tracker.up("trades", -10)
    tracker.note_event(30)
    assert tracker.recent([trade(30), trade(60)], sent_s=63)
    assert tracker.gaps("trades") == [(28.0, None, False)]
    assert tracker.trades == [30.0, 60.0]


def test_a_trade_from_before_the_stream_was_up_does_not_mean_a_stall() -> None:
    for happened_s, dead in ((-8, False), (-7.9, True)):
        tracker = ByHand()
        tracker.up("trades", -10)
        assert tracker.recent([trade(-9), trade(happened_s)], sent_s=10) == dead


def test_a_stream_is_stalled_if_even_the_oldest_trade_by_rest_is_new(tracker: ByHand) -> None:
    tracker.note_event(30)

    assert tracker.recent([trade(61)], sent_s=63)


def test_rest_moves_the_watermark_to_three_seconds_before_the_request(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.recent([trade(10)], sent_s=64.9)
    tracker.tick(65)
    assert tracker.written == []

    tracker.recent([trade(10)], sent_s=65)
    tracker.tick(65)
    assert tracker.written == [(0, 5.0)]


def test_rest_moves_no_watermark_if_it_does_not_reach_back_to_known_trades(tracker: ByHand) -> None:
    tracker.note_event(30, at_s=75)
    assert not tracker.recent([trade(60)], sent_s=76)
    tracker.tick(76)

    assert tracker.written == []


def test_a_stalled_stream_is_down_since_its_last_event(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.tracker.mark_stalled("trades")

    assert tracker.gaps("trades") == [(8.0, None, False)]


def test_a_stalled_stream_is_up_again_by_an_event_later_than_its_ack_only(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.tracker.mark_stalled("trades")
    tracker.note_event(15)
    assert not tracker.tracker.streams["trades"].up  # no ack yet: it may be a rest of before

    tracker.up("trades", 20)
    tracker.note_event(20, at_s=20.1)
    assert not tracker.tracker.streams["trades"].up  # it may be the replay of the new subscription

    tracker.note_event(20.1, at_s=20.2)
    assert tracker.gaps("trades") == [(8.0, 22.2, False)]


def test_a_stalled_stream_is_up_again_if_rest_has_nothing_new_since_its_ack() -> None:
    for trades, sent_s, dead, up in (
        ([60.0], 72.9, False, False),  # asked too early to tell of anything behind the ack
        ([60.0], 73.5, False, True),
        ([60.0, 70.2], 73.5, True, False),
    ):
        tracker = ByHand()
        tracker.up("trades", -10)
        tracker.note_event(60)
        tracker.tracker.mark_stalled("trades")
        tracker.up("trades", 70)

        assert tracker.recent([trade(second) for second in trades], sent_s=sent_s) == dead
        assert tracker.tracker.streams["trades"].up == up


def test_a_quote_stream_is_stalled_if_two_books_three_seconds_apart_differ(tracker: ByHand) -> None:
    tracker.see(0, 5.0)

    assert not tracker.book(6.0, sent_s=10)
    assert not tracker.book(6.0, sent_s=12.9)
    assert tracker.book(6.0, sent_s=13)
    assert tracker.gaps("bbo") == [(-2.0, None, False)]


def test_an_event_or_an_equal_book_in_between_clears_the_mismatch(tracker: ByHand) -> None:
    tracker.see(0, 5.0)
    tracker.book(6.0, sent_s=10)
    tracker.see(11, 6.0)
    assert not tracker.book(7.0, sent_s=14)

    tracker.book(6.0, sent_s=15)
    assert not tracker.book(7.0, sent_s=18)


def test_a_stalled_quote_stream_is_up_again_when_the_book_is_the_last_quote(
    tracker: ByHand,
) -> None:
    tracker.see(0, 5.0)
    tracker.tracker.mark_stalled("bbo")
    assert not tracker.book(5.0, sent_s=9)  # not even subscribed again
    assert not tracker.tracker.streams["bbo"].up

    tracker.up("bbo", 20)
    assert tracker.book(6.0, sent_s=30)
    tracker.up("bbo", 40)
    assert not tracker.book(5.0, sent_s=50)
    assert tracker.gaps("bbo") == [(-2.0, 52.0, False)]


# Healing.


def outage(tracker: ByHand) -> None:
    """Leave a gap of trades from 28 to 42, which ended when the stream came up at 40."""
    tracker.note_event(30)
    tracker.lost(31)
    tracker.up("trades", 40)
    assert tracker.gaps("trades") == [(28.0, 42.0, False)]


@pytest.mark.parametrize(
    ("oldest_s", "sent_s", "healed"),
    [
        pytest.param(27.9, 42.0, True, id="from before it until the stream was up"),
        pytest.param(28.0, 45.0, False, id="from its start: one before may be in it too"),
        pytest.param(35.0, 45.0, False, id="its end only"),
        pytest.param(27.9, 41.9, False, id="not until the stream was up"),
    ],
)
def test_a_gap_is_healed_only_if_rest_returned_all_its_trades(
    tracker: ByHand, oldest_s: float, sent_s: float, healed: bool
) -> None:
    outage(tracker)

    tracker.recent([trade(oldest_s), trade(40)], sent_s=sent_s)

    assert tracker.gaps("trades") == [(28.0, 42.0, healed)]


@pytest.mark.parametrize(
    ("oldest_s", "healed"), [(35.0, True), (35.1, False)], ids=["overlapping", "with a hole"]
)
def test_overlapping_replies_heal_a_gap_together(
    tracker: ByHand, oldest_s: float, healed: bool
) -> None:
    tracker.note_event(30)
    tracker.lost(31)
    tracker.recent([trade(27), trade(33)], sent_s=37)
    assert tracker.gaps("trades") == [(28.0, None, False)]  # it lasts: nothing heals it yet
    tracker.up("trades", 40)

    tracker.recent([trade(oldest_s), trade(41)], sent_s=45)

    assert tracker.gaps("trades") == [(28.0, 42.0, healed)]


def test_nothing_is_healed_while_the_buffer_is_full() -> None:
    tracker = ByHand(limit=3)
    tracker.up("trades", -10)
    outage(tracker)
    tracker.note_event(41)
    tracker.outbox.update_flags()
    assert tracker.outbox.full

    tracker.recent([trade(27), trade(41.5)], sent_s=45)

    assert tracker.gaps("trades") == [(28.0, 42.0, False)]
    assert 41.5 not in tracker.trades


# What is asked by REST, and when.


def test_the_trades_around_the_start_are_requested_until_a_reply_covers_it() -> None:
    tracker = ByHand()
    tracker.up("trades", -10)
    assert tracker.needed(-9) == ["recent"]

    tracker.recent([], sent_s=-8.1)
    assert tracker.needed(-6.2) == []  # not at once again
    assert tracker.needed(-6.1) == ["recent"]

    tracker.recent([], sent_s=-8)
    assert tracker.needed(-5) == []


def test_a_silent_stream_is_checked_after_its_silence_limit(tracker: ByHand) -> None:
    tracker.see(30, 1.0)
    tracker.note_event(10)

    assert tracker.needed(30.0) == []
    assert tracker.needed(30.1) == ["recent"]


def test_the_silence_limit_follows_the_event_rate_within_ten_to_sixty_seconds() -> None:
    for step_s, count, patience_s in ((0.1, 200, 10), (100, 60, 60)):
        tracker = ByHand(channels=("bbo",))
        tracker.up("bbo", -10)
        for number in range(count):
            tracker.see(number * step_s, float(number + 1))
        last_s = (count - 1) * step_s

        assert tracker.needed(last_s + patience_s) == []
        assert tracker.needed(last_s + patience_s + 0.1) == ["bbo"]


def test_a_complete_minute_before_its_watermark_is_checked_before_the_silence_limit(
    tracker: ByHand,
) -> None:
    tracker.see(60, 1.0)
    tracker.note_event(61.9)
    assert tracker.needed(64.9) == []
    assert tracker.needed(65) == ["recent"]

    tracker.note_event(62)
    assert tracker.needed(65) == []


def test_a_stalled_stream_is_checked_six_seconds_after_its_new_subscription(
    tracker: ByHand,
) -> None:
    tracker.see(20, 1.0)
    tracker.note_event(10)
    tracker.tracker.mark_stalled("trades")
    assert "recent" not in tracker.needed(25)

    tracker.up("trades", 20)
    assert "recent" not in tracker.needed(25.9)
    assert "recent" in tracker.needed(26)


# After a restart.


def test_the_gap_since_the_last_run_begins_two_seconds_before_its_last_event() -> None:
    tracker = ByHand(stored=RecordedState(trade_ms=ms(30), bbo=quote(20, 5.0)))

    assert tracker.gaps("trades") == [(28.0, None, False)]
    assert tracker.gaps("bbo") == [(18.0, None, False)]


def test_written_minutes_imply_complete_trades_before_their_end() -> None:
    tracker = ByHand(stored=RecordedState(trade_ms=ms(30), minute_ms=ms(60), close=5.0))

    assert tracker.gaps("trades") == [(58.0, None, False)]
    assert tracker.gaps("bars_1m") == [(60.0, None, False)]


def test_minutes_waiting_for_a_refill_imply_nothing() -> None:
    tracker = ByHand(stored=RecordedState(trade_ms=ms(30), minute_ms=ms(60)))

    assert tracker.gaps("trades") == [(28.0, None, False)]
    assert tracker.gaps("bars_1m") == [(60.0, None, False)]


def test_without_the_trades_channel_no_minutes_are_requested() -> None:
    tracker = ByHand(channels=("bbo",), stored=RecordedState(minute_ms=ms(60), close=5.0))

    assert tracker.gaps("bars_1m") == []
    assert tracker.needed_span(600) is None


def test_an_open_gap_of_an_earlier_run_continues() -> None:
    left = Gap(series=BTC, channel="trades", start_ms=ms(10), end_ms=None, reason="x")
    tracker = ByHand(stored=RecordedState(trade_ms=ms(30), open_gaps=(left,)))
    assert tracker.gaps("trades") == []

    tracker.up("trades", 100)

    assert tracker.gaps("trades") == [(10.0, 102.0, False)]


# Trades that the database found to be new.


def test_a_new_late_trade_joins_its_minute_before_it_is_emitted(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.note_event(62.5)
    tracker.tick(63)

    tracker.tracker.minutes.add_trade_without_bar(trade_row(trade(61, price=9.0), ms(64)))
    tracker.tracker.minutes.add_trade_without_bar(trade_row(trade(63, price=8.0), ms(64)))
    tracker.note_event(122.5)
    tracker.tick(123)

    assert tracker.written == [(0, 5.0), (1, 8.0)]
    assert tracker.outbox.batch.folds == []


def test_a_new_late_trade_is_folded_into_its_emitted_minute(tracker: ByHand) -> None:
    tracker.note_event(10)
    tracker.note_event(62.5)
    tracker.tick(63)
    row = trade_row(trade(59.9), ms(64))

    tracker.tracker.minutes.add_trade_without_bar(row)

    assert tracker.outbox.batch.folds == [row]


def test_a_late_trade_dated_a_day_ahead_is_ignored(tracker: ByHand) -> None:
    row = trade_row(trade(DAY_MS / 1000 + 1), ms(64))

    tracker.tracker.minutes.add_trade_without_bar(row)

    assert tracker.outbox.batch.folds == []
    assert tracker.tracker.minutes._forming == {}
