"""The results of experiments, read from their folders, as a table of the report's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tbv8.config.experiments import FOLDER
from tbv8.manifest import read_summary_json
from tbv8.page.html import Child, element, table
from tbv8.page.words import number
from tbv8.report.graph import Node

_TASK = "experiment:"


class ExperimentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment: its summary.json, empty without a result, and the reasons to run it."""

    experiment_id: str
    summary: Mapping[str, Any]
    is_configured: bool
    reasons: tuple[str, ...]
    has_page: bool

    @property
    def state(self) -> str:
        """The state: `fresh`, `stale`, `no result` or `not configured`."""
        if not self.is_configured:
            return "not configured"
        if not self.summary:
            return "no result"
        return "stale" if self.reasons else "fresh"


def read_experiments(results_path: Path, tasks: Sequence[Node]) -> list[ExperimentRow]:
    """Return the experiments with a config file or a result, by name."""
    folder = results_path / FOLDER
    reasons = {
        node.name.removeprefix(_TASK): node.reasons for node in tasks if node.name.startswith(_TASK)
    }
    with_results = {path.parent.name for path in folder.glob("[!.]*/manifest.json")}
    return [
        ExperimentRow(
            experiment_id=name,
            summary=read_summary_json(folder / name) or {},
            is_configured=name in reasons,
            reasons=reasons.get(name, ()),
            has_page=(folder / name / "index.html").is_file(),
        )
        for name in sorted({*reasons, *with_results})
    ]


def draw_experiments(experiments: Sequence[ExperimentRow]) -> Child:
    """Return the table of experiments; beside each Sharpe ratio is the deflated one."""
    heads = [
        *("experiment", "state", "trials", "failed", "Sharpe", "deflated", "tries"),
        *("overfitting", "return", "out of sample", "efficiency", "why it is stale"),
    ]
    note = (
        "Numbers of the best trial. Deflated is the probability that its true Sharpe ratio is "
        "above what the best of all tries reaches by luck; overfitting is how often the "
        "best trial on half of the days is no better than the median on the others. Out of sample "
        "is the return of the walk-forward; efficiency is its Sharpe ratio divided by the one in "
        "sample."
    )
    rows = [_cells(experiment) for experiment in experiments]
    return [
        element("p", note, class_="note"),
        table(heads, rows, words=2, sortable=True, id_="experiments-table"),
    ]


def _cells(experiment: ExperimentRow) -> list[Child]:
    summary = experiment.summary
    stats = _below(_below(summary, "chosen"), "stats")
    walk = _below(summary, "walk_forward")
    ratio = walk.get("efficiency")
    efficiency = ratio if isinstance(ratio, int | float) and ratio > 0 else None
    name: Child = experiment.experiment_id
    if experiment.has_page:
        name = element("a", name, href=f"{FOLDER}/{quote(experiment.experiment_id)}/index.html")
    states = {"fresh": "pill", "stale": "pill stale"}
    return [
        name,
        element("span", experiment.state, class_=states.get(experiment.state, "pill gone")),
        number(summary.get("trials"), ","),
        number(summary.get("failed"), ","),
        number(stats.get("sharpe"), ".2f"),
        number(summary.get("deflated_sharpe"), ".0%"),
        number(summary.get("tries"), ","),
        number(_below(summary, "overfitting").get("probability"), ".0%"),
        number(stats.get("return"), "+.2%"),
        number(walk.get("return"), "+.2%"),
        number(efficiency, ".2f"),
        element("span", "; ".join(experiment.reasons[:3]), class_="fold"),
    ]


def _below(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    nested = value.get(key)
    return nested if isinstance(nested, dict) else {}
