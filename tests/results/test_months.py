"""Returns of months and years, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tbv8.results.tearsheet.months import monthly_returns
from tests.builders import at


def times(*texts: str) -> np.ndarray:
    return np.array([at(text) for text in texts], dtype=np.int64)


def test_a_close_at_midnight_of_the_first_ends_the_month_before() -> None:
    ends = ("2023-12-15", "2024-01-01", "2024-01-20", "2024-02-01", "2024-02-02")
    equity = np.array([100, 110, 120, 90, 60, 66])

    found = monthly_returns(times("2023-12-01", *ends), equity)

    # December 100 -> 120, January 120 -> 60, February 60 -> 66; the year 2024 120 -> 66.
    assert found.months == {
        (2023, 12): pytest.approx(0.2),
        (2024, 1): pytest.approx(-0.5),
        (2024, 2): pytest.approx(0.1),
    }
    assert found.years == {2023: pytest.approx(0.2), 2024: pytest.approx(-0.45)}


def test_a_month_without_a_bar_returned_nothing() -> None:
    found = monthly_returns(
        times("2024-01-01", "2024-01-10", "2024-03-10"), np.array([100, 110, 121])
    )

    assert found.months == {(2024, 1): 0.1, (2024, 2): 0.0, (2024, 3): pytest.approx(0.1)}
    assert found.years == {2024: pytest.approx(0.21)}


def test_nothing_is_returned_on_nothing() -> None:
    found = monthly_returns(
        times("2024-01-01", "2024-01-10", "2024-02-10"), np.array([100, -5, 20])
    )

    assert found.months == {(2024, 1): pytest.approx(-1.05), (2024, 2): None}
    assert found.years == {2024: pytest.approx(-0.8)}


def test_one_bar_is_one_month() -> None:
    found = monthly_returns(times("2024-01-01", "2024-01-01T01:00:00"), np.array([100, 100]))

    assert found.months == {(2024, 1): 0.0}
