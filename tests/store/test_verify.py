"""What `verify` finds in rows and ledger, what it may drop, and what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tbv8.build import build_bars
from tbv8.market import DAY_MS, HOUR_MS, Series, Span, parse_timeframe
from tbv8.store.bars import open_bars
from tbv8.store.verify import DayProblem, drop, give_up, stored_datasets, stored_series, verify
from tests.builders import (
    BTC,
    ETH,
    bars_in,
    day,
    days,
    hold,
    ledger_in,
    minute_bars,
    open_shell,
    rows,
    shell,
)

NOON = day(1) + DAY_MS // 2
FIVE_MINUTES = parse_timeframe("5m")


@pytest.fixture
def stored(db_path: Path) -> Path:
    """Return a database of three days of 1m and 5m bars; the second day lacks an hour."""
    hole = Span(day(1), day(1) + HOUR_MS)
    hold(db_path, BTC, days(0, 3), minute_bars(days(0, 3), without=[hole]))
    build_bars(db_path, BTC, FIVE_MINUTES, chunk_days=90, now_ms=1)
    return db_path


def found(db_path: Path, dataset: str = "ohlcv_1m", series: Series = BTC) -> list[DayProblem]:
    with open_bars(db_path) as store:
        return list(verify(store, dataset, series))


def problems_of(problems: Iterable[DayProblem]) -> list[tuple[int, str]]:
    """Return day (from 0) and words of each problem."""
    return [((problem.day_ms - day(0)) // DAY_MS, problem.problem) for problem in problems]


def anywhere(_dataset: str, _series: Series, _span: Span) -> bool:
    return True


def nowhere(_dataset: str, _series: Series, _span: Span) -> bool:
    return False


def repair(
    db_path: Path,
    problems: list[DayProblem],
    *,
    can_fetch: Callable[[str, Series, Span], bool] = anywhere,
) -> list[DayProblem]:
    """Drop what can come back; return what stays."""
    with open_bars(db_path) as store:
        return drop(store, problems, can_fetch=can_fetch)


def test_written_days_have_no_problems_despite_missing_minutes(stored: Path) -> None:
    assert found(stored) == []
    assert found(stored, "bars_5m") == []


def test_all_datasets_and_series_are_found_by_rows_or_ledger(stored: Path) -> None:
    shell(stored, "INSERT INTO bars_1h VALUES ('sample', 'ETH/USDT', 0, 1, 1, 1, 1, 1, 60)")
    shell(stored, "CREATE TABLE bars_of_gold (ts_ms)")

    with open_bars(stored) as store:
        assert stored_series(store) == [("bars_1h", ETH), ("bars_5m", BTC), ("ohlcv_1m", BTC)]
        assert "bars_of_gold" not in stored_datasets(store)
        assert {"ohlcv_1m", "bars_1m", "bars_5m", "bars_1mo"} < set(stored_datasets(store))


CHANGED = "a row was changed outside of tbv8"
WRONG = [
    pytest.param(
        "UPDATE ohlcv_1m SET close = close + 0.25, high = high + 1 WHERE ts_ms = :noon",
        [CHANGED],
        id="another price",
    ),
    pytest.param(
        "DELETE FROM ohlcv_1m WHERE ts_ms = :noon",
        [CHANGED, "1,379 rows, but 1380 in the ledger"],
        id="a missing row",
    ),
    pytest.param(
        "INSERT INTO ohlcv_1m SELECT venue, symbol, ts_ms + 30000, open, high, low, close, volume"
        " FROM ohlcv_1m WHERE ts_ms = :noon",
        [
            "1 row off the 1m grid, first 2024-01-02T12:00:30Z",
            "a row was changed outside of tbv8",
            "1,381 rows, but 1380 in the ledger",
        ],
        id="a row off the minute",
    ),
    pytest.param(
        "INSERT INTO ohlcv_1m SELECT venue, symbol, ts_ms + 0.5, open, high, low, close, volume"
        " FROM ohlcv_1m WHERE ts_ms = :noon",
        [
            "1 row with a repeated time, first 2024-01-02T12:00:00Z",
            "its rows do not match the ledger's digest",
            "1,381 rows, but 1380 in the ledger",
        ],
        id="a minute twice",
    ),
    pytest.param(
        "UPDATE ohlcv_1m SET high = low - 1 WHERE ts_ms = :noon",
        [
            "1 row with a high below or a low above its open or close, first 2024-01-02T12:00:00Z",
            CHANGED,
        ],
        id="a high below its low",
    ),
    pytest.param(
        "UPDATE ohlcv_1m SET open = 0, low = 0 WHERE ts_ms = :noon",
        ["1 row with a price that is not above 0, first 2024-01-02T12:00:00Z", CHANGED],
        id="a price of zero",
    ),
    pytest.param(
        "UPDATE ohlcv_1m SET volume = -1 WHERE ts_ms = :noon",
        ["1 row with a negative volume, first 2024-01-02T12:00:00Z", CHANGED],
        id="a negative volume",
    ),
    pytest.param(
        "UPDATE ohlcv_1m SET volume = 9e999 WHERE ts_ms = :noon",
        ["1 row with a value that is not finite, first 2024-01-02T12:00:00Z", CHANGED],
        id="an infinite volume",
    ),
    pytest.param(
        "UPDATE history_coverage SET digest = NULL WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        [CHANGED],
        id="no digest",
    ),
    pytest.param(
        "UPDATE history_coverage SET digest = 'abc' WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        ["its rows do not match the ledger's digest"],
        id="another digest",
    ),
    pytest.param(
        "UPDATE history_coverage SET missing = 0 WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        ["1380 bars and 0 missing do not add up to 1,440 minutes"],
        id="a ledger that cannot count",
    ),
    pytest.param(
        "UPDATE history_coverage SET end_ms = :noon, missing = 0, bars = 1380"
        " WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        [
            "1380 bars and 0 missing do not add up to 720 minutes",
            "720 rows outside of 2024-01-02T00:00:00Z .. 2024-01-02T12:00:00Z, first "
            "2024-01-02T12:00:00Z",
        ],
        id="rows outside of what is known",
    ),
    pytest.param(
        "UPDATE history_coverage SET start_ms = start_ms - 86400000, missing = missing + 1440"
        " WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        [
            "its ledger has 2024-01-01T00:00:00Z .. 2024-01-03T00:00:00Z, which is outside of "
            "the day"
        ],
        id="a ledger that knows another day too",
    ),
    pytest.param(
        "UPDATE history_coverage SET start_ms = 'noon', bars = 'many'"
        " WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        [
            "1,380 rows, but 0 in the ledger",
            "0 bars and 60 missing do not add up to 28,404,000 minutes",
            "its ledger has 1970-01-01T00:00:00Z .. 2024-01-03T00:00:00Z, which is outside of "
            "the day",
        ],
        id="text in the ledger",
    ),
    pytest.param(
        "DELETE FROM history_coverage WHERE day_ms = :day AND dataset = 'ohlcv_1m'",
        ["1,380 rows without a ledger row"],
        id="rows without a ledger",
    ),
]


@pytest.mark.parametrize(("sql", "problems"), WRONG)
def test_a_wrong_day_is_reported_dropped_and_restored(
    stored: Path, sql: str, problems: list[str]
) -> None:
    before = bars_in(stored, BTC), ledger_in(stored, BTC)
    shell(stored, sql.replace(":noon", str(NOON)).replace(":day", str(day(1))))

    wrong = found(stored)

    assert problems_of(wrong) == [(1, problem) for problem in problems]
    assert repair(stored, wrong) == []
    assert [row for row in bars_in(stored, BTC) if day(1) <= row[0] < day(2)] == []
    assert [row[0] for row in ledger_in(stored, BTC)] == [day(0), day(2)]
    assert found(stored) == []
    hole = Span(day(1), day(1) + HOUR_MS)
    hold(stored, BTC, days(1, 2), minute_bars(days(1, 2), without=[hole]))
    assert (bars_in(stored, BTC), ledger_in(stored, BTC)) == before


def test_a_ledger_row_without_rows_is_reported(stored: Path) -> None:
    shell(stored, "DROP TRIGGER ohlcv_1m_delete")
    shell(stored, "DELETE FROM ohlcv_1m WHERE ts_ms >= ?", (day(2),))

    assert problems_of(found(stored)) == [
        (2, "its rows do not match the ledger's digest"),
        (2, "0 rows, but 1440 in the ledger"),
    ]


@pytest.mark.parametrize(
    ("ts_ms", "first"),
    [
        pytest.param("'noon'", "noon", id="a word"),
        pytest.param("-60000", "-60000", id="before 1970"),
        pytest.param("1704067200000000", "1704067200000000", id="microseconds"),
        pytest.param("9223372036854775807", "9223372036854775807", id="the largest number"),
    ],
)
def test_an_impossible_time_is_reported_and_dropped(stored: Path, ts_ms: str, first: str) -> None:
    before = bars_in(stored, BTC)
    shell(stored, f"INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', {ts_ms}, 1, 1, 1, 1, 1)")

    wrong = found(stored)

    assert [problem.problem for problem in wrong] == [
        f"1 row with an impossible ts_ms, first {first!r}"
    ]
    assert repair(stored, wrong) == []
    assert found(stored) == []
    assert bars_in(stored, BTC) == before


def test_built_bars_are_rebuilt_after_a_repair(stored: Path) -> None:
    before = bars_in(stored, BTC, "bars_5m"), ledger_in(stored, BTC, "bars_5m")
    shell(stored, "UPDATE bars_5m SET minutes = 0, volume = 1 WHERE ts_ms = ?", (NOON,))
    shell(
        stored, "INSERT INTO bars_5m VALUES ('sample', 'BTC/USDT', ?, 1, 1, 1, 1, 1, 5)", (day(7),)
    )

    wrong = found(stored, "bars_5m")

    assert problems_of(wrong) == [
        (1, "1 row without any 1m bars, first 2024-01-02T12:00:00Z"),
        (1, CHANGED),
        (7, "1 row without a ledger row"),
    ]
    # no venue is needed where the minutes are held
    assert problems_of(repair(stored, wrong, can_fetch=nowhere)) == [(7, wrong[2].problem)]
    build_bars(stored, BTC, FIVE_MINUTES, chunk_days=90, now_ms=1)
    shell(stored, "DELETE FROM bars_5m WHERE ts_ms = ?", (day(7),))
    assert (bars_in(stored, BTC, "bars_5m"), ledger_in(stored, BTC, "bars_5m")) == before


def test_monthly_bars_stay_when_a_day_is_dropped(db_path: Path) -> None:
    month = parse_timeframe("1M")
    hold(db_path, BTC, days(0, 31))
    build_bars(db_path, BTC, month, chunk_days=90, now_ms=1)
    shell(db_path, "UPDATE bars_1mo SET volume = 1")
    wrong = found(db_path, "bars_1mo")
    shell(db_path, "DELETE FROM history_coverage WHERE day_ms = ?", (day(9),))

    assert repair(db_path, wrong, can_fetch=nowhere) == wrong
    assert len(bars_in(db_path, BTC, "bars_1mo")) == 1


def test_recorded_bars_are_reported_and_not_dropped(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2), dataset="bars_1m", source="record")
    shell(db_path, "UPDATE bars_1m SET close = high WHERE ts_ms = ?", (NOON,))
    before = bars_in(db_path, BTC, "bars_1m"), ledger_in(db_path, BTC, "bars_1m")

    wrong = found(db_path, "bars_1m")

    assert problems_of(wrong) == [(1, CHANGED)]
    assert repair(db_path, wrong) == wrong
    assert (bars_in(db_path, BTC, "bars_1m"), ledger_in(db_path, BTC, "bars_1m")) == before


def test_recorded_bars_that_are_given_up_become_a_recording_gap(db_path: Path) -> None:
    # given two recorded days that were changed, a row of no day, and a gap that was healed
    hold(db_path, BTC, Span(day(0), NOON), dataset="bars_1m", source="record")
    hold(db_path, ETH, days(0, 1), dataset="bars_1m", source="record")
    hold(db_path, BTC, days(0, 1))
    shell(db_path, "UPDATE bars_1m SET close = high WHERE symbol = 'BTC/USDT'")
    shell(db_path, f"INSERT INTO bars_1m VALUES ('sample', 'BTC/USDT', {day(5)}, 1, 1, 1, 1, 1)")
    shell(
        db_path,
        "INSERT INTO recording_gaps VALUES ('sample', 'BTC/USDT', 'bars_1m', ?, ?, 'started', 1)",
        (day(1), day(1) + HOUR_MS),
    )
    before = bars_in(db_path, ETH, "bars_1m"), bars_in(db_path, BTC)

    wrong = found(db_path, "bars_1m")
    with open_bars(db_path) as store:
        give_up(store, wrong)

    assert problems_of(wrong) == [(0, CHANGED), (1, CHANGED), (5, "1 row without a ledger row")]
    assert found(db_path, "bars_1m") == []
    assert bars_in(db_path, BTC, "bars_1m") == ledger_in(db_path, BTC, "bars_1m") == []
    assert (bars_in(db_path, ETH, "bars_1m"), bars_in(db_path, BTC)) == before
    gaps = rows(
        db_path, "SELECT symbol, channel, start_ms, end_ms, reason, healed FROM recording_gaps"
    )
    assert gaps == [
        ("BTC/USDT", "bars_1m", day(0), day(1), "given up by doit verify", 0),
        ("BTC/USDT", "bars_1m", day(1), NOON, "started; given up by doit verify", 0),
    ]


def test_history_that_the_venue_no_longer_has_is_not_dropped(stored: Path) -> None:
    shell(stored, "DELETE FROM ohlcv_1m WHERE ts_ms = ?", (NOON,))
    before = bars_in(stored, BTC)

    wrong = found(stored)

    assert repair(stored, wrong, can_fetch=nowhere) == wrong
    assert bars_in(stored, BTC) == before
    with open_bars(stored) as store:
        give_up(store, wrong)
    assert bars_in(stored, BTC) == [row for row in before if not day(1) <= row[0] < day(2)]
    assert [known for (known,) in ledger_in(stored, BTC, columns="day_ms")] == [day(0), day(2)]
    assert rows(stored, "SELECT * FROM recording_gaps") == []


def test_a_ledger_of_a_missing_table_is_reported_and_dropped(stored: Path) -> None:
    shell(stored, "DROP TABLE bars_5m")

    wrong = found(stored, "bars_5m")

    assert problems_of(wrong) == [
        (number, f"the ledger has {count} rows, but there is no such table of bars")
        for number, count in enumerate((288, 276, 288))
    ]
    assert repair(stored, wrong) == []
    assert ledger_in(stored, BTC, "bars_5m") == []


def test_days_before_the_listing_have_no_problems(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 40), minute_bars(Span(0, 0)), source="not listed")
    hold(db_path, BTC, days(40, 41))

    assert found(db_path) == []


def test_verifying_does_not_wait_for_a_writer(stored: Path) -> None:
    writer = open_shell(stored)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM ohlcv_1m")
    try:  # one that waited would end in an error: the writer's transaction stays open
        with open_bars(stored) as store, store.transaction("DEFERRED"):
            problems = list(verify(store, "ohlcv_1m", BTC))
    finally:
        writer.close()

    assert problems == []


def test_problems_read_as_lines(stored: Path) -> None:
    shell(stored, "DELETE FROM ohlcv_1m WHERE ts_ms = ?", (NOON,))

    assert str(found(stored)[0]) == f"ohlcv_1m sample:BTC/USDT 2024-01-02: {CHANGED}"


@pytest.mark.slow
def test_eight_years_take_seconds(db_path: Path) -> None:
    for number in range(0, 8 * 366, 31):
        hold(db_path, BTC, days(number, number + 31))
    started_s = time.monotonic()

    problems = found(db_path)

    assert problems == []
    assert time.monotonic() - started_s < 15
    assert rows(db_path, "SELECT count(*) FROM ohlcv_1m")[0][0] > 8 * 365 * 1440
