"""Results of experiments from their folders, for `doit status` and the report's page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tbv8.config.experiments import FOLDER
from tbv8.config.records import Problem
from tbv8.manifest import read_summary_json
from tbv8.page.html import Child, element, table
from tbv8.page.words import number


class ExperimentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment, with the numbers of its best trial.

    Attributes:
        experiment_id: Its name.
        state: `fresh`, `stale`, `no result`, `not configured` (its file is gone), or the state of
            its file's problem.
        reasons: The reasons why it would run, or its file's problem.
        numbers: The values of its summary.json by name; None if it has no such value.
        has_page: True if there is a page of it.
    """

    experiment_id: str
    state: str
    reasons: tuple[str, ...]
    numbers: dict[str, float | None]
    has_page: bool


def read_experiments(
    results_path: Path,
    configured: Iterable[str],
    reasons: Mapping[str, Sequence[str]],
    problems: Mapping[str, Problem],
) -> list[ExperimentStatus]:
    """Return the experiments with a config file or a result, by name.

    Args:
        results_path: The folder of all results.
        configured: The experiments with a config file.
        reasons: The reasons of those that would run.
        problems: The problems of config files that could not be loaded.
    """
    folder, with_config = results_path / FOLDER, set(configured)
    with_results = {path.parent.name for path in folder.glob("[!.]*/manifest.json")}
    experiments = []
    for name in sorted({*with_config, *problems, *with_results}):
        summary = read_summary_json(folder / name) or {}
        state = "no result" if not summary else "stale" if name in reasons else "fresh"
        why = tuple(reasons.get(name, ()))
        if name not in with_config:
            state = "not configured"
        if problem := problems.get(name):
            state, why = problem.state, (str(problem.error),)
        experiments.append(
            ExperimentStatus(
                experiment_id=name,
                state=state,
                reasons=why,
                numbers=_numbers(summary),
                has_page=(folder / name / "index.html").is_file(),
            )
        )
    return experiments


def _numbers(summary: Mapping[str, Any]) -> dict[str, float | None]:
    stats = _below(_below(summary, "chosen"), "stats")
    walk = _below(summary, "walk_forward")
    values = {
        **{name: summary.get(name) for name in ("trials", "failed", "tries", "deflated_sharpe")},
        "probability_of_overfitting": _below(summary, "overfitting").get("probability"),
        "sharpe": stats.get("sharpe"),
        "return": stats.get("return"),
        "out_of_sample_return": walk.get("return"),
        "efficiency": walk.get("efficiency"),
    }
    return {
        name: value if isinstance(value, int | float) else None for name, value in values.items()
    }


def draw_experiments(experiments: Sequence[ExperimentStatus]) -> Child:
    """Return the table of experiments; beside each Sharpe ratio is the deflated one."""
    heads = [
        *("experiment", "state", "trials", "failed trials", "Sharpe ratio"),
        *("deflated Sharpe ratio", "tries", "probability of overfitting", "return"),
        *("return out of sample", "walk-forward efficiency", "why"),
    ]
    note = (
        "The Sharpe ratio and the return are those of the best trial. The deflated Sharpe ratio is "
        "the probability that its true one is above what the best of all tries reaches by luck. "
        "The probability of overfitting is about the whole search: how often the trial with the "
        "highest Sharpe ratio on half of the days is no better than the median on the others. The "
        "return out of sample is that of the walk-forward, whose windows choose their own values; "
        "its efficiency is the Sharpe ratio of them divided by the one in sample."
    )
    rows = [_cells(experiment) for experiment in experiments]
    return [
        element("p", note, class_="note"),
        table(heads, rows, words=2, sortable=True, id_="experiments-table"),
    ]


def _cells(experiment: ExperimentStatus) -> list[Child]:
    numbers = experiment.numbers
    name: Child = experiment.experiment_id
    if experiment.has_page:
        name = element("a", name, href=f"{FOLDER}/{quote(experiment.experiment_id)}/index.html")
    states = {"fresh": "pill", "stale": "pill stale"}
    return [
        name,
        element("span", experiment.state, class_=states.get(experiment.state, "pill gone")),
        number(numbers["trials"], ","),
        number(numbers["failed"], ","),
        number(numbers["sharpe"], ".2f"),
        number(numbers["deflated_sharpe"], ".0%"),
        number(numbers["tries"], ","),
        number(numbers["probability_of_overfitting"], ".0%"),
        number(numbers["return"], "+.2%"),
        number(numbers["out_of_sample_return"], "+.2%"),
        number(numbers["efficiency"], ".2f"),
        element("span", "; ".join(experiment.reasons[:3]), class_="fold"),
    ]


def _below(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    nested = value.get(key)
    return nested if isinstance(nested, dict) else {}
