"""The files of config/experiments: what they give, and every refusal in one line."""

from __future__ import annotations

import shlex
import shutil
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.config.experiments import load_experiments, vary
from tbv8.config.extras import add_command, install_command, missing_library
from tbv8.config.load import load_project
from tbv8.config.records import MonteCarlo, Objective, Project, WalkForward
from tbv8.config.space import points
from tbv8.market import DAY_MS, HOUR_MS, Span, parse_time, parse_timeframe
from tests.builders import ROOT, copy_config
from tests.lines import Line

HALF_YEAR = Span(parse_time("2024-01-01"), parse_time("2024-07-01"))
# ruff: noqa: E501  # a refusal a line
WHOLE = """\
experiment_id: sweep
strategy: btc_usdt_perp_v1
search:
  method: halton
  trials: 9
  seed: 3
  space:
    fast: {from: 10, to: 30, step: 5}
    slow: [50, 100]
    params.trade_size: {from: "0.001", to: 0.003, step: "0.001"}
    risk.max_leverage: [1, 2.5]
    risk.max_position_btc: [0.01, 0.02]
    slippage_ticks: [0, 3]
    backtest.starting_balance_usd: [5000]
    timeframe: [5m, 1m]
  where: [fast < slow, "risk.max_leverage >= 1"]
objective: {minimize: max_drawdown, min_trades: 5}
walk_forward: {train: 60d, test: 30d, anchored: true, warm_up: 10d, purge: 1d}
monte_carlo: {paths: 200, block_days: 5, seed: 9, losses: [0.1], markets: 7}
overfitting: {blocks: 8}
run: {workers: 2, trial_limit: 90s}
"""
GRID = """\
experiment_id: sweep
strategy: btc_usdt_perp_v1
search:
  space:
    fast: [10, 20]
"""


def load(root: Path, text: str, **overrides: str) -> Project:
    folder = root / "config" / "experiments"
    if not folder.is_dir():
        copy_config(root)
        shutil.rmtree(folder)
        folder.mkdir()
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    project = load_project(
        root,
        overrides=overrides,
        now_ms=parse_time("2026-01-01"),
        history_span=lambda *_: HALF_YEAR,
    )
    return load_experiments(project, overrides=overrides)


def test_a_whole_file_gives_its_record(tmp_path: Path) -> None:
    project = load(tmp_path, WHOLE, workers="4")

    assert project.problems == ()
    found = project.experiments["sweep"]
    assert found.strategy == project.strategies["btc_usdt_perp_v1"]
    assert [axis.name for axis in found.search.axes][:3] == ["fast", "slow", "params.trade_size"]
    assert found.search.axes[2].values == (0.001, 0.002, 0.003)
    assert found.objective == Objective(metric="max_drawdown", maximize=False, min_trades=5)
    assert found.walk_forward == WalkForward(
        train_ms=60 * DAY_MS,
        test_ms=30 * DAY_MS,
        anchored=True,
        warm_up_ms=10 * DAY_MS,
        purge_ms=DAY_MS,
        plateau=0,
    )
    assert found.monte_carlo == MonteCarlo(
        paths=200, block_days=5, seed=9, losses=(0.1,), markets=7
    )
    assert (found.blocks, found.workers, found.trial_limit_ms) == (8, 4, 90_000)
    assert len(list(points(found.search))) == 9
    assert [str(t) for t in project.timeframes_of(found.strategy.source)][:1] == ["5m"]


