"""The points of a `tpe` search, by Optuna: asked in batches, told in the order asked.

The same YAML, seed and results give the same points whatever runs the trials, and in whichever
order they end. The study is in memory; a search is taken up again by asking from the seed on and
telling what the rows remember. J. Bergstra et al., Algorithms for Hyper-Parameter Optimization,
NeurIPS 24 (2011).
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from typing import Any

from tbv8.config.space import Axis, Point, Search, conditions

_MOST_REPEATS = 5  # batches one after another that bring nothing new: the space is exhausted
_MOST_REFUSED = 100  # points a trial that the conditions leave out

type Scores = Sequence[float | None]


def tpe_points(search: Search) -> Generator[list[Point], Scores, None]:
    """Yield batches of new points; send what each is worth, the more the better, None for nothing.

    Raises:
        ValueError: The conditions leave no point that is found.
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
    holds, wanted = conditions(search), search.trials or 0
    distributions = {axis.name: _distribution(axis) for axis in search.axes}
    known: dict[tuple[int, ...], float | None] = {}
    repeats = refused = 0
    while len(known) < wanted and repeats < _MOST_REPEATS:
        planned: list[tuple[Any, tuple[int, ...]]] = []
        while len(planned) < search.batch:
            trial = study.ask(distributions)
            at = tuple(int(trial.params[axis.name]) for axis in search.axes)
            if holds(at):
                planned.append((trial, at))
                continue
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            refused += 1
            if refused > _MOST_REFUSED * wanted:
                if known:
                    return
                raise ValueError("`where` leaves no point that is found: use method: grid")
        new = list(dict.fromkeys(at for _, at in planned if at not in known))
        new = new[: wanted - len(known)]
        repeats = 0 if new else repeats + 1
        if new:
            scores = yield [_point(search, at) for at in new]
            known.update(zip(new, scores, strict=True))
        for trial, at in planned:
            score = known.get(at)
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)


def _distribution(axis: Axis) -> Any:
    """Return an axis as the places of its values: in their order where they are rising numbers."""
    import optuna

    values = axis.values
    if axis.kind == "number" and list(values) == sorted(values):
        return optuna.distributions.IntDistribution(0, len(values) - 1)
    return optuna.distributions.CategoricalDistribution(range(len(values)))


def _point(search: Search, at: tuple[int, ...]) -> Point:
    return tuple(axis.values[index] for axis, index in zip(search.axes, at, strict=True))
