"""The graph: config in, pydoit task dicts out.

Every task carries its question in `meta["state"]`: `uptodate`, `doit plan` and `doit why` ask the
same one. Whatever is heavy is imported inside the actions.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import doit.doit_cmd
from doit.dependency import SqliteDB
from doit.exceptions import BaseFail, InvalidDodoFile, TaskFailed
from doit.reporter import ConsoleReporter

from tbv8.backtest.folder import sweep
from tbv8.config import Project, Strategy, load_project
from tbv8.coverage import missing_spans
from tbv8.document import unknown
from tbv8.errors import Tbv8Error
from tbv8.freshness.data import aggregate_state, backfill_state, migration_state
from tbv8.freshness.result import backtest_inputs, backtest_state, static_state
from tbv8.freshness.state import State
from tbv8.market import Series, Span, Timeframe, parse_timeframe
from tbv8.store.database import open_reader
from tbv8.store.ledger import HISTORY, covered, holds
from tbv8.venues.base import history_cost, history_span

type Task = dict[str, Any]
type Question = Callable[[], State]

STATE_FILE = Path("data/.doit.db")

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
        "default": "150",  # as 5m bars, about as many rows as a month of 1m bars
        "help": "days of 1m bars in memory at once; the result is the same",
    },
]


def doit_config() -> dict[str, Any]:
    """Return DOIT_CONFIG, with the folder of pydoit's state file made and the file usable."""
    _end_cleanly_on_signals()
    _prepare_state_file(STATE_FILE)
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
    now_ms = int(time.time() * 1000)
    try:
        loaded = load_project(
            Path.cwd(),
            overrides=doit.doit_cmd._CMDLINE_VARS or {},
            now_ms=now_ms,
            history_span=lambda venue: history_span(venue, now_ms),
        )
        sweep(loaded.results_path)
        return loaded
    except Tbv8Error as e:
        raise InvalidDodoFile(str(e)) from e


def migrate(project: Project) -> Task:
    """Return the task on which all depend that need the database."""

    def run() -> None:
        from tbv8.store.schema import migrate

        migrate(project.db_path, root=project.root)

    return _task(run, partial(migration_state, project.db_path), doc="Make or upgrade the database")


