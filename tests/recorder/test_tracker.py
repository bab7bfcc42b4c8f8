"""One tracker fed by hand: what it takes for known when we lag behind the venue."""

from __future__ import annotations

import pytest

from tests.recorder.by_hand import ByHand, ms, trade


@pytest.fixture
def tracker() -> ByHand:
    """Return one whose streams are up since 10 s before NOON."""
    tracker = ByHand()
    tracker.up("trades", -10)
    tracker.up("bbo", -10)
    return tracker


def test_a_minute_waits_until_all_its_trades_are_read(tracker: ByHand) -> None:
    tracker.note_event(30.0, at_s=75.0)
    tracker.tick(75)
    assert tracker.written == []

    tracker.note_event(62.1, at_s=100.0)
    tracker.tick(100)
    assert tracker.written == [(0, 5.0)]


@pytest.mark.parametrize(
    ("read_s", "is_dead"),
    [pytest.param(75.0, False, id="read late"), pytest.param(30.1, True, id="nothing is read")],
)
def test_a_stream_is_stalled_if_rest_has_events_that_never_arrived(
    tracker: ByHand, read_s: float, is_dead: bool
) -> None:
    tracker.note_event(30.0, at_s=read_s)

    news = [trade(30.0), trade(60.0)]
    at = {"sent_ms": ms(76), "received_ms": ms(76.1), "now_ms": ms(76.1)}
    assert tracker.tracker.record_recent_trades(news, **at) == is_dead


def test_a_connection_that_ends_while_we_lag_leaves_a_gap_after_the_last_read_event(
    tracker: ByHand,
) -> None:
    tracker.note_event(30.0, at_s=75.0)
    tracker.see(40.0, 1.0, at_s=75.0)

    tracker.lost(75)

    ((trades_s, _, _),), ((quotes_s, _, _),) = tracker.gaps("trades"), tracker.gaps("bbo")
    assert trades_s <= 30
    assert quotes_s <= 40
    assert tracker.gaps("bars_1m") == [(0.0, None, False)]
