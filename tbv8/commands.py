"""Commands of `doit` that only look: they run no task and write nothing."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from doit.cmd_base import DoitCmdBase
from doit.control import TaskControl
from doit.dependency import Dependency, SqliteDB
from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.config import Project
from tbv8.document import unknown
from tbv8.errors import Tbv8Error
from tbv8.freshness.state import Part, State, days_text
from tbv8.market import Series, Span
from tbv8.store.database import open_reader
from tbv8.store.ledger import HISTORY
from tbv8.venues.base import history_span

if TYPE_CHECKING:
    from tbv8.store.bars import BarStore
    from tbv8.store.verify import Problem

_JSON: dict[str, Any] = {
    "name": "as_json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "print JSON and nothing else",
}


class Planned(msgspec.Struct, frozen=True):
    """A task that would run: its own reasons, and the tasks before it that will run."""

    task: str
    reasons: tuple[str, ...]
    after: tuple[str, ...]


class _Looking(DoitCmdBase):  # type: ignore[misc]  # doit ships no types
    """A command that needs the graph, but neither runs it nor opens pydoit's state file."""

    def execute(self, params: Any, args: list[str]) -> int:
        """Load the tasks with a state file in memory."""
        self.dep_manager = Dependency(SqliteDB, ":memory:")
        result: int = super().execute(params, args)
        return result

    def selected(self) -> Iterator[Task]:
        """Yield the selected tasks and all before them, in the order in which they would run."""
        control = TaskControl(self.task_list)
        control.process(self.sel_tasks)
        done: set[str] = set()

        def walk(name: str) -> Iterator[Task]:
            if name not in done:
                done.add(name)
                task = control.tasks[name]
                for before in (*task.setup_tasks, *task.task_dep):
                    yield from walk(before)
                yield task

        for name in control.selected_tasks:
            yield from walk(name)


class Plan(_Looking):
    """Tell what would run, and why."""

    doc_purpose = "tell what would run, and why; runs nothing, writes nothing"
    doc_usage = "[TASK ...]"
    doc_description = (
        "Lists each task that `doit TASK...` would run now, in that order, with its reasons."
    )
    cmd_options = (_JSON,)

    def _execute(self, as_json: bool) -> int:
        planned = list(plan(self.selected()))
        if as_json:
            _print_json({"tasks": [msgspec.to_builtins(task) for task in planned]})
        elif not planned:
            print("nothing to do: everything is fresh")
        for task in () if as_json else planned:
            print(task.task)
            for reason in task.reasons:
                print(f"    {reason}")
            if task.after:
                print(f"    because {' and '.join(task.after)} will run")
        return 0


class Why(_Looking):
    """Tell why a task is fresh or stale."""

    doc_purpose = "show every part of a task's key, now and when its output was made"
    doc_usage = "TASK ..."
    doc_description = "A part whose digest differs is why the task is stale."
    cmd_options = (_JSON,)

    def _execute(self, as_json: bool, pos_args: Sequence[str]) -> int:
        if not pos_args:
            raise InvalidCommand("`doit why` wants a task; `doit list` names them")
        tasks = {task.name: task for task in self.task_list}
        shown = []
        for name in pos_args:
            if name not in tasks:
                raise InvalidCommand(unknown("task", name, tasks))
            asked = [name] if tasks[name].meta else _asked_below(tasks, name)
            shown += [(task, _ask(tasks[task])) for task in asked]
        if as_json:
            _print_json({"tasks": [{"task": name, **_as_json(state)} for name, state in shown]})
            return 0
        for name, state in shown:
            print(f"{name}: {'stale' if state.reasons else 'fresh'}")
            for reason in state.reasons:
                print(f"    {reason}")
            for part in state.parts:
                print(f"    {_line(part)}")
        return 0


