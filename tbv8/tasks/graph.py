"""The graph of tasks: config in, pydoit's task dicts out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tbv8.config.records import Experiment, Problem, Project, Strategy
from tbv8.config.source import class_text
from tbv8.files import sweep
from tbv8.freshness.data import aggregate_state, migration_state
from tbv8.freshness.result import backtest_state, static_state
from tbv8.freshness.state import State
from tbv8.manifest import Input
from tbv8.market import ONE_MINUTE, Series, Span, Timeframe
from tbv8.results.folder import check_replaceable
from tbv8.tasks.actions import (
    REPRODUCED_TRIALS,
    build_timeframe,
    check_new_symbols,
    check_result,
    check_stored_market,
    check_strategy,
    fill_funding,
    fill_series,
    has_shadow,
    read_inputs,
    replay_session,
    rerun_result,
    rerun_trials,
    run_lookahead,
    run_paper,
    run_recorder,
    run_strategy,
    run_trials,
)
from tbv8.tasks.options import CHUNK_DAYS, PAPER_OPTIONS, REPRODUCE_OPTIONS
from tbv8.tasks.states import (
    folder_state,
    funding_state,
    history_reach,
    market_state,
    new_trials_reasons,
    result_state,
    series_state,
    symbols_state,
    trials_state,
)
from tbv8.tasks.task import Task, make_task
from tbv8.tasks.wanted import (
    default_series,
    funding_sources,
    select_builds,
    wanted_funding,
    wanted_history,
)
from tbv8.venues.registry import find_venue

if TYPE_CHECKING:
    from tbv8.trading.bars import Bars


_PARTS = {"walk_forward": "walk-forward", "monte_carlo": "Monte Carlo"}
_ALWAYS_STALE = partial(State, ("it runs whenever it is named",))


def migrate(project: Project) -> Task:
    """Return the task that creates or upgrades the database; most others depend on it."""

    def run() -> None:
        from tbv8.store.schema import migrate

        migrate(project.db_path, root=project.root)

    return make_task(
        run, partial(migration_state, project.db_path), doc="Create or upgrade the database"
    )


def backfills(project: Project, *, recheck: bool) -> Iterator[Task]:
    """Yield one subtask per wanted series: it fetches bars, or checks bars that have no source.

    With `recheck` each also fetches the minutes again that the ledger records as missing at the
    venue. The symbols of a venue are checked first, so that a misspelt one is found at once.
    """
    by_venue: dict[str, list[Series]] = {}
    for series in project.wanted:
        if wanted_history(project, series):
            by_venue.setdefault(series.venue, []).append(series)
    checks = []
    for name, venue_series in by_venue.items():
        if len(venue_series) > 1:
            checks.append(f"_symbols:{name}")
            yield {
                "basename": checks[-1],
                **make_task(
                    partial(check_new_symbols, project, venue_series),
                    partial(symbols_state, project, venue_series),
                    # it needs no database, so it does not depend on `migrate`
                    doc=f"Check that {name} knows the symbols without history",
                ),
            }
    yield {
        "name": None,
        "doc": "Fetch the configured 1m history of every series",
        "task_dep": [*checks, *_broken_history(project)],
    }
    for problem in project.problems:
        if problem.kind == "venue":
            yield {"basename": _broken_venue(problem.name), **_broken_task(problem)}
    for series, problem in _without_history(project).items():
        yield {"basename": f"backfill:{series}", **_broken_task(problem)}
    for series in project.wanted:
        yield {"name": str(series), **_backfill(project, series, recheck=recheck)}


def _backfill(project: Project, series: Series, *, recheck: bool) -> Task:
    venue, title = project.venues[series.venue], f"{series.symbol} at {_title(series.venue)}"
    if not (spans := wanted_history(project, series)):
        return make_task(
            partial(check_stored_market, project, series),
            partial(market_state, project, series),
            doc=f"1m bars of {title}: imported or recorded, nothing to fetch",
            after=["migrate"],
        )
    first, last = min(s.start_ms for s in spans), max(s.end_ms for s in spans)
    task = make_task(
        partial(fill_series, project, series, spans, recheck),
        partial(series_state, project, series, spans, recheck),
        doc=f"1m bars of {title}, {Span(first, last)}",
        after=["migrate"],
    )
    if venue.history is not None and venue.history.reach:
        task["meta"]["reach"] = partial(history_reach, series, venue)
    return task


def fundings(project: Project) -> Iterator[Task]:
    """Yield one subtask per series with wanted funding."""
    yield {
        "name": None,
        "doc": "Fetch the funding rates of every series",
        "task_dep": _broken_history(project),
    }
    for series, spans in wanted_funding(project).items():
        first, last = min(s.start_ms for s in spans), max(s.end_ms for s in spans)
        title = _title(series.venue)
        yield {
            "name": str(series),
            **make_task(
                partial(fill_funding, project, series, spans),
                partial(funding_state, project, series, spans),
                doc=f"Funding of {series.symbol} at {title}, {Span(first, last)}",
                after=["migrate"],
            ),
        }


def aggregates(
    project: Project, *, venue: str, symbol: str, timeframes: Sequence[Timeframe], chunk_days: int
) -> Iterator[Task]:
    """Yield one task per series and timeframe, one group per timeframe, and the group `aggregate`.

    The parameters are the options of `aggregate`. They choose the dependencies of that group and
    add the tasks that only they name, but never remove a task, since another may depend on it.
    """
    defaults = {series: project.timeframes_of(series) for series in default_series(project)}
    selected = select_builds(project, defaults, venue, symbol, timeframes)
    builds = {
        (series, timeframe): None
        for group in (defaults, selected)
        for series, names in group.items()
        for timeframe in names
    }
    by_timeframe: dict[Timeframe, list[str]] = {}
    for series, timeframe in builds:
        name = aggregate_name(series, timeframe)
        by_timeframe.setdefault(timeframe, []).append(name)
        yield {
            "basename": name,
            **make_task(
                partial(build_timeframe, project, series, timeframe, chunk_days),
                partial(aggregate_state, project.db_path, series, timeframe),
                doc=f"{timeframe} bars of {series.symbol} at {_title(series.venue)} from 1m bars",
                after=[_minutes_name(project, series)],
            ),
        }
    for series, problem in _without_history(project).items():
        for timeframe in project.timeframes_of(series):
            if (series, timeframe) not in builds:
                yield {"basename": aggregate_name(series, timeframe), **_broken_task(problem)}
    for timeframe, names in by_timeframe.items():
        yield {
            "basename": f"aggregate:{timeframe}",
            "actions": None,
            "task_dep": names,
            "doc": f"{timeframe} bars of every series",
        }
    yield {
        "basename": "aggregate",
        "actions": None,
        "task_dep": [
            aggregate_name(series, timeframe)
            for series, names in selected.items()
            for timeframe in names
        ]
        + _broken_history(project),
        "doc": "Bars of every configured timeframe",
    }


def backtests(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy, after the bars that it reads and a check of its params.

    Strategies for paper alone have the check too: their replays depend on it.
    """
    yield {"name": None, "doc": "Backtest every strategy in config/strategies"}
    yield from _broken_strategies(project, "backtest")
    for strategy in project.paper_strategies.values():
        yield {
            "basename": f"_params:{strategy.strategy_id}",
            **make_task(
                partial(check_strategy, strategy),
                partial(static_state, strategy, results_path=project.results_path),
                doc=f"Check the params of {strategy.strategy_id} before anything is fetched",
            ),
        }
    for strategy in project.strategies.values():
        folder = project.results_path / strategy.strategy_id
        folder_check = f"_folder:{strategy.strategy_id}"
        yield {
            "basename": folder_check,
            **make_task(
                partial(check_replaceable, folder),
                partial(folder_state, folder),
                doc=f"Check that {folder} may be replaced before anything is fetched",
            ),
        }
        task = make_task(
            partial(run_strategy, project, strategy),
            partial(backtest_state, project.db_path, strategy, results_path=project.results_path),
            doc=f"{_class_text(strategy)} on {', '.join(strategy.symbols)} "
            f"{strategy.timeframe} of {_title(strategy.source.venue)}, {strategy.span}",
            after=[folder_check, *_before_a_run(project, strategy)],
        )
        leftovers = (sweep, [project.results_path, [strategy.strategy_id]])  # pydoit ignores None
        yield {"name": strategy.strategy_id, **task, "uptodate": [leftovers, *task["uptodate"]]}


