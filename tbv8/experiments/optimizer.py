"""The points of a `tpe` search: Optuna suggests batches of points from the scores of earlier ones.

The same YAML, seed and results give the same points, whatever runs the trials and in whichever
order they end. The study is in memory; to continue a search, it is repeated from the seed on with
the scores from the database. J. Bergstra et al., Algorithms for Hyper-Parameter Optimization,
NeurIPS 24 (2011).
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from typing import Any

from tbv8.config.space import Axis, Point, Search, conditions

_MAX_REPEATS = 5  # batches in a row without a new point: the space is exhausted
_MAX_REFUSED = 100  # points per trial that the conditions exclude

type Scores = Sequence[float | None]


def tpe_points(search: Search) -> Generator[list[Point], Scores, None]:
    """Yield batches of new points; send back their scores, higher is better, None for no result.

    Raises:
        ValueError: No point that meets the conditions was found.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=search.seed,
            multivariate=True,
            constant_liar=True,
            n_startup_trials=2 * search.batch,
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    holds, count = conditions(search), search.trials or 0
    distributions = {axis.name: _distribution(axis) for axis in search.axes}
    score_of: dict[tuple[int, ...], float | None] = {}
    repeats = refused = 0
    while len(score_of) < count and repeats < _MAX_REPEATS:
        planned: list[tuple[Any, tuple[int, ...]]] = []
        while len(planned) < search.batch:
            trial = study.ask(distributions)
            places = tuple(int(trial.params[axis.name]) for axis in search.axes)
            if holds(places):
                planned.append((trial, places))
                continue
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            refused += 1
            if refused > _MAX_REFUSED * count:
                if score_of:
                    return
                raise ValueError("no point that satisfies `where` was found: use method: grid")
        new = list(dict.fromkeys(places for _, places in planned if places not in score_of))
        new = new[: count - len(score_of)]
        repeats = 0 if new else repeats + 1
        if new:
            scores = yield [_point(search, places) for places in new]
            score_of.update(zip(new, scores, strict=True))
        for trial, places in planned:
            score = score_of.get(places)
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)


def _distribution(axis: Axis) -> Any:
    """Return the indices of an axis' values as a distribution: ordered if the values rise."""
    import optuna

    values = axis.values
    if axis.kind == "number" and list(values) == sorted(values):
        return optuna.distributions.IntDistribution(0, len(values) - 1)
    return optuna.distributions.CategoricalDistribution(range(len(values)))


def _point(search: Search, places: tuple[int, ...]) -> Point:
    return tuple(axis.values[index] for axis, index in zip(search.axes, places, strict=True))
