"""Times and bars from a venue that cannot be: not stored, counted, said; nothing else harmed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Bar, Bbo, Series, Span, Trade
from tbv8.recorder.link import Clock
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.stream import MARGIN_MS
from tbv8.recorder.tracker import AHEAD_MS, SeriesTracker
from tbv8.store.ticks import (
    NOT_RUNNING,
    Batch,
    Gap,
    RecordedState,
    bbo_row,
    open_ticks,
    read_recorded_state,
    trade_row,
)
from tests.builders import rows
from tests.recorder.rig import check, recording, venue, wait_until
from tests.servers.live_faults import Fault
from tests.servers.live_server import LiveServer

BTC = Series("mexc", "BTC/USDT")
NOON = 1_790_000_040_000  # a minute
FAR_MS = 400 * DAY_MS


def trade(ts_ms: int) -> Trade:
    return Trade("mexc", "BTC/USDT", ts_ms, str(ts_ms), 5.0, 1.0, "buy")


def quote(ts_ms: int) -> Bbo:
    return Bbo("mexc", "BTC/USDT", ts_ms, 1.0, 1.0, 2.0, 1.0)


def commit(db_path: Path, batch: Batch) -> tuple[str, ...]:
    with open_ticks(db_path) as store:
        return store.commit(batch, now_ms=NOON).warnings


@pytest.fixture
def tracker() -> SeriesTracker:
    """Return one whose streams are up since 10 s before NOON."""
    tracker = SeriesTracker(BTC, ("trades", "bbo"), Outbox(), RecordedState(minute_ms=NOON))
    tracker.mark_up("trades", NOON - 10_000)
    tracker.mark_up("bbo", NOON - 10_000)
    return tracker


# One tracker


@pytest.mark.parametrize("ahead_ms", [AHEAD_MS + 1, FAR_MS], ids=["minutes", "400 days"])
def test_an_event_dated_implausibly_far_ahead_is_rejected(
    tracker: SeriesTracker, ahead_ms: int
) -> None:
    at = {"received_ms": NOON, "now_ms": NOON}
    ts_ms = NOON + ahead_ms
    takes: list[Callable[[], Any]] = [
        lambda: tracker.record_trade(trade(ts_ms), **at),
        lambda: tracker.record_bbo(quote(ts_ms), **at),
        lambda: tracker.record_recent_trades([trade(NOON), trade(ts_ms)], sent_ms=NOON, **at),
        lambda: tracker.compare_book(quote(ts_ms), sent_ms=NOON, now_ms=NOON),
    ]
    before = len(tracker._outbox.batch)

    for take in takes:
        with pytest.raises(VenueError, match=r"BTC/USDT: a (trade|quote) is dated 202"):
            take()

    assert len(tracker._outbox.batch) == before
    assert tracker.price is None


def test_a_trade_dated_a_little_ahead_is_stored_and_hides_no_stall(
    tracker: SeriesTracker,
) -> None:
    tracker.record_trade(trade(NOON + AHEAD_MS), received_ms=NOON, now_ms=NOON)
    assert len(tracker._outbox.batch.trades) == 1

    # then the stream dies without a word, and REST has news
    newest = [trade(NOON), trade(NOON + 60_000)]
    requested = {"sent_ms": NOON + 76_000, "received_ms": NOON + 76_100, "now_ms": NOON + 76_100}
    assert tracker.record_recent_trades(newest, **requested)


def test_a_rejected_event_is_a_gap_of_its_own_stream(tracker: SeriesTracker) -> None:
    tracker.mark_unreadable(NOON, NOON - 100, only="bbo")

    channels = {gap.channel for gap in tracker._outbox.batch.gaps.values()}
    assert channels == {"bbo"}
    assert all(stream.up for stream in tracker.streams.values())


# What a database holds since a version that stored such times


def test_stored_times_far_ahead_do_not_hide_the_end_of_the_last_run(
    db_path: Path,
) -> None:
    stray = Gap(series=BTC, channel="trades", start_ms=NOON + FAR_MS, end_ms=None, reason="r")
    batch = Batch(
        trades=[trade_row(trade(ms), NOON) for ms in (NOON, NOON + FAR_MS, 2**53 - 1)],
        bbo=[bbo_row(quote(ms), NOON) for ms in (NOON, NOON + FAR_MS, 2**53 - 1)],
        gaps={(BTC, "trades", stray.start_ms): stray},
    )
    commit(db_path, batch)

    stored = read_recorded_state(db_path, BTC, now_ms=NOON + 5000)
    outbox = Outbox()
    SeriesTracker(BTC, ("trades", "bbo"), outbox, stored)

    assert stored.trade_ms == NOON
    assert stored.bbo == quote(NOON)
    assert (stored.open_gaps, stored.strays) == ((), (stray,))
    commit(db_path, outbox.batch)
    columns = "channel, start_ms, end_ms, reason"
    assert rows(db_path, f"SELECT {columns} FROM recording_gaps ORDER BY 1, 2") == [
        ("bbo", NOON - MARGIN_MS, None, NOT_RUNNING),
        ("trades", NOON - MARGIN_MS, None, NOT_RUNNING),
        ("trades", stray.start_ms, stray.start_ms, "r"),
    ]


def test_recorded_minutes_far_ahead_do_not_block_the_next_ones(
    db_path: Path,
) -> None:
    rows_ = [(BTC.venue, BTC.symbol, "bars_1m", day) for day in (NOON, NOON + FAR_MS)]
    with open_ticks(db_path) as store:
        for *key, ms in rows_:
            store._connection.execute(
                "INSERT INTO history_coverage (venue, symbol, dataset, day_ms, start_ms, end_ms,"
                " bars, missing, source, digest, updated_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, 0, 'record', '', 0)",
                (*key, ms // DAY_MS * DAY_MS, ms, ms + MINUTE_MS),
            )

    assert read_recorded_state(db_path, BTC, now_ms=NOON + 5000).minute_ms == NOON + MINUTE_MS


# The venue's clock


class Clocks:
    """Our clock and a steady one, that a test moves, and what is made of them."""

    def __init__(self) -> None:
        self.local_ms, self.steady_ms = NOON, 1000
        self.clock = Clock(lambda: self.local_ms, lambda: self.steady_ms)

    def wait(self, ms: int) -> None:
        self.local_ms += ms
        self.steady_ms += ms

    def set(self, venue_ms: int) -> bool:
        return self.clock.set(venue_ms, sent_ms=self.steady_ms, received_ms=self.steady_ms)


def test_a_venue_clock_a_day_off_ours_is_rejected() -> None:
    clocks = Clocks()

    assert not clocks.set(NOON + DAY_MS)
    assert not clocks.set(NOON - DAY_MS)
    assert not clocks.set(NOON + FAR_MS)
    assert not clocks.set(NOON + FAR_MS)
    assert (clocks.clock.now_ms(), clocks.clock.is_set) == (NOON, False)

    assert clocks.set(NOON + DAY_MS - 1)
    assert (clocks.clock.now_ms(), clocks.clock.is_set) == (NOON + DAY_MS - 1, True)


def test_a_jump_of_the_clock_is_accepted_after_a_second_measurement() -> None:
    clocks = Clocks()
    assert clocks.set(NOON + 700)
    clocks.wait(600_000)

    assert not clocks.set(NOON + 600_000 + 3 * AHEAD_MS)
    assert clocks.clock.now_ms() == NOON + 600_700

    clocks.wait(5000)
    assert clocks.set(NOON + 605_000 + 3 * AHEAD_MS)
    assert clocks.clock.now_ms() == NOON + 605_000 + 3 * AHEAD_MS


def test_a_single_wrong_measurement_changes_nothing() -> None:
    clocks = Clocks()
    assert clocks.set(NOON)
    assert not clocks.set(NOON + 3 * AHEAD_MS)

    assert clocks.set(NOON + 100)
    assert clocks.clock.now_ms() == NOON + 100


# A minute that the venue itself has wrong


def refill(tracker: SeriesTracker, *bars: Bar, at_s: float) -> None:
    sent_ms = NOON + int(at_s * 1000)
    tracker.minutes.refill(Span(NOON, NOON + 4 * MINUTE_MS), bars, sent_ms=sent_ms)
    tracker.tick(sent_ms)


def test_an_impossible_bar_counts_as_missing_and_recording_continues(db_path: Path) -> None:
    # given a stream that was up, then down for four minutes, of which the second is impossible
    outbox = Outbox()
    tracker = SeriesTracker(BTC, ("trades",), outbox, RecordedState(minute_ms=NOON))
    tracker.mark_up("trades", NOON - 10_000)
    tracker.disconnect("gone", NOON - 5000)
    first, broken, last = (
        Bar(NOON, 5.0, 6.0, 4.0, 5.5, 1.0),
        Bar(NOON + MINUTE_MS, 5.0, 4.0, 4.0, 5.0, 1.0),
        Bar(NOON + 3 * MINUTE_MS, 7.0, 7.0, 7.0, 7.0, 2.0),
    )

    # when the venue is asked once, it may yet mend it; then a second time
    refill(tracker, first, broken, last, at_s=250)
    assert [minute.bar.ts_ms for minute in outbox.batch.minutes] == [NOON]
    refill(tracker, first, broken, last, at_s=280)

    # then it is missing, the quiet minute behind it is flat at the last good close
    warnings = commit(db_path, outbox.batch)
    assert rows(db_path, "SELECT ts_ms, open, close, volume FROM bars_1m ORDER BY 1") == [
        (NOON, 5.0, 5.5, 1.0),
        (NOON + 2 * MINUTE_MS, 5.5, 5.5, 0.0),
        (NOON + 3 * MINUTE_MS, 7.0, 7.0, 2.0),
    ]
    ledger = "SELECT start_ms, end_ms, bars, missing, source FROM history_coverage"
    assert rows(db_path, ledger) == [
        (NOON, NOON + 4 * MINUTE_MS, 3, 1, "rest; unusable 2026-09-21T14:15:00Z")
    ]
    (warning,) = warnings
    assert warning.startswith("bars_1m mexc:BTC/USDT: ")
    assert "2026-09-21T14:15:00Z" in warning


def test_a_run_that_begins_after_an_impossible_bar_has_the_last_price(db_path: Path) -> None:
    outbox = Outbox()
    tracker = SeriesTracker(BTC, ("trades",), outbox, RecordedState(minute_ms=NOON))
    tracker.mark_up("trades", NOON - 10_000)
    tracker.disconnect("gone", NOON - 5000)
    refill(tracker, Bar(NOON, 5.0, 6.0, 4.0, 5.5, 1.0), at_s=64)
    broken = Bar(NOON + MINUTE_MS, 5.0, 4.0, 4.0, 5.0, 1.0)
    refill(tracker, broken, at_s=124)
    refill(tracker, broken, at_s=150)
    commit(db_path, outbox.batch)

    stored = read_recorded_state(db_path, BTC, now_ms=NOON)

    assert (stored.minute_ms, stored.close) == (NOON + 2 * MINUTE_MS, 5.5)


# A recorder beside two venues


def hyperliquid_frame(channel: str, data: Any) -> str:
    return json.dumps({"channel": channel, "data": data})


def test_impossible_values_harm_only_the_streams_of_their_venue(
    db_path: Path, hyperliquid: LiveServer, mexc: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    far_ms = hyperliquid.clock.now_ms() + FAR_MS
    print_ = {"coin": "BTC", "side": "A", "px": "5.0", "sz": "1.0", "time": far_ms, "tid": 1}
    level = {"px": "5.0", "sz": "1.0", "n": 1}
    frames = [
        hyperliquid_frame("trades", [print_]),
        hyperliquid_frame("trades", [print_ | {"time": 2**53 - 1}]),
        hyperliquid_frame("trades", [print_ | {"time": 10**30}]),
        hyperliquid_frame("trades", [print_ | {"px": "-5"}]),
        hyperliquid_frame("trades", [print_]).replace('"tid": 1', '"tid": ' + "9" * 5000),
        hyperliquid_frame("bbo", {"coin": "BTC", "time": far_ms, "bbo": [level, None]}),
        hyperliquid_frame("bbo", {"coin": "BTC", "time": 1, "bbo": [level | {"px": "NaN"}, None]}),
    ]
    venues = [
        venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"}),
        venue("mexc", mexc, {"BTC/USDT": "BTC_USDT"}),
    ]
    with recording(db_path, venues) as running:

        def station(name: str) -> Any:
            return next(v for v in running.handle.status().venues if v.venue == name)

        def is_well() -> bool:
            streams = running.handle.status().streams
            return all(s.state in ("up", "quiet") and s.events > 5 for s in streams)

        wait_until(is_well)
        hyperliquid.fault(*(Fault(kind="text", body=frame) for frame in frames))
        wait_until(lambda: station("hyperliquid").unreadable >= len(frames))
        seen = running.handle.status().trades
        wait_until(lambda: is_well() and running.handle.status().trades > seen + 20)
        after = {name: station(name) for name in ("mexc", "hyperliquid")}

    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    check(db_path, "mexc", mexc.truth("BTC_USDT"))
    assert after["mexc"].unreadable == 0
    assert [stream.gaps for stream in after["mexc"].streams] == [0, 0]
    assert all(stream.gaps for stream in after["hyperliquid"].streams)
    output = capsys.readouterr().out
    assert (
        "hyperliquid: event not stored, recorded as a gap: BTC/USDT: a trade is dated 20" in output
    )


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(str(10**30), id="10^30"),
        pytest.param("9" * 5000, id="thousands of digits"),
        pytest.param(str(4_000_000_000_000), id="2096"),
        pytest.param("-1", id="before 1970"),
        pytest.param('"NaN"', id="no number"),
    ],
)
def test_a_venue_with_an_impossible_clock_is_recorded_by_ours(
    db_path: Path, mexc: LiveServer, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f'{{"success": true, "code": 0, "data": {told}}}'
    mexc.fault(Fault(kind="rest", match="contract/ping", status=200, body=body, times=10_000))

    with recording(db_path, [venue("mexc", mexc, {"BTC/USDT": "BTC_USDT"})]) as running:
        wait_until(lambda: min(s.events for s in running.handle.status().streams) > 20)
        offset_ms = running.handle.status().venues[0].offset_ms

    assert abs(offset_ms) < 1000
    check(db_path, "mexc", mexc.truth("BTC_USDT"))
    if told == "4000000000000":
        assert "WARNING: the venue's clock shows 2096-10-02T07:06:40Z" in capsys.readouterr().out
