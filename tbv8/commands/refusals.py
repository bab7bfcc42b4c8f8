"""The base of all commands of doit, pydoit's own too: a refusal is one line.

Imported by the modules of all commands before anything else of tbv8; like pydoit itself, it begins
with the state file, so that Ctrl-C is taken care of from here on.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from getopt import GetoptError
from typing import Any

from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask
from doit.task import Task

from tbv8.commands import state  # noqa: F401  # first
from tbv8.config.document import nearest, unknown
from tbv8.config.records import Problem
from tbv8.errors import Tbv8Error
from tbv8.tasks.task import ReaderGoneError, os_problem

_GONE = (BrokenPipeError, ReaderGoneError)  # `| head` has seen enough
_REFUSALS = (CmdParseError, InvalidCommand, InvalidDodoFile, InvalidTask, Tbv8Error)


class OneLine:
    """A command, mixed in before pydoit's class: what is refused is refused in one line.

    `may_mean_command` where the name of a command may be misspelt, not only that of a task;
    `is_about_tasks` where the tasks that are named, all without a name, must be without a problem.
    """

    may_mean_command = False
    is_about_tasks = False
    _is_reported = False  # tasks are made twice where options stand behind their names

    @property
    def task_list(self) -> list[Task]:
        """The tasks of the graph, set by pydoit once they are made."""
        return self._tasks

    @task_list.setter
    def task_list(self, tasks: list[Task]) -> None:
        self._tasks = tasks
        if self._is_reported:
            return
        self._is_reported = True
        named = [] if self.sel_default_tasks else self.sel_tasks  # type: ignore[attr-defined]
        problems = self.loader.namespace["PROJECT"].problems  # type: ignore[attr-defined]
        _report_problems(problems, _needed(tasks, named) if self.is_about_tasks else [])

    def parse_execute(self, in_args: list[str]) -> int:
        """Run the command; `--help` is `doit help` of it.

        Returns:
            The exit code: 141 where whoever reads our output has gone, as of any program in a pipe.
        """
        try:
            if "--help" in in_args:
                print(self.help())  # type: ignore[attr-defined]  # of pydoit's Command, as all here
                code = 0
            else:
                with _bugs():
                    code = self._parse_execute(in_args) or 0
            sys.stdout.flush()
        except CmdParseError as e:
            raise _no_such_option(e, self.cmdparser.options) from e  # type: ignore[attr-defined]
        except BrokenConfigError:
            raise
        except InvalidCommand as e:
            raise self._refusal(e) from e
        except (InvalidDodoFile, InvalidTask) as e:
            raise type(e)(_joined(e)) from e
        except (BrokenPipeError, SystemExit) as e:  # of rich it is a SystemExit
            if not any(isinstance(error, _GONE) for error in (e, e.__context__)):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at exit
            return ReaderGoneError.exit_code
        except Tbv8Error as e:
            raise InvalidCommand(str(e)) from e
        except OSError as e:
            if (problem := os_problem(e)) is None:
                raise
            raise InvalidCommand(problem) from e
        return code

    def _parse_execute(self, in_args: list[str]) -> int | None:
        """Run the command; its own options may stand behind the names of tasks too.

        pydoit takes those for options of the task, and refuses them before anything runs.
        """
        while True:
            try:
                return super().parse_execute(in_args)  # type: ignore[misc,no-any-return]
            except (CmdParseError, InvalidCommand) as e:
                options = self.cmdparser.options  # type: ignore[attr-defined]
                ours = _to_the_front(in_args, _refused_option(e), options)
                if ours is None:
                    raise
                in_args = ours

    def _refusal(self, e: InvalidCommand) -> InvalidCommand:
        """Return pydoit's refusal in one line, that of a task with what was meant."""
        match = re.fullmatch(r"'(.*)' is not a task\.", str(e))
        name = match[1] if match else e.not_found
        if name is None:
            return InvalidCommand(_joined(e))
        if name.startswith("-"):
            return InvalidCommand(f"option {name} not recognized")
        tasks = [task.name for task in self.task_list]
        commands = self.loader.cmd_names if self.may_mean_command else []  # type: ignore[attr-defined]
        return _no_such_task(name, tasks, commands)


class BrokenConfigError(InvalidDodoFile):  # type: ignore[misc]  # doit ships no types
    """Files of config/ that are wrong and needed, a line for each."""


def _report_problems(problems: Sequence[Problem], needed: Iterable[Task] | None) -> None:
    """Warn of what is wrong in config/; refuse where it is needed, by None all of it.

    Raises:
        BrokenConfigError: One of the needed tasks, or any, has a problem.
    """
    found = {str(problem.error): None for problem in problems}
    used = found
    if needed is not None:
        metas = [task.meta for task in needed if task.meta]
        used = {str(meta["problem"].error): None for meta in metas if "problem" in meta}
    for line in found:
        if line not in used:
            print(f"WARNING: {line}", file=sys.stderr)
    if used:
        raise BrokenConfigError("\nERROR: ".join(line for line in found if line in used))


