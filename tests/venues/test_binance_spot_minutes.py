"""Rows as the venue sends them become one bar a minute, by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tbv8.market import MINUTE_MS, Span
from tbv8.venues.binance.minutes import MinuteBars, clean_rows, join, missing_runs, within_span

START = 1_704_067_200_000  # 2024-01-01
DAY = Span(START, START + 1440 * MINUTE_MS)


def settled(rows: Sequence[tuple[int, float]], within: Span = DAY) -> MinuteBars:
    """Settle flat bars of (open time, price)."""
    opens = np.array([ts for ts, _price in rows], dtype=np.int64)
    prices = np.array([price for _ts, price in rows])
    return clean_rows(opens, [prices, prices, prices, prices, np.zeros(len(rows))], within)


def at(minute: int, past_ms: int = 0) -> int:
    return START + minute * MINUTE_MS + past_ms


def prices(minutes: MinuteBars) -> list[tuple[int, float]]:
    """Return minute and price of each bar."""
    numbers = ((minutes.ts_ms - START) // MINUTE_MS).tolist()
    return list(zip(numbers, minutes.values[0].tolist(), strict=True))


def minutes_at(*numbers: int) -> MinuteBars:
    return settled([(at(number), 1.0 + number) for number in numbers])


def test_each_row_is_of_milliseconds_or_microseconds_by_itself() -> None:
    found = settled([(at(0), 1.0), (at(1) * 1000, 2.0), (at(2), 3.0)])

    assert prices(found) == [(0, 1.0), (1, 2.0), (2, 3.0)]


@pytest.mark.parametrize(
    ("open_ms", "taken"),
    [(DAY.start_ms - 1, False), (DAY.start_ms, True), (DAY.end_ms - 1, True), (DAY.end_ms, False)],
    ids=["before the start", "at the start", "before the end", "at the end"],
)
def test_a_row_outside_of_the_files_span_is_refused(open_ms: int, taken: bool) -> None:
    if taken:
        assert len(settled([(open_ms, 1.0)])) == 1
    else:
        with pytest.raises(ValueError, match=f"row 1 .open time {open_ms}. lies outside"):
            settled([(open_ms, 1.0)])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((2.0, 2.0, 1.0, 2.1, 0.0), id="the high is below the close"),
        pytest.param((2.1, 2.0, 1.0, 2.0, 0.0), id="the high is below the open"),
        pytest.param((2.0, 2.0, 1.5, 1.4, 0.0), id="the low is above the close"),
        pytest.param((1.4, 2.0, 1.5, 2.0, 0.0), id="the low is above the open"),
        pytest.param((1.0, 1.0, 0.0, 1.0, 0.0), id="a price of 0"),
        pytest.param((1.0, 1.0, 1.0, 1.0, -0.1), id="a volume below 0"),
        pytest.param((1.0, float("inf"), 1.0, 1.0, 0.0), id="an infinite high"),
        pytest.param((1.0, 1.0, 1.0, 1.0, float("nan")), id="no volume"),
    ],
)
def test_an_impossible_row_makes_only_its_minute_unusable(values: tuple[float, ...]) -> None:
    opens = np.array([at(0), at(1)], dtype=np.int64)
    columns: Any = [np.array([1.0, value]) for value in values]

    found = clean_rows(opens, columns, DAY)

    assert (prices(found), found.unusable) == ([(0, 1.0)], (at(1),))


def test_a_minute_without_a_trade_is_a_bar() -> None:
    assert prices(settled([(at(0), 1.0)])) == [(0, 1.0)]


@pytest.mark.parametrize(
    ("rows", "stays"),
    [
        pytest.param([(at(0, 14_789), 1.0), (at(0), 2.0)], 2.0, id="the one on the minute"),
        pytest.param([(at(0, 5), 1.0), (at(0, 4), 2.0)], 2.0, id="the earlier one"),
        pytest.param([(at(0), 1.0), (at(0), 2.0)], 1.0, id="of equal times the first"),
        pytest.param(
            [(at(1), 9.0), (at(0), 1.0), (at(0), 2.0)], 1.0, id="of equal times the first, unsorted"
        ),
    ],
)
def test_of_several_bars_in_a_minute_one_stays(rows: list[tuple[int, float]], stays: float) -> None:
    found = settled(rows)

    assert prices(found)[0] == (0, stays)
    assert found.duplicates == 1


def test_corrections_are_counted() -> None:
    found = settled([(at(2), 3.0), (at(0, 7), 1.0), (at(0, 9), 5.0)])

    assert prices(found) == [(0, 1.0), (2, 3.0)]
    assert (found.off_minute, found.duplicates, found.unsorted) == (2, 1, True)


def test_sorted_rows_do_not_count_as_unsorted() -> None:
    assert not settled([(at(0), 1.0), (at(0), 2.0), (at(1), 1.0)]).unsorted


def test_a_cut_holds_its_first_minute_and_not_the_one_at_its_end() -> None:
    found = within_span(minutes_at(0, 1, 2, 3), Span(at(1), at(3)))

    assert prices(found) == [(1, 2.0), (2, 3.0)]


@pytest.mark.parametrize(
    ("stored", "span", "missing"),
    [
        pytest.param((), (at(0), at(3)), [(0, 3)], id="all of it"),
        pytest.param((0, 1, 2), (at(0), at(3)), [], id="nothing"),
        pytest.param((1,), (at(0), at(3)), [(0, 1), (2, 3)], id="the first and the last"),
        pytest.param((0, 3), (at(0), at(4)), [(1, 3)], id="some between"),
        pytest.param((0,), (at(0), at(1, 1)), [(1, 2)], id="one that begins within the span"),
        pytest.param((1,), (at(0, 1), at(2)), [], id="not one that began before the span"),
        pytest.param((), (at(0, 1), at(0, 2)), [], id="none begins within the span"),
    ],
)
def test_minutes_without_a_bar_are_returned_as_runs(
    stored: tuple[int, ...], span: tuple[int, int], missing: list[tuple[int, int]]
) -> None:
    assert missing_runs(minutes_at(*stored), Span(*span)) == [
        Span(at(a), at(b)) for a, b in missing
    ]


def test_of_two_parts_the_bar_of_the_earlier_one_stays() -> None:
    first, second = settled([(at(1), 1.0)]), settled([(at(0), 5.0), (at(1), 6.0)])

    assert prices(join([first, second])) == [(0, 5.0), (1, 1.0)]


def test_joining_parts_adds_up_their_corrections() -> None:
    twice = settled([(at(0, 1), 1.0), (at(0, 2), 1.0)])
    sorted_ = settled([(at(5), 1.0)])
    unsorted = settled([(at(7), 1.0), (at(6), 1.0)])

    found = join([twice, sorted_, unsorted])

    assert (found.off_minute, found.duplicates, found.unsorted) == (2, 1, True)
    assert join([sorted_, minutes_at(5)]).duplicates == 1
