"""Funding as venues charged it: every payment once, on its hour, with its interval, or told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tbv8.backfill.fill import backfill
from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Series, Span, parse_time
from tbv8.store.bars import open_bars
from tbv8.store.ledger import FUNDING
from tbv8.store.verify import verify
from tbv8.venues.base import Endpoints, History, Log, Payment
from tbv8.venues.binance.funding import open_funding
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.binance_perp import PRODUCT
from tbv8.venues.rates import known_until, to_rates
from tbv8.venues.registry import find_funding
from tests.builders import KilledError, history_venue, killed_after, ledger_in, rows
from tests.servers.binance import BinanceServer, Hidden, WeightMeter
from tests.servers.binance_archive import Override
from tests.servers.binance_faults import Fault
from tests.servers.binance_market import RateRow, synthetic_market, synthetic_rates
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES, serve
from tests.venues.binance_spot import VirtualTime, span

PERP = Series("binance_perp", "BTC/USDT")
LISTED, NOW = parse_time("2023-11-20T05:00:00Z"), parse_time("2024-03-10T12:20:30Z")
CHANGES = ((0, 8), (parse_time("2024-01-15T08:00:00Z"), 4), (parse_time("2024-02-20T08:00:00Z"), 8))
RATES = synthetic_rates(LISTED, parse_time("2024-04-01"), 3, hours=CHANGES)

type Told = list[tuple[int, float, int]]


@pytest.fixture(scope="module")
def server() -> Iterator[BinanceServer]:
    bars = synthetic_market("BTCUSDT", LISTED, parse_time("2024-04-01"), 5)
    market = replace(bars, rates=RATES)
    with BinanceServer({"BTCUSDT": market}, now_ms=NOW, weight=WeightMeter(10**9)) as server:
        yield server


@pytest.fixture
def binance(server: BinanceServer) -> BinanceServer:
    server.behave()
    server.reset_log()
    return server


def fill(db_path: Path, url: str, spans: Sequence[Span], series: Series = PERP) -> None:
    one = history_venue(series.venue, url)
    backfill(db_path, series, spans, venue=one, now_ms=NOW, dataset=FUNDING)


def stored(db_path: Path, series: Series = PERP) -> Told:
    return rows(
        db_path,
        "SELECT ts_ms, rate, interval_hours FROM funding WHERE venue = ? AND symbol = ?"
        " ORDER BY ts_ms",
        (series.venue, series.symbol),
    )


def paid(within: Span, rates: Sequence[RateRow] = RATES) -> Told:
    """Return what the market paid in a span, on its hours."""
    on_hours = [(ts // HOUR_MS * HOUR_MS, float(rate), hours) for ts, hours, rate in rates]
    return [row for row in on_hours if within.start_ms <= row[0] < within.end_ms]


# Binance


def test_funding_of_past_months_comes_from_files_and_the_rest_by_rest(
    binance: BinanceServer, db_path: Path
) -> None:
    wanted = span("2023-11-01", "2024-03-10T12:00:00")

    fill(db_path, binance.url, [wanted])

    assert stored(db_path) == paid(wanted)
    files = [log.path.rpartition("/")[2] for log in binance.requests_of(".zip", status=200)]
    assert sorted(file for file in files if file.endswith(".zip")) == [
        f"BTCUSDT-fundingRate-{month}.zip" for month in ("2023-11", "2023-12", "2024-01", "2024-02")
    ]
    assert {log.path for log in binance.requests_of("/fapi/")} == {
        "/fapi/v1/time",
        "/fapi/v1/fundingRate",
    }
    by_source = "source LIKE '%sha256:%', sum(bars), sum(missing)"
    assert rows(
        db_path,
        f"SELECT {by_source} FROM history_coverage WHERE source != 'not listed'"
        " GROUP BY source LIKE '%sha256:%' ORDER BY 1",
    ) == [
        (0, len(paid(span("2024-03-01", "2024-03-10T12:00:00"))), 0),
        (1, len(paid(span("2023-11-01", "2024-03-01"))), 8),  # of the first day
    ]


def test_a_second_run_requests_nothing(binance: BinanceServer, db_path: Path) -> None:
    wanted = span("2023-11-01", "2024-03-10T00:01:00")
    fill(db_path, binance.url, [wanted])
    binance.reset_log()

    fill(db_path, binance.url, [wanted])

    assert binance.log == []


def test_payments_missing_in_a_file_come_from_rest(
    binance: BinanceServer, db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = span("2024-01-01", "2024-02-01")
    lacking = [parse_time("2024-01-10T08:00:00Z"), parse_time("2024-01-11T08:00:00Z")]
    binance.hide(Hidden("BTCUSDT", "archive", *lacking))

    fill(db_path, binance.url, [wanted])

    assert stored(db_path) == paid(wanted)
    name = "BTCUSDT-fundingRate-2024-01.zip"
    assert f"   {PERP}: {name}: 3 missing payments came from REST" in (
        capsys.readouterr().out.splitlines()
    )
    assert ledger_in(db_path, PERP, FUNDING, columns="sum(missing)") == [(0,)]


def test_unpaid_hours_are_reported_and_not_guessed(binance: BinanceServer, db_path: Path) -> None:
    wanted = span("2024-01-01", "2024-01-13")
    lacking = Span(parse_time("2024-01-10T08:00:00Z"), parse_time("2024-01-10T09:00:00Z"))
    for side in ("archive", "rest"):
        binance.hide(Hidden("BTCUSDT", side, lacking.start_ms, lacking.end_ms))  # type: ignore[arg-type]

    fill(db_path, binance.url, [wanted])

    assert lacking.start_ms not in {row[0] for row in stored(db_path)}
    told = "SELECT day_ms, missing FROM history_coverage WHERE missing"
    assert rows(db_path, told) == [(parse_time("2024-01-10"), 8)]
    with open_bars(db_path) as store:
        assert list(verify(store, FUNDING, PERP)) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"kind": "text", "text": "calc_time,rate\n1,2"}, "its columns are 'calc_time,rate', not"),
        ({"kind": "not_zip"}, "it is no zip that begins with a file"),
        ({"kind": "inner_name"}, "it contains 'other.csv'"),
        ({"kind": "empty"}, "it has no rows"),
    ],
    ids=["other columns", "no zip", "another file", "nothing"],
)
def test_an_unusable_file_is_noted_and_its_month_comes_from_rest(
    binance: BinanceServer,
    db_path: Path,
    capsys: pytest.CaptureFixture[str],
    override: dict[str, Any],
    words: str,
) -> None:
    wanted = span("2024-01-01", "2024-02-01")
    binance.override(Override(file="BTCUSDT-fundingRate-2024-01", **override))

    fill(db_path, binance.url, [wanted])

    assert stored(db_path) == paid(wanted)
    assert words in capsys.readouterr().out
    assert ledger_in(db_path, PERP, FUNDING, columns="DISTINCT source") == [("rest",)]


def test_a_newest_payment_that_is_not_published_yet_is_requested_again(
    binance: BinanceServer, db_path: Path
) -> None:
    noon = parse_time("2024-03-10T08:00:00Z")
    wanted = span("2024-03-09", "2024-03-10T08:01:00")
    server_now, binance.now_ms = binance.now_ms, parse_time("2024-03-10T08:05:00Z")
    try:
        binance.hide(Hidden("BTCUSDT", "rest", noon, noon + MINUTE_MS))
        fill(db_path, binance.url, [wanted])
        assert noon not in {row[0] for row in stored(db_path)}

        binance.behave()
        fill(db_path, binance.url, [wanted])
    finally:
        binance.now_ms = server_now

    assert stored(db_path) == paid(wanted)


FAULTS = st.builds(
    Fault,
    match=st.sampled_from(["fundingRate-", "/fapi/v1/fundingRate", "/time", ".CHECKSUM"]),
    kind=st.sampled_from(["corrupt", "bad_checksum", "status", "reset", "truncate", "empty_json"]),
    times=st.sampled_from([1, 2]),
    after=st.integers(0, 3),
    status=st.sampled_from([404, 500, 503, 451]),
)


@given(
    runs=st.lists(
        st.tuples(
            st.integers(0, 130 * 24),
            st.integers(1, 60 * 24),
            st.lists(FAULTS, max_size=2),
            st.none() | st.integers(0, 2),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=12)
def test_for_any_spans_faults_and_kills_the_table_equals_the_payments(
    server: BinanceServer,
    migrated_db: Path,
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[tuple[int, int, list[Fault], int | None]],
) -> None:
    db_path = Path(shutil.copy(migrated_db, tmp_path_factory.mktemp("any")))
    begin, wanted = parse_time("2023-11-01"), []
    for first, hours, faults, pieces in runs:
        server.behave()
        server.faults.add(*faults)
        start_ms = begin + first * HOUR_MS
        wanted.append(Span(start_ms, min(start_ms + hours * HOUR_MS, parse_time("2024-03-10"))))
        wanted = [one for one in wanted if one]
        with suppress(KilledError, VenueError), killed_after(pieces), hurried():
            fill(db_path, server.url, wanted)
    server.behave()
    fill(db_path, server.url, wanted)

    known = [
        Span(*edges) for edges in ledger_in(db_path, PERP, FUNDING, columns="start_ms, end_ms")
    ]
    assert stored(db_path) == [row for one in known for row in paid(one)]
    for one in wanted:
        assert set(paid(one)) <= set(stored(db_path))
    with open_bars(db_path) as store:
        assert list(verify(store, FUNDING, PERP)) == []


@contextmanager
def hurried() -> Iterator[None]:
    """Let a session wait on a clock of its own, which each wait moves."""

    def open_hurried(endpoints: Endpoints, log: Log) -> History:
        time = VirtualTime()
        return open_funding(
            PRODUCT, endpoints, HostOptions(clock=time.now_s, wait=time.wait, log=log)
        )

    source = find_funding(PERP.venue)
    assert source is not None
    with pytest.MonkeyPatch.context() as patch:
        quick = structs.replace(source, open=open_hurried)
        patch.setattr("tbv8.config.records.find_funding", lambda _venue: quick)
        yield


# The venues that are recorded


def live_server(name: str, **spec: Any) -> LiveServer:
    clock = VenueClock(start_ms=NOW, speed=0)
    return serve(name, clock=clock, rate=0, quote_rate=0, **spec)


@pytest.mark.parametrize("name", LIVE_VENUES)
def test_all_pages_of_payments_of_a_live_venue_are_fetched(db_path: Path, name: str) -> None:
    series, hours = Series(name, "BTC/USDT"), LIVE_VENUES[name].funding_hours
    with live_server(name, funding_days=75) as server:
        [market] = server.markets.values()
        truth = [
            (rate.time_ms // HOUR_MS * HOUR_MS, float(rate.rate), hours)
            for rate in market.rates(hours=hours)
        ]
        fill(db_path, server.rest_url, [span("2023-11-01", "2024-03-10T12:00:00")], series)

    assert stored(db_path, series) == [
        row for row in truth if row[0] < parse_time("2024-03-10T12:00:00Z")
    ]
    told = "SELECT sum(missing) FROM history_coverage WHERE source NOT LIKE 'not listed%'"
    assert rows(db_path, told) == [(0,)]


@pytest.mark.parametrize("name", LIVE_VENUES)
def test_a_payment_that_a_live_venue_does_not_publish_is_missing(db_path: Path, name: str) -> None:
    series = Series(name, "BTC/USDT")
    untold = parse_time("2024-03-05T16:00:00Z")
    with live_server(name) as server:
        [market] = server.markets.values()
        market.untold_rates.add(untold)
        fill(db_path, server.rest_url, [span("2024-03-01", "2024-03-10")], series)

    assert untold not in {row[0] for row in stored(db_path, series)}
    missing = LIVE_VENUES[name].funding_hours
    assert ledger_in(db_path, series, FUNDING, columns="sum(missing)") == [(missing,)]


# Payments


def at(hours: float, rate: float = 0.0001, told: int | None = None) -> Payment:
    return Payment(int(hours * HOUR_MS), rate, told)


@pytest.mark.parametrize(
    ("payments", "expected"),
    [
        ([at(8), at(16), at(24)], [(8, 8), (16, 8), (24, 8)]),
        ([at(8), at(16), at(20), at(24)], [(8, 8), (16, 8), (20, 4), (24, 4)]),
        ([at(4), at(8), at(16)], [(4, 4), (8, 4), (16, 8)]),
        ([at(8), at(24), at(32)], [(8, 8), (24, 8), (32, 8)]),
        ([at(24), at(8), at(16)], [(8, 8), (16, 8), (24, 8)]),
        ([at(8), at(8.001, told=8)], [(8, 8)]),
        ([at(7, told=1)], [(7, 1)]),
        ([], []),
    ],
    ids=["steady", "faster", "slower", "a hole", "any order", "twice", "told", "none"],
)
def test_an_interval_is_the_time_since_the_payment_before(
    payments: list[Payment], expected: list[tuple[int, int]]
) -> None:
    settled = to_rates(payments, usual_hours=8)

    assert [(rate.ts_ms // HOUR_MS, rate.interval_hours) for rate in settled] == expected


@pytest.mark.parametrize(
    ("payments", "words"),
    [
        ([at(8.75)], "is not on a full hour"),
        ([at(8, 0.6)], "a rate of 0.6"),
        ([at(8, float("nan"))], "a rate of nan"),
        ([at(8), at(8.001, 0.0002)], "has two rates, 0.0001 and 0.0002"),
        ([at(8, told=7)], "an interval of 7 hours"),
    ],
    ids=["off the hour", "too much", "no number", "twice", "no interval"],
)
def test_an_impossible_payment_is_refused(payments: list[Payment], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_rates(payments, usual_hours=8)


def test_the_known_span_ends_where_the_next_payment_may_come() -> None:
    rates = to_rates([at(24 * 100 + 8), at(24 * 100 + 16)], usual_hours=8)
    day_ms = 100 * DAY_MS

    def known(clock_hours: float) -> float:
        clock_ms = day_ms + int(clock_hours * HOUR_MS)
        return (known_until(rates, clock_ms=clock_ms) - day_ms) / HOUR_MS

    assert known(16.1) == pytest.approx(16 + 1 / 60)
    assert known(20) == 19.5
    assert known(24.1) == pytest.approx(23.6)
    assert known(30) == 24
    assert known(49) == 25
