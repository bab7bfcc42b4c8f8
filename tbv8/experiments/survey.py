"""What an experiment is made of, and which of it the database has: asked at each start, so light.

The trials of the search and of the training windows are known from the YAML alone; which ones are
tested out of sample follows from the rows of the training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tbv8.config.records import Experiment, Strategy
from tbv8.config.source import digest_file
from tbv8.config.space import Point, as_mapping, points
from tbv8.errors import ConfigError
from tbv8.experiments.keys import Keys, Window, subject_of
from tbv8.experiments.walkforward import Fold, choose, folds, neighbours
from tbv8.freshness.result import PACKAGE, code_files, package_versions, source_digests
from tbv8.freshness.state import digest_text
from tbv8.manifest import PAGE_PART, Input, make_input
from tbv8.market import Span
from tbv8.store.database import Query
from tbv8.store.trials import Listed, Trial, read_held, read_listed, read_trials, read_tries


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One trial that an experiment is made of; `part` as in `tbv8.store.trials`."""

    part: str
    number: int
    point: Point
    window: Window
    key: bytes


class Survey:
    """The trials of an experiment.

    Args:
        experiment: What is asked for.
        query: The database; asked for fingerprints of bars here, and not again.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials, or the span is too
            short for a window.
    """

    def __init__(self, experiment: Experiment, query: Query) -> None:
        self.experiment = experiment
        search = experiment.search
        self.points = _known_points(experiment, query)
        self._keys = Keys(query, experiment.strategy, search.axes)
        walk = experiment.walk_forward
        self.folds: list[Fold] = folds(experiment.strategy.run_span, walk) if walk else []
        if walk and not self.folds:
            raise ConfigError(
                f"warm_up and train leave nothing of {experiment.strategy.run_span} to test: write "
                "shorter ones, or widen its start_date and end_date",
                path=experiment.path,
                key="walk_forward",
            )
        for point in self._keys.shapes():
            self._keys.base(point, self._keys.window)
        self.search = self._part("", self._keys.window)
        self.training = [
            self._part(f"is:{at}", self._window(fold, test=False))
            for at, fold in enumerate(self.folds)
        ]
        for fold in self.folds:
            for point in self._keys.shapes():
                self._keys.base(point, self._window(fold, test=True))
        self._neighbours = neighbours(search, self.points, walk.plateau) if walk else []

    def _window(self, fold: Fold, *, test: bool) -> Window:
        walk = self.experiment.walk_forward
        assert walk
        return Window(fold.test if test else fold.train, walk.warm_up_ms)

    def _part(self, part: str, window: Window) -> list[Asked]:
        return [self._asked(part, number, window) for number in range(len(self.points))]

    def _asked(self, part: str, number: int, window: Window) -> Asked:
        point = self.points[number]
        key = self._keys.key(point, window)
        return Asked(part=part, number=number, point=point, window=window, key=key)

    def restart(self) -> None:
        """Forget the points of a search that follows from results, to go through it again."""
        self.points, self.search = [], []

    def add(self, new: Sequence[Point]) -> list[Asked]:
        """Add points to the search, and return their trials."""
        first = len(self.points)
        self.points += new
        added = [
            self._asked("", number, self._keys.window) for number in range(first, len(self.points))
        ]
        self.search += added
        return added

    @property
    def known(self) -> list[Asked]:
        """All that the YAML alone asks for."""
        return [*self.search, *(asked for part in self.training for asked in part)]

    def choices(self, query: Query) -> list[int | None]:
        """Return the number that each window chooses from its rows; None for a flat window."""
        chosen = []
        for part in self.training:
            rows = read_trials(query, [asked.key for asked in part])
            trials: list[Trial | None] = [rows.get(asked.key) for asked in part]
            objective = self.experiment.objective
            chosen.append(choose(trials, objective, neighbours=self._neighbours))
        return chosen

    def tested(self, choices: Sequence[int | None]) -> list[Asked]:
        """Return the trials out of sample."""
        return [
            self._asked(f"oos:{at}", number, self._window(fold, test=True))
            for at, (fold, number) in enumerate(zip(self.folds, choices, strict=True))
            if number is not None
        ]

    def shapes(self) -> list[Strategy]:
        """Return one strategy of each timeframe and detail, over the whole span."""
        window = self._keys.window
        return [self._keys.strategy(point, window) for point in self._keys.shapes()]

    def strategy(self, asked: Asked) -> Strategy:
        """Return what a trial runs."""
        return self._keys.strategy(asked.point, asked.window)

    def variant(self, asked: Asked) -> bytes:
        """Return what a trial tries, whatever its span."""
        return self._keys.variant(asked.point, asked.window)

    @property
    def span(self) -> Span:
        """What the trials of the search count."""
        return self._keys.window.span

    def inputs(self, query: Query, asked: Sequence[Asked]) -> dict[str, Input]:
        """Return every part of the key of an experiment's result, of trials that are all there."""
        held = read_held(query, [one.key for one in asked])
        lines = [
            f"{one.part} {one.number} {one.key.hex()} {held[one.key][0].hex()}"
            for one in asked
            if one.key in held
        ]
        tries, ratios = read_tries(
            query,
            subject_of(self.experiment.strategy),
            start_ms=self.span.start_ms,
            end_ms=self.span.end_ms,
        )
        known = sorted(f"{variant.hex()} {ratio!r}" for variant, ratio in ratios.items())
        return {
            "experiment": make_input(_settings(self.experiment)),
            "values": make_input(self._keys.fixed),
            **self._keys.base(self._keys.shapes()[0], self._keys.window).inputs,
            **_optimizer_input(self.experiment),
            "trials": Input(digest_text(lines), {"count": len(asked)}),
            "tries": Input(digest_text([str(tries), *known]), {"count": tries}),
            PAGE_PART: page_input(),
        }

    def listed(self, asked: Iterable[Asked]) -> list[Listed]:
        """Return the rows of `experiment_trials`."""
        axes = self.experiment.search.axes
        return [
            Listed(
                part=one.part, number=one.number, key=one.key, params=as_mapping(axes, one.point)
            )
            for one in asked
        ]

    def missing(self, query: Query, asked: Sequence[Asked]) -> list[Asked]:
        """Return the trials without a row, or whose strategy opened files that have changed."""
        held = read_held(query, [one.key for one in asked])
        root = self.experiment.strategy.root
        same = {files: _are_same(files, root) for files in {files for _, files in held.values()}}
        seen: set[bytes] = set()
        found = []
        for one in asked:
            is_held = one.key in held and same[held[one.key][1]]
            if not is_held and one.key not in seen:
                found.append(one)
            seen.add(one.key)
        return found


