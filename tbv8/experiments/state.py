"""The state of an experiment's result: fresh, or stale for changes of its file, code or data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tbv8.config.experiments import results_folder
from tbv8.config.records import Experiment
from tbv8.config.space import points
from tbv8.experiments.survey import PlannedTrial, Survey
from tbv8.experiments.walkforward import window_spans
from tbv8.experiments.warming import check_warm_up
from tbv8.freshness.reasons import changes
from tbv8.freshness.result import to_parts
from tbv8.freshness.state import State
from tbv8.manifest import Input, Manifest, damage, read_manifest
from tbv8.store.database import open_reader
from tbv8.store.trials import read_keys
from tbv8.text import counted

_NO_INPUT = Input("", None)


def experiment_state(db_path: Path, experiment: Experiment, *, results_path: Path) -> State:
    """Return an experiment's state: fresh if every trial has its row and the folder is current.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials, or its runs are warmed
            up for less time than their signals need.
    """
    folder = results_folder(results_path, experiment.experiment_id)
    manifest = read_manifest(folder) or Manifest({}, {})
    with open_reader(db_path) as query:
        check_warm_up(experiment, query, results_path=results_path)
        survey = Survey(experiment, query)
        missing, planned = survey.missing(query, survey.fixed_trials), survey.fixed_trials
        has_choices = not missing
        if has_choices:
            following = survey.dependent_trials(query)
            missing, planned = survey.missing(query, following), [*planned, *following]
        inputs = survey.inputs(query, planned, results_path=results_path)
        listed = read_keys(query, experiment.experiment_id)
    reasons = []
    is_open = _is_open(experiment, inputs, manifest.inputs)
    if is_open:
        reasons.append(_open_text(experiment, bool(listed)))
    elif missing and has_choices:
        tests = sum(trial.is_try for trial in missing)
        counts = _further_counts(experiment, tests, len(missing) - tests)
        reasons.append(f"to run: {' and '.join(counts)}")
    elif missing:
        shares = _shares(missing, len(survey.windows))
        then = _then(experiment, len(survey.windows))
        count = f"{len(missing):,} of {counted(len(planned), 'trial')}"
        reasons.append(f"to run: {count}{shares}{then}")
    for name, part in inputs.items():
        recorded = manifest.inputs.get(name, _NO_INPUT)
        if manifest.inputs and recorded.digest != part.digest and name not in ("trials", "tries"):
            reasons.extend(changes(name, recorded.value, part.value) or [f"{name} changed"])
    if not missing and not is_open:
        if not manifest.inputs:
            reasons.append("no result yet")
        else:
            reasons.extend(
                _ROWS[name]
                for name in ("trials", "tries")
                if manifest.inputs.get(name) != inputs[name]
            )
        if listed != {(trial.part, trial.number): trial.key for trial in planned}:
            reasons.append("the database does not list its trials")
        reasons.extend(damage(folder, manifest.outputs))
    return State(tuple(dict.fromkeys(reasons)), to_parts(inputs, manifest.inputs))


def new_trials_text(experiment: Experiment) -> str:
    """Return the text about the trials of a new experiment, from its file alone."""
    search, walk = experiment.search, experiment.walk_forward
    count = search.trials or sum(1 for _ in points(search))
    windows = (
        len(window_spans(experiment.strategy.run_span, walk, experiment.timeframes)) if walk else 0
    )
    total, shares = counted(count * (1 + windows), "trial"), _shares_text(count, windows)
    return f"to run: {total}{shares}{_then(experiment, windows)}"


def _is_open(
    experiment: Experiment, inputs: Mapping[str, Input], recorded: Mapping[str, Input]
) -> bool:
    """Return True if the points of a search are unknown until it runs: of a new or changed tpe."""
    return experiment.search.method == "tpe" and any(
        recorded.get(name, _NO_INPUT).digest != inputs[name].digest
        for name in ("experiment", "optimizer")
    )


def _open_text(experiment: Experiment, has_run: bool) -> str:
    """Return the text about the trials of a search whose points are unknown."""
    if not has_run:
        return new_trials_text(experiment)
    count, then = counted(experiment.search.trials or 0, "trial"), _then(experiment, 0)
    return f"to run: up to {count}, except those that the database has{then}"


def _shares(missing: Sequence[PlannedTrial], windows: int) -> str:
    """Return the text about the missing trials of the search and of the training windows."""
    in_search = sum(not trial.part for trial in missing)
    in_sample = len(missing) - in_search
    if in_sample == windows * in_search:
        return _shares_text(in_search, windows)
    return f" ({in_search:,} in the search, {in_sample:,} in sample)"


def _shares_text(points: int, windows: int) -> str:
    if not windows:
        return ""
    in_sample = (
        f"{windows * points:,} in sample: {points:,} for each of {counted(windows, 'window')}"
    )
    return f" ({points:,} in the search, {in_sample})"


def _then(experiment: Experiment, windows: int) -> str:
    """Return the text about the trials that follow from the results of the first ones."""
    markets = experiment.monte_carlo.markets + 1 if experiment.monte_carlo else 0
    counts = _further_counts(experiment, windows, markets)
    return f", then {' and '.join(counts)}" if counts else ""


def _further_counts(experiment: Experiment, tests: int, side_trials: int) -> list[str]:
    """Return the numbers of trials that follow from results: out of sample, and Monte Carlo."""
    markets = experiment.monte_carlo.markets if experiment.monte_carlo else 0
    note = (
        f" ({counted(markets, 'market')}, each a whole trial, and 1 to list the best trial's round "
        "trips)"
        if markets
        else ""
    )
    return [
        *([f"{tests:,} out of sample"] if tests else []),
        *([f"{side_trials:,} for the Monte Carlo{note}"] if side_trials else []),
    ]


_ROWS = {
    "trials": "the results of its trials changed",
    "tries": "more variants were tried on this series since: the deflated Sharpe ratio changes",
}