def _needed(tasks: Sequence[Task], named: Sequence[str]) -> list[Task] | None:
    """Return the named tasks and all that they depend on; None when none is named."""
    by_name = {task.name: task for task in tasks}
    waiting = [name for word in named for name in fnmatch.filter(by_name, word)]
    needed: dict[str, Task] = {}
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in needed:
            needed[name] = by_name[name]
            waiting += [*by_name[name].task_dep, *by_name[name].setup_tasks]
    return list(needed.values()) if named else None


@contextmanager
def _bugs() -> Iterator[None]:
    """End with 2 and a traceback what is neither refused nor a signal; pydoit would say 3."""
    try:
        yield
    except (*_REFUSALS, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as e:
        if isinstance(e, _GONE) or (isinstance(e, OSError) and os_problem(e)):
            raise
        sys.excepthook(type(e), e, e.__traceback__)
        raise SystemExit(2) from e


def _refused_option(e: CmdParseError | InvalidCommand) -> str | None:
    """Return the option, without dashes, that a task was refused for, or as a name of one."""
    if isinstance(e, InvalidCommand):
        name = re.fullmatch(r"'-{1,2}([^=']+).*' is not a task\.", str(e))
        return name[1] if name else None
    cause = e.__context__
    is_of_task = isinstance(cause, GetoptError) and str(e).startswith("Error parsing Task")
    return cause.opt if is_of_task else None


def _to_the_front(
    arguments: Sequence[str], name: str | None, options: Iterable[Any]
) -> list[str] | None:
    """Return the arguments with the last option `name` first, None where the command has none."""
    option = next((o for o in options if name and name in (o.long, o.short, o.inverse)), None)
    if option is None:
        return None
    dashes = "-" if name == option.short else "--"
    for at in reversed(range(len(arguments))):
        word, rest = (
            arguments[at][: len(f"{dashes}{name}")],
            arguments[at][len(f"{dashes}{name}") :],
        )
        if word == f"{dashes}{name}" and (not rest or rest[0] == "=" or dashes == "-"):
            takes_next = option.type is not bool and not rest
            end = at + 1 + takes_next
            if end > len(arguments):
                return None
            return [*arguments[at:end], *arguments[:at], *arguments[end:]]
    return None


def check_patterns(patterns: Iterable[str], tasks: Iterable[Task]) -> None:
    """Refuse a pattern that no task fits: pydoit would take it for nothing to do, and be done."""
    names = [task.name for task in tasks]
    for pattern in patterns:
        if "*" in pattern and not fnmatch.filter(names, pattern):
            raise InvalidCommand(not_found=pattern)


def _joined(e: Exception) -> str:
    return " ".join(str(e).split("\n")).strip()


def _no_such_option(error: CmdParseError, options: Iterable[Any]) -> InvalidCommand:
    """Return pydoit's refusal of an option or its value, with what was meant.

    `options` are the command's; those of a task are told by pydoit's own words.
    """
    cause, message = error.__context__, str(error)
    if isinstance(cause, GetoptError):
        near = nearest(cause.opt, re.findall(r"'long': ?'([\w-]+)'", message))
        hint = f", did you mean '--{near}'?" if near and "not recognized" in cause.msg else ""
        return InvalidCommand(f"{cause.msg}{hint}")
    name = re.match(r"Error parsing parameter '(\w+)'", message)
    option = next((o for o in options if name and o.name == name[1]), None)
    if option is None:
        return InvalidCommand(_joined(error))
    label = f"--{option.long}" if option.long else f"-{option.short}"
    if isinstance(cause, ValueError):
        value = str(cause).rpartition(": ")[2]
        return InvalidCommand(f"{label}: expected a whole number, got {value}")
    value = message.partition("Provided '")[2].partition("' but available")[0]
    return InvalidCommand(f"{label}: {unknown('choice', value, option.choices)}")


def _no_such_task(name: str, tasks: Iterable[str], commands: Collection[str]) -> InvalidCommand:
    """Return the refusal of a task's name, with what was meant: of its own group, if it names one.

    Commands are meant too, of a name without a group.
    """
    names = [task for task in tasks if not task.startswith("_")]
    group, colon, rest = name.partition(":")
    siblings = [task.removeprefix(f"{group}:") for task in names if task.startswith(f"{group}:")]
    if colon and siblings:
        near = nearest(rest, siblings)
        if near is None:
            return InvalidCommand(
                unknown("task", name, (f"{group}:{sibling}" for sibling in siblings))
            )
        near = f"{group}:{near}"
    else:
        near = nearest(name, [*names, *(command for command in commands if command[0] == name[0])])
    if near in commands:
        return InvalidCommand(f"unknown task {name!r}, did you mean the command `doit {near}`?")
    hint = f", did you mean {near!r}?" if near else ":"
    return InvalidCommand(f"unknown task {name!r}{hint} `doit list` names them all")
