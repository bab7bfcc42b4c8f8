"""A search that follows from results: the same points in any order of the answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.config.records import Objective
from tbv8.config.space import Axis, Point, Search, parse_condition
from tbv8.experiments.optimizer import tpe_points
from tbv8.experiments.run import run_experiment
from tbv8.experiments.state import experiment_state
from tbv8.experiments.survey import Survey
from tbv8.market import ONE_MINUTE
from tbv8.store.database import open_reader
from tests.builders import BTC, hold, rows, shell
from tests.experiments.builders import FIVE_MINUTES, axis, days, ema, experiment, tables

WIDE = (axis("a", *range(60)), axis("b", *range(200)), axis("c", "x", "y", "z"))


def search(*axes: Axis, trials: int, seed: int = 7, batch: int = 8, where: str = "") -> Search:
    found = parse_condition(where, axes) if where else []
    return Search(
        method="tpe", axes=axes, conditions=tuple(found), trials=trials, seed=seed, batch=batch
    )


def hill(point: Point) -> float | None:
    """A trial's worth: a hill at 23, 140, y; a part of the space fails."""
    a, b, c = point
    if a == 59:
        return None
    return -(((a - 23) / 30) ** 2) - ((b - 140) / 100) ** 2 - (c != "y") * 0.5


def go(asked: Search, worth: Callable[[Point], float | None]) -> list[Point]:
    found: list[Point] = []
    batches = tpe_points(asked)
    try:
        new = next(batches)
        while True:
            order = list(enumerate(new))
            random.shuffle(order)  # the order in which workers answer
            answers = {at: worth(point) for at, point in order}
            found += new
            new = batches.send([answers[at] for at in range(len(new))])
    except StopIteration:
        return found


def test_points_depend_on_seed_and_batch_alone_and_more_trials_keep_the_first() -> None:
    points = go(search(*WIDE, trials=24), hill)

    assert len(points) == len(set(points)) == 24
    assert go(search(*WIDE, trials=24), hill) == points
    assert go(search(*WIDE, trials=30), hill)[:24] == points
    assert go(search(*WIDE, trials=24, seed=8), hill) != points
    assert go(search(*WIDE, trials=24, batch=5), hill) != points


def test_it_finds_better_points_than_chance() -> None:
    def best(points: list[Point]) -> float:
        return max(worth for point in points if (worth := hill(point)) is not None)

    draw = random.Random(3)
    chance = [(draw.randrange(60), draw.randrange(200), draw.choice("xyz")) for _ in range(60)]

    assert best(go(search(*WIDE, trials=60), hill)) > best(chance)


def test_conditions_hold_and_a_small_space_is_exhausted() -> None:
    pair = axis("a", *range(6)), axis("b", *range(6))

    points = go(search(*pair, trials=15, where="a < b"), lambda p: float(p[0]))

    assert all(a < b for a, b in points)
    assert len(points) == len(set(points)) <= 15
    with pytest.raises(ValueError, match="no point that satisfies `where`"):
        go(search(*pair, trials=3, where="a > 5"), lambda _p: 0.0)


@pytest.fixture
def held(db_path: Path) -> Path:
    bars = tables(2)
    hold(db_path, BTC, days(0, 2), bars["BTC/USDT", ONE_MINUTE])
    hold(db_path, BTC, days(0, 2), bars["BTC/USDT", FIVE_MINUTES], dataset="bars_5m")
    return db_path


def test_an_experiment_is_taken_up_again_where_it_was_left(held: Path) -> None:
    asked = experiment(
        ema(days(0, 2)),
        search=search(axis("fast", *range(3, 12)), axis("slow", 15, 20, 30), trials=6, batch=3),
        objective=Objective(metric="return", maximize=True, min_trades=1),
        workers=2,
    )
    results = held.parent / "results"

    def state() -> tuple[str, ...]:
        return experiment_state(held, asked, results_path=results).reasons

    assert state() == ("to run: 6 trials",)

    run_experiment(asked, db_path=held, results_path=results)

    listed = "SELECT number, key, params FROM experiment_trials ORDER BY number"
    before = rows(held, listed)
    page = (results / "experiments/sweep/trials.csv").read_bytes()
    assert len(before) == 6
    assert state() == ()
    longer = replace(asked, search=replace(asked.search, trials=8))
    reasons = experiment_state(held, longer, results_path=results).reasons
    assert reasons == (
        "to run: up to 8 trials, except those that the database has",
        "search.trials: was 6, now 8",
    )
    with open_reader(held) as query:
        assert len(Survey(asked, query).search) == 6
    shell(
        held, "DELETE FROM trials WHERE key IN (SELECT key FROM experiment_trials WHERE number > 3)"
    )
    shell(held, "DELETE FROM experiment_trials")  # as after a kill, and then some

    assert state() != ()
    run_experiment(asked, db_path=held, results_path=results)

    assert rows(held, listed) == before
    assert (results / "experiments/sweep/trials.csv").read_bytes() == page
    assert state() == ()
