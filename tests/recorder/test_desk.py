"""One desk fed by hand: what it takes for known when we lag behind the venue."""

from __future__ import annotations

import pytest

from tbv8.market import Bbo, Series, Trade
from tbv8.recorder.desk import Desk
from tbv8.recorder.outbox import Outbox
from tbv8.store.ticks import Held

BTC = Series("mexc", "BTC/USDT")
NOON = 1_790_000_040_000  # a minute


@pytest.fixture
def desk() -> Desk:
    """Return one whose streams are up since 10 s before NOON."""
    desk = Desk(BTC, ("trades", "bbo"), Outbox(), Held())
    desk.up("trades", NOON - 10_000)
    desk.up("bbo", NOON - 10_000)
    return desk


def trade(seconds: float) -> Trade:
    ts_ms = NOON + int(seconds * 1000)
    return Trade("mexc", "BTC/USDT", ts_ms, str(ts_ms), 5.0, 1.0, "buy")


def hear(desk: Desk, happened_s: float, *, at_s: float) -> None:
    at_ms = NOON + int(at_s * 1000)
    desk.take_trade(trade(happened_s), received_ms=at_ms, now_ms=at_ms)


def minutes(desk: Desk) -> list[int]:
    return [minute.bar.ts_ms for minute in desk._outbox.batch.minutes]


def test_a_minute_waits_until_what_was_sent_in_it_is_read(desk: Desk) -> None:
    hear(desk, 30.0, at_s=75.0)
    desk.tick(NOON + 75_000)
    assert minutes(desk) == []

    hear(desk, 62.1, at_s=100.0)
    desk.tick(NOON + 100_000)
    assert minutes(desk) == [NOON]


def test_a_stream_that_is_read_late_is_not_dead(desk: Desk) -> None:
    hear(desk, 30.0, at_s=75.0)
    newest = [trade(30.0), trade(60.0)]
    asked = {"asked_ms": NOON + 76_000, "received_ms": NOON + 76_100, "now_ms": NOON + 76_100}

    assert not desk.take_recent(newest, **asked)


def test_a_stream_of_which_nothing_is_read_while_the_venue_has_news_is_dead(desk: Desk) -> None:
    hear(desk, 30.0, at_s=30.1)
    newest = [trade(30.0), trade(60.0)]
    asked = {"asked_ms": NOON + 76_000, "received_ms": NOON + 76_100, "now_ms": NOON + 76_100}

    assert desk.take_recent(newest, **asked)


def test_a_connection_that_ends_while_we_lag_leaves_a_gap_from_what_was_read_on(
    desk: Desk,
) -> None:
    hear(desk, 30.0, at_s=75.0)
    quote = Bbo("mexc", "BTC/USDT", NOON + 40_000, 1.0, 1.0, 2.0, 1.0)
    desk.take_bbo(quote, received_ms=NOON + 75_000, now_ms=NOON + 75_000)

    desk.lost("connection closed", NOON + 75_000)

    starts = {gap.channel: gap.start_ms for gap in desk._outbox.batch.gaps.values()}
    assert starts["trades"] <= NOON + 30_000
    assert starts["bbo"] <= NOON + 40_000
    assert starts["bars_1m"] == NOON
