"""Archive files of Binance Spot that are late, damaged or not what they should be."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Span
from tbv8.venues.base import FetchedSpan
from tbv8.venues.binance.archive import UnusableError, parse_checksum, parse_file
from tbv8.venues.binance.minutes import to_table
from tests.lines import Line
from tests.servers.binance import SIDES, BinanceServer, Hidden
from tests.servers.binance_archive import Override
from tests.servers.binance_faults import Fault
from tests.servers.binance_market import Market, synthetic_market
from tests.venues.binance_spot import (
    BTC,
    KLINES,
    REAL,
    VirtualTime,
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

YEARS = span("2024-12-30", "2025-01-03")
IN_MS = span("2024-12-30", "2024-12-31")
IN_US = span("2025-01-01", "2025-01-02")
STEM = f"{BTC}-1m-2024-12-30"
NAME = f"{STEM}.zip"


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic_market(BTC, YEARS.start_ms, YEARS.end_ms, 5)


@pytest.fixture
def server(market: Market) -> Iterator[BinanceServer]:
    with served(market, "2025-01-03T00:00:30") as server:
        yield server


# Not what it should be: REST, and a note


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("outside", "lies outside of 1735516800000 .. 1735603200000"),
        ("columns_11", "Expected 12 columns, got 11"),
        ("non_numeric", "conversion error to double"),
        ("empty", "Empty CSV file"),
        ("inner_name", "it contains 'other.csv', not 'BTCUSDT-1m-2024-12-30.csv'"),
        ("not_zip", "it is no zip that begins with a file"),
    ],
)
def test_a_file_with_a_true_checksum_but_wrong_content_is_not_used(
    market: Market, server: BinanceServer, kind: Any, why: str
) -> None:
    server.override(Override(file=STEM, kind=kind))

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["rest"]
    assert bars_of(pieces) == truth(market, [IN_MS])
    [note] = notes(pieces)
    assert note.startswith(f"{NAME}: ")
    assert note.endswith("; taken from REST")
    assert why in note
    assert "\n" not in note


@pytest.mark.parametrize("text", ["", "0x10", "1 2"])
def test_a_value_that_is_no_number_makes_a_file_unusable(server: BinanceServer, text: str) -> None:
    lines = ["1735516800000,1,1,1,1,1,0,0,0,0,0,0", f"1735516860000,1,1,1,1,{text},0,0,0,0,0,0"]
    server.override(Override(file=STEM, kind="text", text="\n".join(lines)))

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["rest"]
    assert len(notes(pieces)) == 1


def test_a_wrong_file_of_a_month_is_taken_from_rest_day_by_day(
    market: Market, server: BinanceServer
) -> None:
    month = span("2024-12-30", "2025-01-01")  # from the listing on
    server.override(Override(file=f"{BTC}-1m-2024-12", kind="not_zip"))
    server.monthly_delay_ms = -10 * 24 * 60 * MINUTE_MS

    pieces = fetched(server, [month])

    assert sources(pieces) == ["rest", "rest"]
    assert bars_of(pieces) == truth(market, [month])
    assert [len(piece.notes) for piece in pieces] == [1, 0]


def test_a_file_that_is_too_large_is_not_read_to_its_end(
    market: Market, server: BinanceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tbv8.venues.binance.files.MAX_BYTES", 10_000)

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["rest"]
    assert notes(pieces) == [f"{NAME}: it has more than 10,000 bytes; taken from REST"]
    assert bars_of(pieces) == truth(market, [IN_MS])


# CHECKSUM


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(match=f"{STEM}.zip.CHECKSUM", kind="bad_checksum"), id="checksum"),
        pytest.param(Fault(match=f"{STEM}.zip", kind="corrupt"), id="file"),
        pytest.param(Fault(match=f"{STEM}.zip.CHECKSUM", kind="status", status=404), id="none"),
    ],
)
def test_a_checksum_mismatch_is_downloaded_again(
    market: Market, server: BinanceServer, fault: Fault
) -> None:
    server.faults.add(fault)

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["2024-12-30"]
    assert notes(pieces) == []
    assert server.count(STEM) == 4
    assert bars_of(pieces) == truth(market, [IN_MS])


@pytest.mark.parametrize(
    ("kind", "part", "body", "problem"),
    [
        ("corrupt", ".zip", None, "its CHECKSUM differs from its sha256 after two downloads"),
        (
            "bad_checksum",
            ".CHECKSUM",
            None,
            "its CHECKSUM differs from its sha256 after two downloads",
        ),
        (
            "bad_checksum",
            ".CHECKSUM",
            "<html></html>",
            "its CHECKSUM differs from its sha256 after two downloads",
        ),
        (
            "bad_checksum",
            ".CHECKSUM",
            "",
            "its CHECKSUM differs from its sha256 after two downloads",
        ),
        ("status", ".CHECKSUM", None, "its CHECKSUM is missing"),
    ],
)
def test_after_a_second_mismatch_the_bars_come_from_rest_with_a_note(
    market: Market,
    server: BinanceServer,
    kind: Any,
    part: str,
    body: str | None,
    problem: str,
) -> None:
    server.faults.add(Fault(match=f"{STEM}.*{part}$", kind=kind, times=2, status=404, body=body))

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["rest"]
    assert notes(pieces) == [f"{NAME}: {problem}; taken from REST"]
    assert server.count(STEM) == 4
    assert bars_of(pieces) == truth(market, [IN_MS])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"{'aB' * 32}  {NAME}\n", id="two spaces"),
        pytest.param(f"{'ab' * 32} *{NAME}", id="binary mark, no newline"),
        pytest.param(f"{'ab' * 32}  {NAME}\r\n", id="DOS newline"),
    ],
)
def test_a_checksum_is_read_as_sha256sum_writes_it(line: str) -> None:
    assert parse_checksum(line.encode(), NAME) == "ab" * 32


@pytest.mark.parametrize(
    "line", ["", "abc", f"{'ab' * 32}  other.zip\n", f"{'ab' * 32}", f"{'xy' * 32}  {NAME}"]
)
def test_a_checksum_of_another_file_is_ignored(line: str) -> None:
    assert parse_checksum(line.encode(), NAME) == ""


# Not there


def test_a_month_that_is_not_published_comes_from_its_days(
    market: Market, server: BinanceServer
) -> None:
    month = span("2024-12-30", "2025-01-01")

    pieces = fetched(server, [month])  # the month's file appears on Monday, 6 January

    assert requested(server) == ["2024-12", "2024-12-30", "2024-12-31"]
    assert sources(pieces) == ["2024-12-30", "2024-12-31"]
    assert bars_of(pieces) == truth(market, [month])


def test_a_day_that_is_not_published_comes_from_rest_without_a_note(
    market: Market, server: BinanceServer
) -> None:
    server.daily_delay_ms = 60 * MINUTE_MS
    tail = span("2025-01-01T22:00:00", "2025-01-03")

    pieces = fetched(server, [tail])

    assert sources(pieces) == ["2025-01-01", "rest"]
    assert notes(pieces) == []
    assert bars_of(pieces) == truth(market, [tail])


def test_many_months_without_any_file_come_from_rest_in_order() -> None:
    wanted = span("2024-01-15", "2024-03-06")
    market = synthetic_market(BTC, wanted.start_ms, wanted.end_ms, 2)
    with served(market, "2024-03-06T00:00:30") as server:
        server.monthly_delay_ms = server.daily_delay_ms = 1000 * 24 * 60 * MINUTE_MS

        pieces = fetched(server, [wanted])

        assert set(sources(pieces)) == {"rest"}
        assert joined(pieces) == [wanted]
        assert bars_of(pieces) == truth(market, [wanted])


# Mended


def test_bars_off_the_minute_are_floored_and_counted(market: Market, server: BinanceServer) -> None:
    start_ms = IN_MS.start_ms + 600 * MINUTE_MS
    server.override(
        Override(file=STEM, kind="off_minute", start_ms=start_ms, end_ms=start_ms + 30 * MINUTE_MS)
    )

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["2024-12-30"]
    assert notes(pieces) == [f"{NAME}: floored 30 bars to the minute"]
    assert bars_of(pieces) == truth(market, [IN_MS])


def test_a_minute_that_a_file_has_twice_keeps_its_first_bar(
    market: Market, server: BinanceServer
) -> None:
    server.override(Override(file=STEM, kind="duplicate", text="999.00000000"))

    pieces = fetched(server, [IN_MS])

    assert notes(pieces) == [f"{NAME}: dropped 1 bar of repeated minutes"]
    assert bars_of(pieces) == truth(market, [IN_MS])


def test_of_two_bars_in_a_minute_the_one_on_the_minute_stays() -> None:
    day = span("2018-02-10", "2018-02-11")
    lines = [
        f"{day.start_ms + 14_789},2,2,2,2,2,0,0,0,0,0,0",
        f"{day.start_ms},1,1,1,1,1,0,0,0,0,0,0",
        f"{day.start_ms + MINUTE_MS + 20_000},3,3,3,3,3,0,0,0,0,0,0",
        f"{day.start_ms + MINUTE_MS + 10_000},4,4,4,4,4,0,0,0,0,0,0",
    ]

    minutes = parse_file(zipped("x", lines), "x", day)

    assert to_table(minutes).to_pydict() == {
        "ts_ms": [day.start_ms, day.start_ms + MINUTE_MS],
        **{name: [1.0, 4.0] for name in ("open", "high", "low", "close", "volume")},
    }
    assert (minutes.off_minute, minutes.duplicates, minutes.unsorted) == (3, 2, True)


def test_an_unsorted_file_is_sorted(market: Market, server: BinanceServer) -> None:
    server.override(Override(file=STEM, kind="unsorted"))

    pieces = fetched(server, [IN_MS])

    assert notes(pieces) == [f"{NAME}: sorted its bars by time"]
    assert bars_of(pieces) == truth(market, [IN_MS])


def test_a_header_is_skipped(market: Market, server: BinanceServer) -> None:
    server.override(Override(file=STEM, kind="header"))

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["2024-12-30"]
    assert bars_of(pieces) == truth(market, [IN_MS])


@pytest.mark.parametrize("day", [IN_MS, IN_US], ids=["microseconds in 2024", "ms in 2025"])
def test_each_row_has_its_own_unit_of_time(
    market: Market, server: BinanceServer, day: Span
) -> None:
    stem = STEM if day is IN_MS else f"{BTC}-1m-2025-01-01"
    noon_ms = day.start_ms + 720 * MINUTE_MS
    server.override(Override(file=stem, kind="other_unit", start_ms=noon_ms, end_ms=day.end_ms))

    pieces = fetched(server, [day])

    assert sources(pieces) == [stem.removeprefix(f"{BTC}-1m-")]
    assert bars_of(pieces) == truth(market, [day])


# Holes


def test_minutes_missing_in_a_file_come_from_rest(market: Market, server: BinanceServer) -> None:
    start_ms = IN_MS.start_ms + 600 * MINUTE_MS
    server.override(
        Override(file=STEM, kind="absent", start_ms=start_ms, end_ms=start_ms + 5 * MINUTE_MS)
    )

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["2024-12-30; rest"]
    assert notes(pieces) == [f"{NAME}: 5 missing minutes came from REST"]
    assert bars_of(pieces) == truth(market, [IN_MS])
    look = server.requests_of(KLINES)[-1].query
    assert (look["startTime"], look["limit"]) == (str(start_ms), "6")
    assert "endTime" not in look


def test_adjacent_holes_are_one_request(market: Market, server: BinanceServer) -> None:
    for minute in range(100, 1090, 10):
        at_ms = IN_MS.start_ms + minute * MINUTE_MS
        server.override(
            Override(file=STEM, kind="absent", start_ms=at_ms, end_ms=at_ms + MINUTE_MS)
        )

    pieces = fetched(server, [IN_MS])

    assert notes(pieces) == [f"{NAME}: 99 missing minutes came from REST"]
    assert server.count(KLINES) == 2  # the listing, and the look
    assert bars_of(pieces) == truth(market, [IN_MS])


def test_a_hole_at_the_venue_is_confirmed_by_one_request(server: BinanceServer) -> None:
    hole = span("2024-12-30T12:40:00", "2024-12-30T14:00:00")
    for side in ("archive", "rest"):
        server.hide(Hidden(BTC, side, hole.start_ms, hole.end_ms))

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["2024-12-30"]
    assert notes(pieces) == []
    assert pieces[0].span.minutes - pieces[0].bars.num_rows == 80
    assert server.count(KLINES) == 2


def test_the_end_of_a_file_is_not_missing_before_a_later_bar(
    market: Market, server: BinanceServer
) -> None:
    day, known = span("2025-01-02", "2025-01-03"), span("2025-01-02", "2025-01-02T23:00:00")
    for side in SIDES:
        server.hide(Hidden(BTC, side, known.end_ms, day.end_ms + DAY_MS))

    pieces = fetched(server, [day])

    assert sources(pieces) == ["2025-01-02"]
    assert joined(pieces) == [known]
    assert bars_of(pieces) == truth(market, [known])


def test_minutes_that_only_the_archive_has_are_kept(market: Market, server: BinanceServer) -> None:
    hole = span("2024-12-30T12:40:00", "2024-12-30T14:00:00")
    server.hide(Hidden(BTC, "rest", hole.start_ms, hole.end_ms))

    pieces = fetched(server, [IN_MS])

    assert bars_of(pieces) == truth(market, [IN_MS])
    assert server.count(KLINES) == 1


def test_only_holes_within_the_gap_are_requested(market: Market, server: BinanceServer) -> None:
    hole = span("2024-12-30T12:40:00", "2024-12-30T14:00:00")
    server.hide(Hidden(BTC, "archive", hole.start_ms, hole.end_ms))

    fetched(server, [span("2024-12-30T14:00:00", "2024-12-31")])

    assert server.count(KLINES) == 1


# A host that fails


TRANSIENT = [
    pytest.param({"kind": "truncate"}, id="truncated"),
    pytest.param({"kind": "reset"}, id="reset"),
    pytest.param({"kind": "reset", "fraction": 0.5}, id="reset in the middle"),
    pytest.param({"kind": "stall", "seconds": 0.02}, id="closed without a word"),
    pytest.param({"kind": "status", "status": 500}, id="500"),
    pytest.param({"kind": "status", "status": 503, "retry_after": 7}, id="503 with a time"),
    pytest.param({"kind": "status", "status": 429, "retry_after": 3}, id="429"),
]


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.parametrize("part", [".zip$", ".CHECKSUM$"])
def test_a_temporary_failure_is_retried(
    market: Market, server: BinanceServer, fault: dict[str, Any], part: str
) -> None:
    server.faults.add(Fault(match=f"{STEM}.*{part}", times=3, **fault))

    pieces = fetched(server, [IN_MS])

    assert sources(pieces) == ["2024-12-30"]
    assert notes(pieces) == []
    assert bars_of(pieces) == truth(market, [IN_MS])


def test_a_slow_reply_is_awaited_up_to_the_timeout(market: Market, server: BinanceServer) -> None:
    server.faults.add(Fault(match=f"{STEM}.zip", kind="slow", seconds=0.5))

    pieces = fetched(server, [IN_MS], read_s=0.1)

    assert sources(pieces) == ["2024-12-30"]
    assert server.count(STEM) == 3
    assert bars_of(pieces) == truth(market, [IN_MS])


def test_a_host_that_keeps_failing_ends_the_run_after_the_complete_spans(
    server: BinanceServer,
) -> None:
    server.faults.add(Fault(match="2025-01-01", kind="status", status=502, times=None))
    received: list[FetchedSpan] = []
    time = VirtualTime()

    with opened(server, time=time) as history, pytest.raises(VenueError) as failed:
        received += history.fetch(BTC, [span("2024-12-30T12:00:00", "2025-01-03")])

    assert str(failed.value) == Line(
        f"binance_spot: {server.url}/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2025-01-01.zip: "
        "HTTP 502 Bad Gateway, 6 times: ..."
    )
    assert server.count("2025-01-01") == 6
    assert len(time.waits_s) == 5


def test_spans_before_a_failure_are_yielded(server: BinanceServer) -> None:
    server.faults.add(Fault(match="2025-01-01", kind="status", status=502, times=None))
    with opened(server) as history:
        pieces = history.fetch(BTC, [span("2024-12-30T12:00:00", "2025-01-03")])

        assert sources([next(pieces), next(pieces)]) == ["2024-12-30", "2024-12-31"]
        with pytest.raises(VenueError, match="502"):
            next(pieces)


@pytest.mark.parametrize("status", [403, 451])
def test_an_archive_that_refuses_gets_no_further_request(
    server: BinanceServer, status: int
) -> None:
    server.faults.add(Fault(match=STEM, kind="status", status=status, times=None))

    with pytest.raises(VenueError) as refused:
        fetched(server, [IN_MS])

    assert server.count(STEM) == 1
    assert f"{server.url} refuses this place or network (HTTP {status} " in str(refused.value)
    assert "set `archive_url` in config/venues/binance_spot.yaml to" in str(refused.value)


def test_pauses_grow_and_are_capped(server: BinanceServer) -> None:
    server.faults.add(Fault(match=STEM, kind="reset", times=None))
    time = VirtualTime()

    with pytest.raises(VenueError, match="Connection reset by peer, 8 times"):
        fetched(server, [IN_MS], time=time, tries=8, base_s=1.0, cap_s=10.0)

    for pause_s, most_s in zip(time.waits_s, [1, 2, 4, 8, 10, 10, 10], strict=True):
        assert most_s / 2 <= pause_s <= most_s


# Rows that Binance really sent


@pytest.mark.skipif(not REAL.is_dir(), reason=f"Binance's own rows are not in {REAL}")
@pytest.mark.parametrize(
    ("key", "day", "expected"),
    [
        (
            "1m_us",
            span("2025-01-01", "2025-01-02"),
            [(1735689600000, 93576.0, 93610.93, 93537.5, 93610.93, 8.21827)],
        ),
        (
            "1m_2017_nonzero_ignore",
            span("2017-08-31", "2017-09-01"),
            [
                (1504223700000, 4699.0, 4699.0, 4699.0, 4699.0, 0.118442),
                (1504223760000, 4699.0, 4699.0, 4699.0, 4699.0, 0.0),
                (1504223820000, 4699.0, 4699.0, 4699.0, 4699.0, 0.0),
                (1504223880000, 4724.88, 4724.89, 4724.88, 4724.89, 0.904681),
                (1504223940000, 4724.89, 4724.89, 4724.89, 4724.89, 0.0),
            ],
        ),
    ],
)
def test_real_rows_are_parsed(key: str, day: Span, expected: list[tuple[Any, ...]]) -> None:
    rows = json.loads((REAL / "messages/binance_archive_rows_ms_and_us.json").read_text())

    minutes = parse_file(zipped("x", rows[key]), "x", day)

    assert [tuple(bar.values()) for bar in to_table(minutes).to_pylist()] == expected
    assert (minutes.off_minute, minutes.duplicates, minutes.unsorted) == (0, 0, False)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"Binance's own rows are not in {REAL}")
def test_real_checksums_are_parsed() -> None:
    rows = json.loads((REAL / "messages/binance_archive_rows_ms_and_us.json").read_text())

    for line in rows["CHECKSUM_real"]:
        sha256, name = line.split("  ")
        assert parse_checksum(f"{line}\n".encode(), name) == sha256


def test_a_zip_bomb_is_not_unzipped() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", bytes(65 * 2**20))

    with pytest.raises(UnusableError, match="unzips to more than"):
        parse_file(made.getvalue(), "x", IN_MS)


def zipped(stem: str, lines: list[str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{stem}.csv", "".join(f"{line}\n" for line in lines))
    return made.getvalue()
