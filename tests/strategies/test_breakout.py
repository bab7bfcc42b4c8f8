"""The breakout: a channel of three bars, a stop of one average range of two bars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tbv8.errors import ConfigError
from tbv8.trading.records import Run
from tests.backtest.builders import limits
from tests.strategies.runs import fills_of, run

PARAMS = {"channel_bars": 3, "range_bars": 2, "stop_ranges": 1}


def breakout(closes: list[float], **options: Any) -> Run:
    return run("breakout", closes, **PARAMS, **options)


def test_in_at_a_new_high_out_at_the_stop_that_trailed() -> None:
    # The average is Wilder's: half of the last one and half of the bar's own range.
    # bar      1    2    3    4    5    6    7    8      9      10     11
    # range    0    0    0    4    4    1    4    4      4      2
    # average                 2    3    2         3.5    3.75   2.875
    # stop                    102  105  105       102.5  98.75  (99.875)
    closes = [100, 100, 100, 104, 108, 107, 103, 99, 95, 97, 99.5]

    assert fills_of(breakout(closes)) == [
        (4, "market", 2, 104),  # above 100, the highest of the three bars before
        (7, "stop_market", -2, 105),  # reached on the way from 107 to 103
        (8, "market", -2, 99),  # below 103, the lowest of bars 5 to 7
        (11, "stop_market", 2, 99),  # 98.75, up to the tick; bar 10 did not loosen it
    ]


def test_a_close_at_the_edge_of_the_channel_is_no_breakout() -> None:
    assert fills_of(breakout([100, 101, 100, 101, 100, 101])) == []


def test_a_day_that_is_stopped_takes_the_stop_with_it() -> None:
    # Bought 2 at 104, down 2 at the next close: 4 USD and the fee of 0.104 are beyond the limit.
    halted = breakout([100, 100, 100, 104, 102.5, 102.5], risk=limits(max_daily_loss_usd="3"))

    assert fills_of(halted) == [(4, "market", 2, 104), (5, "market", -2, Decimal("102.5"))]
    assert halted.orders["canceled"] == 1


def test_params_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        run("breakout", [100], stop_ranges=0)
