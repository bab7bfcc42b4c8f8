"""Parts shared by the read-only commands: the graph without running it, options, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.control import TaskControl
from doit.dependency import Dependency, SqliteDB
from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.commands.refusals import OneLine, check_patterns
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import NotMigratedError
from tbv8.freshness.state import State
from tbv8.market import Series

JSON: dict[str, Any] = {
    "name": "as_json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "print JSON and nothing else",
}

SERIES: tuple[dict[str, Any], ...] = (
    {"name": "venue", "long": "venue", "type": str, "default": "", "help": "only this venue"},
    {"name": "symbol", "long": "symbol", "type": str, "default": "", "help": "only this one"},
)


class Looking(OneLine, DoitCmdBase):  # type: ignore[misc]  # doit ships no types
    """A command that needs the graph, but neither runs it nor opens pydoit's state file."""

    def execute(self, params: Any, args: list[str]) -> int:
        """Load the tasks with a state file in memory."""
        self.dep_manager = Dependency(SqliteDB, ":memory:")
        result: int = super().execute(params, args)
        return result

    def selected(self) -> Iterator[Task]:
        """Yield the selected tasks and all before them, in the order in which they would run."""
        control = TaskControl(self.task_list)
        check_patterns(self.sel_tasks, self.task_list)
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


def ask(task: Task) -> State:
    """Ask a task whether it is fresh; what cannot be asked before `migrate` is a reason too.

    Raises:
        Tbv8Error: It cannot be told, since the database is damaged or locked, say.
    """
    try:
        state: State = task.meta["state"]()
    except NotMigratedError as e:
        return State((str(e),))
    return state


def choose(project: Project, stored: Iterable[Series], *, venue: str, symbol: str) -> set[Series]:
    """Return the stored and configured series that `--venue` and `--symbol` name, "" for all.

    Raises:
        InvalidCommand: A name is neither stored nor configured.
    """
    configured = {Series(v.name, name) for v in project.venues.values() for name in v.symbols}
    series = configured.union(stored)
    here = {candidate for candidate in series if venue in ("", candidate.venue)}
    for what, name, names in (
        ("venue", venue, {candidate.venue for candidate in series}),
        ("symbol", symbol, {candidate.symbol for candidate in here}),
    ):
        if name and name not in names:
            raise InvalidCommand(f"--{what}: {unknown(what, name, names)}")
    return {candidate for candidate in here if symbol in ("", candidate.symbol)}


def whole_number(option: str, text: str, *, least: int) -> int:
    """Return an option's number, or refuse it."""
    if not text.isdecimal() or int(text) < least:
        raise InvalidCommand(f"{option}: expected a whole number from {least}, got {text!r}")
    return int(text)


def print_json(value: object) -> None:
    """Print what `--json` promises: JSON and nothing else."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    is_plain = text.replace("\n", "").isprintable()  # of a database, a name may be anything
    print(text if is_plain else json.dumps(value, indent=2))