def test_a_point_gives_the_strategy_that_a_file_with_its_values_would_give(tmp_path: Path) -> None:
    found = load(tmp_path, WHOLE).experiments["sweep"]
    point = (15, 100, 0.002, 2.5, 0.02, 3, 5000, "1m")

    varied = vary(found.strategy, found.search.axes, point)

    assert varied.params == {"fast": 15, "slow": 100, "trade_size": 0.002}
    assert varied.risk.max_leverage == Decimal("2.5")
    assert varied.risk.max_positions == {"BTC/USDT": Decimal("0.02")}
    assert varied.risk.max_daily_loss_usd == found.strategy.risk.max_daily_loss_usd
    assert varied.slippage_ticks == 3
    assert varied.starting_balance_usd == 5000
    assert (varied.timeframe, varied.detail) == (parse_timeframe("1m"), "none")
    text = (tmp_path / "config/strategies/btc_usdt_perp_v1.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("timeframe: 5m", "timeframe: 1m"),
        ("{fast: 20, slow: 50}", "{fast: 15, slow: 100, trade_size: 0.002}"),
        ("max_position_btc: 0.01", "max_position_btc: 0.02"),
        ("max_leverage: 2.0", "max_leverage: 2.5"),
    ):
        text = text.replace(old, new)
    text += "backtest: {slippage_ticks: 3, starting_balance_usd: 5000}\n"
    (tmp_path / "config/strategies/btc_usdt_perp_v1.yaml").write_text(text, encoding="utf-8")
    assert load(tmp_path, WHOLE).strategies["btc_usdt_perp_v1"] == varied


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("[10, 20]", "[]", "5: search.space.fast: expected a list of values, or {from: 10, to: 50, step: 5}"),
        ("[10, 20]", "[10, 20, 10]", "5: search.space.fast[2]: 10 is given twice: ..."),
        ("[10, 20]", "[10, two]", "5: search.space.fast[1]: expected a whole number, got 'two'"),
        ("[10, 20]", "{from: 1, to: 2, step: 0.5}", "5: search.space.fast.step: expected a whole number, got 0.5"),
        ("fast: [10, 20]", "slippage_ticks: {from: 0, to: 1, step: 0.5}", "5: search.space.slippage_ticks.step: expected a whole number from 0, got 0.5"),
        ("[10, 20]", "{from: 1, to: 5}", "5: search.space.fast.step: missing: write this key"),
        ("[10, 20]", "{from: 1, to: 5, stpe: 1}", "5: search.space.fast.stpe: unknown key ... 'step'?"),
        ("[10, 20]", "{from: 9, to: 5, step: 1}", "5: search.space.fast.to: 5 is below from, 9"),
        ("[10, 20]", "{from: 10, to: 21, step: 5}", "5: search.space.fast.to: 21 is not reached from 10 by steps of 5: write 20 or 25"),
        ("fast: [10, 20]", "risk.max_leverage: {from: 0.5, to: 1.5, step: 0.7}",
         "5: search.space.risk.max_leverage.to: 1.5 is not reached from 0.5 by steps of 0.7: write 1.2 or 1.9"),
        ("[10, 20]", "{from: 1, to: 5, step: 0}", "5: search.space.fast.step: expected a number above 0, got 0"),
        ("[10, 20]", "{from: 1, to: x, step: 1}", "5: search.space.fast.to: expected a number, got 'x'"),
        ("[10, 20]", "{from: 1, to: 1e9, step: 1}", "5: search.space.fast: has more than 100,000 values: write a larger step"),
        ("fast:", "fsat:", "5: search.space.fsat: unknown param of EmaCross 'fsat' ... 'fast'?..."),
        ("fast:", "bar_type:", "5: search.space.bar_type: set by tbv8 itself: remove it"),
        ("fast:", "risk.leverage:", "5: search.space.risk.leverage: unknown key ... 'max_leverage'?"),
        ("fast: [10, 20]", "risk.max_leverage: [0]", "5: search.space.risk.max_leverage[0]: expected a number above 0, got 0"),
        ("fast: [10, 20]", "slippage_ticks: [1.5]", "5: search.space.slippage_ticks[0]: expected a whole number from 0, got 1.5"),
        ("fast: [10, 20]", "timeframe: [5x]", "5: search.space.timeframe[0]: '5x' is not a timeframe: ..."),
        ("fast: [10, 20]", "{fast: [1], params.fast: [2]}", "5: search.space.params.fast: is the same as 'fast': remove one"),
        ("fast: [10, 20]", "{}", "4: search.space: expected at least one axis, such as fast: [10, 20]"),
        ("fast: [10, 20]", "{fast: {from: 1, to: 999, step: 1}, slow: {from: 1, to: 999, step: 1}}",
         "4: search.space: 998,001 trials are more than 100,000: try fewer"),
        ("btc_usdt_perp_v1", "btc_usdt_perp", "2: strategy: unknown strategy 'btc_usdt_perp', did you mean 'btc_usdt_perp_v1'? Known: "
         "btc_eth_pairs_v1, btc_usdt_breakout_v1, btc_usdt_perp_v1, btc_usdt_pullback_v1, btc_usdt_reversion_v1"),
        ("search:", "search:\n  method: sobol", "4: search.method: unknown value 'sobol'; known: grid, halton, random, tpe"),
        ("search:", "search:\n  method: tpe\n  trials: 2\n  batch: 0", "6: search.batch: expected 1 to 1,000, got 0"),
        ("search:", "walk_forward: {train: 60d, test: 30d}\nsearch:\n  method: tpe\n  trials: 2", "3: walk_forward: method tpe "
         "cannot be combined with walk_forward: use grid, random or halton"),
        ("search:", "search:\n  method: random", "3: search.trials: missing: random needs it"),
        ("search:", "search:\n  trials: 0", "4: search.trials: expected 1 or more, got 0"),
        ("search:", "search:\n  method: random\n  trials: 3", "5: search.trials: the space has 2 points, not 3: write fewer "
         "trials, or use method: grid to try all of them"),
        ("search:", "search:\n  where: [fast < slow]", "4: search.where[0]: unknown axis 'slow'; known: fast"),
        ("search:", "objective: {}\nsearch:", "3: objective: write either maximize: or minimize:"),
        ("search:", "objective: {maximize: sharp}\nsearch:", "3: objective.maximize: unknown value 'sharp', did you mean 'sharpe'? "
         "Known: calmar, profit_factor, return, sharpe, sortino"),
        ("search:", "overfitting: {blocks: 7}\nsearch:", "3: overfitting.blocks: expected an even number, got 7"),
        ("search:", "run: {on: dask}\nsearch:", "3: run.on: unknown value 'dask'; known: pool, ray"),
        ("search:", "walk_forward: {train: 60d, test: 36h}\nsearch:", "3: walk_forward.test: '36h' is not whole days: write "
         "whole days, such as 60d"),
        ("search:", "walk_forward: {train: 29d, test: 5d}\nsearch:", "3: walk_forward.train: 29 days are too short for a sharpe "
         "ratio, which needs at least 30: lengthen train, or use maximize: return"),
        ("search:", "monte_carlo: {losses: [0.1, 1]}\nsearch:", "3: monte_carlo.losses[1]: expected a fraction of the balance "
         "between 0 and 1, got 1.0"),
        ("search:", "monte_carlo: {losses: [0.1, 0.1]}\nsearch:", "3: monte_carlo.losses[1]: 0.1 is not above the one before it: "
         "write them from small to large"),
        ("search:", "monte_carlo: {paths: 99}\nsearch:", "3: monte_carlo.paths: expected 100 to 100,000, got 99"),
        ("search:", "monte_carlo: {markets: -1}\nsearch:", "3: monte_carlo.markets: expected 0 to 100,000, got -1"),
        ("fast: [10, 20]", "detail: [1m, none]\n    timeframe: [5m, 1w]\nmonte_carlo: {markets: 2}", "7: monte_carlo.markets: "
         "orders are matched by 1w bars, which do not divide a day: write detail: 1m in the strategy's backtest, or 0 here"),
        ("search:", "search:\n  method: random\n  trials: 2\n  where: [fast < 20]", "5: search.trials: `where` leaves 1 of 2 points, not 2: "
         "write fewer trials, or loosen it"),
        ("search:", "search:\n  method: halton\n  trials: 2\n  where: [fast < 10]", "5: search.trials: `where` excludes every point of "
         "the space: loosen it"),
        ("search:", "run: {trial_limit: never}\nsearch:", "3: run.trial_limit: 'never' is not a duration: write 90s, 10m, 8h or 2d"),
        ("experiment_id: sweep", "experiment_id: sweeep", "1: experiment_id: 'sweeep' must be the file's name, 'sweep'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line_and_stops_nothing_else(
    tmp_path: Path, old: str, new: str, refusal: str
) -> None:
    assert old in GRID

    project = load(tmp_path, GRID.replace(old, new, 1))

    (problem,) = project.problems
    assert str(problem.error) == Line(f"config/experiments/sweep.yaml:{refusal}")
    assert (problem.kind, problem.name) == ("experiment", "sweep")
    assert project.experiments == {}
    assert "btc_usdt_perp_v1" in project.strategies


