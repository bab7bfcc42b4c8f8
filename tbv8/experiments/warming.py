"""Is the warm-up of an experiment's runs as long as the look-ahead check found it must be?"""

from __future__ import annotations

from pathlib import Path

from tbv8.config.records import Experiment
from tbv8.errors import ConfigError
from tbv8.freshness.result import backtest_inputs
from tbv8.freshness.verdict import find_verdict, is_about
from tbv8.market import DAY_MS
from tbv8.page.words import length
from tbv8.store.database import Query


def check_warm_up(experiment: Experiment, query: Query, *, results_path: Path) -> None:
    """Refuse runs that are warmed up, but for less time than their signals need.

    Windows of a walk-forward must be warmed up: otherwise they are not parts of one run. A search
    that begins cold, as its strategy's backtest does, is none of it. Nothing is known, and nothing
    refused, before `doit lookahead` has checked the very strategy, code and bars.

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
        return (
            f"{length(has_ms) if has_ms else 'nothing'} is less than the {length(needed_ms)} that "
            f"`doit lookahead:{strategy.strategy_id}` found its signals to need: write "
            f"{-(-needed_ms // DAY_MS)}d"
        )

    if walk and walk.warm_up_ms < needed_ms:
        raise experiment.error("walk_forward.warm_up", problem(walk.warm_up_ms))
    if 0 < strategy.warm_up_ms < needed_ms:
        has_ms = strategy.warm_up_ms
        raise ConfigError(problem(has_ms), path=strategy.path, key="backtest.warm_up")
