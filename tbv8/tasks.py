"""The graph: config in, pydoit task dicts out.

Every task carries its question in `meta["state"]`: `uptodate`, `doit plan` and `doit why` ask the
same one. Whatever is heavy is imported inside the actions.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import doit.doit_cmd
from doit.exceptions import BaseFail, InvalidDodoFile, TaskFailed
from doit.reporter import ConsoleReporter
from msgspec.structs import replace

from tbv8.config.document import unknown
from tbv8.config.load import load_project
from tbv8.config.records import Experiment, Problem, Project, Strategy, Venue
from tbv8.config.source import is_file
from tbv8.coverage import missing_spans
from tbv8.ending import end_with_parent, watch_native_code
from tbv8.errors import ConfigError, DataError, Tbv8Error, VenueError
from tbv8.files import sweep
from tbv8.freshness.data import aggregate_state, backfill_state, migration_state
from tbv8.freshness.result import (
    backtest_inputs,
    backtest_state,
    needs_only_drawing,
    opened_files,
    static_state,
)
from tbv8.freshness.state import State
from tbv8.manifest import FILES_PART, Input, read_manifest
from tbv8.market import (
    MINUTE_MS,
    ONE_MINUTE,
    Series,
    Span,
    Timeframe,
    parse_duration_ms,
    parse_time,
    parse_timeframe,
)
from tbv8.page.plotly import has_plotly, write_plotly
from tbv8.results.folder import check_replaceable
from tbv8.store.database import Query, open_reader
from tbv8.store.ledger import FUNDING, HISTORY, NOT_LISTED, covered, held_span, holds, read_days
from tbv8.venues.registry import find_venue

if TYPE_CHECKING:
    from tbv8.live.plan import Plan
    from tbv8.store.sessions import Role
    from tbv8.trading.bars import Bars

type Task = dict[str, Any]
type Question = Callable[[], State]

_MOST_REPRODUCED = 20
_ADDRESS_SPACE, _ADDRESS_SPACE_PER_CORE = 2400 * 2**20, 160 * 2**20

STATE_FILE = Path("data/.doit.db")

CHUNK_DAYS = "150"  # as 5m bars, about as many rows as a month of 1m bars

BACKFILL_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "recheck",
        "long": "recheck",
        "type": bool,
        "default": False,
        "help": "ask again for the minutes that the venue did not have",
    },
]

AGGREGATE_OPTIONS: list[dict[str, Any]] = [
    {"name": "venue", "long": "venue", "default": "", "help": "only series of this venue"},
    {"name": "symbol", "long": "symbol", "default": "", "help": "only this symbol, BTC/USDT"},
    {
        "name": "timeframes",
        "long": "timeframes",
        "default": "",
        "help": "only these, separated by commas: 5m,15m",
    },
    {
        "name": "chunk_days",
        "long": "chunk-days",
        "default": CHUNK_DAYS,
        "help": "days of 1m bars in memory at once; the result is the same",
    },
]

RECORD_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "for_",
        "long": "for",
        "default": "",
        "help": "stop by itself after 90s, 10m, 8h or 2d",
    },
    {
        "name": "metrics_port",
        "long": "metrics-port",
        "default": "",
        "help": "serve Prometheus metrics and /healthz there",
    },
    {
        "name": "with_parent",
        "long": "with-parent",
        "default": "",
        "help": "stop when the parent, the process with this id, has ended",
    },
]


REPRODUCE_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "all_",
        "long": "all",
        "type": bool,
        "default": False,
        "help": "run every trial again, not a sample of them",
    },
]

PAPER_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "for_",
        "long": "for",
        "default": "",
        "help": "stop by itself after 90s, 10m, 8h or 2d",
    },
    {
        "name": "new",
        "long": "new",
        "type": bool,
        "default": False,
        "help": "end the session before, which stays readable, and begin another one",
    },
    {
        "name": "metrics_port",
        "long": "metrics-port",
        "default": "",
        "help": "serve Prometheus metrics and /healthz there",
    },
]


def doit_config() -> dict[str, Any]:
    """Return DOIT_CONFIG."""
    return {
        "default_tasks": ["backtest"],
        "backend": "sqlite3",
        "dep_file": str(STATE_FILE),
        "reporter": Reporter,
        "verbosity": 2,
    }


def project() -> Project:
    """Return the checked configuration of the folder that pydoit runs in.

    Raises:
        InvalidDodoFile: Something in config/ or on the command line is wrong.
    """
    try:
        return load_folder(Path.cwd(), overrides=doit.doit_cmd._CMDLINE_VARS or {})
    except Tbv8Error as e:
        raise InvalidDodoFile(str(e)) from e


def load_folder(root: Path, *, overrides: Mapping[str, str]) -> Project:
    """Return the checked configuration of a project's folder as of now; print its warnings.

    Raises:
        ConfigError: Something in config/ or in `overrides` is wrong.
    """
    now_ms = int(time.time() * 1000)
    loaded = load_project(
        root,
        overrides=overrides,
        now_ms=now_ms,
        history_span=partial(_lasting_span, now_ms=now_ms),
    )
    if (root / "config/experiments").is_dir():
        from tbv8.config.experiments import load_experiments

        loaded = load_experiments(loaded, overrides=overrides)
    for line in loaded.warnings:
        sys.stderr.write(f"WARNING: {line}\n")
    return loaded


def _lasting_span(venue: Venue, db_path: Path, *, now_ms: int) -> Span | None:
    """Return for what time a venue has history; None where what was recorded may be older.

    A venue that can neither be asked nor recorded has what was imported.
    """
    if (source := venue.history) is not None:
        return None if source.rolls else source.span(now_ms)
    if find_venue(venue.name).live is None:
        with suppress(Tbv8Error), open_reader(db_path, timeout_s=1) as query:
            return held_span(query, venue.name)
    return None


def migrate(project: Project) -> Task:
    """Return the task on which all depend that need the database."""

    def run() -> None:
        from tbv8.store.schema import migrate

        migrate(project.db_path, root=project.root)

    return _task(run, partial(migration_state, project.db_path), doc="Make or upgrade the database")


def backfills(project: Project, *, recheck: bool) -> Iterator[Task]:
    """Yield one subtask per series whose history is wanted.

    With `recheck` each asks its venue again for the minutes that the ledger holds as missing. All
    of them together ask first for all symbols, so that a misspelt one is not found hours later.
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
                **_task(
                    partial(_check_symbols, project, venue_series),
                    partial(_symbols_state, project, venue_series),
                    # after nothing: pydoit takes what waits for one task in any order
                    doc=f"Ask {name} whether it knows the symbols of which nothing is held",
                ),
            }
    yield {
        "name": None,
        "doc": "Fetch the wanted 1m history of every series",
        "task_dep": [*checks, *_broken_history(project)],
    }
    for problem in project.problems:
        if problem.kind == "venue":
            yield {"basename": _broken_venue(problem.name), **_broken(problem)}
    for series in project.wanted:
        if spans := wanted_history(project, series):
            venue = project.venues[series.venue]
            first, last = min(s.start_ms for s in spans), max(s.end_ms for s in spans)
            task = _task(
                partial(_backfill, project, series, spans, recheck),
                partial(_backfill_state, project, series, spans, recheck),
                doc=f"1m bars of {series.symbol} at {_title(venue.name)}, {Span(first, last)}",
                after=["migrate"],
            )
            if venue.history is not None and venue.history.reach:
                task["meta"]["reach"] = partial(_reach, series, venue)
            yield {"name": str(series), **task}


