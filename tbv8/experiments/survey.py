"""The trials of an experiment, and the ones missing in the database; light to import at each start.

The trials of the search and of the training windows follow from the YAML alone; the trials out of
sample, and those of the Monte Carlo, follow from the results of these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tbv8.config.records import Experiment, Strategy
from tbv8.config.source import digest_file
from tbv8.config.space import Point, as_mapping, points
from tbv8.experiments.blocks import RechainedMarket
from tbv8.experiments.keys import Keys, TrialSpan, monte_carlo_subject, subject_of
from tbv8.experiments.walkforward import WindowSpans, choose_trial, neighbours, window_spans
from tbv8.freshness.result import PACKAGE, code_files, package_versions, source_digests
from tbv8.freshness.state import digest_text
from tbv8.manifest import PAGE_PART, PLOTLY_BESIDE, Input, make_input
from tbv8.market import Span
from tbv8.page.plotly import PLOTLY_FILE, has_plotly
from tbv8.store.database import Query
from tbv8.store.trials import (
    BY_TRADE,
    MARKET_PART,
    ListedTrial,
    Trial,
    read_digests,
    read_listed,
    read_trials,
    read_variants,
)


class PlannedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial of an experiment; for `part` see `tbv8.store.trials`.

    For `market` and `by_trade` see `tbv8.experiments.jobs.Job`.
    """

    part: str
    number: int
    point: Point
    span: TrialSpan
    key: bytes
    market: RechainedMarket | None = None
    by_trade: bool = False

    @property
    def is_try(self) -> bool:
        """True if it counts as a try: a trial on the real series."""
        return self.market is None and not self.by_trade


class Survey:
    """The trials of an experiment.

    Args:
        experiment: The experiment.
        query: The database; the fingerprints of its bars are read only here.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials, or the span is too
            short for a window or for a market made of its days.
    """

    def __init__(self, experiment: Experiment, query: Query) -> None:
        self.experiment = experiment
        search = experiment.search
        self.points = _read_points(experiment, query)
        self._keys = Keys(query, experiment.strategy, search.axes)
        walk = experiment.walk_forward
        self.windows: list[WindowSpans] = (
            window_spans(experiment.strategy.run_span, walk, experiment.timeframes) if walk else []
        )
        if error := experiment.span_error():
            raise error
        for point in self._keys.shapes():
            self._keys.shared_part(point, self._keys.span)
        self.search = self._part("", self._keys.span)
        self.training = [
            self._part(f"is:{at}", self._trial_span(window, test=False))
            for at, window in enumerate(self.windows)
        ]
        for window in self.windows:
            for point in self._keys.shapes():
                self._keys.shared_part(point, self._trial_span(window, test=True))
        self._neighbours = neighbours(search, self.points, walk.plateau) if walk else []

    def _trial_span(self, window: WindowSpans, *, test: bool) -> TrialSpan:
        walk = self.experiment.walk_forward
        assert walk
        return TrialSpan(window.test if test else window.train, walk.warm_up_ms)

    def _part(self, part: str, span: TrialSpan) -> list[PlannedTrial]:
        return [self._plan(part, number, span) for number in range(len(self.points))]

    def _plan(self, part: str, number: int, span: TrialSpan) -> PlannedTrial:
        point = self.points[number]
        key = self._keys.key(point, span)
        return PlannedTrial(part=part, number=number, point=point, span=span, key=key)

    def restart(self) -> None:
        """Remove all points of a tpe search, to run it from its seed on."""
        self.points, self.search = [], []

    def add_points(self, new: Sequence[Point]) -> list[PlannedTrial]:
        """Add points to the search, and return their trials."""
        first = len(self.points)
        self.points += new
        added = [
            self._plan("", number, self._keys.span) for number in range(first, len(self.points))
        ]
        self.search += added
        return added

    @property
    def fixed_trials(self) -> list[PlannedTrial]:
        """The trials that follow from the YAML alone."""
        return [*self.search, *(planned for part in self.training for planned in part)]

    def choices(self, query: Query) -> list[int | None]:
        """Return the number of the trial that each window chooses; None if it stays flat."""
        numbers = []
        for part in self.training:
            rows = read_trials(query, [planned.key for planned in part])
            trials: list[Trial | None] = [rows.get(planned.key) for planned in part]
            objective = self.experiment.objective
            numbers.append(choose_trial(trials, objective, neighbours=self._neighbours))
        return numbers

    def test_trials(self, choices: Sequence[int | None]) -> list[PlannedTrial]:
        """Return the trials out of sample, of the windows that made a choice."""
        return [
            self._plan(f"oos:{at}", number, self._trial_span(window, test=True))
            for at, (window, number) in enumerate(zip(self.windows, choices, strict=True))
            if number is not None
        ]

    def best_number(self, query: Query) -> int | None:
        """Return the number of the trial that the search chooses; None if none qualifies."""
        rows = read_trials(query, [planned.key for planned in self.search])
        return choose_trial(
            [rows.get(planned.key) for planned in self.search], self.experiment.objective
        )

    def monte_carlo_trials(self, number: int | None) -> list[PlannedTrial]:
        """Return the trials for the Monte Carlo of a chosen trial; none if `number` is None."""
        monte_carlo = self.experiment.monte_carlo
        if monte_carlo is None or number is None:
            return []
        point, span = self.points[number], self._keys.span
        by_trade = PlannedTrial(
            part=BY_TRADE,
            number=number,
            point=point,
            span=span,
            key=self._keys.trades_key(point),
            by_trade=True,
        )
        markets = [
            RechainedMarket(block_days=monte_carlo.block_days, seed=monte_carlo.seed, path=path)
            for path in range(monte_carlo.markets)
        ]
        return [
            by_trade,
            *(
                PlannedTrial(
                    part=f"{MARKET_PART}{market.path}",
                    number=number,
                    point=point,
                    span=span,
                    key=self._keys.market_key(point, market),
                    market=market,
                )
                for market in markets
            ),
        ]

    def dependent_trials(self, query: Query) -> list[PlannedTrial]:
        """Return the trials that follow from results: out of sample, and of the Monte Carlo."""
        number = self.best_number(query) if self.experiment.monte_carlo else None
        return [*self.test_trials(self.choices(query)), *self.monte_carlo_trials(number)]

    def shapes(self) -> list[Strategy]:
        """Return one strategy for each combination of timeframe and detail, over the whole span."""
        span = self._keys.span
        return [self._keys.strategy(point, span) for point in self._keys.shapes()]

    def strategy(self, planned: PlannedTrial) -> Strategy:
        """Return the strategy of a trial."""
        return self._keys.strategy(planned.point, planned.span)

    def subject(self, planned: PlannedTrial) -> str:
        """Return the subject of a trial."""
        strategy = self.experiment.strategy
        return subject_of(strategy) if planned.is_try else monte_carlo_subject(strategy)

    def variant(self, planned: PlannedTrial) -> bytes:
        """Return the digest of a trial's strategy and values, whatever its span."""
        return self._keys.variant(planned.point, planned.span)

    @property
    def span(self) -> Span:
        """The span whose results the trials of the search count."""
        return self._keys.span.counted

    def inputs(
        self, query: Query, planned: Sequence[PlannedTrial], *, results_path: Path
    ) -> dict[str, Input]:
        """Return every part of the key of an experiment's result.

        `results_path` is the folder of all results, whose plotly.min.js its page may share.
        """
        rows = read_digests(query, [trial.key for trial in planned])
        outcomes = b"".join(
            trial.key + rows[trial.key][0] for trial in planned if trial.key in rows
        )
        tries, ratios = read_variants(
            query,
            subject_of(self.experiment.strategy),
            start_ms=self.span.start_ms,
            end_ms=self.span.end_ms,
        )
        ratio_lines = sorted(f"{variant.hex()} {ratio!r}" for variant, ratio in ratios.items())
        return {
            "experiment": make_input(_settings(self.experiment)),
            "values": make_input(self._keys.fixed_values),
            **self._keys.shared_part(self._keys.shapes()[0], self._keys.span).inputs,
            **_optimizer_input(self.experiment),
            "trials": Input(hashlib.sha256(outcomes).hexdigest(), {"count": len(planned)}),
            "tries": Input(digest_text([str(tries), *ratio_lines]), {"count": tries}),
            PAGE_PART: page_input(is_plotly_beside=has_plotly(results_path)),
        }

    def to_rows(self, planned: Iterable[PlannedTrial]) -> list[ListedTrial]:
        """Return the rows of `experiment_trials`."""
        axes = self.experiment.search.axes
        return [
            ListedTrial(
                part=trial.part,
                number=trial.number,
                key=trial.key,
                params=as_mapping(axes, trial.point),
            )
            for trial in planned
        ]

    def missing(self, query: Query, planned: Sequence[PlannedTrial]) -> list[PlannedTrial]:
        """Return the trials without a row, or whose strategy opened files that changed since."""
        rows = read_digests(query, [trial.key for trial in planned])
        root = self.experiment.strategy.root
        is_unchanged = {
            files: _are_same(files, root) for files in {files for _, files in rows.values()}
        }
        keys_seen: set[bytes] = set()
        missing = []
        for trial in planned:
            has_row = trial.key in rows and is_unchanged[rows[trial.key][1]]
            if not has_row and trial.key not in keys_seen:
                missing.append(trial)
            keys_seen.add(trial.key)
        return missing


