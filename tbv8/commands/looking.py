"""What the commands share: the graph without running it, options, JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.dependency import Dependency, SqliteDB
from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.document import nearest, unknown
from tbv8.errors import NotMigratedError, Tbv8Error
from tbv8.freshness.state import State
from tbv8.market import Series
from tbv8.tasks import os_problem

JSON: dict[str, Any] = {
    "name": "as_json",
    "long": "json",
    "type": bool,
    "default": False,
    "help": "print JSON and nothing else",
}


class OneLine:
    """A command whose options are refused in one line."""

    def parse_execute(self, in_args: list[str]) -> int:
        """Refuse an option that is none in one line; `--help` is `doit help` of the command."""
        if "--help" in in_args:
            print(self.help())  # type: ignore[attr-defined]
            return 0
        try:
            result: int = super().parse_execute(in_args)  # type: ignore[misc]  # pydoit's Command
        except CmdParseError as e:
            raise no_such_option(e) from e
        return result


class Looking(OneLine, DoitCmdBase):  # type: ignore[misc]  # doit ships no types
    """A command that needs the graph, but neither runs it nor opens pydoit's state file."""

    def execute(self, params: Any, args: list[str]) -> int:
        """Load the tasks with a state file in memory; say in one line what a user can mend."""
        self.dep_manager = Dependency(SqliteDB, ":memory:")
        try:
            result: int = super().execute(params, args)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough: neither we nor Python's exit may write
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Tbv8Error as e:
            raise InvalidCommand(str(e)) from e
        except OSError as e:
            if (problem := os_problem(e)) is None:
                raise
            raise InvalidCommand(problem) from e
        return result

    def selected(self) -> Iterator[Task]:
        """Yield the selected tasks and all before them, in the order in which they would run."""
        control = TaskControl(self.task_list)
        try:
            control.process(self.sel_tasks)
        except InvalidCommand as e:
            raise (no_such_task(e.not_found, self.task_list) if e.not_found else e) from e
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


def no_such_option(error: CmdParseError) -> InvalidCommand:
    """Return pydoit's refusal of an option without the program text that it ends with."""
    said, _, known = str(error).partition(" (parsing options: ")
    said = said.partition(": ")[2]
    given = re.search(r"--([\w-]+) not recognized", said)
    names = re.findall(r"'long': ?'([\w-]+)'", known)
    near = nearest(given[1], names) if given else None
    return InvalidCommand(f"{said}, did you mean '--{near}'?" if near else said)


def no_such_task(name: str, tasks: Iterable[Task]) -> InvalidCommand:
    """Return the refusal of a task's name: with the nearest spelling, since there may be many."""
    near = nearest(name, (task.name for task in tasks if not task.name.startswith("_")))
    hint = f", did you mean {near!r}?" if near else ":"
    return InvalidCommand(f"unknown task {name!r}{hint} `doit list` names them all")


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


def choose(series: Collection[Series], *, venue: str, symbol: str) -> set[Series]:
    """Return those of `series` that `--venue` and `--symbol` name, "" for all.

    Raises:
        InvalidCommand: A name is not among them.
    """
    here = {one for one in series if venue in ("", one.venue)}
    for what, name, names in (
        ("venue", venue, {one.venue for one in series}),
        ("symbol", symbol, {one.symbol for one in here}),
    ):
        if name and name not in names:
            raise InvalidCommand(f"--{what}: {unknown(what, name, names)}")
    return {one for one in here if symbol in ("", one.symbol)}


def whole_number(option: str, text: str, *, least: int) -> int:
    """Return an option's number, or refuse it."""
    if not text.isdecimal() or int(text) < least:
        raise InvalidCommand(f"{option}: expected a whole number from {least}, got {text!r}")
    return int(text)


def counted(things: Sequence[object], what: str) -> str:
    """Return `2 problems`; "" for none."""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}" if things else ""


def print_json(value: object) -> None:
    """Print what `--json` promises: JSON and nothing else."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
