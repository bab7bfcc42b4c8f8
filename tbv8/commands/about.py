"""What `doit --version` and `doit help` say: tbv8's words in place of pydoit's.

pydoit asks no plugin for these. It imports the loader of its tasks at each start, before it answers
either and before it looks for commands, so that this module is where they are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from doit.cmd_base import DodoTaskLoader
from doit.cmd_help import Help
from doit.doit_cmd import DoitMain
from doit.plugin import PluginDict

_START = (
    ("list", "every task with a line about it"),
    ("plan", "what would run now, in order, and why"),
    ("TASK ...", "run tasks and what they need; without any, all backtests"),
    ("info TASK", "what a task is, and whether it would run"),
    ("help COMMAND", "the options of a command, or of a task: `help aggregate`"),
)
_SHOWN = ("list", "plan", "info", "help", "run")


class Loader(DodoTaskLoader):  # type: ignore[misc]  # doit ships no types
    """pydoit's own loader of dodo.py."""


def print_version() -> None:
    """Print tbv8's version, pydoit's, and where tbv8 lies."""
    print(f"tbv8 {version('tbv8')} (doit {version('doit')})")
    print(f"lib @ {Path(__file__).parents[1]}")


def print_usage(command: Any, commands: Mapping[str, Any]) -> None:
    """Print how to begin, and every command but those that only refuse."""
    print(f"tbv8 {version('tbv8')}: market data into backtests, building only what is stale\n")
    for words, what in _START:
        print(f"  {command.bin_name} {words:<14} {what}")
    print("\nCommands")
    for name in sorted(commands):
        if name not in _SHOWN and not getattr(commands[name], "cure", ""):
            print(f"  {command.bin_name} {name:<14} {commands[name].doc_purpose}")
    print("\nThe README tells the rest, docs/ what is too long for it.")


DoitMain.print_version = staticmethod(print_version)
Help.print_usage = print_usage

# Commands, backend and reporters are those of pyproject.toml: pydoit would look for others in each
# installed package, three times at every start, a fifth of a `doit list`.
PluginDict._from_entry_points = lambda _self, _category: {}
