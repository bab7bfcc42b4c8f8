"""The strategy that ships with tbv8, on closes whose averages are easy to follow."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tbv8.config import files
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import Run
from tests.backtest.builders import bar_number, make_bars, make_strategy, rules, run_strategy


def _run(closes: list[float], *, instrument: files.Instrument | None = None, **params: Any) -> Run:
    # The average of one is the close itself; that of three moves half of the way to each close.
    strategy = make_strategy(
        module="ema_cross",
        class_name="EmaCross",
        params={"fast": 1, "slow": 3, **params},
        instrument=instrument or rules(),
    )
    return run_strategy(strategy, "hyperliquid", make_bars(closes))


def _changes(run: Run) -> list[tuple[int, Decimal]]:
    """Return the bar (from 1) and the signed quantity of each fill."""
    return [(bar_number(fill.ts_ms), fill.change) for fill in run.fills]


def test_it_turns_round_when_the_averages_cross() -> None:
    # slow:  10  10  10  11  12  11.5  10.75  12.375
    closes = [10, 10, 10, 12, 13, 11.0, 10.00, 14]

    run = _run(closes)

    assert _changes(run) == [(4, 2), (6, -4), (8, 4)]


def test_the_first_warm_bar_counts_as_a_cross() -> None:
    # slow:         10  9.5  9  (warm after three), the close is below it
    assert _changes(_run([10, 9.0, 8.5, 8.0])) == [(3, -2)]


def test_equal_averages_change_nothing() -> None:
    assert _changes(_run([10, 10, 10, 10])) == []


def test_trade_size_trades_less_than_the_limit() -> None:
    assert _changes(_run([10, 10, 12], trade_size="0.5")) == [(3, Decimal("0.5"))]


def test_sizes_are_rounded_down_to_whole_lots() -> None:
    run = _run([10, 10, 12], trade_size="1.9999", instrument=rules(lot_size="0.3"))

    assert _changes(run) == [(3, Decimal("1.8"))]


def test_a_size_below_one_lot_is_refused() -> None:
    with pytest.raises(StrategyError, match=r"ema_cross.py:.*less than one lot"):
        _run([10, 10, 12], trade_size="0.0005")
