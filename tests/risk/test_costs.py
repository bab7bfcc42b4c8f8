"""Funding and the times at which something is due."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.market import DAY_MS, HOUR_MS
from tbv8.risk.costs import fixed_rate, funding, next_funding, next_midnight

D = Decimal


@pytest.mark.parametrize(
    ("position", "rate", "hours", "expected"),
    [
        pytest.param("2", "0.0001", 8, "0.02", id="a long pays"),
        pytest.param("2", "0.0001", 1, "0.0025", id="its share of an hour"),
        pytest.param("-2", "0.0001", 8, "-0.02", id="a short receives"),
        pytest.param("2", "-0.0001", 8, "-0.02", id="a long receives below zero"),
        pytest.param("0", "0.0001", 8, "0", id="nothing held"),
        pytest.param("0.0000125", "0.00001", 8, "1E-8", id="half to even, down"),  # 1.25e-8
        pytest.param("0.000015", "0.00001", 8, "2E-8", id="half to even, up"),  # 1.5e-8
        pytest.param("0.000025", "0.00001", 8, "2E-8", id="half to even, to the even"),  # 2.5e-8
    ],
)
def test_funding(position: str, rate: str, hours: int, expected: str) -> None:
    assert funding(D(position), D(100), fixed_rate(D(rate), hours)) == D(expected)


@given(
    st.decimals("-1000", "1000", places=4),
    st.decimals("0.01", "100000", places=3),
    st.decimals("-0.01", "0.01", places=7),
    st.sampled_from([1, 2, 4, 8]),
)
def test_funding_is_exact_to_the_last_decimal(
    position: Decimal, price: Decimal, rate: Decimal, hours: int
) -> None:
    with localcontext() as context:
        context.prec = 60
        exact = position * price * rate * hours / 8
        expected = exact.quantize(D("1e-8"), rounding=ROUND_HALF_EVEN)
    with localcontext() as context:
        context.prec = 2
        assert funding(position, price, fixed_rate(rate, hours)) == expected


def test_times() -> None:
    assert next_funding(0, 8) == 8 * HOUR_MS
    assert next_funding(8 * HOUR_MS - 1, 8) == 8 * HOUR_MS
    assert next_funding(8 * HOUR_MS, 8) == 16 * HOUR_MS
    assert next_funding(23 * HOUR_MS, 1) == DAY_MS
    assert next_midnight(DAY_MS) == 2 * DAY_MS
    assert next_midnight(DAY_MS - 1) == DAY_MS