def experiments(project: Project) -> Iterator[Task]:
    """Yield one subtask per experiment, after the bars that its trials read."""
    yield {"name": None, "doc": "Run the experiments in config/experiments"}
    for problem in project.problems:
        if problem.kind == "experiment":
            yield _broken_member(problem, "experiment", leave_out=bool(project.experiments))
    for experiment in project.experiments.values():
        if error := experiment.span_error():
            name = experiment.experiment_id
            yield {"name": name, **_broken_task(Problem(kind="experiment", name=name, error=error))}
        else:
            yield from _experiment_tasks(project, experiment)


def _experiment_tasks(project: Project, experiment: Experiment) -> Iterator[Task]:
    name, strategy = experiment.experiment_id, experiment.strategy
    folder = _experiment_folder(project, name)
    folder_check = f"_folder:experiments/{name}"
    yield {
        "basename": folder_check,
        **make_task(
            partial(check_replaceable, folder),
            partial(folder_state, folder),
            doc=f"Check that {folder} may be replaced before anything is fetched",
        ),
    }
    read_state = partial(
        trials_state, project.db_path, experiment, results_path=project.results_path
    )
    task = make_task(
        partial(run_trials, project, experiment),
        read_state,
        doc=f"{experiment.search.method} search of "
        f"{_class_text(strategy)} over "
        f"{', '.join(axis.name for axis in experiment.search.axes)}",
        after=[folder_check, *_before_trials(project, experiment)],
    )
    task["meta"]["reasons_if_new"] = partial(new_trials_reasons, experiment)
    leftovers = (sweep, [folder.parent, [name]])
    yield {"name": name, **task, "uptodate": [leftovers, *task["uptodate"]]}
    for part, title in _PARTS.items():
        if getattr(experiment, part) is not None:
            yield {
                "basename": f"{part.replace('_', '')}:{name}",
                "actions": None,
                "task_dep": [f"experiment:{name}"],
                "doc": f"The {title} of {name}: the same as experiment:{name}",
            }


