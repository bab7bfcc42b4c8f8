"""Mean reversion: bands of two bars, two and a half deviations wide."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tbv8.errors import ConfigError
from tests.strategies.runs import fills_of, run


def test_in_at_a_band_out_at_the_mean_all_of_it_as_a_maker() -> None:
    # bar         1    2      3       4       5       6
    # mean             103    109.25  109     102.25
    # deviation        3              3.5
    # lower            95.5           100.25
    # upper            110.5          117.75
    closes = [100, 106, 112.5, 105.5, 99, 104]

    reverted = run("reversion", closes, bars=2, deviations=2.5)

    assert fills_of(reverted) == [
        (3, "limit", -2, Decimal("110.5")),  # the upper band of bar 2
        (4, "limit", 2, 109),  # the mean of bar 3, down to the tick
        (5, "limit", 2, 100),  # the lower band of bar 4, down to the tick
        (6, "limit", -2, Decimal("102.5")),  # the mean of bar 5, up to the tick
    ]
    assert {fill.liquidity for fill in reverted.fills} == {"maker"}
    assert reverted.denials == ()


def test_a_band_that_is_only_touched_is_not_filled() -> None:
    assert fills_of(run("reversion", [100, 106, 110.5], bars=2, deviations=2.5)) == []


def test_quotes_move_and_do_not_pile_up() -> None:
    quiet = run("reversion", [100, 101] * 20, bars=2, deviations=9)

    assert quiet.orders == {"accepted": 2}


def test_params_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="bars must be 2 or more"):
        run("reversion", [100], bars=1)
