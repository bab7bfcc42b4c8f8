"""A pair: the ratio of 100s to 100s over two bars, so that each new ratio is one deviation off.

Ticks of 0.5 and 0.01, lots of 0.001, closes that lie on both ticks.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tbv8.config import records
from tbv8.errors import ConfigError
from tbv8.trading.records import Run
from tests.backtest.builders import bar_number, bars_of, make_bars, make_pair, run_strategy

FLAT = [100.0, 100.0, 100.0]


def trade(
    first: Sequence[float], second: Sequence[float] | pa.Table, *, risk: Any = None, **p: Any
) -> Run:
    """Run the pair on hourly closes: at most 4 of the first and 10 of the second."""
    symbols = ("BTC/USDT", "ETH/USDT")
    limits = {
        "max_positions": dict(zip(symbols, (Decimal(4), Decimal(10)), strict=True)),
        "max_daily_loss_usd": Decimal(100_000),
        "max_leverage": Decimal(10),
    }
    strategy = make_pair(
        {},
        module="pairs",
        class_name="Pairs",
        params={"ratio_bars": 4, "enter": 1.5} | p,
        risk=records.Risk(**(limits | (risk or {}))),
    )
    others = second if isinstance(second, pa.Table) else make_bars(second)
    return run_strategy(strategy, "hyperliquid", bars_of(strategy, make_bars(first), others))


def fills_of(run: Run) -> list[tuple[int, str, Decimal]]:
    """Return the bar (from 1), symbol and signed quantity of each fill."""
    return [(bar_number(fill.ts_ms), fill.symbol[:3], fill.change) for fill in run.fills]


def test_the_dear_one_is_sold_and_the_cheap_one_bought_until_the_ratio_is_back() -> None:
    # Ratios of four bars: 1, 1, 1, 1.25 has mean 1.0625 and deviation 0.108: 1.73 of them. In.
    # 1, 1, 1.25, 1.25: 1.0 away. 1, 1.25, 1.25, 1: mean 1.125, below it. Out.
    first = [*FLAT, 125.0, 125.0, 100.0]

    run = trade(first, [100.0] * 6)

    # 4 x 125 USD of the first, and 500 USD of the second: 5 of its 10.
    assert fills_of(run) == [
        (4, "BTC", Decimal(-4)),
        (4, "ETH", Decimal(5)),
        (6, "BTC", Decimal(4)),
        (6, "ETH", Decimal(-5)),
    ]
    assert {fill.type for fill in run.fills} == {"market"}


def test_a_low_ratio_is_the_mirror_and_the_smaller_limit_sets_both_sizes() -> None:
    # The second rises to 125, of which 2 are worth 250 USD: 2.5 of the first.
    limits = {"max_positions": {"BTC/USDT": Decimal(4), "ETH/USDT": Decimal(2)}}

    run = trade([100.0] * 6, [*FLAT, 125.0, 125.0, 100.0], risk=limits)

    assert fills_of(run) == [
        (4, "BTC", Decimal("2.5")),
        (4, "ETH", Decimal(-2)),
        (6, "BTC", Decimal("-2.5")),
        (6, "ETH", Decimal(2)),
    ]


def test_sizes_are_rounded_down_to_lots() -> None:
    # 4 x 125 = 500 USD at 99: 5.0505...
    run = trade([*FLAT, 125.0], [99.0] * 4)

    assert fills_of(run)[1] == (4, "ETH", Decimal("5.05"))


def test_a_ratio_that_never_moves_is_never_traded() -> None:
    assert fills_of(trade([100.0] * 9, [100.0] * 9)) == []


def test_it_leaves_before_the_mean_where_it_is_asked_to() -> None:
    # At bar 5 the ratio is 1.0 deviations high.
    run = trade([*FLAT, 125.0, 125.0], [100.0] * 5, leave=1.1)

    assert [bar for bar, _, _ in fills_of(run)] == [4, 4, 5, 5]


def test_a_close_that_only_one_of_them_has_is_passed_over() -> None:
    first = [*FLAT, 125.0, 125.0]
    whole = make_bars([100.0] * 5)
    hole = pa.concat_tables([whole.slice(0, 3), whole.slice(4)])  # the second has no bar 4

    run = trade(first, hole)

    assert [bar for bar, _, _ in fills_of(run)] == [5, 5]


def test_a_leg_that_stands_alone_is_closed_at_the_next_close() -> None:
    # 10,000 USD x 0.06: the 500 USD of the first may be held, the 500 of the second not beside it.
    run = trade([*FLAT, 125.0, 125.0], [100.0] * 5, risk={"max_leverage": Decimal("0.06")})

    assert fills_of(run) == [(4, "BTC", Decimal(-4)), (5, "BTC", Decimal(4))]
    assert [(denial.symbol, denial.rule) for denial in run.denials] == [
        ("ETH/USDT", "max_leverage")
    ]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        pytest.param({"ratio_bars": 1}, "ratio_bars must be 2 or more", id="one bar"),
        pytest.param({"leave": 2.0}, "below enter", id="out before in"),
    ],
)
def test_params_that_cannot_be_are_refused(params: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        trade(FLAT, FLAT, **params)
