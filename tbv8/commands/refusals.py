"""What all commands of doit have in common, pydoit's own too: a refusal is one line.

Imported by the modules of all commands before anything else of tbv8; like pydoit itself, it begins
with the state file, so that Ctrl-C is taken care of from here on.
"""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Collection, Iterable
from getopt import GetoptError
from typing import Any

from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask
from doit.task import Task

from tbv8.commands import state  # noqa: F401  # first
from tbv8.config.document import nearest, unknown
from tbv8.errors import Tbv8Error
from tbv8.tasks import ReaderGoneError, os_problem

_GONE = (BrokenPipeError, ReaderGoneError)  # `| head` has seen enough
_FIRST = "write the options of a command before the names of tasks"


class OneLine:
    """A command, mixed in before pydoit's class: what is refused is refused in one line.

    `may_mean_command` where the name of a command may be misspelt, not only that of a task.
    """

    may_mean_command = False

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
                code = super().parse_execute(in_args) or 0  # type: ignore[misc]
            sys.stdout.flush()
        except CmdParseError as e:
            raise _no_such_option(e, self.cmdparser.options) from e  # type: ignore[attr-defined]
        except InvalidCommand as e:
            raise self._refusal(e) from e
        except (InvalidDodoFile, InvalidTask) as e:
            raise type(e)(_joined(e)) from e
        except (BrokenPipeError, SystemExit) as e:  # of rich it is a SystemExit
            if not any(isinstance(one, _GONE) for one in (e, e.__context__)):
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

    def _refusal(self, e: InvalidCommand) -> InvalidCommand:
        """Return pydoit's refusal in one line, that of a task with what was meant."""
        said = re.fullmatch(r"'(.*)' is not a task\.", str(e))
        name = said[1] if said else e.not_found
        if name is None:
            return InvalidCommand(_joined(e))
        if name.startswith("-"):
            return InvalidCommand(f"option {name}: {_FIRST}")
        tasks = [task.name for task in self.task_list]  # type: ignore[attr-defined]
        commands = self.loader.cmd_names if self.may_mean_command else []  # type: ignore[attr-defined]
        return _no_such_task(name, tasks, commands)


def check_patterns(words: Iterable[str], tasks: Iterable[Task]) -> None:
    """Refuse a pattern that no task fits: pydoit would take it for nothing to do, and be done."""
    names = [task.name for task in tasks]
    for word in words:
        if "*" in word and not fnmatch.filter(names, word):
            raise InvalidCommand(not_found=word)


def _joined(e: Exception) -> str:
    return " ".join(str(e).split("\n")).strip()


def _no_such_option(error: CmdParseError, options: Iterable[Any]) -> InvalidCommand:
    """Return pydoit's refusal of an option or its value, with what was meant.

    `options` are the command's; those of a task are told by pydoit's own words.
    """
    cause, said = error.__context__, str(error)
    if isinstance(cause, GetoptError):
        if said.startswith("Error parsing Task") and any(o.long == cause.opt for o in options):
            return InvalidCommand(f"option --{cause.opt}: {_FIRST}")
        near = nearest(cause.opt, re.findall(r"'long': ?'([\w-]+)'", said))
        hint = f", did you mean '--{near}'?" if near and "not recognized" in cause.msg else ""
        return InvalidCommand(f"{cause.msg}{hint}")
    name = re.match(r"Error parsing parameter '(\w+)'", said)
    option = next((o for o in options if name and o.name == name[1]), None)
    if option is None:
        return InvalidCommand(_joined(error))
    label = f"--{option.long}" if option.long else f"-{option.short}"
    if isinstance(cause, ValueError):
        value = str(cause).rpartition(": ")[2]
        return InvalidCommand(f"{label}: expected a whole number, got {value}")
    value = said.partition("Provided '")[2].partition("' but available")[0]
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
            return InvalidCommand(unknown("task", name, (f"{group}:{one}" for one in siblings)))
        near = f"{group}:{near}"
    else:
        near = nearest(name, [*names, *(one for one in commands if one[0] == name[0])])
    if near in commands:
        return InvalidCommand(f"unknown task {name!r}, did you mean the command `doit {near}`?")
    hint = f", did you mean {near!r}?" if near else ":"
    return InvalidCommand(f"unknown task {name!r}{hint} `doit list` names them all")
