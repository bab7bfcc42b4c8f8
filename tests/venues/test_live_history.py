"""History of the venues that are recorded: pages, two looks, listings, what is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tbv8.backfill.fill import backfill
from tbv8.config.records import Venue
from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS, Series, Span
from tbv8.venues.base import Endpoints, History
from tbv8.venues.live_calls import RetryPolicy
from tbv8.venues.live_history import open_history, pages
from tbv8.venues.registry import VENUES, find_history
from tests.builders import bars_in, history_venue, ledger_in
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_faults import Fault
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES, serve
from tests.servers.mexc import mexc_market, mexc_server
from tests.venues.minutes import answer_minutes, fetch_minutes, with_only

NOON = 1_790_164_800_000
HASTY = RetryPolicy(base_s=0.001, cap_s=0.002, reply_s=1.0)


@pytest.fixture
def hyperliquid() -> Iterator[LiveServer]:
    market = hyperliquid_market("BTC", rate=2, history_minutes=1500)
    with hyperliquid_server([market], clock=VenueClock(start_ms=NOON, speed=0)) as server:
        yield server


@pytest.fixture
def mexc() -> Iterator[LiveServer]:
    market = mexc_market("BTC_USDT", rate=2, history_minutes=3000)
    with mexc_server([market], clock=VenueClock(start_ms=NOON, speed=0)) as server:
        yield server


@pytest.fixture(params=LIVE_VENUES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def served(name: str) -> Iterator[LiveServer]:
    clock = VenueClock(start_ms=NOON, speed=0)
    with serve(name, clock=clock, rate=2, history_minutes=1500) as server:
        yield server


def session(name: str, server: LiveServer) -> History:
    open_live: Any = VENUES[name].live
    live = open_live()
    live.weight_per_s = 1e6
    return open_history(
        name, live, Endpoints(rest_url=server.rest_url), opened_ms=1_546_300_800_000, retries=HASTY
    )


def test_an_unreachable_host_is_described_in_words() -> None:
    open_live: Any = VENUES["mexc"].live
    nowhere = Endpoints(rest_url="http://127.0.0.1:9")

    with (
        open_history("mexc", open_live(), nowhere, retries=HASTY) as history,
        pytest.raises(VenueError, match=r"Connection refused, \d+ times: run the same"),
    ):
        history.clock_ms()


def rows(pieces: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for piece in pieces for row in piece.bars.to_pylist()]


def test_the_bars_are_the_venues_in_base_units(name: str, served: LiveServer) -> None:
    native = LIVE_VENUES[name].native
    span = Span(NOON - 1200 * MINUTE_MS, NOON)

    with session(name, served) as history:
        found = rows(history.fetch(native, [span]))

    truth = [bar[:6] for bar in served.truth(native, span.start_ms, span.end_ms).bars]
    assert len(found) == 1200
    assert [row[:5] for row in found] == [bar[:5] for bar in truth]
    assert [row[5] for row in found] == pytest.approx([bar[5] for bar in truth], abs=1e-9)


def test_the_listing_is_the_first_bar_that_the_venue_has(mexc: LiveServer) -> None:
    first_ms = mexc.truth("BTC_USDT").bars[0].ts_ms

    with session("mexc", mexc) as history:
        assert history.first_ms("BTC_USDT") == first_ms
        assert history.clock_ms() == NOON


def test_minutes_that_the_venue_no_longer_keeps_are_an_error_and_not_missing(
    hyperliquid: LiveServer,
) -> None:
    gone = Span(NOON - 5001 * MINUTE_MS, NOON - 4990 * MINUTE_MS)
    kept = Span(NOON - 5000 * MINUTE_MS, NOON - 4990 * MINUTE_MS)

    with session("hyperliquid", hyperliquid) as history:
        with pytest.raises(VenueError, match="keeps only its newest 5,000 minutes"):
            list(history.fetch("BTC", [gone]))
        assert [piece.span for piece in history.fetch("BTC", [kept])] == [kept]


def test_temporary_failures_are_retried_and_refusals_are_not(mexc: LiveServer) -> None:
    span = Span(NOON - 5 * MINUTE_MS, NOON)
    mexc.fault(
        Fault(kind="rest", status=500, times=1),
        Fault(kind="rest", status=429, times=1),
        Fault(kind="rest", status=200, code=510, times=1),
        Fault(kind="rest", how="malformed", times=1),
        Fault(kind="rest", how="reset", times=1),
    )

    with session("mexc", mexc) as history:
        assert len(rows(history.fetch("BTC_USDT", [span]))) == 5
        requested = mexc.count("rest")
        mexc.fault(Fault(kind="rest", status=404, times=1))
        with pytest.raises(VenueError, match="HTTP 404"):
            history.clock_ms()
        assert mexc.count("rest") == requested + 1
        with pytest.raises(VenueError, match=r"does not know NOPE: correct `symbols` in"):
            list(history.fetch("NOPE", [span]))
        mexc.fault(Fault(kind="rest", status=500, times=100))
        with pytest.raises(VenueError, match="6 times: run the same command again later"):
            history.clock_ms()


def at(mexc: LiveServer) -> Venue:
    return history_venue("mexc", mexc.rest_url)


def test_a_backfill_goes_through_the_store(db_path: Path, mexc: LiveServer) -> None:
    series = Series("mexc", "BTC/USDT")
    span = Span(NOON - 300 * MINUTE_MS, NOON)

    backfill(db_path, series, [span], venue=at(mexc), now_ms=NOON)

    assert len(bars_in(db_path, series)) == 300
    assert ledger_in(db_path, series, columns="start_ms, end_ms, bars, missing, source") == [
        (span.start_ms, span.end_ms, 300, 0, "rest")
    ]


def test_a_minute_that_is_not_published_yet_does_not_count_as_missing(
    db_path: Path, name: str, served: LiveServer
) -> None:
    series, span = Series(name, "BTC/USDT"), Span(NOON - 10 * MINUTE_MS, NOON)
    venue = history_venue(name, served.rest_url)
    show_only(
        served, name, span, 2 * [(0, 1, 2, 4, 5, 6, 7)]
    )  # no fourth, and not yet the last two

    backfill(db_path, series, [span], venue=venue, now_ms=NOON)

    columns = "start_ms, end_ms, bars, missing"
    assert ledger_in(db_path, series, columns=columns) == [
        (span.start_ms, NOON - 2 * MINUTE_MS, 7, 1)
    ]

    backfill(db_path, series, [span], venue=venue, now_ms=NOON)

    assert ledger_in(db_path, series, columns=columns) == [(span.start_ms, NOON, 9, 1)]


def test_a_minute_before_stored_ones_counts_as_missing(db_path: Path, mexc: LiveServer) -> None:
    series, stored = Series("mexc", "BTC/USDT"), Span(NOON - 5 * MINUTE_MS, NOON)
    span = Span(NOON - 10 * MINUTE_MS, NOON)
    backfill(db_path, series, [stored], venue=at(mexc), now_ms=NOON)
    show_only(mexc, "mexc", Span(span.start_ms, stored.start_ms), 2 * [(0, 1, 2)])

    backfill(db_path, series, [span], venue=at(mexc), now_ms=NOON)

    assert ledger_in(db_path, series, columns="start_ms, end_ms, bars, missing") == [
        (span.start_ms, NOON, 8, 2)
    ]


def test_a_bar_in_one_of_two_replies_exists(name: str, served: LiveServer) -> None:
    span = Span(NOON - 5 * MINUTE_MS, NOON)
    show_only(served, name, span, [(0, 1, 4), (1, 2, 4)])

    with session(name, served) as history:
        (piece,) = history.fetch(LIVE_VENUES[name].native, [span])

    opens = piece.bars["ts_ms"].to_pylist()
    assert [(ts_ms - span.start_ms) // MINUTE_MS for ts_ms in opens] == [0, 1, 2, 4]
    assert piece.span == span


def test_a_complete_page_is_requested_once(mexc: LiveServer) -> None:
    span = Span(NOON - 5 * MINUTE_MS, NOON)

    with session("mexc", mexc) as history:
        list(history.fetch("BTC_USDT", [span]))

    assert mexc.count("rest", f"start={span.start_ms // 1000}") == 1


def show_only(server: LiveServer, name: str, span: Span, looks: Sequence[Sequence[int]]) -> None:
    """Let the venue's next answers for a span have only some of its bars each."""
    whole = fetch_minutes(server, name, span)
    for places in looks:
        answer_minutes(server, span, with_only(whole, name, places), times=1)


def test_pages_end_with_months_and_are_no_longer_than_a_request_may_be() -> None:
    september_ms = 1_790_812_800_000  # 2026-10-01
    gap = Span(september_ms - 700 * MINUTE_MS, september_ms + 100 * MINUTE_MS)

    parts = pages([gap], 500)

    assert [part.minutes for part in parts] == [500, 200, 100]
    assert parts[1].end_ms == september_ms
    assert str(find_history("hyperliquid").cost([gap], 0)).startswith("3 requests")


def test_hyperliquid_has_the_newest_days_only_and_mexc_all() -> None:
    kept = find_history("hyperliquid").span(NOON)
    everything = find_history("mexc").span(NOON)

    assert kept.minutes == 4900
    assert everything.end_ms == NOON
