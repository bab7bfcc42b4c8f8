"""A thinned curve keeps every peak that the eye would see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.page.thin import keep_extremes, shown


def test_few_points_are_all_kept() -> None:
    assert keep_extremes([np.arange(10.0)], most=5).tolist() == list(range(10))


def test_one_spike_among_a_million_values_stays() -> None:
    curve = np.zeros(1_000_000)
    curve[123_456], curve[654_321] = 5, -7

    kept = keep_extremes([curve], most=800)

    assert {0, 123_456, 654_321, 999_999} <= set(kept.tolist())
    assert len(kept) <= 2 * 800 + 2


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300),
    st.integers(1, 40),
)
def test_every_stretch_keeps_its_lowest_and_highest_value(values: list[float], most: int) -> None:
    curve = np.array(values)

    kept = keep_extremes([curve, -curve], most=most).tolist()

    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    width = -(-len(values) // most)
    for first in range(0, len(values), width):
        stretch = values[first : first + width]
        drawn = [values[at] for at in kept if first <= at < first + width]
        assert min(drawn) == min(stretch)
        assert max(drawn) == max(stretch)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([9554.158462, 10000.0], [9554.16, 10000], id="money: cents of ten thousands"),
        pytest.param([0.000012345678], [0.00001234568], id="a tiny price keeps its digits"),
        pytest.param([float("nan"), 1.0], [None, 1], id="no number is None"),
        pytest.param([-0.0], [0], id="no minus zero"),
    ],
)
def test_values_are_shown_with_seven_digits_of_the_largest(
    values: list[float], expected: list[float | None]
) -> None:
    assert shown(np.array(values), digits=7) == pytest.approx(expected, abs=1e-15)
