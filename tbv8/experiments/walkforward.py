"""Walk-forward: how a span is cut, and which trial of a window is chosen.

A window is trained on `[boundary - train, boundary - purge)` and tested from its boundary on, 00:00
UTC. Both runs begin `warm_up` earlier and carry their position over, so that with one candidate the
windows together are the plain backtest (docs/orders.md, rule 9).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import msgspec

from tbv8.config.records import Objective, WalkForward
from tbv8.config.space import Point, Search
from tbv8.market import DAY_MS, Span
from tbv8.store.trials import Trial


class Fold(msgspec.Struct, frozen=True):
    """One window: where its params are chosen, and where they are tested."""

    train: Span
    test: Span


def folds(run_span: Span, walk_forward: WalkForward) -> list[Fold]:
    """Return the windows of a span, in order.

    Args:
        run_span: All that may be read, warm-up included.
        walk_forward: The lengths.
    """
    end_ms = run_span.end_ms // DAY_MS * DAY_MS
    found = []
    boundary_ms = walk_forward.first_test_ms(run_span)
    start_ms = boundary_ms - walk_forward.train_ms
    while boundary_ms < end_ms:
        first_ms = start_ms if walk_forward.anchored else boundary_ms - walk_forward.train_ms
        train = Span(first_ms, boundary_ms - walk_forward.purge_ms)
        test = Span(boundary_ms, min(boundary_ms + walk_forward.test_ms, end_ms))
        found.append(Fold(train, test))
        boundary_ms += walk_forward.test_ms
    return found


def score(trial: Trial | None, objective: Objective) -> float | None:
    """Return the value by which a trial is chosen, more is better; None for one that is out."""
    if trial is None or trial.status != "ok" or trial.trades < objective.min_trades:
        return None
    value = trial.metric(objective.metric)
    if value is None or not math.isfinite(value):
        return None
    return value if objective.maximize else -value


def choose(
    trials: Sequence[Trial | None],
    objective: Objective,
    *,
    neighbours: Sequence[Sequence[int]] = (),
) -> int | None:
    """Return the number of the best trial; of equal ones the first, None where all are out.

    Args:
        trials: By number.
        objective: What is best.
        neighbours: Of each number, those whose mean with its own counts; of itself alone without.
    """
    scores = [score(trial, objective) for trial in trials]
    best: tuple[float, int] | None = None
    for number, own in enumerate(scores):
        if own is None:
            continue
        around = [scores[other] for other in neighbours[number]] if neighbours else []
        known = [own, *(value for value in around if value is not None)]
        mean = math.fsum(known) / len(known)
        if best is None or mean > best[0]:
            best = mean, number
    return best[1] if best else None


def neighbours(search: Search, points: Sequence[Point], reach: int) -> list[list[int]]:
    """Return for each point of a grid those at most `reach` steps away on every axis."""
    if not reach:
        return []
    places = {tuple(_steps(search, point)): number for number, point in enumerate(points)}
    around = list(itertools.product(range(-reach, reach + 1), repeat=len(search.axes)))
    return [
        [
            places[there]
            for change in around
            if any(change)
            and (there := tuple(a + b for a, b in zip(place, change, strict=True))) in places
        ]
        for place in places
    ]


def _steps(search: Search, point: Point) -> Iterator[int]:
    for axis, value in zip(search.axes, point, strict=True):
        yield axis.values.index(value)
