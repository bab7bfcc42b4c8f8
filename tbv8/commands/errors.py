"""The base of all doit commands, pydoit's own too: a user's error is printed as one line.

Every command's module imports this one before any other module of tbv8. This one imports the state
file's module first, which installs the handlers of signals.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from getopt import GetoptError
from pathlib import Path
from typing import Any

from doit.cmdparse import CmdOption, CmdParseError
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask
from doit.task import Task

from tbv8.commands import state  # noqa: F401  # first: it installs the handlers of signals
from tbv8.commands.order import with_dependencies
from tbv8.config.document import nearest, unknown
from tbv8.config.load import find_project
from tbv8.config.records import Problem, Project
from tbv8.errors import ConfigError, Tbv8Error
from tbv8.tasks.meant import meant_command, meant_option, meant_task, unwanted_venue
from tbv8.tasks.options import OPTIONS
from tbv8.tasks.task import ClosedPipeError, os_problem

_CLOSED_PIPE = (BrokenPipeError, ClosedPipeError)  # by `| head`
_USER_ERRORS = (CmdParseError, InvalidCommand, InvalidDodoFile, InvalidTask, Tbv8Error)


class OneLineErrors:
    """A mixin before pydoit's command class: a user's error is printed as one line.

    With `suggests_commands` the error about an unknown task may suggest a command. With
    `is_about_tasks` the named tasks, or all if none is named, must have no problem in their config;
    without names, tasks that only the options leave without history are left out. With
    `shows_all` nothing is refused if no task is named: problems are warnings.
    """

    suggests_commands = False
    is_about_tasks = shows_all = False
    _has_checked = False  # tasks are created twice if options follow their names
    _warnings: Sequence[str] = ()

    @property
    def task_list(self) -> list[Task]:
        """The tasks of the graph, set by pydoit once they are created."""
        return self._tasks

    @task_list.setter
    def task_list(self, tasks: list[Task]) -> None:
        self._tasks = tasks
        if self._has_checked or "PROJECT" not in self.loader.namespace:  # type: ignore[attr-defined]
            return  # a dodo.py that is not tbv8's, in the same environment
        self._has_checked = True
        project = self.loader.namespace["PROJECT"]  # type: ignore[attr-defined]
        problems = project.problems
        if not self.is_about_tasks or (self.shows_all and self.sel_default_tasks):  # type: ignore[attr-defined]
            self._warnings = list(dict.fromkeys(str(problem.error) for problem in problems))
            return
        names = [task.name for task in tasks]
        named = [name for pattern in self.sel_tasks for name in fnmatch.filter(names, pattern)]  # type: ignore[attr-defined]
        needed = with_dependencies(tasks, named).values()
        if {name.partition(":")[0] for name in named} <= {"paper", "replay"}:
            problems = [p for p in problems if not _is_of_backtests(p, project)]
        _check_problems(problems, needed, all_files=self.sel_default_tasks)  # type: ignore[attr-defined]

    def help(self) -> str:
        """Return the help without the keys of options in pydoit's own config files."""
        text: str = super().help()  # type: ignore[misc]
        return re.sub(r"\s*\(config:\s+[^)]*\)", "", text)

    def parse_execute(self, in_args: list[str]) -> int:
        """Run the command; `--help` prints its help.

        Returns:
            The exit code; 141, as usual for programs in a pipe, if the reader has closed it.
        """
        try:
            if "--help" in in_args:
                print(self.help())
                code = 0
            else:
                with _traceback_of_bugs(), self._warnings_at_end():
                    code = self._parse_execute(in_args) or 0
            sys.stdout.flush()
        except CmdParseError as e:
            raise _unknown_option(e, self.cmdparser.options, self._subject(in_args)) from e  # type: ignore[attr-defined]
        except BrokenConfigError:
            raise
        except InvalidCommand as e:
            raise self._one_line_error(e, in_args) from e
        except (InvalidDodoFile, InvalidTask) as e:
            if f"Could not find dodo file '{Path.cwd() / 'dodo.py'}'" in str(e):
                raise InvalidDodoFile(no_dodo_problem(Path.cwd())) from e
            raise type(e)(_as_one_line(e)) from e
        except (BrokenPipeError, SystemExit) as e:  # of rich it is a SystemExit
            if not any(isinstance(error, _CLOSED_PIPE) for error in (e, e.__context__)):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at exit
            return ClosedPipeError.exit_code
        except Tbv8Error as e:
            raise InvalidCommand(str(e)) from e
        except OSError as e:
            if (problem := os_problem(e)) is None:
                raise
            raise InvalidCommand(problem) from e
        return code

    def _parse_execute(self, in_args: list[str]) -> int | None:
        """Run the command; its own options may follow the names of tasks.

        pydoit mistakes such an option for the task's and refuses it before anything runs. It is
        then moved to the front, and the command is tried again.
        """
        while True:
            try:
                return super().parse_execute(in_args)  # type: ignore[misc,no-any-return]
            except (CmdParseError, InvalidCommand) as e:
                options = self.cmdparser.options  # type: ignore[attr-defined]
                reordered = _to_the_front(in_args, _refused_option(e), options)
                if reordered is None:
                    raise
                in_args = reordered

    @contextmanager
    def _warnings_at_end(self) -> Iterator[None]:
        """Print the warnings after the block, without one that the block raises as its error."""
        error = ""
        try:
            yield
        except ConfigError as e:
            error = str(e)
            raise
        finally:
            _print_warnings(line for line in self._warnings if line != error)

    def _subject(self, in_args: Sequence[str]) -> str:
        """Return the subject for `doit help`: the command, or the group of a task with options."""
        name: str = self.get_name()  # type: ignore[attr-defined]
        groups = [argument.partition(":")[0] for argument in in_args]
        return (
            next((group for group in groups if group in OPTIONS), name) if name == "run" else name
        )

    def _one_line_error(self, e: InvalidCommand, in_args: Sequence[str]) -> InvalidCommand:
        """Return pydoit's error as one line; for an unknown task with the nearest name."""
        match = re.fullmatch(r"'(.*)' is not a task\.", str(e))
        name = match[1] if match else e.not_found
        if name is None:
            return InvalidCommand(_as_one_line(e))
        if name.startswith("-"):
            hint = _near_option(name, self._long_options(in_args), self._subject(in_args))
            return InvalidCommand(f"option {name} not recognized{hint}")
        if venue := self._unwanted_venue(name):
            return InvalidCommand(
                f"unknown task {name!r}: config/history.yaml and the strategies need no such data: "
                f"write `venue={venue}` before it"
            )
        tasks = [task.name for task in self.task_list]
        commands = self.loader.cmd_names if self.suggests_commands else []  # type: ignore[attr-defined]
        if meant := meant_task(name, in_args, tasks):
            command: str = self.get_name()  # type: ignore[attr-defined]
            task = f"'{meant}'" if "*" in meant else meant
            typed = f"doit {task}" if command == "run" else f"doit {command} {task}"
            return InvalidCommand(f"unknown task {name!r}, did you mean `{typed}`?")
        return _unknown_task(name, tasks, commands)

    def _unwanted_venue(self, name: str) -> str | None:
        namespace = self.loader.namespace  # type: ignore[attr-defined]
        return unwanted_venue(name, namespace["PROJECT"]) if "PROJECT" in namespace else None

    def _long_options(self, in_args: Sequence[str]) -> list[str]:
        """Return the long options of the command and of the named tasks."""
        groups = {argument.partition(":")[0] for argument in in_args} & OPTIONS.keys()
        params = [option["long"] for group in groups for option in OPTIONS[group]]
        options = self.cmdparser.options  # type: ignore[attr-defined]
        return [*params, *(option.long for option in options if option.long)]


