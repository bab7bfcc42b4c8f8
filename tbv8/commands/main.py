"""The command `tbv8`: doit in the project of the current folder, and `tbv8 init FOLDER`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tbv8.commands import state  # noqa: F401  # first: it installs the handlers of signals
from tbv8.commands.init import init
from tbv8.commands.program_name import replace_in_output
from tbv8.config.load import find_project
from tbv8.errors import Tbv8Error
from tbv8.tasks.task import os_problem

_USER_ERROR = 3  # pydoit's exit code


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = sys.argv[1:]
    replace_in_output("tbv8")
    try:
        if arguments[:1] == ["init"]:
            return _init(arguments[1:])
        if arguments[:1] != ["--version"]:
            os.chdir(find_project(Path.cwd()))
    except Tbv8Error as e:
        return _print_error(str(e))
    except OSError as e:
        if (problem := os_problem(e)) is None:
            raise
        return _print_error(problem)
    from doit.doit_cmd import DoitMain

    from tbv8.commands.about import Loader

    code: int | None = DoitMain(Loader()).run(arguments)
    return code or 0


def _init(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        return _print_error("write `tbv8 init FOLDER`: it creates a project folder")
    folder = Path(arguments[0])
    print(f"   {folder}: {', '.join(init(folder))}")
    print(f"   ready to run: `cd {folder}` and `tbv8 backtest:btc_usdt_perp_v1`")
    return 0


def _print_error(problem: str) -> int:
    print(f"ERROR: {problem}", file=sys.stderr)
    return _USER_ERROR
