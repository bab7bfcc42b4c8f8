"""`doit why`: the inputs of a task, now and when its output was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.commands.base import JSON, ProjectCommand, print_json, read_state
from tbv8.commands.plan import plan
from tbv8.freshness.state import Part, State


class Why(ProjectCommand):
    """Show the reasons for a task's state, and its inputs."""

    is_about_tasks = True
    doc_purpose = "show the inputs of a task, now and when its output was made"
    doc_usage = "TASK ..."
    doc_description = (
        "A task is stale if the digest of any part differs, or if a task before it will run."
    )
    cmd_options = (JSON,)

    def _execute(self, as_json: bool, pos_args: Sequence[str]) -> int:
        if not pos_args:
            raise InvalidCommand("`doit why` needs a task: `doit list` shows them")
        tasks = {task.name: task for task in self.task_list}
        planned = {run.task: run.all_reasons for run in plan(self.selected())}
        shown = []
        for name in pos_args:
            if name not in tasks:
                raise InvalidCommand(not_found=name)
            task_names = [name] if tasks[name].meta else _subtasks(tasks, name)
            for task in task_names:
                state = read_state(tasks[task])
                shown.append((task, State(planned.get(task, state.reasons), state.parts)))
        if as_json:
            print_json({"tasks": [{"task": name, **_to_json(state)} for name, state in shown]})
            return 0
        widths = _widths(part for _, state in shown for part in state.parts)
        for name, state in shown:
            print(f"{name}: {'stale' if state.reasons else 'fresh'}")
            for reason in state.reasons:
                print(f"    {reason}")
            for part in state.parts:
                print(f"    {_line(part, widths)}")
        return 0


def _subtasks(tasks: Mapping[str, Task], name: str) -> list[str]:
    deps = tasks[name].task_dep
    return [dep for dep in deps if tasks[dep].meta and not dep.startswith("_")]


def _to_json(state: State) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(state)
    return {"fresh": not state.reasons, **built}


def _cells(part: Part) -> tuple[str, str, str]:
    now, then = (digest[:16] if digest else "none" for digest in (part.current, part.recorded))
    return part.name, now, then


def _widths(parts: Iterable[Part]) -> list[int]:
    cells = [_cells(part) for part in parts]
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _line(part: Part, widths: Sequence[int]) -> str:
    cells = zip(_cells(part), widths, strict=True)
    name, now, then = (cell.ljust(width) for cell, width in cells)
    verdict = "same" if part.current == part.recorded else "differs"
    return f"{name} now {now}  made with {then}  {verdict}"