def _known_points(experiment: Experiment, query: Query) -> list[Point]:
    """Return the points of a search; of one that follows from results those that are listed.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials.
    """
    search = experiment.search
    if search.method != "tpe":
        try:
            return list(points(search))
        except ValueError as e:
            raise ConfigError(str(e), path=experiment.path, key="search.trials") from e
    listed = read_listed(query, experiment.experiment_id, "")
    found = [tuple(one.params.get(axis.name) for axis in search.axes) for one in listed]
    columns = zip(search.axes, zip(*found, strict=True), strict=False)
    is_known = all(value in axis.values for axis, column in columns for value in column)
    return found if is_known else []


def _optimizer_input(experiment: Experiment) -> dict[str, Input]:
    """Return the part that decides on the points of a search that follows from results."""
    if experiment.search.method != "tpe":
        return {}
    sources = source_digests(code_files("experiments/optimizer.py"), PACKAGE.parent)
    return {"optimizer": make_input(sources | package_versions("optuna", "numpy"))}


def page_input() -> Input:
    """Return the part of an experiment's key that makes its folder of the rows; no trial has it."""
    sources = source_digests(code_files("experiments", "page"), PACKAGE.parent)
    return make_input(sources | package_versions("plotly"))


def _settings(experiment: Experiment) -> dict[str, Any]:
    """Return what an experiment's file says, but for how it is run."""
    search = experiment.search
    return {
        "search": {
            "method": search.method,
            "space": {axis.name: list(axis.values) for axis in search.axes},
            "where": list(search.written),
            "trials": search.trials,
            "seed": search.seed,
            **({"batch": search.batch} if search.method == "tpe" else {}),
        },
        "objective": msgspec.to_builtins(experiment.objective),
        "walk_forward": msgspec.to_builtins(experiment.walk_forward),
        "monte_carlo": msgspec.to_builtins(experiment.monte_carlo),
        "blocks": experiment.blocks,
    }


def _are_same(files: str, root: Any) -> bool:
    recorded = json.loads(files) if files else {}
    return all(digest_file(root / path) == digest for path, digest in recorded.items())