class Verify(_Looking):
    """Recompute what the ledger says, or compare with what the venue says."""

    doc_purpose = "recompute the ledger's digests and counts from the rows, report what is wrong"
    doc_usage = ""
    doc_description = (
        "Exits with 1 when anything is wrong. --repair drops the days that a source or a rebuild "
        "can bring back, so that the next `doit` does; recorded days are only reported. "
        "--against rest compares random hours of ohlcv_1m with the venue's own REST bars instead."
    )
    cmd_options = (
        _JSON,
        {"name": "venue", "long": "venue", "type": str, "default": "", "help": "only this venue"},
        {"name": "symbol", "long": "symbol", "type": str, "default": "", "help": "only this one"},
        {
            "name": "dataset",
            "long": "dataset",
            "type": str,
            "default": "",
            "help": "only this table, such as ohlcv_1m or bars_5m",
        },
        {
            "name": "repair",
            "long": "repair",
            "type": bool,
            "default": False,
            "help": "drop damaged days that can be brought back",
        },
        {
            "name": "against",
            "long": "against",
            "type": str,
            "default": "",
            "help": "`rest`: compare with the venue's own bars",
        },
        {
            "name": "sample",
            "long": "sample",
            "type": str,
            "default": "50",
            "help": "how many hours to compare",
        },
        {
            "name": "seed",
            "long": "seed",
            "type": str,
            "default": "",
            "help": "which hours: the same number draws the same ones",
        },
    )

    def _execute(
        self,
        as_json: bool,
        venue: str,
        symbol: str,
        dataset: str,
        repair: bool,
        against: str,
        sample: str,
        seed: str,
        pos_args: Sequence[str],
    ) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: choose with --venue, --symbol and --dataset")
        project: Project = self.loader.namespace["PROJECT"]
        asked = _Asked(venue, symbol, dataset, repair)
        try:
            if against:
                compared = _compare(project, asked, against, sample=sample, seed=seed)
                return _report_compared(compared, as_json)
            return _verify(project, as_json, asked)
        except Tbv8Error as e:
            raise InvalidCommand(str(e)) from e