def _before_trials(project: Project, experiment: Experiment) -> list[str]:
    """Return the names of the tasks that trials depend on: bars of every timeframe, funding."""
    strategy = experiment.strategy
    bars = [
        _bars_name(project, series, timeframe)
        for series in strategy.sources
        for timeframe in (*experiment.timeframes, ONE_MINUTE)
    ]
    paid = [f"funding:{series}" for series in funding_sources(project, strategy)]
    return list(dict.fromkeys([*bars, *paid]))


def lookaheads(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs it on shortened data, to find look-ahead."""
    yield {"name": None, "doc": "Check that strategies use no bar before its close"}
    yield from _broken_strategies(project, "lookahead")
    for strategy in project.strategies.values():
        yield _check_task(
            run_lookahead, project, strategy, f"Rerun {strategy.strategy_id} on shortened data"
        )


def reproduces(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs it again and compares every byte of its result."""
    yield {"name": None, "doc": "Run results again and compare every byte"}
    yield from _broken_strategies(project, "reproduce")
    for name, strategy in project.strategies.items():
        check, check_task = _result_check(project.results_path / name, f"backtest:{name}")
        yield check_task
        doc = f"Run {name} again over its result's span and compare every byte"
        task = _check_task(rerun_result, project, strategy, doc)
        yield {**task, "task_dep": [check, *task["task_dep"]]}
    for name, experiment in project.experiments.items():
        folder = _experiment_folder(project, name)
        check, check_task = _result_check(folder, f"experiment:{name}")
        yield check_task
        task = make_task(
            partial(rerun_trials, project, experiment),
            _ALWAYS_STALE,
            doc=f"Run {REPRODUCED_TRIALS} trials of {name} again (--all: all), compare every digit",
            after=[check, *_before_trials(project, experiment)],
        )
        yield {"name": name, **task, "params": REPRODUCE_OPTIONS}


def _result_check(folder: Path, task: str) -> tuple[str, Task]:
    """Return the name and the task of a check that there is a result to reproduce."""
    name = f"_result:{task}"
    check = make_task(
        partial(check_result, folder, task),
        partial(result_state, folder),
        doc=f"Check that {folder} has a result to reproduce",
    )
    return name, {"basename": name, **check}


def _experiment_folder(project: Project, name: str) -> Path:
    from tbv8.config.experiments import results_folder

    return results_folder(project.results_path, name)


def _check_task(
    action: Callable[[Project, Strategy], None], project: Project, strategy: Strategy, doc: str
) -> Task:
    after = _before_a_run(project, strategy)
    task = make_task(partial(action, project, strategy), _ALWAYS_STALE, doc=doc, after=after)
    return {"name": strategy.strategy_id, **task}


def _before_a_run(project: Project, strategy: Strategy) -> list[str]:
    """Return the names of the tasks that a run depends on: params check, bars, funding."""
    bars = [_bars_name(project, series, timeframe) for series, timeframe in strategy.reads]
    paid = [f"funding:{series}" for series in funding_sources(project, strategy)]
    return [f"_params:{strategy.strategy_id}", *dict.fromkeys([*bars, *paid])]


def prepare(project: Project, strategy: Strategy) -> tuple[dict[str, Input], Bars]:
    """Build the stale inputs of a run, as `doit backtest` does, but without pydoit.

    Returns:
        Every part of the result's key, and the bars, from one snapshot.

    Raises:
        Tbv8Error: The params are refused, or an input cannot be built.
    """
    check_strategy(strategy)
    tasks = {"migrate": migrate(project)}
    for group, group_tasks in (
        ("backfill", backfills(project, recheck=False)),
        ("funding", fundings(project)),
        ("", aggregates(project, venue="", symbol="", timeframes=(), chunk_days=CHUNK_DAYS)),
    ):
        tasks |= {task.get("basename") or f"{group}:{task['name']}": task for task in group_tasks}
    built: set[str] = set()

    def build(name: str) -> None:
        if name not in built:
            built.add(name)
            for before in tasks[name]["task_dep"]:
                build(before)
            if tasks[name]["meta"]["state"]().reasons:
                tasks[name]["actions"][0].action()

    _check, *needed = _before_a_run(project, strategy)
    for name in needed:
        build(name)
    return read_inputs(project, strategy)


def _bars_name(project: Project, series: Series, timeframe: Timeframe) -> str:
    """Return the name of the task that fetches or builds the bars of a series and timeframe."""
    if timeframe == ONE_MINUTE:
        return _minutes_name(project, series)
    return aggregate_name(series, timeframe)


def papers(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs it on live bars, without orders at a venue."""
    yield {"name": None, "doc": "Run a strategy on recorded bars, without orders, until Ctrl-C"}
    yield from _broken_strategies(project, "paper")
    for strategy in project.paper_strategies.values():
        routing = strategy.routing
        shadow = f", {routing.secondary} as its shadow" if has_shadow(strategy) else ""
        doc = f"{_class_text(strategy)} on {routing.primary}'s bars as they close{shadow}"
        task = _on_request(partial(run_paper, project, strategy), strategy, doc)
        # the session's own process checks the params: NautilusTrader would stay in this one
        after = ["migrate", *_broken_venues(project)]
        yield {**task, "params": PAPER_OPTIONS, "task_dep": after}


def replays(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs its paper session again and compares every byte."""
    yield {"name": None, "doc": "Run the bars of paper sessions again and compare every byte"}
    yield from _broken_strategies(project, "replay")
    for strategy in project.paper_strategies.values():
        doc = f"Run the paper session of {strategy.strategy_id} again and compare every byte"
        yield _on_request(partial(replay_session, project, strategy), strategy, doc)


def _on_request(action: Callable[..., None], strategy: Strategy, doc: str) -> Task:
    after = ["migrate", f"_params:{strategy.strategy_id}"]
    return {"name": strategy.strategy_id, **make_task(action, _ALWAYS_STALE, doc=doc, after=after)}


def record(
    project: Project, *, for_: float | None, metrics_port: int | None, with_parent: int | None
) -> Task:
    """Return the recorder: one task, since pydoit runs subtasks one after another."""
    action = partial(run_recorder, project, for_, metrics_port, with_parent)
    doc = "Write live trades, quotes and 1m bars of every enabled venue until Ctrl-C"
    after = ["migrate", *_broken_venues(project)]
    return make_task(action, _ALWAYS_STALE, doc=doc, after=after)


def _broken_strategies(project: Project, group: str) -> Iterator[Task]:
    """Yield the tasks of a group for the strategies with a problem; paper sessions run some."""
    runnable = project.paper_strategies if group in ("paper", "replay") else project.strategies
    for problem in project.problems:
        if problem.kind == "strategy" and problem.name not in runnable:
            yield _broken_member(problem, group, leave_out=bool(runnable))


def _broken_member(problem: Problem, group: str, *, leave_out: bool) -> Task:
    """Return the task of a group for a file with a problem.

    With `leave_out` the group does not depend on it if only the command line's options cause the
    problem.
    """
    if problem.by_options and leave_out:
        return {"basename": f"{group}:{problem.name}", **_broken_task(problem)}
    return {"name": problem.name, **_broken_task(problem)}


def _without_history(project: Project) -> dict[Series, Problem]:
    """Return the series of the history venue that the options leave without history."""
    return {
        series: problem
        for problem in project.problems
        if problem.kind == "history" and problem.name in project.venues
        for symbol in project.venues[problem.name].symbols
        if (series := Series(problem.name, symbol)) not in project.wanted
    }


def _broken_history(project: Project) -> list[str]:
    """Return the names of the tasks that raise the problem of the history venue.

    Series that the options leave without history count only if no series is wanted.
    """
    name = _broken_venue(project.history_venue)
    left_out = () if project.wanted else _without_history(project)
    broken = [name] if name in _broken_venues(project) else []
    return [*broken, *(f"backfill:{series}" for series in left_out)]


def _broken_venues(project: Project) -> list[str]:
    """Return the names of the tasks of all venues whose files have an error."""
    return [_broken_venue(problem.name) for problem in project.problems if problem.kind == "venue"]


def _broken_venue(name: str) -> str:
    """Return the name of the task that raises the error of a venue's file."""
    return f"_venue:{name}"


def _broken_task(problem: Problem) -> Task:
    """Return a task that only raises an error; commands refuse to run tasks that depend on it."""

    def refuse() -> None:
        raise problem.error

    task = make_task(refuse, partial(State, (str(problem.error),)), doc=f"error: {problem.error}")
    task["meta"]["problem"] = problem
    return task


def aggregate_name(series: Series, timeframe: Timeframe) -> str:
    """Return the name of the task that builds a timeframe of a series."""
    return f"aggregate:{series}:{timeframe}"


def _minutes_name(project: Project, series: Series) -> str:
    """Return the task that provides the 1m bars of a series; `migrate` if none fetches them."""
    return f"backfill:{series}" if series in project.wanted else "migrate"


def _class_text(strategy: Strategy) -> str:
    return class_text(strategy.module, strategy.class_name)


def _title(venue: str) -> str:
    return f"{venue} (simulated)" if find_venue(venue).simulated else venue
