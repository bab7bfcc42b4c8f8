"""A session with Binance Spot while all goes well: which file or call, which rows, no more."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Span, parse_time
from tbv8.venues.base import Endpoints
from tbv8.venues.binance_spot import VENUE
from tests.lines import Line
from tests.servers.binance import BinanceServer, Hidden
from tests.servers.binance_archive import Override
from tests.servers.binance_faults import Fault
from tests.servers.binance_market import Market, market_from_archive, synthetic_market
from tests.venues.binance_spot import (
    BTC,
    KLINES,
    REAL,
    bars_of,
    fetched,
    joined,
    notes,
    opened,
    requested,
    served,
    sources,
    span,
    truth,
)

ROOT = Path(__file__).resolve().parents[2]

LISTED = "2023-12-30T04:00:00"
NOW = "2024-02-02T09:30:20"
OUTAGES = [span("2024-01-05T02:00:00", "2024-01-05T03:17:00")]


def made_up(start: str, end: str) -> Market:
    whole = span(start, end)
    absent = [(outage.start_ms, outage.end_ms) for outage in OUTAGES]
    return synthetic_market(BTC, whole.start_ms, whole.end_ms, 7, outages=absent)


@pytest.fixture(scope="module")
def market() -> Market:
    return made_up(LISTED, "2024-02-03")


SOURCE = VENUE.history
assert SOURCE


@pytest.fixture
def server(market: Market) -> Iterator[BinanceServer]:
    with served(market, NOW) as server:
        yield server


def test_importing_the_venue_imports_no_heavy_library() -> None:
    heavy = {"ccxt", "numpy", "pyarrow", "requests"}
    code = f"import sys, tbv8.venues.binance_spot as v; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout == "[]\n", done.stderr


def test_history_goes_back_to_the_opening_of_the_venue() -> None:
    assert SOURCE.span(parse_time(f"{NOW}Z")) == span("2017-08-17", NOW)


def test_a_session_is_opened_by_the_name_of_the_venue(server: BinanceServer) -> None:
    endpoints = Endpoints(rest_url=server.url, archive_url=server.url)

    with SOURCE.open(endpoints, print) as history:
        assert history.native_symbol("BTC/USDT") == BTC
        assert history.clock_ms() == parse_time(f"{NOW}Z")
        assert history.first_ms(BTC) == parse_time(f"{LISTED}Z")


def test_an_unknown_symbol_is_refused_in_one_line(server: BinanceServer) -> None:
    with opened(server) as history, pytest.raises(VenueError) as refused:
        history.first_ms("BTCUSDX")

    assert str(refused.value) == (
        Line("binance_spot does not know BTCUSDX: its symbols look like BTCUSDT, ...")
    )
    assert server.count() == 1


@pytest.mark.parametrize("native", ["btc/usdt", "BTC USDT", "Ω"])
def test_a_text_that_cannot_be_a_symbol_is_unknown_too(server: BinanceServer, native: str) -> None:
    with opened(server) as history, pytest.raises(VenueError, match="does not know"):
        history.first_ms(native)


def test_nothing_is_downloaded_of_an_unknown_symbol(server: BinanceServer) -> None:
    with opened(server) as history, pytest.raises(VenueError, match="does not know BTCUSDX"):
        list(history.fetch("BTCUSDX", [span("2024-01-01", "2024-02-01")]))

    assert not requested(server)


def test_the_listing_is_requested_once_per_session(server: BinanceServer) -> None:
    with opened(server) as history:
        for _ in range(3):
            history.first_ms(BTC)

    assert server.count(KLINES) == 1


def test_no_gaps_cause_no_request(server: BinanceServer) -> None:
    assert fetched(server, []) == []
    assert server.count() == 0


def test_the_whole_history_is_months_then_days_then_rest(
    market: Market, server: BinanceServer
) -> None:
    server.monthly_delay_ms = -7 * DAY_MS  # published at once: 2024-02-02 is before a first Monday
    wanted = [span(LISTED, "2024-02-02T09:30:00")]

    pieces = fetched(server, wanted)

    assert sources(pieces) == ["2023-12", "2024-01", "2024-02-01", "rest"]
    assert joined(pieces) == wanted
    assert bars_of(pieces) == truth(market, wanted)
    assert sum(piece.span.minutes - piece.bars.num_rows for piece in pieces) == 77  # the outage
    assert notes(pieces) == []


def test_the_tables_have_the_schema_of_the_store(server: BinanceServer) -> None:
    pieces = fetched(server, [span("2024-01-31", "2024-02-02T00:01:00")])

    for piece in pieces:
        assert [str(field.type) for field in piece.bars.schema] == ["int64"] + ["double"] * 5
        assert piece.bars.column_names == ["ts_ms", "open", "high", "low", "close", "volume"]


def test_a_source_is_the_file_and_its_sha256(server: BinanceServer) -> None:
    day = f"{server.url}/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-31.zip"
    sha256 = hashlib.sha256(requests.get(day, timeout=5).content).hexdigest()

    [piece] = fetched(server, [span("2024-01-31", "2024-02-01")])

    assert piece.source == f"BTCUSDT-1m-2024-01-31.zip sha256:{sha256}"


@pytest.mark.parametrize(
    ("gaps", "expected", "files"),
    [
        pytest.param(
            [span("2024-01-31T10:00:00", "2024-01-31T11:00:00")],
            ["2024-01-31"],
            ["2024-01-31"],
            id="part of a past day is its daily file, cut",
        ),
        pytest.param(
            [span("2024-01-02T23:59:00", "2024-01-04T00:01:00")],
            ["2024-01-02", "2024-01-03", "2024-01-04"],
            ["2024-01-02", "2024-01-03", "2024-01-04"],
            id="days of a month that is not wanted whole",
        ),
        pytest.param(
            [span("2024-02-02T00:00:00", "2024-02-02T09:30:00")], ["rest"], [], id="today is REST"
        ),
        pytest.param(
            [span("2024-01-29", "2024-01-30"), span("2024-01-05", "2024-01-06")],
            ["2024-01-05", "2024-01-29"],
            ["2024-01-05", "2024-01-29"],
            id="a hole behind another, by time whatever their order",
        ),
        pytest.param(
            [
                span("2024-01-31T00:00:30", "2024-01-31T00:00:45"),
                span("2024-02-02T00:00:30", "2024-02-02T00:00:45"),
            ],
            ["2024-01-31", "rest"],
            ["2024-01-31"],
            id="less than a minute, without a bar",
        ),
        pytest.param(
            [span("2023-12-30T05:00:00", "2024-01-01")],
            ["2023-12-30", "2023-12-31"],
            ["2023-12-30", "2023-12-31"],
            id="the month of listing, but not from the listing on",
        ),
    ],
)
def test_only_the_data_of_the_gaps_is_requested(
    market: Market, server: BinanceServer, gaps: list[Span], expected: list[str], files: list[str]
) -> None:
    pieces = fetched(server, gaps)

    assert sources(pieces) == expected
    assert sorted(requested(server)) == files  # side by side, so in any order
    assert joined(pieces) == sorted(gaps)
    assert bars_of(pieces) == truth(market, sorted(gaps))


def test_a_gap_at_the_tail_requests_its_minutes_only(server: BinanceServer) -> None:
    fetched(server, [span("2024-02-02T09:00:00", "2024-02-02T09:30:00")])

    [listing, page] = server.requests_of(KLINES)
    assert listing.query["limit"] == "1"
    assert page.query["startTime"] == str(parse_time("2024-02-02T09:00:00Z"))
    assert page.query["endTime"] == str(parse_time("2024-02-02T09:30:00Z") - 1)


def test_the_open_minute_and_later_ones_are_never_returned(
    market: Market, server: BinanceServer
) -> None:
    pieces = fetched(server, [span("2024-02-02T09:00:00", "2024-02-02T09:31:00")])

    past = [span("2024-02-02T09:00:00", "2024-02-02T09:30:00")]
    assert joined(pieces) == past
    assert bars_of(pieces) == truth(market, past)


def test_a_gap_in_the_future_gives_nothing(server: BinanceServer) -> None:
    assert fetched(server, [span("2024-02-02T09:30:00", "2024-02-02T09:31:00")]) == []


def test_milliseconds_and_microseconds_meet_at_new_year() -> None:
    market = made_up("2024-12-30", "2025-01-03")
    with served(market, "2025-01-03T00:00:00") as server:
        server.monthly_delay_ms = -7 * DAY_MS
        wanted = [span("2024-12-30", "2025-01-02T12:00:00")]
        pieces = fetched(server, wanted)

    assert sources(pieces) == ["2024-12", "2025-01-01", "2025-01-02"]
    assert bars_of(pieces) == truth(market, wanted)


def test_the_cost_is_computed_without_a_request() -> None:
    now_ms = parse_time("2024-02-02T09:30:20Z")
    gaps = [
        span("2017-08-17", "2017-10-01"),
        span("2024-01-31", "2024-02-02T09:30:00"),
    ]

    cost = SOURCE.cost(gaps, now_ms)

    assert (cost.monthly_files, cost.daily_files, cost.requests) == (2, 2, 1)
    assert cost.megabytes == pytest.approx(2 * 2.1 + 2 * 0.07 + 0.16)
    assert str(cost) == "2 monthly files, 2 daily files, 1 request, about 4.5 MB"


def stall_behind_the_first_day(server: BinanceServer) -> None:
    server.faults.add(Fault(match="2024-01-(0[2-9]|1)", kind="stall", times=None, seconds=200))


def test_closing_early_ends_at_once_though_downloads_hang(server: BinanceServer) -> None:
    stall_behind_the_first_day(server)
    with opened(server) as history:
        pieces = history.fetch(BTC, [span("2024-01-01", "2024-01-20")])
        assert sources([next(pieces)]) == ["2024-01-01"]
        started = time.monotonic()

        pieces.close()

        assert time.monotonic() - started < 60  # not the 200 s of a download
    assert len(requested(server)) <= 9


def test_closing_early_leaves_no_thread_behind(server: BinanceServer) -> None:
    def ours() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if "process_request_thread" not in t.name}

    before = ours()
    with opened(server) as history:
        pieces = history.fetch(BTC, [span("2024-01-01", "2024-01-20")])
        next(pieces)
        pieces.close()

        deadline = time.monotonic() + 60
        while ours() - before:
            assert time.monotonic() < deadline


def test_a_process_ends_at_once_though_downloads_hang(server: BinanceServer) -> None:
    stall_behind_the_first_day(server)
    code = f"""
