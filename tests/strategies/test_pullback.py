"""Two timeframes: an average of two hours, and a strength index of one bar of five minutes.

That index is 0 after a bar that fell and 100 after one that rose.
"""

from __future__ import annotations

import pytest

from tbv8.errors import ConfigError
from tests.strategies.runs import fills_of, run


def test_the_hours_say_in_which_direction_and_the_minutes_when() -> None:
    # Two hours up, with falling bars in them: 111 and 123 at their ends. The average is 111, then
    # a third of it and two thirds of 123: 119. So it is up from bar 24 on, which rises.
    first = [100, 99, *range(102, 112)]
    second = [110, *range(113, 124)]
    # Bar 25 falls: in. 26 falls too. 27 rises: out. 34 falls: in. 36 ends the hour at 116, below
    # 119 / 3 + 116 x 2 / 3 = 117: down, and that is known at 36: out.
    third = [122, 121, 123, 124, 125, 126, 127, 128, 129, 120, 118, 116]
    # 37 falls. 38 rises: in, short. 39 rises too. 40 falls: out.
    fourth = [115, 117, 118, 114, 113, 112]

    traded = run(
        "pullback",
        [*map(float, first + second + third + fourth)],
        timeframe="5m",
        further={"1h": [111, 123, 116]},
        trend_bars=2,
        strength_bars=1,
    )

    assert fills_of(traded, "5m") == [
        (25, "market", 2, 122),
        (27, "market", -2, 123),
        (34, "market", 2, 120),
        (36, "market", -2, 116),
        (38, "market", -2, 117),
        (40, "market", 2, 114),
    ]


def test_at_the_end_of_an_hour_the_hour_is_known_first() -> None:
    hours_up = [100.0] * 12 + [101.0] * 11 + [100.5]  # the last bar of the second hour falls

    traded = run(
        "pullback",
        hours_up,
        timeframe="5m",
        further={"1h": [100, 100.5]},
        trend_bars=2,
        strength_bars=1,
    )

    assert fills_of(traded, "5m") == [(24, "market", 2, 100.5)]


def test_before_the_hours_are_known_nothing_is_traded() -> None:
    down_and_up = [100.0, 99, 98, 99, 98] * 4  # less than two hours

    traded = run("pullback", down_and_up, timeframe="5m", further={"1h": [99]}, trend_bars=2)

    assert fills_of(traded, "5m") == []


def test_without_a_longer_timeframe_the_cure_is_said() -> None:
    with pytest.raises(ConfigError, match=r"write `bars: \[1h\]`"):
        run("pullback", [100], timeframe="5m")


def test_params_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="weak within"):
        run("pullback", [100], timeframe="5m", further={"1h": [100]}, weak=50)