def test_a_grid_has_all_points_whatever_the_keys_of_the_other_methods_say(tmp_path: Path) -> None:
    others = "search:\n  method: grid\n  trials: 1\n  seed: 4\n  batch: 16"

    plain = load(tmp_path, GRID).experiments["sweep"]
    found = load(tmp_path, GRID.replace("search:", others)).experiments["sweep"]

    assert replace(found, line_numbers={}) == replace(plain, line_numbers={})
    assert list(points(found.search)) == [(10,), (20,)]


def test_a_trial_has_an_hour_unless_its_file_gives_it_all_the_time(tmp_path: Path) -> None:
    plain = load(tmp_path, GRID).experiments["sweep"]
    endless = load(tmp_path, GRID + "run: {trial_limit: null}\n").experiments["sweep"]

    assert (plain.trial_limit_ms, endless.trial_limit_ms) == (HOUR_MS, None)
    assert plain.monte_carlo is None


def test_workers_of_the_command_line_are_a_number(tmp_path: Path) -> None:
    from tbv8.errors import ConfigError

    with pytest.raises(ConfigError, match="command line: workers: expected a whole number"):
        load(tmp_path, GRID, workers="many")


def test_a_missing_library_is_installed_where_tbv8_runs(tmp_path: Path) -> None:
    assert missing_library("optuna", root=ROOT) is None
    assert install_command("ray", root=ROOT) == "uv sync --extra cluster"
    assert add_command("pandas", root=ROOT) == "uv add pandas"
    assert shlex.split(add_command("talib", root=tmp_path)) == [
        *("uv", "pip", "install", "--python", sys.prefix, "TA-Lib")
    ]
    # of a project's folder uv would know no extra, and make another .venv
    elsewhere = shlex.split(install_command("optuna", root=tmp_path))
    assert elsewhere[:5] == ["uv", "pip", "install", "--python", sys.prefix]
    assert elsewhere[5].startswith("optuna")