def backfills(project: Project) -> Iterator[Task]:
    """Yield one subtask per series whose history is wanted."""
    yield {"name": None, "doc": "Fetch the wanted 1m history of every series"}
    for series, spans in project.wanted.items():
        if _has_history(project, series):
            venue = project.venues[series.venue]
            first, last = min(s.start_ms for s in spans), max(s.end_ms for s in spans)
            yield {
                "name": str(series),
                **_task(
                    partial(_backfill, project, series, spans),
                    partial(_backfill_state, project, series, spans),
                    doc=f"1m bars of {series.symbol} at {_title(venue.name)}, {Span(first, last)}",
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
    known = {series: project.timeframes_of(series) for series in _default_series(project)}
    selected = _select(project, known, venue, symbol, timeframes)
    builds = {
        (series, timeframe): None
        for group in (known, selected)
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
        ],
        "doc": "Bars of every timeframe that any config asks for",
    }


def backtests(project: Project) -> Iterator[Task]:
    """Yield one subtask per strategy behind the bars that it reads, and a check of its params."""
    yield {"name": None, "doc": "Backtest every strategy in config/strategies"}
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
        source = strategy.source
        bars = (
            _minutes_name(project, source)
            if strategy.timeframe.text == "1m"
            else aggregate_name(source, strategy.timeframe)
        )
        yield {
            "name": strategy.strategy_id,
            **_task(
                partial(_backtest, project, strategy),
                partial(
                    backtest_state, project.db_path, strategy, results_path=project.results_path
                ),
                doc=f"{strategy.module}.{strategy.class_name} on {strategy.symbol} "
                f"{strategy.timeframe} of {_title(source.venue)}, {strategy.span}",
                after=[check, bars],
            ),
        }


def aggregate_name(series: Series, timeframe: Timeframe) -> str:
    """Return the full name of the task that builds a timeframe of a series."""
    return f"aggregate:{series}:{timeframe}"


# Actions.


def _backfill(project: Project, series: Series, spans: Sequence[Span]) -> None:
    from tbv8.backfill import backfill

    venue = project.venues[series.venue]
    backfill(project.db_path, series, spans, venue=venue, now_ms=_now_ms())


def _backfill_state(project: Project, series: Series, spans: Sequence[Span]) -> State:
    state = backfill_state(project.db_path, series, spans)
    if not state.reasons:
        return state
    with open_reader(project.db_path) as query:
        gaps = missing_spans(spans, covered(query, series, HISTORY))
    cost = history_cost(series.venue, gaps, _now_ms())
    return State((*state.reasons[:-1], f"{state.reasons[-1]}; {cost}"), state.parts)


def _build(project: Project, series: Series, timeframe: Timeframe, chunk_days: int) -> None:
    from tbv8.build import build_bars

    build_bars(project.db_path, series, timeframe, chunk_days=chunk_days, now_ms=_now_ms())


def _check_params(strategy: Strategy) -> None:
    from tbv8.backtest.loading import check_params

    check_params(strategy)


def _backtest(project: Project, strategy: Strategy) -> None:
    from tbv8.backtest.run import run_backtest
    from tbv8.backtest.summary import lines
    from tbv8.store.bars import open_bars, read_held_span

    with open_bars(project.db_path) as store, store.transaction("DEFERRED"):
        inputs = backtest_inputs(store.query, strategy)
        span = strategy.timeframe.whole(strategy.span)
        bars = read_held_span(store, strategy.source, strategy.timeframe, span)
    summary = run_backtest(strategy, bars, inputs=inputs, results_path=project.results_path)
    for line in lines(summary):
        print(f"   {line}")


# How a task is made.


def _task(
    action: Callable[[], None], question: Question, *, doc: str, after: Sequence[str] = ()
) -> Task:
    return {
        "actions": [_user_errors(action)],
        "task_dep": list(after),
        "uptodate": [_fresh(question)],
        "meta": {"state": question},
        "doc": doc,
        "verbosity": 2,
    }


def _user_errors(action: Callable[[], None]) -> Callable[[], TaskFailed | None]:
    """Return an action whose Tbv8Error fails the task with its one line."""

    def run() -> TaskFailed | None:
        try:
            action()
        except Tbv8Error as e:
            return TaskFailed(str(e))
        return None

    return run


def _fresh(question: Question) -> Callable[[Any, Any], bool]:
    """Return what pydoit asks; what cannot be asked is not fresh, and the action will say why."""

    def uptodate(task: object, values: object) -> bool:  # pydoit passes arguments by these names
        try:
            return not question().reasons
        except Tbv8Error:
            return False

    return uptodate


# Which series and timeframes.


def _has_history(project: Project, series: Series) -> bool:
    return history_span(series.venue, _now_ms()) is not None


def _minutes_name(project: Project, series: Series) -> str:
    """Return the task that brings the 1m bars of a series; of a recorded one, none does."""
    wanted = series in project.wanted and _has_history(project, series)
    return f"backfill:{series}" if wanted else "migrate"


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
    known: Mapping[Series, list[Timeframe]],
    venue: str,
    symbol: str,
    timeframes: str,
) -> dict[Series, list[Timeframe]]:
    """Return what the options of `aggregate` choose; without any, all that is known."""
    named = [_parse_timeframe(text) for text in timeframes.split(",") if text]
    if venue and venue not in project.venues:
        raise InvalidDodoFile(f"--venue: {unknown('venue', venue, project.venues)}")
    series = list(known)
    if venue:
        series = [Series(venue, name) for name in project.venues[venue].symbols]
    if symbol:
        symbols = {s.symbol for s in series}
        if symbol not in symbols:
            raise InvalidDodoFile(f"--symbol: {unknown('symbol', symbol, symbols)}")
        series = [s for s in series if s.symbol == symbol]
    return {s: named or known.get(s) or project.timeframes_of(s) for s in series}


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


def _title(venue: str) -> str:
    return f"{venue} (simulated)" if venue == "sample" else venue


def _now_ms() -> int:
    return int(time.time() * 1000)


# What pydoit prints and keeps.


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
        """Print what stopped the run as a whole; each failure was printed when it happened."""
        for message in self.runtime_errors:
            sys.stderr.write(f"ERROR: {message}\n")


class StateFile(SqliteDB):  # type: ignore[misc]  # doit ships no types
    """pydoit's state in SQLite, each write by itself: two runs at once never wait for each other.

    pydoit's own keeps a lock from the first failure of a run to its end.
    """

    def _sqlite3(self, name: str) -> Any:
        connection = super()._sqlite3(name)
        connection.isolation_level = None
        return connection


def _prepare_state_file(path: Path) -> None:
    """Make its folder, and move a damaged file aside: nothing that matters is in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not _is_whole(path):
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            print(f"{path}: damaged, moved aside to {aside}; nothing is lost", file=sys.stderr)
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(13, "no permission to write")
    except OSError as e:
        folder = path.parent
        raise InvalidDodoFile(f"{folder}: cannot be used: {e.strerror}: make it writable") from e


def _is_whole(path: Path) -> bool:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT task_data FROM doit").fetchall()
            sound = connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            return sound and all(isinstance(json.loads(text), dict) for (text,) in rows)
        finally:
            connection.close()
    except sqlite3.OperationalError as e:
        return "locked" in str(e) or "busy" in str(e)
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return False


def _end_cleanly_on_signals() -> None:
    """End on Ctrl-C and SIGTERM with one line; what was committed stays."""

    def on_terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
        print(_INTERRUPTED, file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM)

    def on_uncaught(
        kind: type[BaseException], e: BaseException, traceback: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(_INTERRUPTED, file=sys.stderr)
        else:
            sys.__excepthook__(kind, e, traceback)

    signal.signal(signal.SIGTERM, on_terminate)
    sys.excepthook = on_uncaught


_INTERRUPTED = "interrupted: what was finished is kept, the same command goes on from there"
