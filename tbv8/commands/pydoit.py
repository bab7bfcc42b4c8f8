"""pydoit's own commands with one-line errors, also where pydoit itself reports none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import doit.cmd_clean
import doit.cmd_completion
import doit.cmd_dumpdb
import doit.cmd_forget
import doit.cmd_help
import doit.cmd_ignore
import doit.cmd_info
import doit.cmd_list
import doit.cmd_resetdep
import doit.cmd_run
import doit.cmd_strace
from doit.cmdparse import CmdOption
from doit.exceptions import InvalidCommand, InvalidDodoFile

from tbv8.commands.base import ProjectCommand
from tbv8.commands.completion import SHELLS, completion_script
from tbv8.commands.errors import OneLineErrors, check_patterns, no_dodo_problem
from tbv8.commands.plan import plan
from tbv8.tasks.loading import STATE_FILE
from tbv8.tasks.options import OPTIONS

# mypy: disable-error-code="misc"
# pydoit ships no types, so that each base class here is Any


class Run(OneLineErrors, doit.cmd_run.Run):
    """Run tasks, also for a bare `doit`."""

    suggests_commands = is_about_tasks = True

    def parse_execute(self, in_args: list[str]) -> int:
        """Run the tasks, or refuse `--help` after the name of a task."""
        option = next((word for word in in_args if word in ("--help", "-h")), None)
        if option and not in_args[0].startswith("-"):
            raise InvalidCommand(f"{option}: write `doit help {in_args[0]}`")
        return super().parse_execute(in_args)

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the tasks; refuse a negative number of processes, which would run nothing."""
        if params["num_process"] < 0:
            processes = str(params["num_process"])
            raise InvalidCommand(f"--process: expected a whole number, got {processes!r}")
        if params["outfile"] is None:  # pydoit chose it as the default while it was closed
            params["outfile"] = sys.stdout
        code: int = super().execute(params, args)
        return code

    @wraps(doit.cmd_run.Run._execute)  # pydoit reads its parameters by name
    def _execute(self, *args: Any, **options: Any) -> int:
        check_patterns(self.sel_tasks or (), self.task_list)
        if "paper" in (self.sel_tasks or ()) and not options["num_process"]:
            _check_one_session(task.name for task in self.task_list)
        if isinstance(outfile := options["outfile"], str):
            _check_output_file(outfile, self.loader.namespace)
        code: int = super()._execute(*args, **options)
        return code


def _check_one_session(tasks: Iterable[str]) -> None:
    """Refuse `doit paper` with several strategies: the first session would never end."""
    names = [name.removeprefix("paper:") for name in tasks if name.startswith("paper:")]
    if len(names) > 1:
        cure = f"type `doit paper:NAME`, with one of {', '.join(names)}"
        raise InvalidCommand(f"`doit paper` needs the name of a strategy: {cure}")


def _check_output_file(name: str, namespace: Mapping[str, Any]) -> None:
    """Refuse an output file that is a folder, or the database, which pydoit would empty."""
    path = Path(name)
    if path.is_dir():  # "" is the current folder
        raise InvalidCommand(f"--output-file: {name!r} is a folder: write the path of a file")
    db_path = namespace["PROJECT"].db_path if "PROJECT" in namespace else None
    if db_path and db_path.exists() and path.exists() and path.samefile(db_path):
        raise InvalidCommand(f"--output-file: {name} is the database itself: write another name")


class List(OneLineErrors, doit.cmd_list.List):
    """List tasks; with problems in config/ too, since completion needs the list."""

    def execute(self, params: Any, args: list[str]) -> int:
        """List the tasks, or refuse a template that does not fit."""
        try:
            (params["template"] or "").format(name="", doc="", status="")
        except (AttributeError, IndexError, KeyError, ValueError) as e:
            problem = "use only {name}, {doc} and {status}"
            raise InvalidCommand(f"--template: {params['template']!r}: {problem}") from e
        code: int = super().execute(params, args)
        return code


class Info(ProjectCommand):
    """Describe one task; pydoit's own command shows addresses of functions."""

    is_about_tasks = True
    doc_purpose = doit.cmd_info.Info.doc_purpose
    doc_usage = doit.cmd_info.Info.doc_usage
    doc_description = (
        "Exits with 1 if the task would run now. `doit why TASK` shows all its inputs."
    )
    cmd_options = (doit.cmd_info.opt_hide_status,)

    def _execute(self, hide_status: bool, pos_args: Sequence[str]) -> int:
        planned = list(plan(self.selected()))  # refuses an unknown task
        named = [task for task in self.task_list if [task.name] == pos_args]
        if not named:
            raise InvalidCommand("`doit info` needs exactly one task: `doit list` shows them")
        (task,) = named
        print(f"{task.name}: {task.doc}")
        for dependency in task.task_dep:
            if not dependency.startswith("_"):
                print(f"    after {dependency}")
        if hide_status:
            return 0
        reasons = [reason for run in planned if run.task == task.name for reason in run.all_reasons]
        for reason in reasons or [f"{run.task} must run first" for run in planned]:
            print(f"    runs: {reason}")
        if not planned:
            print("    fresh")
        return 1 if planned else 0


