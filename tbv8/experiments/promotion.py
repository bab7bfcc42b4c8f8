"""The promotion of a trial to a strategy's file, whose backtest has the trial's numbers."""

from __future__ import annotations

from tbv8.config.experiments import promoted_text, results_folder
from tbv8.config.records import Experiment, Project
from tbv8.config.space import to_text
from tbv8.errors import DataError
from tbv8.experiments.result import (
    Luck,
    SearchTrial,
    experiment_caution,
    headline,
    measure_luck,
    no_choice_text,
    overfitting_text,
    read_rows,
    trial_caution,
    trial_numbers_text,
)
from tbv8.experiments.survey import Survey
from tbv8.experiments.walkforward import choose_trial
from tbv8.files import replacing
from tbv8.manifest import read_summary_json
from tbv8.page.words import capital
from tbv8.store.database import Query


def promote(
    query: Query, experiment: Experiment, strategy_id: str, *, project: Project, number: int | None
) -> list[str]:
    """Write `config/strategies/<strategy_id>.yaml` and return the lines that report it.

    Args:
        query: The database.
        experiment: The experiment.
        strategy_id: The id of the new strategy, which can be a file's name.
        project: The project.
        number: The number of the trial; None for the one that the objective chooses.

    Raises:
        DataError: The trial does not exist, has no result, or must be run again first.
    """
    survey = Survey(experiment, query)
    name = experiment.experiment_id
    if survey.missing(query, survey.search):
        raise DataError(f"{name}: not all of its trials are run: run `doit experiment:{name}`")
    rows = read_rows(survey, query)
    best = choose_trial([row.trial for row in rows], experiment.objective)
    row = _row(rows, experiment, best if number is None else number)
    if row.trial.status != "ok":
        raise DataError(f"{name}: trial {row.number} has no result: {row.error}")
    point = survey.points[row.number]
    luck = measure_luck(survey, query, rows, row)
    comments = [
        f"From experiment {name}, trial {row.number}: {to_text(experiment.search.axes, point)}.",
        f"There: {headline(row.trial, luck)}.",
    ]
    of_search, warnings = [], [_trial_caution(row, luck)]
    if row.number == best and luck:  # the search and the walk-forward say nothing of other trials
        of_search.append(overfitting_text(luck))
        summary = read_summary_json(results_folder(project.results_path, name)) or {}
        gained = (summary.get("walk_forward") or {}).get("return")
        warnings.append(experiment_caution(overfitting=luck.probability, out_of_sample=gained))
    warnings = [warning for warning in warnings if warning]
    comments += [f"{capital(text)}." for text in of_search]
    comments += [f"Caution: {warning}." for warning in warnings]
    root = project.root
    path = root / "config" / "strategies" / f"{strategy_id}.yaml"
    if path.exists() or path.with_suffix(".yml").exists():
        raise DataError(f"{path.relative_to(root)}: exists already: choose another --as")
    text = promoted_text(experiment, point, strategy_id, comments=comments, root=root)
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")
    return [
        f"{path.relative_to(root)}: {comments[0][0].lower()}{comments[0][1:]}",
        f"  {headline(row.trial, luck)}",
        *(f"  {text}" for text in of_search),
        *(f"  ! {warning}" for warning in warnings),
        f"  its backtest has the same numbers: `doit backtest:{strategy_id}`",
    ]


def _trial_caution(row: SearchTrial, luck: Luck | None) -> str:
    deflated = luck.deflated if luck else None
    return trial_caution(row.number, total_return=row.trial.total_return, deflated=deflated)


def _row(rows: list[SearchTrial], experiment: Experiment, number: int | None) -> SearchTrial:
    if number is None:
        reason = no_choice_text(experiment, [row.trial for row in rows])
        raise DataError(f"{experiment.experiment_id}: {reason}, or name a trial by --number")
    if number >= len(rows):
        raise DataError(
            f"--number: there is no trial {number}, only {trial_numbers_text(0, len(rows) - 1)}"
        )
    return rows[number]