def _read_points(experiment: Experiment, query: Query) -> list[Point]:
    """Return the points of a search; of a tpe search, the points that the database lists so far.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials.
    """
    search = experiment.search
    if search.method != "tpe":
        try:
            return list(points(search))
        except ValueError as e:
            raise experiment.error("search.trials", str(e)) from e
    listed = read_listed(query, experiment.experiment_id, "")
    listed_points = [tuple(trial.params.get(axis.name) for axis in search.axes) for trial in listed]
    columns = zip(search.axes, zip(*listed_points, strict=True), strict=False)
    is_valid = all(value in axis.values for axis, column in columns for value in column)
    return listed_points if is_valid else []


def _optimizer_input(experiment: Experiment) -> dict[str, Input]:
    """Return the code that suggests the points of a tpe search, as a part of its key."""
    if experiment.search.method != "tpe":
        return {}
    sources = source_digests(code_files("experiments/optimizer.py"), PACKAGE.parent)
    return {"optimizer": make_input(sources | package_versions("optuna", "numpy"))}


def page_input(*, is_plotly_beside: bool = False) -> Input:
    """Return the code that makes an experiment's folder from its rows; no trial's key has it."""
    sources = source_digests(code_files("experiments", "page"), PACKAGE.parent)
    beside = {PLOTLY_FILE: PLOTLY_BESIDE} if is_plotly_beside else {}
    return make_input(sources | package_versions("plotly") | beside)


def _settings(experiment: Experiment) -> dict[str, Any]:
    """Return the contents of an experiment's file except for `run`."""
    search = experiment.search
    return {
        "search": {
            "method": search.method,
            "space": {axis.name: list(axis.values) for axis in search.axes},
            "where": list(search.where),
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