from tbv8.market import Span
from tbv8.venues.base import Endpoints
from tbv8.venues.registry import find_history
endpoints = Endpoints(rest_url={server.url!r}, archive_url={server.url!r})
with find_history("binance_spot").open(endpoints, print) as history:
    gap = Span({parse_time("2024-01-01")}, {parse_time("2024-01-20")})
    for piece in history.fetch("BTCUSDT", [gap]):
        raise KeyboardInterrupt
"""
    started = time.monotonic()

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert time.monotonic() - started < 60


# Any gaps, any damage


PROPERTY_START, PROPERTY_END = parse_time("2024-01-30"), parse_time("2024-03-02")
MINUTES = (PROPERTY_END - PROPERTY_START) // MINUTE_MS


@st.composite
def gaps_of_history(draw: st.DrawFn) -> list[Span]:
    edges = draw(st.lists(st.integers(0, MINUTES), min_size=2, max_size=6, unique=True))
    edges = sorted(edges[: len(edges) // 2 * 2])
    times = [PROPERTY_START + edge * MINUTE_MS for edge in edges]
    whole_days = draw(st.booleans())
    if whole_days:
        times = [ts_ms // DAY_MS * DAY_MS for ts_ms in times]
    spans = [Span(*pair) for pair in zip(times[::2], times[1::2], strict=True)]
    return [one for one in spans if one]


STEMS = st.one_of(st.just("2024-02"), st.integers(1, 29).map(lambda day: f"2024-02-{day:02}")).map(
    lambda text: f"{BTC}-1m-{text}"
)

OVERRIDES = st.builds(
    Override,
    file=STEMS,
    kind=st.sampled_from(
        [
            "duplicate",
            "outside",
            "unsorted",
            "columns_11",
            "non_numeric",
            "high_below_open",
            "other_unit",
            "header",
            "empty",
            "inner_name",
            "not_zip",
            "not_published",
        ]
    ),
)

FAULTS = st.builds(
    Fault,
    match=st.sampled_from([".zip", ".CHECKSUM", KLINES, "/api/v3/time"]),
    kind=st.sampled_from(
        ["status", "reset", "truncate", "corrupt", "bad_checksum", "malformed_json", "empty_json"]
    ),
    times=st.integers(1, 3),
    after=st.integers(0, 5),
    status=st.sampled_from([500, 503, 429]),
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[BinanceServer]:
    absent = [(parse_time("2024-02-10T03:00:00Z"), parse_time("2024-02-11T23:00:00Z"))]
    market = synthetic_market(BTC, PROPERTY_START, PROPERTY_END, 3, outages=absent)
    with served(market, "2024-03-02T00:00:00") as server:
        server.monthly_delay_ms = -7 * DAY_MS
        yield server


@given(
    gaps=gaps_of_history(),
    overrides=st.lists(OVERRIDES, max_size=3),
    faults=st.lists(FAULTS, max_size=2),
    hidden=st.lists(st.tuples(st.integers(0, MINUTES), st.integers(1, 3000)), max_size=2),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_for_any_gaps_and_faults_the_rows_equal_the_truth(
    hostile: BinanceServer,
    gaps: list[Span],
    overrides: list[Override],
    faults: list[Fault],
    hidden: list[tuple[int, int]],
) -> None:
    hostile.behave()
    hostile.override(*overrides)
    hostile.faults.add(*faults)
    for start, length in hidden:
        start_ms = PROPERTY_START + start * MINUTE_MS
        hostile.hide(Hidden(BTC, "archive", start_ms, start_ms + length * MINUTE_MS))

    pieces = fetched(hostile, gaps, tries=12)

    assert joined(pieces) == _merged(gaps)
    assert bars_of(pieces) == truth(hostile.markets[BTC], gaps)


def _merged(gaps: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for gap in gaps:
        if merged and merged[-1].end_ms == gap.start_ms:
            gap = Span(merged.pop().start_ms, gap.end_ms)
        merged.append(gap)
    return merged


# Binance's own files

needs_real_files = pytest.mark.skipif(
    not (REAL / "binance").is_dir(), reason=f"Binance's own files are not in {REAL}"
)


def real_market(first: str, last: str) -> Market:
    paths = sorted((REAL / "binance/1m").glob(f"{BTC}-1m-*.zip"))
    return market_from_archive(
        p for p in paths if first <= p.stem.removeprefix(f"{BTC}-1m-") <= last
    )


@needs_real_files
def test_real_days_add_up_to_the_hours_of_the_exchange() -> None:
    with served(real_market("2023-03-23", "2023-03-25"), "2023-03-26T00:00:00") as server:
        pieces = fetched(server, [span("2023-03-23", "2023-03-26")])

    assert [piece.span.minutes - piece.bars.num_rows for piece in pieces] == [0, 80, 0]
    assert hours_of(bars_of(pieces)) == exchange_hours("2023-03-23_25")


@needs_real_files
def test_three_real_months_are_parsed() -> None:
    market = real_market("2024-01-01", "2024-03-31")
    with served(market, "2024-04-02T00:00:00") as server:
        pieces = fetched(server, [span("2024-01-01", "2024-04-01")])

    # The file of March appears on Monday, 1 April.
    assert sources(pieces) == ["2024-01", "2024-02", "2024-03"]
    assert sum(piece.bars.num_rows for piece in pieces) == 91 * 1440
    assert hours_of(bars_of(pieces)) == exchange_hours("2024Q1")


def hours_of(bars: list[tuple[int, float, float, float, float, float]]) -> list[tuple[object, ...]]:
    """Return the hours that minutes add up to, volumes rounded to the exchange's 8 decimals."""
    hours: list[tuple[object, ...]] = []
    for open_ms, group in groupby(bars, key=lambda bar: bar[0] // HOUR_MS * HOUR_MS):
        _, opens, highs, lows, closes, volumes = zip(*group, strict=True)
        volume = round(math.fsum(volumes), 8)
        hours.append((open_ms, opens[0], max(highs), min(lows), closes[-1], volume))
    return hours


def exchange_hours(name: str) -> list[tuple[object, ...]]:
    lines = (REAL / f"binance/truth/{BTC}-1h-{name}.csv").read_text().splitlines()
    fields = [line.split(",") for line in lines]
    return [(int(f[0]), *map(float, f[1:6])) for f in fields]
