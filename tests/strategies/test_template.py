"""The start that `doit new strategy` writes, on three closes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tbv8.errors import ConfigError
from tests.backtest.builders import limits
from tests.strategies.runs import fills_of, run

PARAMS = {"lookback": 3, "risk_percent": 1}
RISK = limits(max_position="50")


@pytest.mark.parametrize(
    ("last", "out"),
    [
        # Bought at 104 with a stop at 100: 100 USD over 4 USD are 25. The target is 108.
        pytest.param([108.5], (4, "limit", -25, Decimal(108)), id="the target"),
        pytest.param([102, 99], (5, "stop_market", -25, Decimal(100)), id="the stop"),
    ],
)
def test_in_above_the_closes_before_out_at_stop_or_target(
    last: list[float], out: tuple[int, str, int, Decimal]
) -> None:
    traded = run("template", [101, 100, 104, *last], risk=RISK, **PARAMS)

    assert fills_of(traded)[:2] == [(3, "market", 25, 104), out]
    assert traded.denials == ()


def test_a_close_that_is_not_above_them_is_not_bought() -> None:
    assert fills_of(run("template", [101, 100, 101, 101, 100], risk=RISK, **PARAMS)) == []


def test_params_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="lookback must be 2 or more"):
        run("template", [100], lookback=1)