class BrokenConfigError(InvalidDodoFile):  # type: ignore[misc]  # doit ships no types
    """Errors in files of config/ that the tasks need, one line each."""


def _is_of_backtests(problem: Problem, project: Project) -> bool:
    """Return True for a problem with the history of a strategy that can run on paper."""
    return problem.kind == "strategy" and problem.name in project.paper_only


def _check_problems(
    problems: Collection[Problem], needed: Iterable[Task], *, all_files: bool
) -> None:
    """Print a warning for each problem in config/ that no needed task depends on.

    Args:
        problems: All problems.
        needed: The tasks to run, with their dependencies.
        all_files: Also refuse the problems of files, whose cause is not in the options.

    Raises:
        BrokenConfigError: A needed task has a problem.
    """
    messages = {str(problem.error): None for problem in problems}
    metas = [task.meta for task in needed if task.meta]
    fatal = {str(meta["problem"].error): None for meta in metas if "problem" in meta}
    if all_files:
        fatal |= {str(problem.error): None for problem in problems if not problem.by_options}
    _print_warnings(message for message in messages if message not in fatal)
    if fatal:
        raise BrokenConfigError(
            "\nERROR: ".join(message for message in messages | fatal if message in fatal)
        )


def _print_warnings(messages: Iterable[str]) -> None:
    for message in messages:
        print(f"WARNING: {message}", file=sys.stderr)