class Help(OneLineErrors, doit.cmd_help.Help):
    """Print the usage of a command or a task."""

    suggests_commands = True

    def execute(self, params: Any, args: Sequence[str]) -> int:
        """Print the help; outside of a project refuse, where pydoit lists its own commands."""
        if not Path(params["dodoFile"]).exists():
            raise InvalidDodoFile(no_dodo_problem(Path.cwd()))
        if len(args) > 1:
            raise InvalidCommand(f"`doit help` takes one name: write `doit help {args[0]}`")
        code: int = super().execute(params, args)
        return code

    def _execute(self, pos_args: Sequence[str]) -> bool:
        if not super()._execute(pos_args):
            raise InvalidCommand(not_found=pos_args[0])
        self._print_subtasks(pos_args[0])
        return True

    def _print_subtasks(self, name: str) -> None:
        """Print the options of a group's subtasks, if the group has none of its own."""
        tasks = {task.name: task for task in self.task_list}
        if name.partition(":")[0] not in OPTIONS:
            print("no options of its own: `doit help run` lists those of all tasks")
        names = tasks[name].task_dep if tasks[name].has_subtask else []
        options = {
            param["long"]: param
            for member in names
            if member.startswith(f"{name}:") and not tasks[name].params
            for param in tasks[member].params
        }
        if options:
            print(f"options of {name}:NAME:")
        for param in options.values():
            print("\n".join(CmdOption(param).help_doc()))


class TabCompletion(OneLineErrors, doit.cmd_completion.TabCompletion):
    """Print a completion script; pydoit's own do not complete `aggregate:sample:BTC/USDT:5m`."""

    doc_purpose = "print a script for bash, zsh or fish that completes commands and tasks"
    doc_description = (
        "`source <(doit tabcompletion)` in bash, `source <(doit tabcompletion --shell zsh)` in zsh "
        "after compinit, `doit tabcompletion --shell fish | source` in fish. docs/completion.md "
        "explains it for `uv run doit`."
    )
    cmd_options = (
        doit.cmd_completion.opt_shell | {"choices": tuple((shell, "") for shell in SHELLS)},
    )

    def execute(self, params: Any, _args: Sequence[str]) -> int:
        """Print the script; the tasks are listed anew at each completion."""
        program = self.bin_name if self.bin_name.isidentifier() else "doit"
        options_by_command = {
            name: [option["long"] for option in command.cmd_options if option.get("long")]
            for name, command in sorted(self.cmds.items())
            if not getattr(command, "cure", "")
        }
        print(completion_script(params["shell"], program, options_by_command), end="")
        return 0


class _Disabled(OneLineErrors):
    """A command of pydoit that has no use here; its error names the alternative."""

    cure = ""

    def execute(self, _params: Any, _args: Sequence[str]) -> int:
        """Raise the error."""
        raise InvalidCommand(self.cure)


def _disable(command: Any, cure: str) -> Any:
    return type(command.__name__, (_Disabled, command), {"cure": cure})


Clean = _disable(
    doit.cmd_clean.Clean,
    "tasks have nothing to clean: results are folders of data/results, and "
    "`doit verify --repair` drops damaged days",
)
Forget = _disable(
    doit.cmd_forget.Forget,
    "freshness is computed from the data, so there is nothing to forget: "
    "`doit -a TASK` runs a task even if it is fresh",
)
Ignore = _disable(
    doit.cmd_ignore.Ignore,
    "freshness is computed from the data, and no stale task is skipped silently: name the tasks "
    "to run",
)
ResetDep = _disable(
    doit.cmd_resetdep.ResetDep,
    "freshness is computed from the data, so there is nothing to reset: "
    "`doit why TASK` shows the reasons",
)
DumpDB = _disable(
    doit.cmd_dumpdb.DumpDB,
    f"pydoit's state is SQLite: `sqlite3 {STATE_FILE} 'SELECT * FROM doit'` shows it; tbv8 does "
    "not depend on it",
)
Strace = _disable(
    doit.cmd_strace.Strace,
    "pydoit traces only shell commands, and no task here is one: `strace -f doit TASK` traces any "
    "task",
)
