"""`doit plan`: what would run, in order, and why."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from doit.task import Task

from tbv8.commands.looking import JSON, Looking, ask, print_json


class Planned(msgspec.Struct, frozen=True):
    """A task that would run: its own reasons, and the tasks before it that will run."""

    task: str
    reasons: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def why(self) -> tuple[str, ...]:
        """All that makes it run, in words."""
        upstream = (f"because {' and '.join(self.after)} will run",) if self.after else ()
        return (*self.reasons, *upstream)


class Plan(Looking):
    """Print the tasks that would run, and why."""

    is_about_tasks = True
    doc_purpose = "tell what would run, and why; runs nothing, writes nothing"
    doc_usage = "[TASK ...]"
    doc_description = (
        "Lists each task that `doit TASK...` would run now, in that order, with its reasons."
    )
    cmd_options = (JSON,)

    def _execute(self, as_json: bool) -> int:
        tasks = {task.name: task for task in self.selected()}
        planned = [_reaching(one, tasks[one.task]) for one in plan(iter(tasks.values()))]
        if as_json:
            print_json({"tasks": [msgspec.to_builtins(task) for task in planned]})
        elif not planned:
            print("nothing to do: everything is fresh")
        for task in () if as_json else planned:
            print(task.task)
            for reason in task.why:
                print(f"    {reason}")
        return 0


def _reaching(planned: Planned, task: Task) -> Planned:
    """Return it with how far back the history goes, where only the venue knows."""
    if "reach" not in task.meta:
        return planned
    return msgspec.structs.replace(planned, reasons=(*planned.reasons, task.meta["reach"]()))


def plan(tasks: Iterator[Task]) -> Iterator[Planned]:
    """Yield the stale tasks of `tasks` (dependencies first), with the reasons."""
    runs: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        upstream = tuple(dict.fromkeys(name for dep in task.task_dep for name in runs.get(dep, ())))
        if not task.meta:
            runs[task.name] = upstream
            continue
        state = ask(task)
        # what cannot be asked before the tasks upstream have run is no reason of its own
        reasons = () if upstream and not state.parts else state.reasons
        if (reasons or upstream) and not task.name.startswith("_"):
            runs[task.name] = (task.name,)
            yield Planned(task.name, reasons, upstream)