@contextmanager
def _traceback_of_bugs() -> Iterator[None]:
    """Print a traceback and exit with 2 for bugs: errors that are neither the user's nor signals.

    pydoit itself would exit with 3.
    """
    try:
        yield
    except (*_USER_ERRORS, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as e:
        if isinstance(e, _CLOSED_PIPE) or (isinstance(e, OSError) and os_problem(e)):
            raise
        sys.excepthook(type(e), e, e.__traceback__)
        raise SystemExit(2) from e


def _refused_option(e: CmdParseError | InvalidCommand) -> str | None:
    """Return the option, without dashes, that pydoit mistook for a task or a task's option."""
    if isinstance(e, InvalidCommand):
        name = re.fullmatch(r"'-{1,2}([^=']+).*' is not a task\.", str(e))
        return name[1] if name else None
    cause = e.__context__
    is_of_task = isinstance(cause, GetoptError) and str(e).startswith("Error parsing Task")
    return cause.opt if is_of_task else None


def _to_the_front(
    arguments: Sequence[str], name: str | None, options: Iterable[Any]
) -> list[str] | None:
    """Return the arguments with the last option `name` in front; None without such an option."""
    option = next((o for o in options if name and name in (o.long, o.short, o.inverse)), None)
    if option is None:
        return None
    dashes = "-" if name == option.short else "--"
    for index in reversed(range(len(arguments))):
        if not arguments[index].startswith(f"{dashes}{name}"):
            continue
        value = arguments[index].removeprefix(f"{dashes}{name}")
        if not value or value[0] == "=" or dashes == "-":
            takes_next = option.type is not bool and not value
            end = index + 1 + takes_next
            if end > len(arguments):
                return None
            return [*arguments[index:end], *arguments[:index], *arguments[end:]]
    return None


def refuse_options(arguments: Iterable[str]) -> None:
    """Refuse an option among the names of a command.

    The message is pydoit's own about a task, so that `OneLineErrors` moves the option to the front
    and runs the command again.
    """
    for argument in arguments:
        if argument.startswith("-"):
            raise InvalidCommand(f"{argument!r} is not a task.")


def check_patterns(patterns: Iterable[str], tasks: Iterable[Task]) -> None:
    """Refuse a pattern that matches no task; pydoit would silently run nothing."""
    names = [task.name for task in tasks]
    for pattern in patterns:
        if "*" in pattern and not fnmatch.filter(names, pattern):
            raise InvalidCommand(not_found=pattern)


def no_dodo_problem(folder: Path) -> str:
    """Return the error about a folder without dodo.py."""
    try:
        project = find_project(folder)
    except ConfigError as e:
        return str(e)
    return f"{folder}: has no dodo.py: change to {project}, or type `tbv8` in place of `doit`"


def _as_one_line(e: Exception) -> str:
    return " ".join(str(e).split("\n")).strip()


def _unknown_option(error: CmdParseError, options: Iterable[Any], subject: str) -> InvalidCommand:
    """Return pydoit's error about an option or its value, with the nearest name or the choices.

    `options` are the command's own. `subject` is the command or the group of tasks for `doit help`.
    """
    cause, message = error.__context__, str(error)
    if isinstance(cause, GetoptError):
        longs = re.findall(r"'long': ?'([\w-]+)'", message) or [o.long for o in options if o.long]
        hint = _near_option(cause.opt, longs, subject) if "not recognized" in cause.msg else ""
        return InvalidCommand(f"{cause.msg}{hint}")
    name = re.match(r"Error parsing parameter '(\w+)'", message)
    of_tasks = (CmdOption(option) for group in OPTIONS.values() for option in group)
    option = next((o for o in (*options, *of_tasks) if name and o.name == name[1]), None)
    if option is None:
        return InvalidCommand(_as_one_line(error))
    label = f"--{option.long}" if option.long else f"-{option.short}"
    if isinstance(cause, ValueError):
        got = str(cause).rpartition(": ")[2]
        problem = f"expected a whole number, got {got}" if option.type is int else str(cause)
        return InvalidCommand(f"{label}: {problem}")
    value = message.partition("Provided '")[2].partition("' but available")[0]
    return InvalidCommand(f"{label}: {unknown('choice', value, option.choices)}")


def _near_option(name: str, longs: Iterable[str], subject: str) -> str:
    """Return a cure for an unknown option, the nearest one, or the command that lists them."""
    if cure := meant_option(name, subject):
        return f": {cure}"
    near = nearest(name.lstrip("-").partition("=")[0], longs)
    return f", did you mean '--{near}'?" if near else f": `doit help {subject}` lists the options"


def _unknown_task(name: str, tasks: Iterable[str], commands: Collection[str]) -> InvalidCommand:
    """Return the error about an unknown task, with the nearest name, in its group if it has one.

    A name without a group may be that of a command too.
    """
    if cure := meant_command(name):
        return InvalidCommand(f"unknown task {name!r}: {cure}")
    names = [task for task in tasks if not task.startswith("_")]
    group, colon, member = name.partition(":")
    siblings = [task.removeprefix(f"{group}:") for task in names if task.startswith(f"{group}:")]
    if colon and siblings:
        near = nearest(member, siblings)
        if near is None:
            return InvalidCommand(
                unknown("task", name, (f"{group}:{sibling}" for sibling in siblings))
            )
        near = f"{group}:{near}"
    else:
        near = nearest(name, [*names, *(command for command in commands if command[0] == name[:1])])
    if near in commands:
        return InvalidCommand(f"unknown task {name!r}, did you mean the command `doit {near}`?")
    hint = f", did you mean {near!r}?" if near else ":"
    return InvalidCommand(f"unknown task {name!r}{hint} `doit list` shows all tasks")
