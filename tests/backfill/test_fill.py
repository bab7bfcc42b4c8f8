"""From gaps to rows: whatever is wanted, goes wrong or is killed, the table becomes the truth."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tbv8.backfill.compare import compare, draw_hours
from tbv8.backfill.fill import backfill, recheck_missing
from tbv8.config.records import Venue
from tbv8.coverage import merge
from tbv8.errors import ConfigError, DataError, VenueError
from tbv8.market import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Series,
    Span,
    iso_day,
    parse_time,
    parse_timeframe,
)
from tbv8.store.bars import open_bars
from tbv8.store.database import open_reader
from tbv8.store.prune import count_rows, drop_series
from tbv8.store.verify import verify
from tbv8.venues import binance_perp, binance_spot
from tbv8.venues.base import Endpoints, History, Log
from tbv8.venues.binance.history import open_history
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.registry import find_venue
from tests.builders import (
    KilledError,
    Row,
    bars_in,
    history_venue,
    killed_after,
    ledger_in,
    naive_digest,
    shell,
)
from tests.servers.binance import SIDES, BinanceServer, Hidden, WeightMeter
from tests.servers.binance_archive import Override
from tests.servers.binance_faults import Fault
from tests.servers.binance_market import Market, synthetic_market
from tests.venues.binance_spot import VirtualTime

BTC, PERP = Series("binance_spot", "BTC/USDT"), Series("binance_perp", "BTC/USDT")
PRODUCTS = {BTC: binance_spot.PRODUCT, PERP: binance_perp.PRODUCT}
LISTED, NOW = parse_time("2024-01-30T05:00:00Z"), parse_time("2024-03-04T10:00:30Z")
OUTAGE = (parse_time("2024-02-27T22:00:00Z"), parse_time("2024-02-29T03:00:00Z"))
ALL, LATE = Span(0, NOW), Span(parse_time("2024-03-01"), NOW)
START, MINUTES = parse_time("2024-01-25"), 40 * 1440


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic_market("BTCUSDT", LISTED, parse_time("2024-05-01"), 5, outages=[OUTAGE])


@pytest.fixture(scope="module")
def server(market: Market) -> Iterator[BinanceServer]:
    weight = WeightMeter(10**9)
    with BinanceServer({market.symbol: market}, now_ms=NOW, weight=weight) as server:
        yield server


@pytest.fixture
def binance(server: BinanceServer) -> BinanceServer:
    server.behave()
    server.reset_log()
    return server


def venue(server: BinanceServer, series: Series = BTC) -> Venue:
    return history_venue(series.venue, server.url)


def span(start: str, end: str) -> Span:
    return Span(parse_time(start), parse_time(end))


@pytest.fixture(scope="module")
def past(market: Market) -> list[Row]:
    """Return all bars that the venue has and that are closed."""
    end_ms = NOW // MINUTE_MS * MINUTE_MS
    return [(row[0], *map(float, row[1:6])) for row in market.rows(LISTED, end_ms)]


def within(past: list[Row], spans: list[Span]) -> list[Row]:
    found: list[Row] = []
    for one in merge(spans):
        low, high = (bisect_left(past, (ts_ms,)) for ts_ms in (one.start_ms, one.end_ms))
        found += past[low:high]
    return found


def files_asked(server: BinanceServer) -> list[str]:
    """Return the archive files that were asked for, without CHECKSUMs, in order."""
    return [Path(log.path).stem for log in server.requests_of(".zip") if log.path.endswith(".zip")]


# Any spans, any faults, any kills


@st.composite
def wanted_spans(draw: st.DrawFn) -> Span:
    """Draw a span: minutes, days or months."""
    edges = st.integers(0, MINUTES)
    first, last = sorted(draw(st.tuples(edges, edges)))
    unit_ms = draw(st.sampled_from([MINUTE_MS, DAY_MS, None]))
    start_ms, end_ms = START + first * MINUTE_MS, START + (last + 1) * MINUTE_MS
    if unit_ms is None:
        month = parse_timeframe("1M")
        return Span(month.floor(start_ms), month.ceil(end_ms))
    return Span(start_ms // unit_ms * unit_ms, -(-end_ms // unit_ms) * unit_ms)


FAULTS = st.builds(
    Fault,
    match=st.sampled_from(["monthly", "daily", ".CHECKSUM", "/klines", "/time"]),
    kind=st.sampled_from(
        ["corrupt", "bad_checksum", "status", "reset", "truncate", "malformed_json", "empty_json"]
    ),
    times=st.sampled_from([1, 2, 3, None]),  # None outlasts all tries
    after=st.integers(0, 3),
    status=st.sampled_from([404, 403, 418, 429, 451, 500, 503]),
)


@st.composite
def hidden_minutes(draw: st.DrawFn) -> Hidden:
    """Draw some minutes that the archive lacks and REST has."""
    start_ms = START + draw(st.integers(0, MINUTES)) * MINUTE_MS
    return Hidden("BTCUSDT", "archive", start_ms, start_ms + draw(st.integers(1, 3000)) * MINUTE_MS)


class Run(NamedTuple):
    """A backfill: what it wants, after how many pieces it is killed, and what goes wrong."""

    wanted: Span
    pieces: int | None
    faults: list[Fault]
    hidden: list[Hidden]


RUNS = st.lists(
    st.builds(
        Run,
        wanted_spans(),
        st.none() | st.integers(0, 4),
        st.lists(FAULTS, max_size=2),
        st.lists(hidden_minutes(), max_size=1),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.timeout(400)  # 10 s alone, minutes on a busy machine
@given(series=st.sampled_from([BTC, PERP]), runs=RUNS)
@settings(max_examples=10)
def test_whatever_is_wanted_fails_or_is_killed_the_table_is_the_truth(
    server: BinanceServer,
    past: list[Row],
    migrated_db: Path,
    tmp_path_factory: pytest.TempPathFactory,
    series: Series,
    runs: list[Run],
) -> None:
    db_path = Path(shutil.copy(migrated_db, tmp_path_factory.mktemp("any")))
    held: set[str] = set()
    for run in runs:
        server.behave()
        server.faults.add(*run.faults)
        server.hide(*run.hidden)
        server.reset_log()
        with suppress(KilledError, VenueError), killed_after(run.pieces), hurried(series):
            backfill(db_path, series, [run.wanted], venue=venue(server, series), now_ms=NOW)
        asked = files_asked(server)
        assert not held & set(asked)
        assert run.faults or len(asked) == len(set(asked))
        held = files_held(db_path, series)

    server.behave()
    spans = [run.wanted for run in runs]
    backfill(db_path, series, spans, venue=venue(server, series), now_ms=NOW)
    server.reset_log()
    closed = Span(0, NOW // MINUTE_MS * MINUTE_MS)
    passed = [one.intersection(closed) for one in spans]
    backfill(db_path, series, passed, venue=venue(server, series), now_ms=NOW)

    assert server.log == []
    assert wanted_rows(bars_in(db_path, series), spans) == within(past, spans)
    # What connects two spans of one day was fetched with them; nothing else is there.
    assert bars_in(db_path, series) == within(past, known(db_path, series))
    for day_ms, start_ms, end_ms, count, missing, digest in ledger_in(
        db_path, series, columns="day_ms, start_ms, end_ms, bars, missing, digest"
    ):
        rows = within(past, [Span(start_ms, end_ms)])
        assert (count, digest) == (len(rows), naive_digest(rows)), day_ms
        assert missing == (end_ms - start_ms) // MINUTE_MS - count
    with open_bars(db_path) as store:
        assert list(verify(store, "ohlcv_1m", series)) == []


@contextmanager
def hurried(series: Series) -> Iterator[None]:
    """Let a session wait on a clock of its own, which each wait moves."""

    def open_hurried(endpoints: Endpoints, log: Log) -> History:
        time = VirtualTime()
        options = HostOptions(clock=time.now_s, wait=time.wait, log=log)
        return open_history(PRODUCTS[series], endpoints, options)

    with pytest.MonkeyPatch.context() as patch:
        history = find_venue(series.venue).history
        assert history is not None
        source = structs.replace(history, open=open_hurried)
        patch.setattr("tbv8.config.records.find_history", lambda _venue: source)
        yield


def known(db_path: Path, series: Series = BTC) -> list[Span]:
    return [Span(*row) for row in ledger_in(db_path, series, columns="start_ms, end_ms")]


def files_held(db_path: Path, series: Series) -> set[str]:
    """Return the archive files of months and days all of whose listed time is known."""
    held, listed = merge(known(db_path, series)), Span(LISTED, NOW // MINUTE_MS * MINUTE_MS)
    days = [Span(day_ms, day_ms + DAY_MS) for day_ms in Span(START, NOW).days()]
    months = [span("2024-01-01", "2024-02-01"), span("2024-02-01", "2024-03-01")]
    names = [iso_day(day.start_ms) for day in days] + ["2024-01", "2024-02"]
    return {
        f"BTCUSDT-1m-{name}"
        for name, file in zip(names, [*days, *months], strict=True)
        if (part := file.intersection(listed)) and any(one.contains(part) for one in held)
    }


def wanted_rows(rows: list[Row], spans: list[Span]) -> list[Row]:
    return [row for row in rows if any(one.start_ms <= row[0] < one.end_ms for one in spans)]


# What the user sees


def test_a_pause_that_the_venue_asks_for_is_told(
    binance: BinanceServer, db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binance.faults.add(
        Fault(match="/api/v3/klines", kind="status", status=429, retry_after=4),
    )

    backfill(db_path, BTC, [span("2024-02-26", "2024-02-27")], venue=venue(binance), now_ms=NOW)

    assert capsys.readouterr().out.splitlines()[:2] == [
        f"   {BTC}: {binance.url} limits requests (HTTP 429), continuing in 4 s",
        f"   {BTC}: 1 daily file, about 0.1 MB",
    ]


def test_what_was_mended_is_told(
    binance: BinanceServer, db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binance.override(
        Override(
            file="BTCUSDT-1m-2024-02-26",
            kind="off_minute",
            start_ms=parse_time("2024-02-26T06:00:00Z"),
            end_ms=parse_time("2024-02-26T07:00:00Z"),
        ),
        Override(file="BTCUSDT-1m-2024-02-26", kind="duplicate"),
    )

    backfill(db_path, BTC, [span("2024-02-26", "2024-02-27")], venue=venue(binance), now_ms=NOW)

    assert (
        f"   {BTC}: BTCUSDT-1m-2024-02-26.zip: floored 60 bars to the minute, dropped 1 bar of "
        "repeated minutes"
    ) in capsys.readouterr().out.splitlines()


def test_a_cost_is_what_the_listing_leaves(
    binance: BinanceServer, db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backfill(db_path, BTC, [span("2017-08-17", "2024-03-03")], venue=venue(binance), now_ms=NOW)

    cost, *_ = capsys.readouterr().out.splitlines()
    assert cost == f"   {BTC}: 2 monthly files, 2 daily files, about 4.3 MB"


def test_a_span_before_the_listing_is_known_without_a_download(
    binance: BinanceServer, db_path: Path
) -> None:
    backfill(db_path, BTC, [span("2023-01-01", "2024-01-01")], venue=venue(binance), now_ms=NOW)

    assert binance.count("/data/") == 0
    columns = "count(*), sum(missing), min(source), max(source)"
    assert ledger_in(db_path, BTC, columns=columns) == [
        (365, 365 * 1440, "not listed", "not listed")
    ]


def test_what_a_database_has_changed_by_hand_is_not_added_to(
    binance: BinanceServer, db_path: Path
) -> None:
    half = span("2024-02-26", "2024-02-26T12:00:00Z")
    backfill(db_path, BTC, [half], venue=venue(binance), now_ms=NOW)
    shell(db_path, "UPDATE ohlcv_1m SET close = high WHERE ts_ms = ?", (half.start_ms,))

    with pytest.raises(DataError, match="2024-02-26: its rows do not match its ledger"):
        backfill(db_path, BTC, [span("2024-02-26", "2024-02-27")], venue=venue(binance), now_ms=NOW)


def test_newest_minutes_that_the_venue_lacks_are_asked_for_again_by_the_next_run(
    binance: BinanceServer, past: list[Row], db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = span("2024-03-03", "2024-03-04T10:00:00Z")
    halted = parse_time("2024-03-03T23:00:00Z")
    for side in SIDES:
        binance.hide(Hidden("BTCUSDT", side, halted, NOW + DAY_MS))
    backfill(db_path, BTC, [wanted], venue=venue(binance), now_ms=NOW)

    assert known(db_path) == [Span(wanted.start_ms, halted)]
    assert (
        f"   {BTC}: the venue has no bar from 2024-03-03T23:00:00Z on yet: the next run fetches "
        "660 minutes"
    ) in capsys.readouterr().out.splitlines()

    binance.behave()
    backfill(db_path, BTC, [wanted], venue=venue(binance), now_ms=NOW)

    assert bars_in(db_path, BTC) == within(past, [wanted])
    assert ledger_in(db_path, BTC, columns="sum(missing)") == [(0,)]


# Missing minutes, asked for again


def test_recheck_adds_what_came_and_touches_nothing_else(
    binance: BinanceServer,
    past: list[Row],
    db_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    late = [parse_time("2024-02-24T10:00:00Z"), parse_time("2024-02-24T10:30:00Z")]
    wanted = [span("2024-02-22", "2024-03-01")]
    binance.hide(Hidden("BTCUSDT", "archive", *late), Hidden("BTCUSDT", "rest", *late))
    backfill(db_path, BTC, wanted, venue=venue(binance), now_ms=NOW)
    before = ledger_in(db_path, BTC)
    assert sum(day[4] for day in before) == (OUTAGE[1] - OUTAGE[0]) // MINUTE_MS + 30

    recheck_missing(db_path, BTC, wanted, venue=venue(binance), now_ms=NOW + 1)
    assert ledger_in(db_path, BTC) == before

    binance.behave()
    capsys.readouterr()
    recheck_missing(db_path, BTC, wanted, venue=venue(binance), now_ms=NOW + 1)

    assert capsys.readouterr().out.splitlines() == [
        f"   {BTC}: 2024-02-24: 30 of 30 missing minutes found, from 2024-02-24T10:00:00Z on",
        f"   {BTC}: fetched 1,770 missing minutes again: 30 found",
    ]
    assert bars_in(db_path, BTC) == within(past, wanted)
    after = ledger_in(db_path, BTC)
    assert [day for day in after if day not in before] == [after[2]]
    assert (after[2][3], after[2][4]) == (1440, 0)


def test_recheck_leaves_the_time_before_the_listing_alone(
    binance: BinanceServer, db_path: Path
) -> None:
    wanted = [span("2024-01-01", "2024-02-01")]
    backfill(db_path, BTC, wanted, venue=venue(binance), now_ms=NOW)
    before = ledger_in(db_path, BTC)
    binance.reset_log()

    recheck_missing(db_path, BTC, wanted, venue=venue(binance), now_ms=NOW)

    assert binance.count("/data/") == 0
    assert ledger_in(db_path, BTC) == before


# Held against the venue


def test_a_seed_draws_the_same_hours_of_the_listed_time(
    binance: BinanceServer, db_path: Path
) -> None:
    backfill(db_path, BTC, [span("2024-01-20", "2024-03-03")], venue=venue(binance), now_ms=NOW)

    with open_bars(db_path) as store:
        drawn = [draw_hours(store, {BTC: ALL}, count=50, seed=seed) for seed in (1, 1, 2)]
        everything = draw_hours(store, {BTC: ALL}, count=10_000, seed=1)
        late = draw_hours(store, {BTC: LATE}, count=10_000, seed=1)

    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0][BTC]) == 50
    assert all(hour.end_ms - hour.start_ms == HOUR_MS for hour in drawn[0][BTC])
    assert everything[BTC][0].start_ms == parse_time("2024-01-30")
    assert len(everything[BTC]) == 33 * 24
    assert sorted(late[BTC])[0].start_ms == LATE.start_ms
    assert len(late[BTC]) == 2 * 24


def test_hours_that_are_equal_have_no_difference_though_minutes_are_missing(
    binance: BinanceServer, db_path: Path
) -> None:
    hours = [Span(OUTAGE[0] - HOUR_MS, OUTAGE[0] + HOUR_MS)]
    backfill(db_path, BTC, [span("2024-02-27", "2024-02-28")], venue=venue(binance), now_ms=NOW)

    with open_bars(db_path) as store:
        assert list(compare(store, BTC, hours, venue=venue(binance))) == []


# Ctrl-C


@pytest.mark.parametrize("moment_s", [0.05 + 0.01 * number for number in range(8)])
def test_ctrl_c_is_heard_while_a_statement_runs(db_path: Path, moment_s: float) -> None:
    slow = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300)"
        " SELECT count(*) FROM n"
    )
    timer = threading.Timer(moment_s, os.kill, (os.getpid(), signal.SIGINT))

    with open_bars(db_path) as store, pytest.raises(KeyboardInterrupt):
        ask_for_ever(store.query, slow, timer)


def ask_for_ever(query: Callable[[str], object], sql: str, timer: threading.Timer) -> None:
    timer.start()
    for _ in range(10**6):
        query(sql)


def test_a_refused_symbol_leaves_no_trace(binance: BinanceServer, db_path: Path) -> None:
    unknown = Series("binance_spot", "ETH/USDT")
    with_eth = Venue(**{**_fields(venue(binance)), "symbols": {"ETH/USDT": None}})

    with pytest.raises(VenueError, match="binance_spot does not know ETHUSDT"):
        backfill(db_path, unknown, [span("2024-02-26", "2024-02-27")], venue=with_eth, now_ms=NOW)

    assert ledger_in(db_path, unknown) == []
    assert binance.count("/data/") == 0


# One market for each series


def test_rows_of_another_market_or_unit_are_not_added_to_a_series(
    binance: BinanceServer, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, more = span("2024-02-26", "2024-02-27"), span("2024-02-26", "2024-02-28")
    by_name = structs.replace(venue(binance), symbols={"BTC/USDT": "BTCUSDT"})
    other = structs.replace(by_name, symbols={"BTC/USDT": "ETHUSDT"})
    thousand = structs.replace(by_name, multipliers={"BTC/USDT": Decimal(1000)})
    monkeypatch.setitem(binance.markets, "ETHUSDT", binance.markets["BTCUSDT"])
    backfill(db_path, BTC, [day], venue=venue(binance), now_ms=NOW)
    before = bars_in(db_path, BTC)

    for changed, name in ((other, "'ETHUSDT'"), (thousand, "'BTCUSDT' in units of 1000")):
        for wanted in (day, more):
            with pytest.raises(ConfigError, match=f"are of 'BTCUSDT', but the file has {name} now"):
                backfill(db_path, BTC, [wanted], venue=changed, now_ms=NOW)
    assert bars_in(db_path, BTC) == before

    backfill(db_path, BTC, [more], venue=by_name, now_ms=NOW)  # only spelled out
    assert len(bars_in(db_path, BTC)) > len(before)


def test_a_database_from_before_markets_were_stored_has_units_of_one(
    binance: BinanceServer, db_path: Path
) -> None:
    day = span("2024-02-26", "2024-02-27")
    thousand = structs.replace(venue(binance), multipliers={"BTC/USDT": Decimal(1000)})
    backfill(db_path, BTC, [day], venue=venue(binance), now_ms=NOW)
    shell(db_path, "DELETE FROM native_markets")

    with pytest.raises(ConfigError, match="are of the market, but the file has 'BTCUSDT' in units"):
        backfill(db_path, BTC, [day], venue=thousand, now_ms=NOW)
    backfill(db_path, BTC, [span("2024-02-26", "2024-02-28")], venue=venue(binance), now_ms=NOW)


def test_bars_of_a_market_of_1000_units_are_stored_and_compared_in_single_ones(
    binance: BinanceServer, past: list[Row], db_path: Path
) -> None:
    day = span("2024-02-26", "2024-02-27")
    thousand = structs.replace(venue(binance), multipliers={"BTC/USDT": Decimal(1000)})

    backfill(db_path, BTC, [day], venue=thousand, now_ms=NOW)

    assert bars_in(db_path, BTC) == [
        (
            ts_ms,
            *(float(Decimal(str(price)) / 1000) for price in prices),
            float(Decimal(str(volume)) * 1000),
        )
        for ts_ms, *prices, volume in within(past, [day])
    ]
    with open_bars(db_path) as store:
        assert list(compare(store, BTC, [day], venue=thousand)) == []


def test_a_series_is_dropped_whole_and_filled_anew_from_another_market(
    binance: BinanceServer, db_path: Path
) -> None:
    day = span("2024-02-26", "2024-02-27")
    thousand = structs.replace(venue(binance), multipliers={"BTC/USDT": Decimal(1000)})
    for series in (BTC, PERP):
        backfill(db_path, series, [day], venue=venue(binance, series), now_ms=NOW)
    kept = bars_in(db_path, PERP), ledger_in(db_path, PERP)
    dropped: list[int] = []

    with open_reader(db_path) as query:
        counts = count_rows(query, BTC)
    drop_series(db_path, BTC, advance=dropped.append)

    assert counts == {"history_coverage": 1, "native_markets": 1, "ohlcv_1m": 1440}
    assert sum(dropped) == 1442
    assert (bars_in(db_path, BTC), ledger_in(db_path, BTC)) == ([], [])
    assert (bars_in(db_path, PERP), ledger_in(db_path, PERP)) == kept
    backfill(db_path, BTC, [day], venue=thousand, now_ms=NOW)
    assert len(bars_in(db_path, BTC)) == 1440


def _fields(record: Venue) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
