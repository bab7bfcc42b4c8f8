"""The recorder against local venues that misbehave: the database is the truth less listed gaps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tbv8.config.records import Venue
from tbv8.coverage import merge
from tbv8.market import DAY_MS, MINUTE_MS, Span
from tbv8.store.ticks import Batch
from tests.builders import rows
from tests.recorder.rig import Running, check, gaps_in, recording, venue, wait_until
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_faults import Fault
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES
from tests.servers.mexc import mexc_market, mexc_server

type Servers = dict[str, LiveServer]


@pytest.fixture
def venues(servers: Servers) -> list[Venue]:
    return [
        venue(name, server, {"BTC/USDT": LIVE_VENUES[name].native})
        for name, server in servers.items()
    ]


def streams_up(running: Running, count: int | None = None) -> bool:
    """Tell whether so many streams are up, by default all."""
    states = [stream.state for stream in running.handle.status().streams]
    up = sum(state in ("up", "quiet") for state in states)
    return up == (len(states) if count is None else count)


def settle(running: Running, seconds: float = 0.3) -> None:
    wait_until(lambda: streams_up(running))
    time.sleep(seconds)


def strike(running: Running, servers: Servers, *faults: Fault, seconds: float = 0.25) -> None:
    """Strike all venues with one fault after the other, the connections up before each."""
    for fault in faults:
        settle(running, 0.1)
        for server in servers.values():
            server.fault(fault)
        time.sleep(seconds)
    settle(running, 0.6)


def reconnects(running: Running) -> list[int]:
    return [station.reconnects for station in running.handle.status().venues]


def compare(db_path: Path, servers: Servers) -> None:
    for name, server in servers.items():
        check(db_path, name, server.truth(LIVE_VENUES[name].native))


def test_without_faults_every_trade_and_quote_is_stored_once(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    with recording(db_path, venues) as running:
        settle(running, 1.0)

    compare(db_path, servers)
    assert len(rows(db_path, "SELECT 1 FROM trades")) > 30


def test_ended_and_failed_connections_are_dialled_again(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    with recording(db_path, venues) as running:
        for faults in (
            [Fault(kind="drop", how="rst")],
            [Fault(kind="drop", how="fin")],
            [Fault(kind="drop", how="close")],
            [Fault(kind="half_open")],
            [
                Fault(kind="refuse", how="reset", times=2),
                Fault(kind="refuse", how="status", times=2),
                Fault(kind="drop"),
            ],
        ):
            settle(running, 0.1)
            before = reconnects(running)
            for server in servers.values():
                server.fault(*faults)
            wait_until(lambda before=before: all(map(int.__gt__, reconnects(running), before)))
        settle(running, 0.6)

    compare(db_path, servers)
    for name in servers:
        assert len(gaps_in(db_path, name, "trades")) >= 1


def test_unexpected_frames_change_nothing_or_cause_a_gap(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    with recording(db_path, venues) as running:
        strike(
            running,
            servers,
            Fault(kind="replay", count=30),
            Fault(kind="duplicate", times=5),
            Fault(kind="reorder", channel="trades", times=3),
            Fault(kind="late", seconds=0.5, times=5),
            Fault(kind="unknown"),
            Fault(kind="error", body="Internal error"),
            Fault(kind="gzip", times=1, channel="candle"),
            Fault(kind="no_pong", seconds=0.5),
            seconds=0.15,
        )
        assert set(reconnects(running)) == {0}
        assert {s.unreadable for s in running.handle.status().venues} == {0}
        strike(
            running,
            servers,
            Fault(kind="malformed"),
            Fault(kind="binary", body='{"channel":"push.deal\xff"}'),
            Fault(kind="corrupt", channel="trades", times=1),
            Fault(kind="corrupt", channel="bbo", times=1),
            seconds=0.3,
        )
        wait_until(lambda: min(s.unreadable for s in running.handle.status().venues) >= 4)
        assert set(reconnects(running)) == {0}

    compare(db_path, servers)


def test_subscriptions_without_an_ack_are_confirmed_by_their_data(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    for server in servers.values():
        server.fault(Fault(kind="no_ack", seconds=1.0))

    with recording(db_path, venues) as running:
        settle(running, 0.5)

    compare(db_path, servers)


@pytest.mark.parametrize("clock", [10.0], indirect=True)
def test_a_stream_that_stalls_alone_is_detected_and_subscribed_again(
    db_path: Path,
    venues: list[Venue],
    servers: Servers,
    clock: VenueClock,
) -> None:
    with recording(db_path, venues, local_ms=lambda: int(clock.true_ms())) as running:
        settle(running, 0.5)
        for server in servers.values():
            server.fault(Fault(kind="stall", channel="trades", seconds=2.5))
        wait_until(lambda: not streams_up(running))
        wait_until(lambda: streams_up(running))
        time.sleep(0.5)

    compare(db_path, servers)
    reasons = rows(db_path, "SELECT DISTINCT reason FROM recording_gaps WHERE channel = 'trades'")
    assert ("stream stalled",) in reasons


@pytest.mark.parametrize("clock", [20.0], indirect=True)
def test_a_slow_machine_takes_no_stream_for_stalled_and_loses_nothing(
    db_path: Path,
    venues: list[Venue],
    servers: Servers,
    clock: VenueClock,
) -> None:
    def fall_behind(_batch: Batch, _at_ms: int) -> None:
        time.sleep(0.6)  # twelve seconds of the venues' clock, in which nothing is read

    with recording(
        db_path, venues, local_ms=lambda: int(clock.true_ms()), on_commit=fall_behind
    ) as running:
        wait_until(lambda: all(s.minutes >= 2 for s in running.handle.status().streams))
        assert set(reconnects(running)) == {0}

    compare(db_path, servers)
    for name in ("hyperliquid", "mexc"):
        assert len(gaps_in(db_path, name, "trades")) == 1  # from the end of the run on


@pytest.mark.parametrize("clock", [10.0], indirect=True)
def test_a_stream_that_stays_stalled_causes_one_reconnect(
    db_path: Path, two_coins: LiveServer, clock: VenueClock
) -> None:
    symbols = {"BTC/USDT": "BTC", "ETH/USDT": "ETH"}
    venues = [venue("hyperliquid", two_coins, symbols)]

    with recording(db_path, venues, local_ms=lambda: int(clock.true_ms())) as running:
        settle(running, 0.5)
        two_coins.fault(Fault(kind="stall", symbol="ETH", channel="trades", seconds=60))
        wait_until(lambda: reconnects(running) == [1])
        wait_until(lambda: two_coins.count("message", '"subscribe"') >= 14)
        assert reconnects(running) == [1]
        two_coins.behave()
        settle(running, 0.5)
        assert reconnects(running) == [1]

    for symbol, coin in symbols.items():
        check(db_path, "hyperliquid", two_coins.truth(coin), symbol=symbol)


@pytest.mark.parametrize("clock", [25.0], indirect=True)
def test_minutes_are_complete_despite_outages_and_failing_rest(
    db_path: Path,
    venues: list[Venue],
    servers: Servers,
    clock: VenueClock,
) -> None:
    def minutes() -> int:
        return min(s.minutes for s in running.handle.status().streams)

    with recording(db_path, venues, local_ms=lambda: int(clock.true_ms())) as running:
        settle(running)
        wait_until(lambda: minutes() >= 1)
        for server in servers.values():
            server.fault(
                Fault(kind="rest", status=500, times=2),
                Fault(kind="rest", how="malformed", times=1),
                Fault(kind="rest", how="slow", seconds=0.3, times=1),
                Fault(kind="rest", how="reset", times=1),
                Fault(kind="drop"),
            )
        done = minutes()
        wait_until(lambda: minutes() >= done + 2, seconds=40)

    compare(db_path, servers)
    for name in servers:
        assert gaps_in(db_path, name, "bars_1m", healed=1)


@pytest.mark.parametrize(
    ("hours", "kept"), [pytest.param(60, True, id="kept"), pytest.param(100, False, id="lost")]
)
def test_an_outage_of_days_is_warned_of_and_refilled_as_far_back_as_possible(
    db_path: Path, clock: VenueClock, capsys: pytest.CaptureFixture[str], hours: int, kept: bool
) -> None:
    evening_ms = 20 * 3_600_000  # the venue's history begins anew within another day
    clock.advance((evening_ms - clock.now_ms()) % DAY_MS)
    clock.run(25.0)
    with hyperliquid_server([hyperliquid_market("BTC", rate=1, quote_rate=1)], clock=clock) as one:
        one.control(options={"limits": False})
        venues = [venue("hyperliquid", one, {"BTC/USDT": "BTC"})]

        def record_minutes(count: int) -> int:
            with recording(db_path, venues, local_ms=lambda: int(clock.true_ms())) as running:
                wait_until(
                    lambda: (
                        running.handle.status().minutes >= count
                        and not any(s.minutes_waiting for s in running.handle.status().streams)
                    )
                )
            return int(rows(db_path, "SELECT max(ts_ms) FROM bars_1m")[0][0])

        last_ms = record_minutes(1)
        one.control(rates={"BTC": {"rate": 0.01, "quote_rate": 0}})
        clock.advance(hours * 3_600_000)
        wait_until(lambda: one.truth("BTC", last_ms).bars[-1].ts_ms > clock.now_ms() - 120_000)
        one.control(rates={"BTC": {"rate": 1, "quote_rate": 1}})
        record_minutes(60 * min(hours, 24))

        check(db_path, "hyperliquid", one.truth("BTC"))
    assert "WARNING: hyperliquid:BTC/USDT lacks minutes since" in capsys.readouterr().out
    ledger = rows(db_path, "SELECT start_ms, end_ms FROM history_coverage ORDER BY day_ms")
    holes = [(a[1], b[0]) for a, b in pairwise(ledger) if a[1] != b[0]]
    lost = gaps_in(db_path, "hyperliquid", "bars_1m", healed=0)
    if kept:
        assert holes == []
        assert all(gap.end_ms == 2**62 for gap in lost)  # from the end of the run on
    else:
        ((start_ms, end_ms),) = holes
        assert start_ms == last_ms + MINUTE_MS
        assert 16 < (end_ms - start_ms) / 3_600_000 < 19
        assert merge(lost[:-1]) == [Span(start_ms, end_ms)]


def test_one_venue_down_does_not_disturb_the_others(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    with recording(db_path, venues) as running:
        settle(running)
        servers.pop("hyperliquid").close()
        counted = "SELECT venue, count(*) FROM trades GROUP BY venue"
        before = dict(rows(db_path, counted))
        time.sleep(1.0)
        down = {one.venue: one.reconnects for one in running.handle.status().venues}
        assert {down[name] for name in servers} == {0}

    after = dict(rows(db_path, counted))
    compare(db_path, servers)
    for name in servers:
        assert after[name] > before[name] + 10
        assert len(gaps_in(db_path, name, "trades")) == 1  # from the end of the run on


def test_a_venue_that_is_down_at_the_start_is_awaited(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    servers["hyperliquid"].fault(Fault(kind="refuse", how="refused", seconds=1.0))

    with recording(db_path, venues) as running:
        settle(running)

    compare(db_path, servers)


def test_unlisted_symbols_are_left_out_and_the_others_recorded(
    db_path: Path, hyperliquid: LiveServer, mexc: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    symbols = {"BTC/USDT": "BTC", "NOPE/USDT": "NOPE"}
    venues = [
        venue("hyperliquid", hyperliquid, symbols),
        venue("mexc", mexc, {"NOPE/USDT": "NOPE_USDT"}),
    ]

    with recording(db_path, venues) as running:
        wait_until(lambda: streams_up(running, 2))
        wait_until(lambda: running.handle.status().venues[1].state == "lists none of the symbols")
        time.sleep(0.3)
        assert running.handle.status().venues[0].reconnects == 0

    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    output = capsys.readouterr().out
    assert "hyperliquid: WARNING: NOPE/USDT is not recorded: the venue does not list NOPE" in output
    assert "mexc: WARNING: none of its symbols can be recorded" in output


@pytest.fixture
def two_coins(clock: VenueClock) -> Iterator[LiveServer]:
    coins = [hyperliquid_market(coin, rate=20, quote_rate=20) for coin in ("BTC", "ETH")]
    with hyperliquid_server(coins, clock=clock) as server:
        yield server


def test_a_delisted_symbol_harms_no_other_and_may_come_back(
    db_path: Path, two_coins: LiveServer
) -> None:
    symbols = {"BTC/USDT": "BTC", "ETH/USDT": "ETH"}
    listed = two_coins.wire.markets

    def states() -> list[str]:
        return [s.state for s in running.handle.status().streams]

    with recording(db_path, [venue("hyperliquid", two_coins, symbols)]) as running:
        settle(running)
        eth = listed.pop("ETH")
        two_coins.fault(Fault(kind="drop"))
        wait_until(lambda: states() == ["up", "up", "unlisted", "unlisted"])
        assert "hyperliquid:ETH/USDT trades" in running.handle.status().problems
        time.sleep(0.5)
        listed["ETH"] = eth
        settle(running, 0.5)

    for symbol, coin in symbols.items():
        check(db_path, "hyperliquid", two_coins.truth(coin), symbol=symbol)


def test_adjusting_our_clock_moves_no_minute_and_ends_no_connection(
    db_path: Path, venues: list[Venue], servers: Servers
) -> None:
    ahead_ms = 0

    with recording(
        db_path, venues, local_ms=lambda: time.time_ns() // 10**6 + ahead_ms,
        steady_ms=lambda: time.monotonic_ns() // 10**6,
    ) as running:  # fmt: skip
        settle(running)
        ahead_ms = 90_000
        time.sleep(0.5)
        status = running.handle.status()
        assert max(abs(s.lag_ms or 0) for s in status.streams) < 30_000
        assert all(abs(v.offset_ms - 90_000) < 5_000 for v in status.venues)
        ahead_ms = 0
        settle(running)
        assert set(reconnects(running)) == {0}

    compare(db_path, servers)
    assert len(gaps_in(db_path, "mexc", "trades")) == 1  # from the end of the run on


def test_twenty_symbols_of_each_venue_are_recorded_through_an_outage(
    db_path: Path, clock: VenueClock
) -> None:
    coins = [f"C{number:02}" for number in range(20)]
    busy = {"rate": 2, "quote_rate": 2, "warm_minutes": 1}
    with (
        hyperliquid_server([hyperliquid_market(c, **busy) for c in coins], clock=clock) as one,
        mexc_server([mexc_market(f"{c}_USDT", **busy) for c in coins], clock=clock) as two,
    ):
        venues = [
            venue("hyperliquid", one, {f"{c}/USDT": c for c in coins}),
            venue("mexc", two, {f"{c}/USDT": f"{c}_USDT" for c in coins}),
        ]
        with recording(db_path, venues) as running:
            wait_until(lambda: streams_up(running, 80))
            time.sleep(1.0)
            one.fault(Fault(kind="drop"))
            two.fault(Fault(kind="drop"))
            wait_until(lambda: min(reconnects(running)) >= 1)
            wait_until(lambda: streams_up(running, 80))
            time.sleep(1.0)

        for coin in coins:
            check(db_path, "hyperliquid", one.truth(coin), symbol=f"{coin}/USDT")
            check(db_path, "mexc", two.truth(f"{coin}_USDT"), symbol=f"{coin}/USDT")


@pytest.mark.parametrize("skew_ms", [-4000, 4000])
def test_a_venue_with_a_wrong_clock_is_recorded_by_its_own_time(
    db_path: Path, venues: list[Venue], servers: Servers, clock: VenueClock, skew_ms: int,
) -> None:  # fmt: skip
    clock.skew_ms = skew_ms

    with recording(db_path, venues) as running:
        strike(running, servers, Fault(kind="drop"))
        offsets = [station.offset_ms for station in running.handle.status().venues]

    for offset_ms in offsets:
        assert abs(offset_ms + skew_ms) < 500
    compare(db_path, servers)
