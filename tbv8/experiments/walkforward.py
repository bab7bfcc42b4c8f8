"""Walk-forward: the windows of a span, and the choice of a trial in each.

A window is trained on `[boundary - train, boundary - purge)` and tested from its boundary on, 00:00
UTC. Both runs begin `warm_up` earlier and carry their position over, so that with a single point
the windows together are the plain backtest (docs/orders.md, section 8).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import msgspec

from tbv8.config.records import Objective, WalkForward
from tbv8.config.space import Point, Search
from tbv8.market import Span, Timeframe
from tbv8.store.trials import Trial


class WindowSpans(msgspec.Struct, frozen=True):
    """The spans of one window: in `train` a trial is chosen, in `test` it is tested."""

    train: Span
    test: Span


def window_spans(
    run_span: Span, walk_forward: WalkForward, timeframes: Sequence[Timeframe] = ()
) -> list[WindowSpans]:
    """Return the spans of each window of a walk-forward, in time order.

    Args:
        run_span: The span that may be read, warm-up included.
        walk_forward: The lengths of the windows.
        timeframes: The timeframes of all trials.
    """
    tests = walk_forward.test_spans(run_span, timeframes)
    firsts = [test.start_ms - walk_forward.train_ms for test in tests]
    if walk_forward.anchored:
        firsts = firsts[:1] * len(firsts)
    return [
        WindowSpans(Span(first_ms, test.start_ms - walk_forward.purge_ms), test)
        for first_ms, test in zip(firsts, tests, strict=True)
    ]


def score(trial: Trial | None, objective: Objective) -> float | None:
    """Return the value by which a trial is chosen, higher is better; None if it is excluded."""
    if trial is None or trial.status != "ok" or trial.trades < objective.min_trades:
        return None
    value = trial.metric(objective.metric)
    if value is None or not math.isfinite(value):
        return None
    return value if objective.maximize else -value


def choose_trial(
    trials: Sequence[Trial | None],
    objective: Objective,
    *,
    neighbours: Sequence[Sequence[int]] = (),
) -> int | None:
    """Return the number of the best trial, the first of equal ones; None if none qualifies.

    Args:
        trials: The trials, by number.
        objective: The objective.
        neighbours: For each number, the numbers of the trials whose scores are averaged with its
            own; if empty, each trial counts alone.
    """
    scores = [score(trial, objective) for trial in trials]
    best: tuple[float, int] | None = None
    for number, own_score in enumerate(scores):
        if own_score is None:
            continue
        around = [scores[other] for other in neighbours[number]] if neighbours else []
        values = [own_score, *(value for value in around if value is not None)]
        mean = math.fsum(values) / len(values)
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
            places[neighbour]
            for change in around
            if any(change)
            and (neighbour := tuple(a + b for a, b in zip(place, change, strict=True))) in places
        ]
        for place in places
    ]


def _steps(search: Search, point: Point) -> Iterator[int]:
    for axis, value in zip(search.axes, point, strict=True):
        yield axis.values.index(value)