class Bench(_Looking):
    """Measure."""

    doc_purpose = "measure speed against a floor of the same run; prints JSON lines"
    doc_usage = "[BENCHMARK ...]"
    doc_description = "Runs tests/benchmarks/; without names, all of them. Takes minutes."

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the benchmarks in a process of their own, so that nothing else is measured."""
        self.loader.setup(params)
        command = [sys.executable, "-m", "tests.benchmarks", *args]
        return subprocess.run(command, check=False).returncode


def plan(tasks: Iterator[Task]) -> Iterator[Planned]:
    """Yield those of `tasks` (dependencies first) that would run, with the reasons."""
    runs: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        upstream = tuple(dict.fromkeys(name for dep in task.task_dep for name in runs.get(dep, ())))
        if not task.meta:
            runs[task.name] = upstream
            continue
        state = _ask(task)
        # what cannot be asked before the tasks upstream have run is no reason of its own
        reasons = () if upstream and not state.parts else state.reasons
        if (reasons or upstream) and not task.name.startswith("_"):
            runs[task.name] = (task.name,)
            yield Planned(task.name, reasons, upstream)


class _Asked(msgspec.Struct, frozen=True):
    """Which days to look at, "" for all, and whether to drop those that are wrong."""

    venue: str
    symbol: str
    dataset: str
    repair: bool


class _Compared(msgspec.Struct, frozen=True):
    """Hours that were held against the venue, and where they differ."""

    hours: int
    seed: int
    differences: list[Problem]


def _verify(project: Project, as_json: bool, asked: _Asked) -> int:
    from tbv8.store.bars import open_bars
    from tbv8.store.verify import drop, verify

    found: list[Problem] = []
    dropped_days = 0
    with open_reader(project.db_path):
        pass  # refuses what is no database of this revision
    with open_bars(project.db_path) as store:
        for name, series in _selected_series(project, store, asked):
            with store.transaction("DEFERRED"):
                problems = list(verify(store, name, series))
            found += problems
            if not as_json:
                print(f"{name} {series}: {_count(problems, 'problem') or 'whole'}")
        kept = found
        if asked.repair:
            kept = drop(store, found, can_fetch=partial(_can_fetch, project))
            dropped_days = _days(found) - _days(kept)
    if as_json:
        listed = [msgspec.to_builtins(problem) for problem in found]
        _print_json({"problems": listed, "dropped_days": dropped_days})
        return 1 if found else 0
    for problem in found:
        print(f"    {problem}")
    if dropped_days:
        print(f"dropped {days_text(dropped_days)}: the next `doit` brings back what is wanted")
    if asked.repair and kept:
        print(f"{days_text(_days(kept))} cannot be brought back: they stay as they are")
    if found and not asked.repair:
        print("`doit verify --repair` drops the days that a source or a rebuild can bring back")
    return 1 if found else 0


def _compare(project: Project, asked: _Asked, against: str, *, sample: str, seed: str) -> _Compared:
    from tbv8.backfill import compare, draw_hours
    from tbv8.store.bars import open_bars

    if against != "rest":
        raise InvalidCommand(f"--against: {unknown('source', against, ['rest'])}")
    if asked.repair or asked.dataset not in ("", HISTORY):
        raise InvalidCommand(f"--against compares {HISTORY} only, and repairs nothing")
    count = _whole_number("--sample", sample, least=1)
    number = _whole_number("--seed", seed, least=0) if seed else secrets.randbelow(10**6)
    with open_reader(project.db_path):
        pass
    with open_bars(project.db_path) as store:
        held = [
            series
            for name, series in _selected_series(project, store, asked)
            if name == HISTORY and _can_fetch(project, series)
        ]
        hours = draw_hours(store, held, count=count, seed=number)
        differences = [
            difference
            for series, spans in hours.items()
            for difference in compare(store, series, spans, venue=project.venues[series.venue])
        ]
    return _Compared(sum(map(len, hours.values())), number, differences)


def _report_compared(compared: _Compared, as_json: bool) -> int:
    if as_json:
        _print_json(msgspec.to_builtins(compared))
    else:
        for difference in compared.differences:
            print(f"    {difference}")
        print(
            f"compared {compared.hours} random hours with REST (--seed {compared.seed}): "
            f"{_count(compared.differences, 'difference') or 'all as the venue says'}"
        )
    return 1 if compared.differences else 0


def _selected_series(project: Project, store: BarStore, asked: _Asked) -> list[tuple[str, Series]]:
    """Return what is stored of what is asked for.

    Raises:
        InvalidCommand: A name is neither stored nor configured.
    """
    from tbv8.store.verify import stored_datasets, stored_series

    stored = stored_series(store)
    series = {series for _, series in stored}
    series |= {Series(v.name, symbol) for v in project.venues.values() for symbol in v.symbols}
    here = {one for one in series if asked.venue in ("", one.venue)}
    for what, name, names in (
        ("venue", asked.venue, {one.venue for one in series}),
        ("symbol", asked.symbol, {one.symbol for one in here}),
        ("dataset", asked.dataset, {*stored_datasets(store), *(name for name, _ in stored)}),
    ):
        if name and name not in names:
            raise InvalidCommand(f"--{what}: {unknown(what, name, names)}")
    return [
        (name, one)
        for name, one in stored
        if one in here and asked.symbol in ("", one.symbol) and asked.dataset in ("", name)
    ]


def _can_fetch(project: Project, series: Series, span: Span | None = None) -> bool:
    """Tell whether the venue of a series is configured, and has history (of a span)."""
    venue = project.venues.get(series.venue)
    has = (
        venue
        and series.symbol in venue.symbols
        and history_span(venue.name, int(time.time() * 1000))
    )
    return bool(has and (span is None or has.contains(span)))


def _whole_number(option: str, text: str, *, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise InvalidCommand(f"{option}: expected a whole number from {least}, got {text!r}")
    return int(text)


def _days(problems: Sequence[Problem]) -> int:
    return len({(problem.dataset, problem.series, problem.day_ms) for problem in problems})


def _count(things: Sequence[object], what: str) -> str:
    """Return `2 problems`; "" for none."""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}" if things else ""


def _ask(task: Task) -> State:
    try:
        state: State = task.meta["state"]()
    except Tbv8Error as e:
        return State((str(e),))
    return state


def _asked_below(tasks: Mapping[str, Task], name: str) -> list[str]:
    return [dep for dep in tasks[name].task_dep if tasks[dep].meta]


def _as_json(state: State) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(state)
    return {"fresh": not state.reasons, **built}


def _line(part: Part) -> str:
    now, then = (digest[:16] if digest else "none" for digest in (part.current, part.recorded))
    same = "same" if part.current == part.recorded else "differs"
    return f"{part.name:<14} now {now:<16}  made with {then:<16}  {same}"


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
