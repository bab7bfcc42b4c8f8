"""Interval arithmetic: each function against sets of minutes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.coverage import by_day, connected_gaps, gaps, merge, missing_spans
from tbv8.market import DAY_MS, HOUR_MS, Span

# Time in these tests is hours of the first five days of 1970.
LAST = 5 * 24
HOURS = st.integers(0, LAST)


def hours(start: int, end: int) -> Span:
    return Span(start * HOUR_MS, end * HOUR_MS)


def listed(*spans: tuple[int, int]) -> list[Span]:
    return [hours(start, end) for start, end in spans]


def moments(spans: Iterable[Span]) -> set[int]:
    return {hour for span in spans for hour in range(span.start_ms, span.end_ms, HOUR_MS)}


SPANS = st.lists(st.builds(hours, HOURS, HOURS), max_size=6)  # empty and inverted ones too
WANTED = st.builds(hours, HOURS, HOURS)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Span]:
    """Draw what a ledger can hold: at most one span of each UTC day."""
    held = []
    for day in range(LAST // 24):
        start, end = sorted((draw(st.integers(0, 24)), draw(st.integers(0, 24))))
        held.append(hours(day * 24 + start, day * 24 + end))
    return draw(st.permutations(held))


def known_as_one_span(day: int, known: set[int]) -> bool:
    held = [hour for hour in range(day * 24, day * 24 + 24) if hour * HOUR_MS in known]
    return not held or held == list(range(held[0], held[-1] + 1))


@pytest.mark.parametrize(
    ("spans", "merged"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([(3, 3)], [], id="an empty one"),
        pytest.param([(5, 2)], [], id="an inverted one"),
        pytest.param([(1, 3), (3, 5)], [(1, 5)], id="touching"),
        pytest.param([(1, 3), (4, 5)], [(1, 3), (4, 5)], id="an hour apart"),
        pytest.param([(1, 9), (2, 3), (4, 5)], [(1, 9)], id="inside another"),
        pytest.param([(6, 8), (1, 3), (2, 7)], [(1, 8)], id="out of order and overlapping"),
        pytest.param([(1, 3), (1, 3)], [(1, 3)], id="twice the same"),
    ],
)
def test_merged_spans_are_the_fewest(
    spans: list[tuple[int, int]], merged: list[tuple[int, int]]
) -> None:
    assert merge(listed(*spans)) == listed(*merged)


@given(spans=SPANS)
def test_merging_keeps_all_time_and_adds_none(spans: list[Span]) -> None:
    merged = merge(spans)

    assert moments(merged) == moments(spans)
    assert all(merged)
    assert all(a.end_ms < b.start_ms for a, b in itertools.pairwise(merged))
    assert merge(merged) == merged


@pytest.mark.parametrize(
    ("covered", "missing"),
    [
        pytest.param([], [(10, 20)], id="nothing is held"),
        pytest.param([(10, 20)], [], id="all is held"),
        pytest.param([(0, 99)], [], id="more is held"),
        pytest.param([(0, 12), (18, 30)], [(12, 18)], id="both edges are held"),
        pytest.param([(12, 14), (16, 18)], [(10, 12), (14, 16), (18, 20)], id="pieces are held"),
        pytest.param([(0, 10), (20, 30)], [(10, 20)], id="only its neighbours are held"),
        pytest.param([(16, 20), (10, 13), (12, 16)], [], id="held in overlapping pieces"),
    ],
)
def test_gaps_are_what_is_not_held(
    covered: list[tuple[int, int]], missing: list[tuple[int, int]]
) -> None:
    assert gaps(hours(10, 20), listed(*covered)) == listed(*missing)


@given(wanted=WANTED, covered=SPANS)
def test_gaps_and_what_is_held_fill_the_wanted_time(wanted: Span, covered: list[Span]) -> None:
    missing = gaps(wanted, covered)

    assert moments(missing) == moments([wanted]) - moments(covered)
    assert missing == merge(missing)
    assert gaps(wanted, [*covered, *missing]) == []


@pytest.mark.parametrize(
    ("wanted", "held", "fetched"),
    [
        pytest.param((10, 12), [], [(10, 12)], id="nothing is held: as wanted"),
        pytest.param((10, 12), [(2, 5)], [(5, 12)], id="held earlier that day: from there on"),
        pytest.param((10, 12), [(20, 22)], [(10, 20)], id="held later that day: up to there"),
        pytest.param((26, 28), [(2, 24)], [(26, 28)], id="held up to midnight: as wanted"),
        pytest.param((26, 28), [(48, 50)], [(26, 28)], id="held from the next midnight: as wanted"),
        pytest.param((10, 60), [(2, 5), (65, 70)], [(5, 65)], id="over days: at both ends"),
        pytest.param((0, 24), [(5, 10)], [(0, 5), (10, 24)], id="held in the middle: around it"),
        pytest.param((3, 8), [(2, 10)], [], id="all is held: nothing"),
        pytest.param((24, 48), [(2, 5), (70, 72)], [(24, 48)], id="a whole day: as wanted"),
        pytest.param((30, 30), [(25, 26)], [], id="nothing is wanted: nothing"),
    ],
)
def test_a_gap_is_widened_to_what_is_held_of_its_day(
    wanted: tuple[int, int], held: list[tuple[int, int]], fetched: list[tuple[int, int]]
) -> None:
    assert connected_gaps(hours(*wanted), listed(*held)) == listed(*fetched)


@given(wanted=WANTED, held=ledgers())
def test_a_filled_gap_leaves_each_day_known_as_one_span(wanted: Span, held: list[Span]) -> None:
    fetched = connected_gaps(wanted, held)

    known = moments([*held, *fetched])
    assert moments([wanted]) <= known
    assert not moments(fetched) & moments(held)
    assert all(known_as_one_span(day, known) for day in range(LAST // 24))
    assert fetched == merge(fetched)
    assert connected_gaps(wanted, [*held, *fetched]) == []
    # Nothing is fetched of a day that nothing is wanted of.
    assert {ms // DAY_MS for ms in moments(fetched)} <= {ms // DAY_MS for ms in moments([wanted])}


@pytest.mark.parametrize(
    ("wanted", "held", "fetched"),
    [
        pytest.param([], [(1, 2)], [], id="nothing is wanted"),
        pytest.param([(1, 3), (2, 6)], [], [(1, 6)], id="wanted twice"),
        pytest.param([(15, 16), (1, 2)], [], [(1, 16)], id="two parts of one day"),
        pytest.param([(1, 2), (30, 31)], [], [(1, 2), (30, 31)], id="parts of two days"),
        pytest.param([(1, 2), (20, 22)], [(5, 6)], [(1, 5), (6, 22)], id="held between them"),
    ],
)
def test_several_wanted_spans_are_fetched_as_one_list(
    wanted: list[tuple[int, int]], held: list[tuple[int, int]], fetched: list[tuple[int, int]]
) -> None:
    assert missing_spans(listed(*wanted), listed(*held)) == listed(*fetched)


@given(wanted=SPANS, held=ledgers())
def test_several_filled_spans_leave_each_day_known_as_one_span(
    wanted: list[Span], held: list[Span]
) -> None:
    fetched = missing_spans(iter(wanted), iter(held))

    known = moments([*held, *fetched])
    assert moments(wanted) <= known
    assert not moments(fetched) & moments(held)
    assert all(known_as_one_span(day, known) for day in range(LAST // 24))
    assert missing_spans(wanted, [*held, *fetched]) == []


@given(wanted=SPANS, held=ledgers(), order=st.randoms())
def test_the_order_of_wanted_spans_does_not_matter(
    wanted: list[Span], held: list[Span], order: random.Random
) -> None:
    shuffled = order.sample(wanted, len(wanted))

    assert missing_spans(shuffled, held) == missing_spans(wanted, held)


@pytest.mark.parametrize(
    ("span", "days"),
    [
        pytest.param((30, 30), [], id="nothing"),
        pytest.param((30, 40), [(30, 40)], id="within a day"),
        pytest.param((24, 48), [(24, 48)], id="a day"),
        pytest.param((20, 50), [(20, 24), (24, 48), (48, 50)], id="parts of three days"),
    ],
)
def test_a_span_is_cut_at_midnights(span: tuple[int, int], days: list[tuple[int, int]]) -> None:
    assert by_day(hours(*span)) == listed(*days)


@given(span=WANTED)
def test_the_days_of_a_span_make_it_up(span: Span) -> None:
    days = by_day(span)

    assert merge(days) == merge([span])
    assert all(days)
    assert all(day.start_ms // DAY_MS == (day.end_ms - 1) // DAY_MS for day in days)
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(days))