def fundings(project: Project) -> Iterator[Task]:
    """Yield one subtask per series of which the funding is wanted."""
    yield {"name": None, "doc": "Fetch the funding that was charged of every series"}
    for series, spans in wanted_funding(project).items():
        first, last = min(s.start_ms for s in spans), max(s.end_ms for s in spans)
        title = _title(series.venue)
        yield {
            "name": str(series),
            **_task(
                partial(_fund, project, series, spans),
                partial(_funding_state, project, series, spans),
                doc=f"Funding of {series.symbol} at {title}, {Span(first, last)}",
                after=["migrate"],
            ),
        }


def aggregates(
    project: Project, *, venue: str, symbol: str, timeframes: str, chunk_days: str
) -> Iterator[Task]:
    """Yield every build under its full name, its groups, and `aggregate` on what is selected.

    Options never remove a task, since another may depend on it: they add what only they name, and
    choose what the group `aggregate` depends on.
    """
    chunk = _whole_number("--chunk-days", chunk_days)
    defaults = {series: project.timeframes_of(series) for series in _default_series(project)}
    selected = _select(project, defaults, venue, symbol, timeframes)
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
            **_task(
                partial(_build, project, series, timeframe, chunk),
                partial(aggregate_state, project.db_path, series, timeframe),
                doc=f"{timeframe} bars of {series.symbol} at {_title(series.venue)} from 1m bars",
                after=[_minutes_name(project, series)],
            ),
        }
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
        "doc": "Bars of every timeframe that any config asks for",
    }


