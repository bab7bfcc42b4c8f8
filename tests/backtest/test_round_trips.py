"""How far the price went against and for each closed position, from the files and the bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tbv8.backtest.round_trips import Steps, read_round_trips
from tbv8.market import ONE_MINUTE
from tbv8.results.tearsheet.round_trips import Ends, excursions
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


@pytest.mark.parametrize(
    ("side", "entry", "opened", "exit_", "closed", "at_close", "adverse", "favorable"),
    [
        pytest.param("long", 97, 1, 104, 2, False, 2, 7, id="the close of the entry's minute"),
        pytest.param("short", 105, 2, 101, 3, False, 2, 4, id="the open of the exit's minute"),
        pytest.param("long", 97, 1, 103, 3, False, 7, 13, id="all of the minute between"),
        pytest.param("long", 97, 1, 96, 1, False, 1, 0, id="nothing else of a single minute"),
        pytest.param("long", 97, 1, 95, 1, True, 2, 0, id="its close, where that is the exit"),
        pytest.param("short", 100, 0, 95, 1, True, 1, 6, id="from the start, as after a warm-up"),
    ],
)
def test_excursions_count_each_price_that_was_surely_within_the_position(
    side: str,
    entry: float,
    opened: int,
    exit_: float,
    closed: int,
    at_close: bool,
    adverse: float,
    favorable: float,
) -> None:
    minutes = pa.table(
        {
            "ts_ms": [0, 60_000, 120_000],
            "open": [100.0, 96.0, 107.0],
            "high": [101.0, 110.0, 108.0],
            "low": [94.0, 90.0, 99.0],
            "close": [95.0, 106.0, 100.0],
        }
    )
    positions = pa.table(
        {
            "symbol": ["BTC/USDT"],
            "side": [side],
            "entry_price": [str(entry)],
            "exit_price": [str(exit_)],
            "opened_ms": [opened * 60_000],
            "closed_ms": [closed * 60_000],
        }
    )
    ends = Ends(
        entry_by=np.array(["limit"], dtype=np.object_),
        exit_by=np.array(["limit"], dtype=np.object_),
        at_close=np.array([at_close]),
    )

    against, for_it = excursions(positions, ends, {"BTC/USDT": minutes}, ONE_MINUTE)

    assert against.tolist() == pytest.approx([adverse / entry])
    assert for_it.tolist() == pytest.approx([favorable / entry])
