"""The check that an experiment's runs have the warm-up that the look-ahead check found."""

from __future__ import annotations

from pathlib import Path

from tbv8.backtest.verdict import round_up_warm_up
from tbv8.config.records import Experiment
from tbv8.errors import ConfigError
from tbv8.freshness.result import backtest_inputs
from tbv8.freshness.verdict import find_verdict, is_about
from tbv8.market import duration_text
from tbv8.page.words import length
from tbv8.store.database import Query


def check_warm_up(experiment: Experiment, query: Query, *, results_path: Path) -> None:
    """Refuse runs whose warm-up is shorter than their signals need.

    Windows of a walk-forward always need one: otherwise they are not parts of one run. A search
    without any warm-up is allowed, since its strategy's backtest has none either. Nothing is
    refused before `doit lookahead` has checked the same strategy, code and bars.

    Raises:
        ConfigError: The look-ahead check has found a longer warm-up.
    """
    strategy, walk = experiment.strategy, experiment.walk_forward
    verdict = find_verdict(results_path, strategy.strategy_id)
    if verdict is None or not verdict.warm_up_ms:
        return
    if not is_about(verdict, backtest_inputs(query, strategy)):
        return
    needed_ms = verdict.warm_up_ms

    def problem(has_ms: int) -> str:
        has = f"only {length(has_ms)} of warm-up" if has_ms else "no warm-up (0d)"
        return (
            f"{has}, but `doit lookahead:{strategy.strategy_id}` found that its signals need "
            f"{length(needed_ms)}: write {duration_text(round_up_warm_up(needed_ms))}"
        )

    if walk and walk.warm_up_ms < needed_ms:
        raise experiment.error("walk_forward.warm_up", problem(walk.warm_up_ms))
    if 0 < strategy.warm_up_ms < needed_ms:
        has_ms = strategy.warm_up_ms
        raise ConfigError(problem(has_ms), path=strategy.path, key="backtest.warm_up")