def backtests(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy behind the bars that it reads, and a check of its params."""
    yield {"name": None, "doc": "Backtest every strategy in config/strategies"}
    yield from _broken_strategies(project)
    for strategy in project.strategies.values():
        check = f"_params:{strategy.strategy_id}"
        yield {
            "basename": check,
            **_task(
                partial(_check_params, strategy),
                partial(static_state, strategy, results_path=project.results_path),
                doc=f"Check the params of {strategy.strategy_id} before anything is fetched",
            ),
        }
        folder = project.results_path / strategy.strategy_id
        place = f"_folder:{strategy.strategy_id}"
        yield {
            "basename": place,
            **_task(
                partial(check_replaceable, folder),
                partial(_folder_state, folder),
                doc=f"Check that {folder} may be replaced before anything is fetched",
            ),
        }
        task = _task(
            partial(_backtest, project, strategy),
            partial(backtest_state, project.db_path, strategy, results_path=project.results_path),
            doc=f"{_class_text(strategy)} on {', '.join(strategy.symbols)} "
            f"{strategy.timeframe} of {_title(strategy.source.venue)}, {strategy.span}",
            after=[place, *_before_a_run(project, strategy)],
        )
        leftovers = (sweep, [project.results_path, [strategy.strategy_id]])  # no answer, so no vote
        yield {"name": strategy.strategy_id, **task, "uptodate": [leftovers, *task["uptodate"]]}


def experiments(project: Project) -> Iterator[Task]:
    """Yield one subtask per experiment behind the bars that its trials read."""
    yield {"name": None, "doc": "Run the experiments in config/experiments"}
    for problem in project.problems:
        if problem.kind == "experiment":
            yield {"name": problem.name, **_broken(problem)}
    for experiment in project.experiments.values():
        yield from _experiment_tasks(project, experiment)


def _experiment_tasks(project: Project, experiment: Experiment) -> Iterator[Task]:
    from tbv8.config.experiments import results_folder

    name = experiment.experiment_id
    folder = results_folder(project.results_path, name)
    place = f"_folder:experiments/{name}"
    yield {
        "basename": place,
        **_task(
            partial(check_replaceable, folder),
            partial(_folder_state, folder),
            doc=f"Check that {folder} may be replaced before anything is fetched",
        ),
    }
    question = partial(
        _experiment_state, project.db_path, experiment, results_path=project.results_path
    )
    task = _task(
        partial(_experiment, project, experiment),
        question,
        doc=f"{experiment.search.method} search of {_class_text(experiment.strategy)} over "
        f"{', '.join(axis.name for axis in experiment.search.axes)}",
        after=[place, *_before_trials(project, experiment)],
    )
    leftovers = (sweep, [folder.parent, [name]])
    yield {"name": name, **task, "uptodate": [leftovers, *task["uptodate"]]}
    for part, words in _PARTS.items():
        if getattr(experiment, part) is not None:
            yield {
                "basename": f"{part.replace('_', '')}:{name}",
                "actions": None,
                "task_dep": [f"experiment:{name}"],
                "doc": f"The {words} of {name}",
            }


_PARTS = {"walk_forward": "walk-forward", "monte_carlo": "Monte Carlo"}


def _before_trials(project: Project, experiment: Experiment) -> list[str]:
    """Return the tasks behind which trials may run: bars of every timeframe, and funding."""
    strategy = experiment.strategy
    bars = [
        _bars_name(project, series, timeframe)
        for series in strategy.sources
        for timeframe in (*experiment.timeframes, ONE_MINUTE)
    ]
    paid = [f"funding:{series}" for series in funding_sources(project, strategy)]
    return list(dict.fromkeys([*bars, *paid]))


def lookaheads(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that reruns it on data cut after many moments."""
    yield {"name": None, "doc": "Check that strategies know no bar before it has closed"}
    yield from _broken_strategies(project)
    for strategy in project.strategies.values():
        yield _check(_lookahead, project, strategy, f"Rerun {strategy.strategy_id} on cut data")


def reproduces(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs it again and compares every byte of its result."""
    yield {"name": None, "doc": "Run results again and compare every byte"}
    yield from _broken_strategies(project)
    for strategy in project.strategies.values():
        doc = f"Run {strategy.strategy_id} again over its result's span and compare every byte"
        yield _check(_reproduce, project, strategy, doc)
    for experiment in project.experiments.values():
        name = experiment.experiment_id
        task = _task(
            partial(_reproduce_trials, project, experiment),
            partial(State, ("it runs whenever it is asked for",)),
            doc=f"Run {_MOST_REPRODUCED} trials of {name} again, or --all, and compare every digit",
            after=_before_trials(project, experiment),
        )
        yield {"name": name, **task, "params": REPRODUCE_OPTIONS}


def _check(
    action: Callable[[Project, Strategy], None], project: Project, strategy: Strategy, doc: str
) -> Task:
    question = partial(State, ("it runs whenever it is asked for",))
    after = _before_a_run(project, strategy)
    task = _task(partial(action, project, strategy), question, doc=doc, after=after)
    return {"name": strategy.strategy_id, **task}


def _before_a_run(project: Project, strategy: Strategy) -> list[str]:
    """Return the tasks behind which a strategy may run: its params checked, its bars built."""
    bars = [_bars_name(project, series, timeframe) for series, timeframe in strategy.reads]
    paid = [f"funding:{series}" for series in funding_sources(project, strategy)]
    return [f"_params:{strategy.strategy_id}", *dict.fromkeys([*bars, *paid])]


def prepare(project: Project, strategy: Strategy) -> tuple[dict[str, Input], Bars]:
    """Build what a run of `strategy` needs and is stale, as `doit` does before its backtest.

    Returns:
        Every part of the result's key, and the bars, both as of one moment.

    Raises:
        Tbv8Error: The params are refused, or something cannot be built.
    """
    _check_params(strategy)
    tasks = {"migrate": migrate(project)}
    for group, several in (
        ("backfill", backfills(project, recheck=False)),
        ("funding", fundings(project)),
        ("", aggregates(project, venue="", symbol="", timeframes="", chunk_days=CHUNK_DAYS)),
    ):
        tasks |= {task.get("basename") or f"{group}:{task['name']}": task for task in several}
    done: set[str] = set()

    def build(name: str) -> None:
        if name not in done:
            done.add(name)
            for before in tasks[name]["task_dep"]:
                build(before)
            if tasks[name]["meta"]["state"]().reasons:
                tasks[name]["actions"][0].action()

    _check, *needed = _before_a_run(project, strategy)
    for name in needed:
        build(name)
    return _read(project, strategy)


def _bars_name(project: Project, series: Series, timeframe: Timeframe) -> str:
    """Return the task that brings the bars of a series and timeframe."""
    if timeframe == ONE_MINUTE:
        return _minutes_name(project, series)
    return aggregate_name(series, timeframe)


def papers(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs it on live bars, without orders at a venue."""
    yield {"name": None, "doc": "Run a strategy on the bars that are recorded, until Ctrl-C"}
    yield from _broken_strategies(project)
    for strategy in project.strategies.values():
        routing = strategy.routing
        beside = f", {routing.secondary} as its shadow" if has_shadow(strategy) else ""
        doc = f"{_class_text(strategy)} on {routing.primary}'s bars as they close{beside}"
        task = _asked(partial(_paper, project, strategy), strategy, doc)
        broken = [_broken_venue(one.name) for one in project.problems if one.kind == "venue"]
        # the session's own process checks the params: NautilusTrader would stay in this one
        yield {**task, "params": PAPER_OPTIONS, "task_dep": ["migrate", *broken]}


def replays(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy that runs its paper session again and compares every byte."""
    yield {"name": None, "doc": "Run the bars of paper sessions again and compare every byte"}
    yield from _broken_strategies(project)
    for strategy in project.strategies.values():
        doc = f"Run the paper session of {strategy.strategy_id} again and compare every byte"
        yield _asked(partial(_replay, project, strategy), strategy, doc)


def _asked(action: Callable[..., None], strategy: Strategy, doc: str) -> Task:
    question = partial(State, ("it runs whenever it is asked for",))
    after = ["migrate", f"_params:{strategy.strategy_id}"]
    return {"name": strategy.strategy_id, **_task(action, question, doc=doc, after=after)}


def has_shadow(strategy: Strategy) -> bool:
    """Return True if a strategy's secondary venue runs beside it."""
    routing = strategy.routing
    return routing.mode == "PRIMARY_LIVE_SECONDARY_SHADOW" and routing.secondary is not None


def record(project: Project, *, for_: str, metrics_port: str, with_parent: str) -> Task:
    """Return the recorder: one task, since pydoit runs subtasks one after another."""
    question = partial(State, ("it runs whenever it is asked for",))
    port = _whole_number("--metrics-port", metrics_port) if metrics_port else None
    try:
        for_s = parse_duration_ms(for_) / 1000 if for_ else None
    except ValueError as e:
        raise InvalidDodoFile(f"--for: {e}") from e
    parent = _whole_number("--with-parent", with_parent) if with_parent else None
    action = partial(_record, project, for_s, port, parent)
    doc = "Write live trades, quotes and 1m bars of every enabled venue until Ctrl-C"
    broken = [
        _broken_venue(problem.name) for problem in project.problems if problem.kind == "venue"
    ]
    return _task(action, question, doc=doc, after=["migrate", *broken])


def _broken_strategies(project: Project) -> Iterator[Task]:
    """Yield the subtasks of strategies whose files are wrong."""
    for problem in project.problems:
        if problem.kind == "strategy":
            yield {"name": problem.name, **_broken(problem)}


def _broken_history(project: Project) -> list[str]:
    """Return the task that the history needs if its venue's file is wrong."""
    return [
        _broken_venue(problem.name)
        for problem in project.problems
        if problem.kind == "venue" and problem.name == project.history_venue
    ]


def _broken_venue(name: str) -> str:
    return f"_venue:{name}"


def _broken(problem: Problem) -> Task:
    """Return a task that a command refuses when it is needed; it cannot run."""

    def refuse() -> None:
        raise problem.error

    task = _task(refuse, partial(State, (str(problem.error),)), doc=f"wrong: {problem.error}")
    task["meta"]["problem"] = problem
    return task


def aggregate_name(series: Series, timeframe: Timeframe) -> str:
    """Return the full name of the task that builds a timeframe of a series."""
    return f"aggregate:{series}:{timeframe}"


# Actions.


def _check_symbols(project: Project, venue_series: Sequence[Series]) -> None:
    from tbv8.backfill import check_symbols

    venue = project.venues[venue_series[0].venue]
    check_symbols(_nothing_held(project, venue_series), venue=venue)


def _symbols_state(project: Project, venue_series: Sequence[Series]) -> State:
    names = ", ".join(series.symbol for series in _nothing_held(project, venue_series))
    return State((f"nothing is held yet of {names}",) if names else ())


def _nothing_held(project: Project, venue_series: Sequence[Series]) -> list[Series]:
    try:
        with open_reader(project.db_path) as query:
            return [series for series in venue_series if not holds(query, series, (HISTORY,))]
    except Tbv8Error:  # before the first `migrate`, that comes next and says what is wrong
        return list(venue_series)


def _backfill(project: Project, series: Series, spans: Sequence[Span], again: bool) -> None:
    from tbv8.backfill import backfill, recheck

    venue = project.venues[series.venue]
    backfill(project.db_path, series, spans, venue=venue, now_ms=project.now_ms)
    if again:
        recheck(project.db_path, series, spans, venue=venue, now_ms=project.now_ms)


def _fund(project: Project, series: Series, spans: Sequence[Span]) -> None:
    from tbv8.backfill import backfill

    venue = project.venues[series.venue]
    backfill(project.db_path, series, spans, venue=venue, now_ms=project.now_ms, dataset=FUNDING)


def _funding_state(project: Project, series: Series, spans: Sequence[Span]) -> State:
    state = backfill_state(project.db_path, series, spans, FUNDING)
    if not state.reasons or (source := find_venue(series.venue).funding) is None:
        return state
    with open_reader(project.db_path) as query:
        gaps = missing_spans(spans, covered(query, series, FUNDING))
    cost = source.cost(gaps, project.now_ms)
    return State((*state.reasons[:-1], f"{state.reasons[-1]}; {cost}"), state.parts)


def _reach(series: Series, venue: Venue) -> str:
    """Return how far back a venue's history goes, for `doit plan`: only the venue knows."""
    from tbv8.backfill import reach

    try:
        return reach(series, venue=venue) or ""
    except VenueError as e:
        return str(e)


def _backfill_state(project: Project, series: Series, spans: Sequence[Span], again: bool) -> State:
    venue = project.venues[series.venue]
    source, files = venue.history, None
    if source is not None and source.files is not None:
        try:
            files = source.files(venue.symbols[series.symbol] or series.symbol)
        except DataError as e:  # and the action says so, too
            return State((str(e),))
    state = backfill_state(project.db_path, series, spans, files=files)
    reasons = state.reasons
    if reasons and source is not None:
        with open_reader(project.db_path) as query:
            gaps = missing_spans(spans, covered(query, series, HISTORY))
        if gaps:
            reasons = (*reasons[:-1], f"{reasons[-1]}; {source.cost(gaps, project.now_ms)}")
    if again:
        with open_reader(project.db_path) as query:
            missing = _count_missing(query, series, spans)
        if missing:
            reasons = (*reasons, f"--recheck: {missing:,} minutes were missing at the venue")
    return State(reasons, state.parts)


def _count_missing(query: Query, series: Series, spans: Sequence[Span]) -> int:
    return sum(
        day.missing
        for day in read_days(query, series, HISTORY)
        if day.source != NOT_LISTED and any(day.span.intersection(span) for span in spans)
    )


def _check_address_space() -> None:
    """Refuse a limit of `ulimit -v` that is too low for the threads of polars and pyarrow.

    Under it they abort, or wait for ever for a thread that could not be started (both tried). With
    two cores they reserve 2.5 GB, whatever the chunk.

    Raises:
        DataError: The limit is too low.
    """
    import resource

    needed = _ADDRESS_SPACE + _ADDRESS_SPACE_PER_CORE * (os.cpu_count() or 1)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise DataError(
            f"the limit of address space is {limit / 1e9:.1f} GB, and an aggregation reserves up "
            f"to {needed / 1e9:.1f} GB here, of which it uses little: set "
            f"`ulimit -v {needed // 1024}`, or limit the memory in use by a cgroup instead"
        )


def _build(project: Project, series: Series, timeframe: Timeframe, chunk_days: int) -> None:
    _check_address_space()
    from tbv8.build import build_bars

    build_bars(project.db_path, series, timeframe, chunk_days=chunk_days, now_ms=project.now_ms)


def _check_params(strategy: Strategy) -> None:
    from tbv8.trading.loading import check_params
    from tbv8.trading.opened import noting_opened

    with noting_opened(strategy):  # what is imported here is imported anew by the run
        check_params(strategy)


def _folder_state(folder: Path) -> State:
    try:
        check_replaceable(folder)
    except DataError as e:
        return State((str(e),))
    return State(())


def _backtest(project: Project, strategy: Strategy) -> None:
    from tbv8.backtest.bars import coarse_ticks
    from tbv8.backtest.run import draw_again, run_backtest

    inputs, bars = _read(project, strategy)
    folder = project.results_path / strategy.strategy_id
    if has_plotly(project.results_path):
        write_plotly(project.results_path)
    if manifest := needs_only_drawing(folder, inputs, strategy=strategy):
        draw_again(folder, manifest, strategy, bars, inputs=inputs)
        print(f"   {strategy.strategy_id}: its page was drawn again, nothing else has changed")
        return
    for line in coarse_ticks(strategy, bars):
        print(f"   WARNING: {line}")
    summary = run_backtest(strategy, bars, inputs=inputs, results_path=project.results_path)
    for line in str(summary).splitlines():
        print(f"   {line}")


def _read(project: Project, strategy: Strategy) -> tuple[dict[str, Input], Bars]:
    """Return every part of a result's key and the bars, both as of one moment."""
    from tbv8.backtest.bars import read_bars
    from tbv8.store.bars import open_bars

    with open_bars(project.db_path) as store, store.transaction("DEFERRED"):
        inputs = backtest_inputs(store.query, strategy, results_path=project.results_path)
        return inputs, read_bars(store, strategy)


def _lookahead(project: Project, strategy: Strategy) -> None:
    from tbv8.backtest.lookahead import check_lookahead, lines
    from tbv8.freshness.verdict import write_verdict
    from tbv8.trading.loading import StrategyError

    inputs, bars = _read(project, strategy)
    keep = partial(write_verdict, project.results_path, strategy.strategy_id, inputs)
    try:
        verdict = check_lookahead(strategy, bars)
    except StrategyError as e:
        keep(passed=False, line=str(e))
        raise
    found = lines(strategy, verdict)
    warm_up_ms = None if verdict.warm_up_bars is None else verdict.warm_up_ms
    keep(passed=True, line=found[0], warm_up_ms=warm_up_ms)
    for line in found:
        print(f"   {line}")


def _reproduce(project: Project, strategy: Strategy) -> None:
    from tbv8.backtest.run import run_backtest
    from tbv8.results.folder import first_difference

    name = strategy.strategy_id
    folder = project.results_path / name
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: there is no result to reproduce: run `doit backtest:{name}`")
    start_ms, end_ms = (parse_time(manifest.inputs["span"].value[at]) for at in ("start", "end"))
    strategy = replace(strategy, span=Span(start_ms, end_ms))
    inputs, bars = _read(project, strategy)
    with TemporaryDirectory(prefix="tbv8-") as temporary:
        run_backtest(strategy, bars, inputs=inputs, results_path=Path(temporary))
        difference = first_difference(folder, Path(temporary) / name)
    if difference:
        now = {**inputs, FILES_PART: opened_files(strategy, manifest)}
        changed = [part for part in now if manifest.inputs.get(part) != now[part]]
        why = f"; its {' and '.join(changed)} changed since" if changed else ""
        raise DataError(f"not reproduced: {difference}{why}")
    print(f"   {name}: reproduced, {len(manifest.outputs)} files with the same bytes")


def _experiment_state(db_path: Path, experiment: Experiment, *, results_path: Path) -> State:
    from tbv8.experiments.state import experiment_state  # `doit list` asks no experiment

    return experiment_state(db_path, experiment, results_path=results_path)


def _experiment(project: Project, experiment: Experiment) -> None:
    from tbv8.experiments.run import run_experiment

    for line in run_experiment(
        experiment, db_path=project.db_path, results_path=project.results_path
    ):
        print(f"   {line}")


def _reproduce_trials(project: Project, experiment: Experiment, all_: bool) -> None:
    from tbv8.experiments.run import reproduce_folder, reproduce_trials

    name, most = experiment.experiment_id, None if all_ else _MOST_REPRODUCED
    count = reproduce_trials(experiment, db_path=project.db_path, most=most)
    print(f"   {name}: reproduced, {count} trials with the same digests")
    line = reproduce_folder(experiment, db_path=project.db_path, results_path=project.results_path)
    print(f"   {name}: {line}")


def _paper(project: Project, strategy: Strategy, for_: str, new: bool, metrics_port: str) -> None:
    from tbv8.live.notify import Notifier
    from tbv8.live.watch import Options, watch

    try:
        for_s = parse_duration_ms(for_) / 1000 if for_ else None
    except ValueError as e:
        raise DataError(f"--for: {e}") from e
    if metrics_port and not metrics_port.isdecimal():
        raise DataError(f"--metrics-port: expected a whole number, got {metrics_port!r}")
    plans, notify = session_plans(project, strategy, is_new=new), project.notify
    if strategy.funding != "fixed":
        for plan in plans.values():
            if plan.strategy.funding == "fixed":
                print(
                    f"   {strategy.strategy_id}: the session at {plan.venue} is charged its "
                    "funding_rate_8h: to charge what the venue charges, write `funding` among the "
                    f"channels of config/venues/{plan.venue}.yaml"
                )
    if notify is not None and not os.environ.get(notify.urls_env):
        raise ConfigError(
            f"the environment variable {notify.urls_env} is not set: put the URLs of apprise into "
            "it, or leave `notify` out",
            path=Path("config/data.yaml"),
            key="notify.urls_env",
        )
    notifier = None
    if notify is not None:
        title = f"tbv8 {strategy.strategy_id}"
        notifier = Notifier(title, notify.urls_env, frozenset(notify.without))
    port = int(metrics_port) if metrics_port else None
    options = Options(root=project.root, for_s=for_s, metrics_port=port, notifier=notifier)
    watch(plans, options)


def _replay(project: Project, strategy: Strategy) -> None:
    from tbv8.live.results import check_replay

    print(f"   {check_replay(session_plans(project, strategy, is_new=False))}")


def session_plans(project: Project, strategy: Strategy, *, is_new: bool) -> dict[str, Plan]:
    """Return the plans of a strategy's paper session and of its shadow, by role.

    Raises:
        ConfigError: The primary venue is not recorded.
    """
    from tbv8.freshness.result import session_inputs
    from tbv8.live.plan import Plan, on_venue

    roles: dict[Role, str | None] = {"primary": strategy.routing.primary}
    if has_shadow(strategy):
        roles["shadow"] = strategy.routing.secondary
    plans: dict[str, Plan] = {}
    for role, name in roles.items():
        venue = project.venues[str(name)]
        if not venue.enabled or "trades" not in venue.channels:
            raise ConfigError(
                f"a paper session of {strategy.strategy_id} needs its trades recorded: write "
                "`enabled: true`, and `trades` among its channels",
                path=Path(f"config/venues/{venue.name}.yaml"),
            )
        has_funding = "funding" in venue.channels
        there = on_venue(strategy, venue.name, is_funding_recorded=has_funding)
        plans[role] = Plan(
            strategy=there,
            role=role,
            venue=venue.name,
            db_path=project.db_path,
            folder=project.paper_folder(strategy.strategy_id),
            stop_path=project.stop_file(strategy.strategy_id),
            differs_path=project.differs_file(strategy.strategy_id),
            inputs=session_inputs(there),
            stale_ms=project.stale_after_ms(strategy),
            clock_ms=project.paper.clock_limit_ms,
            is_new=is_new,
            priced_at=roles.get("shadow") if role == "primary" else None,
        )
    return plans


def _record(
    project: Project, for_s: float | None, metrics_port: int | None, parent: int | None
) -> None:
    from tbv8.recorder.run import Options, record

    if parent is not None:
        end_with_parent(parent)

    def make_database() -> None:
        from tbv8.store.schema import migrate

        migrate(project.db_path, root=project.root)

    options = Options(for_s=for_s, metrics_port=metrics_port, make_database=make_database)
    record(project.db_path, list(project.venues.values()), options)


# How a task is made.


def _task(
    action: Callable[..., None], question: Question, *, doc: str, after: Sequence[str] = ()
) -> Task:
    return {
        "actions": [_UserErrors(action)],
        "task_dep": list(after),
        "uptodate": [_fresh(question)],
        "meta": {"state": question},  # what it holds is pickled for `doit -n 2`
        "doc": doc,
        "verbosity": 2,
    }


class _UserErrors:
    """An action whose Tbv8Error fails the task with its one line.

    It takes the options among those of the task that the action has parameters for.
    """

    def __init__(self, action: Callable[..., None]) -> None:
        self.action = action
        self._taken = inspect.signature(action).parameters

    def __call__(self, **options: Any) -> TaskFailed | None:
        watch_native_code()
        try:
            self.action(**{name: value for name, value in options.items() if name in self._taken})
        except Tbv8Error as e:
            return TaskFailed(str(e))
        except BrokenPipeError as e:
            raise ReaderGoneError from e
        except OSError as e:
            if (problem := os_problem(e)) is None:
                raise
            return TaskFailed(problem)
        except MemoryError:
            return TaskFailed(
                "out of memory: run again with fewer processes, or with a smaller --chunk-days"
            )
        return None


class ReaderGoneError(SystemExit):
    """The reader of a task's output has gone; pydoit would make a traceback of any Exception."""

    exit_code = 128 + signal.SIGPIPE

    def __init__(
        self, *_arguments: object
    ) -> None:  # pydoit sends it on from another process by words
        super().__init__(self.exit_code)


def os_problem(e: OSError) -> str | None:
    """Explain an error that a user can mend: a full disk, a read-only folder, a file in its place.

    None for what is no answer of the system's.
    """
    if e.filename is None and e.errno is None:
        return None
    where = f"{e.filename}: " if e.filename else ""
    return f"{where}{e.strerror}: mend that and run again, nothing is lost"


def _fresh(question: Question) -> Callable[[Any, Any], bool]:
    """Return an `uptodate` check; a state that cannot be read is stale, and the action says why."""

    def uptodate(task: object, values: object) -> bool:  # pydoit passes arguments by these names
        try:
            return not question().reasons
        except Tbv8Error:
            return False

    return uptodate


# Which series and timeframes.


def wanted_history(project: Project, series: Series) -> list[Span]:
    """Return the spans that a backfill can bring of a series; none of a venue without history."""
    source = project.venues[series.venue].history
    available = source.span(project.now_ms) if source else None
    spans = project.wanted.get(series, []) if available else []
    return [part for span in spans if available and (part := span.intersection(available))]


def wanted_funding(project: Project) -> dict[Series, list[Span]]:
    """Return the spans of funding to fetch, by series: of the history venue, and of strategies.

    A payment at the very end of a span belongs to it.
    """
    asked = {series: list(spans) for series, spans in project.wanted.items()}
    for strategy in project.strategies.values():
        if strategy.funding != "fixed" and not strategy.simulated:
            for name in filter(None, (strategy.routing.primary, strategy.routing.secondary)):
                for symbol in strategy.symbols:
                    spans = asked.setdefault(Series(name, symbol), [])
                    if strategy.run_span not in spans:
                        spans.append(strategy.run_span)
    found: dict[Series, list[Span]] = {}
    now_ms = ONE_MINUTE.floor(project.now_ms)
    for series, spans in asked.items():
        source, venue = find_venue(series.venue).funding, project.venues.get(series.venue)
        if source and venue and series.symbol in venue.symbols:
            wider = [Span(span.start_ms, span.end_ms + MINUTE_MS) for span in spans]
            cut = [part for span in wider if (part := span.intersection(source.span(now_ms)))]
            if cut:
                found[series] = cut
    return found


def funding_sources(project: Project, strategy: Strategy) -> list[Series]:
    """Return the series whose funding a run waits for: of the history venue if it is a perpetual.

    Else of the primary venue. Others take part as far as they are held.
    """
    if strategy.funding != "history":
        return []
    wanted = wanted_funding(project)
    for venue in (strategy.source.venue, strategy.routing.primary):
        if several := [s for symbol in strategy.symbols if (s := Series(venue, symbol)) in wanted]:
            return several
    return []


def _minutes_name(project: Project, series: Series) -> str:
    """Return the task that brings the 1m bars of a series; of a recorded one, none does."""
    return f"backfill:{series}" if wanted_history(project, series) else "migrate"


def _default_series(project: Project) -> list[Series]:
    """Return the series of the history venue and of strategies, and recorded ones with data."""
    series = dict.fromkeys(project.wanted)
    recorded = [
        Series(venue.name, symbol)
        for venue in project.venues.values()
        if venue.enabled
        for symbol in venue.symbols
    ]
    if recorded and project.db_path.is_file():
        try:
            with open_reader(project.db_path, timeout_s=1) as query:
                series |= dict.fromkeys(s for s in recorded if holds(query, s))
        except Tbv8Error:  # `migrate` runs first, and says what is wrong with the file
            pass
    return list(series)


def _select(
    project: Project,
    defaults: Mapping[Series, list[Timeframe]],
    venue: str,
    symbol: str,
    timeframes: str,
) -> dict[Series, list[Timeframe]]:
    """Return the series and timeframes that the options of `aggregate` choose; by default, all."""
    named = [_parse_timeframe(text) for text in timeframes.split(",") if text]
    if venue and venue not in project.venues:
        raise InvalidDodoFile(f"--venue: {unknown('venue', venue, project.venues)}")
    series = list(defaults)
    if venue:
        series = [Series(venue, name) for name in project.venues[venue].symbols]
    if symbol:
        symbols = {s.symbol for s in series}
        if symbol not in symbols:
            raise InvalidDodoFile(f"--symbol: {unknown('symbol', symbol, symbols)}")
        series = [s for s in series if s.symbol == symbol]
    return {s: named or defaults.get(s) or project.timeframes_of(s) for s in series}


def _parse_timeframe(text: str) -> Timeframe:
    try:
        timeframe = parse_timeframe(text)
    except ValueError as e:
        raise InvalidDodoFile(f"--timeframes: {e}") from e
    if timeframe.text == "1m":
        raise InvalidDodoFile("--timeframes: 1m is what is aggregated: name longer ones")
    return timeframe


def _whole_number(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InvalidDodoFile(f"{option}: expected a whole number from 1, got {text!r}")
    return int(text)


def _class_text(strategy: Strategy) -> str:
    """Return a strategy's class as its file names it."""
    between = ":" if is_file(strategy.module) else "."
    return f"{strategy.module}{between}{strategy.class_name}"


def _title(venue: str) -> str:
    return f"{venue} (simulated)" if find_venue(venue).simulated else venue


# What pydoit prints.


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit ships no types
    """Console output where a user's error is one line and only our own bugs keep a traceback."""

    desc = "console, errors as one line"

    def _write_failure(self, result: Mapping[str, Any], write_exception: bool = True) -> None:
        fail: BaseFail = result["exception"]
        name = result["task"].name.removeprefix("_")
        sys.stdout.flush()
        if isinstance(fail, TaskFailed) and not fail.traceback:
            sys.stderr.write(f"ERROR: {name}: {fail.message}\n")
        else:
            sys.stderr.write(f"ERROR: {name}: {fail.get_msg()}\n")

    def complete_run(self) -> None:
        """Print the errors that stopped the run as a whole; each failure was printed before."""
        for message in self.runtime_errors:
            sys.stderr.write(f"ERROR: {message}\n")
