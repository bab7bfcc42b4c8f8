"""Integers of prices, sizes and money against fractions."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nautilus_trader.model import Price, Quantity

from tbv8.trading.units import NEVER, Ratio, Units, maintenance_ratio

D = Decimal
PLAIN = Units(
    price_decimals=1,
    size_decimals=3,
    money_decimals=8,
    tick=5,
    slippage=0,
    maker=Ratio.of(D("0.0002")),
    taker=Ratio.of(D("0.00045")),
    maintenance=maintenance_ratio(D(40)),
    max_position=NEVER,
)


@pytest.mark.parametrize(
    ("price", "buy", "slippage", "expected"),
    [
        pytest.param(1000, True, 0, 1000, id="buy on the tick"),
        pytest.param(1001, True, 0, 1005, id="buy above the tick"),
        pytest.param(1004, False, 0, 1000, id="sell above the tick"),
        pytest.param(1001, True, 10, 1015, id="buy slipped"),
        pytest.param(1004, False, 10, 990, id="sell slipped"),
        pytest.param(7, False, 15, 5, id="never below one tick"),
        pytest.param(3, False, 0, 5, id="not rounded to nothing"),
    ],
)
def test_a_taker_pays_the_tick_and_the_slippage(
    price: int, buy: bool, slippage: int, expected: int
) -> None:
    assert replace(PLAIN, slippage=slippage).taker_price(price, buy=buy) == expected


def test_a_limit_that_takes_is_not_slipped() -> None:
    units = replace(PLAIN, slippage=10)

    assert units.taker_price(1001, buy=True, slipped=False) == 1005
    assert units.taker_price(1004, buy=False, slipped=False) == 1000


def test_values_of_nautilus_trader_and_back() -> None:
    assert PLAIN.from_price(Price.from_str("100.5")) == 1005
    assert PLAIN.from_size(Quantity.from_str("1.234")) == 1234
    assert PLAIN.to_price(1005) == D("100.5")
    assert PLAIN.to_size(-1234) == D("-1.234")
    assert PLAIN.from_money(D("12.5")) == 1_250_000_000
    assert PLAIN.to_money(1_250_000_000) == D("12.5")
    assert PLAIN.scale == 10**4


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        pytest.param(15, "2e-8", id="half to even, up"),
        pytest.param(25, "2e-8", id="half to even, down"),
        pytest.param(26, "3e-8", id="more than half"),
        pytest.param(-15, "-2e-8", id="below zero"),
    ],
)
def test_money_is_rounded_half_to_even(units: int, expected: str) -> None:
    assert replace(PLAIN, money_decimals=9).to_money(units) == D(expected)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        pytest.param("0.0005", "0.05025", id="exact"),  # 100.5 x 1 x 0.0005
        pytest.param("0.000000001", "0.00000010", id="down"),  # 1.005e-7
        pytest.param("0.00000001", "0.00000100", id="half to even"),  # 1.005e-6
        pytest.param("0.0000000150", "0.00000151", id="up"),  # 1.5075e-6
        pytest.param("-0.0001", "-0.01005", id="what a maker is paid"),
    ],
)
def test_a_fee_is_rounded_to_eight_decimals(rate: str, expected: str) -> None:
    units = replace(PLAIN, maker=Ratio.of(D(rate)), taker=Ratio.of(D(0)))

    assert units.to_money(units.fee(1005, 1000, maker=True)) == D(expected)
    assert units.fee(1005, 1000, maker=False) == 0


RATES = st.decimals("-0.001", "0.01", places=7)


@given(
    price=st.integers(1, 10**9),
    size=st.integers(1, 10**9),
    rate=RATES,
    places=st.integers(8, 14),
)
def test_a_fee_is_the_fraction_rounded_half_to_even(
    price: int, size: int, rate: Decimal, places: int
) -> None:
    units = replace(PLAIN, money_decimals=places, taker=Ratio.of(rate))

    exact = D(price) / 10 * D(size) / 1000 * rate
    expected = exact.quantize(D("1e-8"), rounding=ROUND_HALF_EVEN)

    assert units.fee(price, size, maker=False) == int(expected.scaleb(places))


@given(
    size=st.integers(1, 10**6),
    free=st.integers(-(10**16), 10**16),
    leverage=st.sampled_from(["1", "2.5", "3", "10", "40", "125"]),
    long=st.booleans(),
)
def test_a_position_is_liquidated_where_equity_is_the_maintenance_margin(
    size: int, free: int, leverage: str, long: bool
) -> None:
    units = replace(PLAIN, maintenance=maintenance_ratio(D(leverage)))
    share = Fraction(1) / (2 * Fraction(leverage))

    def is_below(price: int) -> bool:
        value = size * price * units.scale
        equity = free + value if long else free - value
        return equity <= share * value

    gone = units.liquidation_price(size if long else -size, free)

    if long and free >= 0:
        assert gone is None
    elif long:
        assert gone is not None
        assert is_below(gone)
        assert not is_below(gone + 1)
    else:
        assert gone is not None
        assert gone == 0 or is_below(gone)
        assert gone == 0 or not is_below(gone - 1)


def test_the_liquidation_price_in_numbers() -> None:
    # -900 + 10 p = 10 p / 80 at p = 91.139; 1100 - 10 p = 10 p / 80 at p = 108.64
    assert PLAIN.liquidation_price(10_000, PLAIN.from_money(D(-900))) == 911
    assert PLAIN.liquidation_price(-10_000, PLAIN.from_money(D(1100))) == 1087
    assert PLAIN.liquidation_price(-10_000, PLAIN.from_money(D(-1))) == 0
    assert PLAIN.liquidation_price(0, PLAIN.from_money(D(-900))) is None


def test_the_margin_that_is_lost_is_that_at_the_exact_price() -> None:
    # 10 x 91.1392405... / 80 = 11.39240506; 10 x 108.6419753... / 80 = 13.58024691
    assert PLAIN.to_money(PLAIN.margin(10_000, PLAIN.from_money(D(-900)))) == D("11.39240506")
    assert PLAIN.to_money(PLAIN.margin(-10_000, PLAIN.from_money(D(1100)))) == D("13.58024691")
    assert PLAIN.margin(10_000, 5) == 0
    assert PLAIN.margin(-10_000, -5) == 0


@pytest.mark.parametrize(
    ("leverage", "expected"),
    [
        ("40", Fraction(1, 80)),
        ("2.5", Fraction(1, 5)),
        ("1", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
    ],
)
def test_maintenance_is_half_of_the_smallest_margin(leverage: str, expected: Fraction) -> None:
    ratio = maintenance_ratio(D(leverage))

    assert Fraction(ratio.numerator, ratio.denominator) == expected
