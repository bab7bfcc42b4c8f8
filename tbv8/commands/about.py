"""Changes to pydoit itself: its loader, `doit --version`, `doit help`, `name=value` arguments.

pydoit has no plugin for the last three. It imports the loader first at each start in a project, so
this module replaces its functions for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from doit.cmd_base import DodoTaskLoader
from doit.cmd_help import Help
from doit.cmdparse import CmdOption
from doit.doit_cmd import DoitMain, reset_vars, set_var
from doit.exceptions import InvalidDodoFile
from doit.plugin import PluginDict
from doit.task import Task

from tbv8.commands import state  # noqa: F401  # first: it installs the handlers of signals

_START = (
    ("list", "list every task with a description"),
    ("plan", "list the tasks that would run now, in order, with reasons"),
    ("TASK ...", "run tasks and their dependencies; without a name, all backtests"),
    ("info TASK", "describe a task, and show if it would run"),
    ("help COMMAND", "show the options of a command or a task: `help aggregate`"),
)
_TASKS = (
    ("migrate", "create or upgrade the database"),
    ("backfill", "fetch the 1m history of every series"),
    ("funding", "fetch the funding rates that venues charged"),
    ("aggregate", "build the bars of every timeframe from 1m bars"),
    ("backtest:STRATEGY", "backtest a strategy, after fetching and building its data"),
    (
        "experiment:ID",
        "run many trials of a strategy; walkforward:ID and montecarlo:ID are the same task",
    ),
    ("lookahead:STRATEGY", "check that a strategy uses no bar before its close"),
    ("reproduce:STRATEGY", "run a result again and compare every byte; also of an experiment"),
    ("record", "record live data of every enabled venue until Ctrl-C"),
    ("paper:STRATEGY", "run a strategy on live bars, without orders at a venue, until Ctrl-C"),
    ("replay:STRATEGY", "run the bars of a paper session again and compare every byte"),
)
_IN_START = ("list", "plan", "info", "help", "run")


class Loader(DodoTaskLoader):  # type: ignore[misc]  # doit ships no types
    """pydoit's loader of dodo.py, which refuses a folder: pydoit would load no tasks from it."""

    def setup(self, opt_values: Mapping[str, Any]) -> None:
        """Load dodo.py."""
        file: str = opt_values["dodoFile"]
        if Path(file).is_dir():  # "" is the current folder
            raise InvalidDodoFile(f"-f: {file!r} is a folder: write the path of a dodo.py")
        super().setup(opt_values)

    def load_tasks(self, cmd: Any, pos_args: Sequence[str]) -> list[Task]:
        """Return the tasks; an empty argument, an IndexError in pydoit, is passed as a space."""
        tasks: list[Task] = super().load_tasks(cmd, [argument or " " for argument in pos_args])
        return tasks


def print_version() -> None:
    """Print the versions of tbv8 and pydoit, and tbv8's folder."""
    print(f"tbv8 {version('tbv8')} (doit {version('doit')})")
    print(f"lib @ {Path(__file__).parents[1]}")


def print_usage(command: Any, commands: Mapping[str, Any]) -> None:
    """Print the first commands to try, the tasks, and every command that is not disabled."""
    print(f"tbv8 {version('tbv8')}: market data into backtests, building only what is stale\n")
    for usage, purpose in _START:
        print(f"  {command.bin_name} {usage:<19} {purpose}")
    print("\nTasks")
    for usage, purpose in _TASKS:
        print(f"  {command.bin_name} {usage:<19} {purpose}")
    print("\nCommands")
    for name in sorted(commands):
        if name not in _IN_START and not getattr(commands[name], "cure", ""):
            print(f"  {command.bin_name} {name:<19} {commands[name].doc_purpose}")
    print("\nSee the README and docs/ for more.")


def take_variables(_main: DoitMain, arguments: Sequence[str]) -> list[str]:
    """Set each `name=value` of a command line as a variable, and return the other arguments.

    Empty arguments are returned too; pydoit's own function raises an IndexError for them.
    """
    reset_vars()
    remaining = []
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if sign and not name.startswith("-"):
            set_var(name, value)
        else:
            remaining.append(argument)
    return remaining


def option_lines(option: Any) -> list[str]:
    """Return the help of a task's option, without its key in pydoit's own config files."""
    return [re.sub(r"\s*\(config: [^)]*\)", "", line) for line in _help_doc(option)]


_help_doc = CmdOption.help_doc
CmdOption.help_doc = option_lines
DoitMain.print_version = staticmethod(print_version)
DoitMain.process_args = take_variables
Help.print_usage = print_usage

# Commands, backend and reporters come from pyproject.toml alone: pydoit would search all installed
# packages for further ones, three times at each start, which takes a fifth of a `doit list`.
PluginDict._from_entry_points = lambda _self, _category: {}
