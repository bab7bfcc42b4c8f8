"""Runs that begin later than the look-ahead check found are refused; what nobody knows is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.config.records import Experiment, Strategy, WalkForward
from tbv8.errors import ConfigError
from tbv8.experiments.warming import check_warm_up
from tbv8.freshness.result import backtest_inputs
from tbv8.freshness.verdict import write_verdict
from tbv8.market import DAY_MS, HOUR_MS, ONE_MINUTE
from tbv8.store.database import Query, open_reader
from tests.builders import BTC, hold
from tests.experiments.builders import FIVE_MINUTES, axis, days, ema, experiment, tables

NEEDED_MS = 2 * DAY_MS + HOUR_MS


@pytest.fixture
def query(db_path: Path) -> Iterator[Query]:
    hold(db_path, BTC, days(0, 3), tables(3)["BTC/USDT", ONE_MINUTE])
    hold(db_path, BTC, days(0, 3), tables(3)["BTC/USDT", FIVE_MINUTES], dataset="bars_5m")
    with open_reader(db_path) as asked:
        yield asked


def strategy(warm_up: int = 0) -> Strategy:
    return ema(days(warm_up, 3), warm_up_ms=warm_up * DAY_MS)


def walking(own: Strategy, warm_up_ms: int) -> Experiment:
    walk = WalkForward(
        train_ms=DAY_MS,
        test_ms=DAY_MS,
        anchored=False,
        warm_up_ms=warm_up_ms,
        purge_ms=0,
        plateau=0,
    )
    return experiment(own, axis("fast", 5), walk_forward=walk)


def check(query: Query, results: Path, asked: Experiment, **known: Any) -> None:
    own = asked.strategy
    values: dict[str, Any] = {"warm_up_ms": NEEDED_MS, "passed": True, "line": ""} | known
    of = values.pop("of", own)
    write_verdict(results, own.strategy_id, backtest_inputs(query, of), **values)
    check_warm_up(asked, query, results_path=results)


def test_windows_that_begin_too_late_are_refused_and_the_cure_is_named(
    query: Query, tmp_path: Path
) -> None:
    line = (
        "config/experiments/sweep.yaml: walk_forward.warm_up: only 2 d of warm-up, but "
        "`doit lookahead:test_v1` found that its signals need 2 d 1 h: write 3d"
    )
    with pytest.raises(ConfigError) as refused:
        check(query, tmp_path, walking(strategy(), 2 * DAY_MS))

    assert str(refused.value) == line
    check(query, tmp_path, walking(strategy(), NEEDED_MS))
    with pytest.raises(ConfigError, match=r"walk_forward.warm_up: no warm-up \(0d\), but"):
        check(query, tmp_path, walking(strategy(), 0))


def test_a_search_is_refused_if_its_strategy_is_warmed_up_but_too_little(
    query: Query, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"test_v1.yaml: backtest.warm_up: only 2 d .* 3d"):
        check(query, tmp_path, experiment(strategy(2), axis("fast", 5)))

    check(query, tmp_path, experiment(strategy(0), axis("fast", 5)))  # cold, as its backtest is


def test_what_is_not_known_of_this_very_strategy_refuses_nothing(
    query: Query, tmp_path: Path
) -> None:
    asked = walking(strategy(), DAY_MS)

    check_warm_up(asked, query, results_path=tmp_path)
    check(query, tmp_path, asked, warm_up_ms=None)
    check(query, tmp_path, asked, of=replace(asked.strategy, params={"fast": 20, "slow": 200}))
