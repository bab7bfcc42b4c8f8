"""How far the price went against and for each closed position, from the files and the bars."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.backtest.round_trips import Steps, read_round_trips
from tests.backtest.builders import backtest, bars_of, make_bars, make_strategy


def test_excursions_of_a_long_and_a_short_position_by_hand(tmp_path: Path) -> None:
    # highs and lows lie 1 beyond open and close: 99 to 105, 96 to 105, 96 to 103 while long
    # from 100, and 99 to 107, 97 to 107 while short from 100
    bars = make_bars([100, 104, 97, 102, 100, 106, 98, 98], reach=1.0)
    strategy = make_strategy(params={"orders": {1: "1", 4: "-1", 5: "-1", 7: "1"}})
    backtest(strategy, bars, tmp_path)
    folder = tmp_path / strategy.strategy_id

    trips = read_round_trips(folder, Steps(bars_of(strategy, bars).steps, strategy.step))
    without = read_round_trips(folder, None)

    assert trips["side"].to_pylist() == ["long", "short"]
    assert trips["mae"].to_pylist() == pytest.approx([0.04, 0.07])
    assert trips["mfe"].to_pylist() == pytest.approx([0.05, 0.03])
    assert trips["by"].to_pylist() == ["market", "market"]
    assert without["mae"].to_pylist() == without["mfe"].to_pylist() == [None, None]
    assert without.schema == trips.schema
