"""`doit plan`: the tasks that would run, in order, with reasons."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from doit.task import Task

from tbv8.commands.base import JSON, ProjectCommand, print_json, read_state


class PlannedTask(msgspec.Struct, frozen=True):
    """A task that would run: its own reasons, and the tasks before it that will run."""

    task: str
    reasons: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def all_reasons(self) -> tuple[str, ...]:
        """Its own reasons, and one about the tasks before it."""
        if not self.after:
            return self.reasons
        *names, last = self.after
        text = f"{', '.join(names)} and {last}" if names else last
        return (*self.reasons, f"{text} must run first")


class Plan(ProjectCommand):
    """Print the tasks that would run, and why."""

    is_about_tasks = shows_all = True
    doc_purpose = "list the tasks that would run, with reasons; runs nothing, writes nothing"
    doc_usage = "[TASK ...]"
    doc_description = (
        "Lists each task that `doit TASK...` would run now, in that order, with its reasons."
    )
    cmd_options = (JSON,)

    def _execute(self, as_json: bool) -> int:
        tasks = {task.name: task for task in self.selected()}
        planned = [_with_reach(run, tasks[run.task]) for run in plan(iter(tasks.values()))]
        if as_json:
            print_json({"tasks": [msgspec.to_builtins(task) for task in planned]})
        elif not planned:
            print("nothing to do: everything is fresh")
        for task in () if as_json else planned:
            print(task.task)
            for reason in task.all_reasons:
                print(f"    {reason}")
        return 0


def _with_reach(planned: PlannedTask, task: Task) -> PlannedTask:
    """Return a planned task with the age of the venue's oldest bars, if only the venue knows it."""
    if "reach" not in task.meta:
        return planned
    return msgspec.structs.replace(planned, reasons=(*planned.reasons, task.meta["reach"]()))


def plan(tasks: Iterator[Task]) -> Iterator[PlannedTask]:
    """Yield the tasks that would run, with the reasons.

    Args:
        tasks: All tasks to consider, each after its dependencies.
    """
    runs: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        upstream = tuple(dict.fromkeys(name for dep in task.task_dep for name in runs.get(dep, ())))
        if not task.meta:
            runs[task.name] = upstream
            continue
        state = read_state(task)
        reasons = state.reasons
        if upstream and not state.parts:  # unknown until the tasks upstream have run
            reasons = task.meta.get("reasons_if_new", tuple)()
        if (reasons or upstream) and not task.name.startswith("_"):
            runs[task.name] = (task.name,)
            yield PlannedTask(task.name, reasons, upstream)
