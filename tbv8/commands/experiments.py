"""`doit trials`, `doit compare` and `doit promote`: the results of experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from doit.exceptions import InvalidCommand
from msgspec.structs import replace

from tbv8.commands.base import JSON, ProjectCommand, print_json, whole_number
from tbv8.commands.errors import refuse_options
from tbv8.config.document import unknown
from tbv8.config.folder import name_problem
from tbv8.config.records import Experiment, Project
from tbv8.errors import Tbv8Error
from tbv8.freshness.result import backtest_state
from tbv8.store.database import open_reader
from tbv8.store.trials import METRICS
from tbv8.tasks.states import trials_state

_SORTS = ("number", *METRICS, "trades", "fills")


class Trials(ProjectCommand):
    """List the trials of an experiment."""

    doc_purpose = "list the trials of an experiment, the best first"
    doc_usage = "EXPERIMENT"
    doc_description = (
        "DSR, the deflated Sharpe ratio, is the probability that a trial's true Sharpe ratio is "
        "above what the best of all tries reaches by luck. A try is a set of values that any "
        "experiment has run with this strategy on this series. PBO is the probability of backtest "
        "overfitting of the whole search, from the experiment's last result. It says how often the "
        "trial that is best on half of the days, by Sharpe ratio, is no better than the median on "
        "the other half. Trials with fewer round trips than objective.min_trades come behind the "
        "others, trials without a result last, with the reason."
    )
    cmd_options = (
        JSON,
        {
            "name": "top",
            "long": "top",
            "type": str,
            "default": "20",
            "help": "the number of trials to list [default: %(default)s]",
        },
        {
            "name": "sort",
            "long": "sort",
            "type": str,
            "default": "",
            "help": "the column to sort by: number, sharpe, sortino, calmar, return, "
            "profit_factor, max_drawdown, trades or fills [default: the objective]",
        },
    )

    def _execute(self, as_json: bool, top: str, sort: str, pos_args: Sequence[str]) -> int:
        from tbv8.experiments.listing import list_trials, trial_lines

        project: Project = self.loader.namespace["PROJECT"]
        experiment = _experiment(project, pos_args, "doit trials")
        sort = sort or experiment.objective.metric
        if sort not in _SORTS:
            raise InvalidCommand(f"--sort: {unknown('column', sort, _SORTS)}")
        count = whole_number("--top", top, minimum=1)
        with open_reader(project.db_path) as query:
            listed = list_trials(query, experiment, project.results_path, top=count, sort=sort)
        listed = replace(listed, stale=_stale_reasons(project, experiment.experiment_id))
        if as_json:
            print_json(msgspec.to_builtins(listed))
        else:
            print("\n".join(trial_lines(listed)))
        return 0


class Compare(ProjectCommand):
    """Compare results side by side."""

    doc_purpose = "compare strategies and experiments side by side, with deflated Sharpe ratios"
    doc_usage = "NAME NAME ..."
    doc_description = (
        "A name is that of a strategy or of an experiment. Of an experiment, its chosen trial is "
        'compared. "tries" is the number of sets of values that experiments have run with that '
        "strategy on its series. DSR is deflated by all of them, also for a single backtest. PBO, "
        "out of sample and efficiency are of the whole experiment, from its last result, not of "
        "the trial. Efficiency is the Sharpe ratio out of sample divided by the mean of those in "
        "sample."
    )
    cmd_options = (JSON,)

    def _execute(self, as_json: bool, pos_args: Sequence[str]) -> int:
        from tbv8.experiments.listing import (
            compare_experiment,
            compare_strategy,
            comparison_lines,
        )

        project: Project = self.loader.namespace["PROJECT"]
        refuse_options(pos_args)
        if not pos_args:
            raise InvalidCommand("name at least one strategy or experiment: `doit list` shows them")
        results: Mapping[str, Any] = {**project.strategies, **project.experiments}
        for name in pos_args:
            if name not in results:
                project.check_file("strategy", name)
                project.check_file("experiment", name)
                raise InvalidCommand(unknown("strategy or experiment", name, results))
        with open_reader(project.db_path) as query:
            comparisons = [
                compare_experiment(query, project.experiments[name], project.results_path)
                if name in project.experiments
                else compare_strategy(query, project.strategies[name], project.results_path)
                for name in pos_args
            ]
        comparisons = [replace(row, stale=_stale_reasons(project, row.name)) for row in comparisons]
        if as_json:
            print_json(msgspec.to_builtins(comparisons))
        else:
            print("\n".join(comparison_lines(comparisons)))
        return 0


class Promote(ProjectCommand):
    """Write a trial's values as a strategy's file."""

    doc_purpose = "write a trial's values as a new strategy"
    doc_usage = "EXPERIMENT --as STRATEGY_ID [--number N]"
    doc_description = (
        "Writes config/strategies/<strategy_id>.yaml: the file of the experiment's strategy with "
        "the values of the trial, and their origin in comments. Its backtest gives the trial's "
        "numbers. Without --number, the trial is the one that the objective chooses."
    )
    cmd_options = (
        {
            "name": "as_",
            "long": "as",
            "type": str,
            "default": "",
            "help": "the id of the new strategy",
        },
        {
            "name": "number",
            "long": "number",
            "type": str,
            "default": None,
            "help": "the trial's number in `doit trials`",
        },
    )

    def _execute(self, as_: str, number: str | None, pos_args: Sequence[str]) -> int:
        from tbv8.experiments.promotion import promote

        project: Project = self.loader.namespace["PROJECT"]
        experiment = _experiment(project, pos_args, "doit promote")
        if not as_:
            raise InvalidCommand("--as: missing: write the id of the new strategy")
        if problem := name_problem(as_):
            raise InvalidCommand(f"--as: {problem}")
        if as_ in project.strategies or as_ in project.experiments:
            raise InvalidCommand(f"--as: {as_!r} exists already: write another id")
        trial = None if number is None else whole_number("--number", number, minimum=0)
        with open_reader(project.db_path) as query:
            lines = promote(query, experiment, as_, project=project, number=trial)
        print("\n".join(lines))
        return 0


def _stale_reasons(project: Project, name: str) -> tuple[str, ...]:
    """Return why the result of a strategy or an experiment is stale; empty if it is fresh."""
    db_path, results_path = project.db_path, project.results_path
    try:
        if name in project.experiments:
            return trials_state(
                db_path, project.experiments[name], results_path=results_path
            ).reasons
        return backtest_state(db_path, project.strategies[name], results_path=results_path).reasons
    except Tbv8Error as e:
        return (str(e),)


def _experiment(project: Project, names: Sequence[str], command: str) -> Experiment:
    """Return the experiment named on the command line.

    Raises:
        InvalidCommand: Not exactly one name, or an unknown one.
    """
    refuse_options(names)
    if len(names) != 1:
        raise InvalidCommand(
            f"`{command}` needs exactly one experiment: `doit list experiment` shows them"
        )
    name = names[0].removeprefix("experiment:")
    if name not in project.experiments:
        project.check_file("experiment", name)
        raise InvalidCommand(unknown("experiment", name, project.experiments))
    return project.experiments[name]
