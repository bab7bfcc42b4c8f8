"""The base of tbv8's own commands: the graph without running it, common options, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.cmdparse import CmdParse
from doit.control import TaskControl
from doit.dependency import Dependency, SqliteDB
from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.commands.errors import OneLineErrors, check_patterns
from tbv8.commands.order import in_order
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import Tbv8Error, UnreadableError
from tbv8.freshness.state import State
from tbv8.market import Series
from tbv8.tasks.options import parse_whole_number

JSON: dict[str, Any] = {
    "name": "as_json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "print JSON and nothing else",
}

SERIES: tuple[dict[str, Any], ...] = (
    {"name": "venue", "long": "venue", "type": str, "default": "", "help": "only this venue"},
    {"name": "symbol", "long": "symbol", "type": str, "default": "", "help": "only this symbol"},
)


class ProjectCommand(OneLineErrors, DoitCmdBase):  # type: ignore[misc]  # doit ships no types
    """A command that loads the tasks without running them or opening pydoit's state file."""

    def execute(self, params: Any, args: list[str]) -> int:
        """Load the tasks with a state file in memory."""
        self.dep_manager = Dependency(SqliteDB, ":memory:")
        result: int = super().execute(params, args)
        return result

    def help(self) -> str:
        """Return the help without pydoit's options of its database and of dodo.py."""
        options = [option for option in self.get_options() if not option.section]
        self._cmdparser = CmdParse(options)
        text: str = super().help()
        return text if options else text.replace("\nOPTIONS\n", "")

    def selected(self) -> Iterator[Task]:
        """Return the selected tasks and their dependencies, in the order of execution."""
        control = TaskControl(self.task_list)
        check_patterns(self.sel_tasks, self.task_list)
        control.process(self.sel_tasks)
        return in_order(control)


def read_state(task: Task) -> State:
    """Return a task's state; stale with the reason if it is unknown, so that others are shown.

    Such a reason is an error of the task's files, or that `migrate` must run first.

    Raises:
        UnreadableError: The database is damaged or locked, so that no state is known.
    """
    try:
        state: State = task.meta["state"]()
    except UnreadableError:
        raise
    except Tbv8Error as e:
        return State((str(e),))
    return state


def choose_series(
    project: Project, stored: Iterable[Series], *, venue: str, symbol: str
) -> set[Series]:
    """Return the stored and configured series that match `--venue` and `--symbol`; "" is all.

    Raises:
        InvalidCommand: A name is neither stored nor configured.
    """
    configured = {Series(v.name, name) for v in project.venues.values() for name in v.symbols}
    series = configured.union(stored)
    at_venue = {candidate for candidate in series if venue in ("", candidate.venue)}
    for option, name, names in (
        ("venue", venue, {candidate.venue for candidate in series}),
        ("symbol", symbol, {candidate.symbol for candidate in at_venue}),
    ):
        if name and name not in names:
            if option == "venue":
                project.check_file("venue", name)
            raise InvalidCommand(f"--{option}: {unknown(option, name, names)}")
    return {candidate for candidate in at_venue if symbol in ("", candidate.symbol)}


def whole_number(option: str, text: str, *, minimum: int) -> int:
    """Return the number of an option.

    Raises:
        InvalidCommand: It is not a whole number, or below the minimum.
    """
    try:
        return parse_whole_number(text, minimum=minimum)
    except ValueError as e:
        raise InvalidCommand(f"{option}: {e}") from e


def print_json(value: object) -> None:
    """Print a value as JSON and nothing else."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    is_printable = text.replace("\n", "").isprintable()  # names in a database may be anything
    print(text if is_printable else json.dumps(value, indent=2))
