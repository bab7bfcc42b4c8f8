"""Two timeframes: an average of two hours, and a strength index of one bar of five minutes.

That index is 0 after a bar that fell and 100 after one that rose.
"""

from __future__ import annotations

import pytest

from tbv8.errors import ConfigError
from tests.strategies.runs import fills_of, run


def test_the_hours_say_in_which_direction_and_the_minutes_when() -> None:
    # Two hours up, with falling bars in them: 111 and 123 at their ends. The average is 111, then
    # a third of it and two thirds of 123: 119. So it is up after bar 24.
    first = [100, 99, *range(102, 112)]
    second = [110, *range(113, 124)]
    # Bar 25 falls: in. 26 falls too. 27 rises: out. 34 falls: in. 36 ends the hour at 116, below
    # 119 / 3 + 116 x 2 / 3 = 117: down. 37 falls too, and would be held if the hours were still up.
    third = [122, 121, 123, 124, 125, 126, 127, 128, 129, 120, 118, 116]
    # 38 rises: in, short. 39 rises too. 40 falls: out.
    fourth = [115, 117, 118, 114, 113, 112]

    traded = run(
        "pullback",
        [*map(float, first + second + third + fourth)],
        timeframe="5m",
        trend_hours=2,
        strength_bars=1,
    )

    assert fills_of(traded, "5m") == [
        (25, "market", 2, 122),
        (27, "market", -2, 123),
        (34, "market", 2, 120),
        (37, "market", -2, 115),
        (38, "market", -2, 117),
        (40, "market", 2, 114),
    ]


def test_before_the_hours_are_known_nothing_is_traded() -> None:
    down_and_up = [100.0, 99, 98, 99, 98] * 4  # less than two hours

    assert fills_of(run("pullback", down_and_up, timeframe="5m", trend_hours=2), "5m") == []


def test_params_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="weak within"):
        run("pullback", [100], timeframe="5m", weak=50)
