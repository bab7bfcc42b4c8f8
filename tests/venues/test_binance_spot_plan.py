"""Which archive file, or REST, fills which part of a gap."""

from __future__ import annotations

import pytest

from tbv8.market import Span, parse_time
from tbv8.venues.binance.plan import Piece, cost, pieces
from tbv8.venues.binance_spot import PRODUCT as SPOT

NOW = "2024-03-05T10:30Z"


def span(start: str, end: str) -> Span:
    return Span(parse_time(start), parse_time(end))


def plan(*gaps: Span, now: str = NOW, listed: str = "2017-08-17") -> list[tuple[str, str]]:
    """Return source and span of each piece."""
    planned = pieces(gaps, now_ms=parse_time(now), listed_ms=parse_time(listed))
    return [(piece.source, str(piece.span)) for piece in planned]


def text(start: str, end: str) -> str:
    return str(span(start, end))


def test_a_whole_past_month_is_one_monthly_file() -> None:
    assert plan(span("2024-01-01", "2024-03-01")) == [
        ("monthly", text("2024-01-01", "2024-02-01")),
        ("monthly", text("2024-02-01", "2024-03-01")),
    ]


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        pytest.param("2024-01-02", "2024-02-01", 30, id="its first day is not wanted"),
        pytest.param("2024-01-01", "2024-01-31", 30, id="its last day is not wanted"),
        pytest.param("2024-01-01T00:01Z", "2024-02-01", 31, id="its first minute is not wanted"),
        pytest.param("2024-01-01", "2024-01-31T23:59Z", 31, id="its last minute is not wanted"),
    ],
)
def test_a_part_of_a_past_month_is_daily_files(start: str, end: str, days: int) -> None:
    planned = plan(span(start, end))

    assert [source for source, _span in planned] == ["daily"] * days


def test_the_month_of_the_listing_is_whole_from_the_listing_on() -> None:
    gap = span("2024-01-20T08:00Z", "2024-02-01")

    assert plan(gap, listed="2024-01-20T08:00Z") == [("monthly", str(gap))]
    assert plan(gap, listed="2024-01-20T07:59Z")[0][0] == "daily"


def test_past_days_of_this_month_are_daily_files_and_today_is_rest() -> None:
    assert plan(span("2024-03-03T12:00Z", "2024-03-05T10:30Z")) == [
        ("daily", text("2024-03-03T12:00Z", "2024-03-04")),
        ("daily", text("2024-03-04", "2024-03-05")),
        ("rest", text("2024-03-05", "2024-03-05T10:30Z")),
    ]


def test_the_last_day_of_a_month_is_rest_while_it_lasts() -> None:
    planned = plan(span("2024-02-01", "2024-03-01"), now="2024-02-29T23:59Z")

    assert [source for source, _span in planned] == ["daily"] * 28 + ["rest"]


def test_a_month_is_a_monthly_file_as_soon_as_it_is_over() -> None:
    planned = plan(span("2024-02-01", "2024-03-01"), now="2024-03-01T00:00Z")

    assert [source for source, _span in planned] == ["monthly"]


def test_pieces_come_by_time_and_end_with_their_month() -> None:
    planned = plan(
        span("2024-02-29T23:00Z", "2024-03-01T01:00Z"), span("2023-12-31T23:00Z", "2024-01-01")
    )

    assert planned == [
        ("daily", text("2023-12-31T23:00Z", "2024-01-01")),
        ("daily", text("2024-02-29T23:00Z", "2024-03-01")),
        ("daily", text("2024-03-01", "2024-03-01T01:00Z")),
    ]


def test_a_file_is_named_by_its_month_or_day() -> None:
    part = span("2024-01-20T08:00Z", "2024-01-20T09:00Z")
    monthly, daily = Piece(part, "monthly"), Piece(part, "daily")

    assert monthly.file_path(SPOT, "BTCUSDT") == (
        "/data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    )
    assert monthly.file_span == span("2024-01-01", "2024-02-01")
    assert daily.file_path(SPOT, "BTCUSDT") == (
        "/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-20.zip"
    )
    assert daily.file_span == span("2024-01-20", "2024-01-21")


@pytest.mark.parametrize(("end", "requests"), [("16:40", 1), ("16:41", 2)])
def test_a_request_is_a_page_of_a_thousand_bars(end: str, requests: int) -> None:
    day = span("2024-03-05T00:00Z", f"2024-03-05T{end}Z")

    assert cost(SPOT, pieces([day], now_ms=day.end_ms, listed_ms=0)).requests == requests
