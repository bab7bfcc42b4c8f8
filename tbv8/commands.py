"""Commands of `doit` that only look: they run no task and write nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from doit.cmd_base import DoitCmdBase
from doit.control import TaskControl
from doit.dependency import Dependency, SqliteDB
from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.config import Project
from tbv8.document import unknown
from tbv8.errors import Tbv8Error
from tbv8.freshness.state import Part, State
from tbv8.store.database import open_reader

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
    """Recompute what the ledger says."""

    doc_purpose = "recompute the ledger's digests and counts from the rows, report what is wrong"
    doc_usage = ""
    doc_description = (
        "Exits with 1 when anything is wrong. --repair drops the days that a source or a rebuild "
        "can bring back, so that the next `doit` does; recorded days are only reported."
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
    )

    def _execute(self, as_json: bool, venue: str, symbol: str, dataset: str, repair: bool) -> int:
        project: Project = self.loader.namespace["PROJECT"]
        try:
            return _verify(project, as_json, (venue, symbol, dataset), repair)
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


def _verify(project: Project, as_json: bool, only: tuple[str, str, str], repair: bool) -> int:
    from tbv8.store.bars import open_bars
    from tbv8.store.verify import drop, stored_series, verify

    with open_reader(project.db_path):
        pass  # refuses what is no database of this revision
    problems = []
    with open_bars(project.db_path) as store:
        venue, symbol, dataset = only
        for name, series in stored_series(store, venue=venue, symbol=symbol, dataset=dataset):
            found = list(verify(store, name, series))
            problems += found
            if not as_json:
                print(f"{name} {series}: {f'{len(found)} problems' if found else 'whole'}")
        dropped = drop(store, problems) if repair else 0
    if as_json:
        listed = [msgspec.to_builtins(problem) for problem in problems]
        _print_json({"problems": listed, "dropped_days": dropped})
    else:
        for problem in problems:
            print(f"    {problem}")
        if dropped:
            print(f"dropped {dropped} days: the next `doit` brings them back")
        elif any(problem.repairable for problem in problems):
            print("`doit verify --repair` drops the days that can be brought back")
    return 1 if problems else 0


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
