"""Months of the ledger, counted by hand; 2024 has 44,640 minutes in January, 41,760 in February."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tbv8.build import build_bars
from tbv8.market import MINUTE_MS, Series, Span, parse_timeframe
from tbv8.report.months import SeriesMonths, read_coverage
from tbv8.store.database import open_reader
from tests.builders import BTC, ETH, at, day, days, hold, minute_bars, shell


def read(
    db_path: Path,
    wanted: Mapping[Series, Sequence[Span]],
    stored: Sequence[tuple[Series, str]],
) -> dict[tuple[str, str], dict[str, tuple[int, int, int]]]:
    """Return (held, outage, gap) by series and dataset, by month."""
    with open_reader(db_path) as query:
        found: list[SeriesMonths] = read_coverage(query, stored, wanted)
    return {
        (one.series.symbol, one.dataset): {
            month.name: (month.stored, month.outage, month.gap) for month in one.months
        }
        for one in found
    }


def test_held_missing_and_unknown_minutes_of_each_month(db_path: Path) -> None:
    # given January from the 2nd to the 30th, without 90 minutes of the venue, and February 1st
    hole = Span(day(5), day(5) + 90 * MINUTE_MS)
    hold(db_path, BTC, days(1, 30), minute_bars(days(1, 30), without=[hole]))
    hold(db_path, BTC, days(31, 32))

    # when all of January and half of February are wanted
    wanted = {BTC: [Span(day(0), at("2024-02-15"))]}
    found = read(db_path, wanted, [(BTC, "ohlcv_1m")])

    # then two days of January are unknown, and of February all but one of 14
    assert found == {
        ("BTC/USDT", "ohlcv_1m"): {
            "2024-01": (29 * 1440 - 90, 90, 2 * 1440),
            "2024-02": (1440, 0, 13 * 1440),
        }
    }


def test_what_is_held_beyond_what_is_wanted_counts_as_held(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 3))

    found = read(db_path, {BTC: [days(1, 2)]}, [(BTC, "ohlcv_1m")])

    assert found == {("BTC/USDT", "ohlcv_1m"): {"2024-01": (3 * 1440, 0, 0)}}


def test_days_before_a_listing_are_in_no_count(db_path: Path) -> None:
    empty = minute_bars(Span(0, 0))
    hold(db_path, BTC, days(0, 4), empty, source="not listed")
    hold(db_path, BTC, days(4, 6))

    found = read(db_path, {BTC: [days(0, 6)]}, [(BTC, "ohlcv_1m")])

    assert found == {("BTC/USDT", "ohlcv_1m"): {"2024-01": (2 * 1440, 0, 0)}}


def test_wanted_history_that_never_came_is_all_gap(db_path: Path) -> None:
    found = read(db_path, {ETH: [days(30, 33)]}, [])

    assert found == {
        ("ETH/USDT", "ohlcv_1m"): {"2024-01": (0, 0, 1440), "2024-02": (0, 0, 2 * 1440)}
    }


def test_between_what_was_recorded_is_a_gap(db_path: Path) -> None:
    for span in (days(0, 1), days(3, 4)):
        hold(db_path, BTC, span, dataset="bars_1m", source="record")

    found = read(db_path, {}, [(BTC, "bars_1m")])

    assert found == {("BTC/USDT", "bars_1m"): {"2024-01": (2 * 1440, 0, 2 * 1440)}}


def test_of_built_bars_what_the_minutes_would_give_and_is_not_built(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 10))
    build_bars(db_path, BTC, parse_timeframe("1h"), chunk_days=5, now_ms=1)
    shell(
        db_path,
        "DELETE FROM history_coverage WHERE dataset = 'bars_1h' AND day_ms BETWEEN ? AND ?",
        (day(4), day(5)),
    )

    found = read(db_path, {BTC: [days(0, 10)]}, [(BTC, "ohlcv_1m"), (BTC, "bars_1h")])

    assert found["BTC/USDT", "bars_1h"] == {"2024-01": (8 * 1440, 0, 2 * 1440)}


def test_a_week_over_the_end_of_a_month_counts_in_both(db_path: Path) -> None:
    # Monday 2024-01-29 to Sunday 2024-02-04: three days in January, four in February
    hold(db_path, BTC, days(28, 35))
    build_bars(db_path, BTC, parse_timeframe("1w"), chunk_days=50, now_ms=1)

    found = read(db_path, {}, [(BTC, "ohlcv_1m"), (BTC, "bars_1w")])

    assert found["BTC/USDT", "bars_1w"] == {
        "2024-01": (3 * 1440, 0, 0),
        "2024-02": (4 * 1440, 0, 0),
    }


def test_an_empty_database_has_no_months(db_path: Path) -> None:
    assert read(db_path, {}, []) == {}
