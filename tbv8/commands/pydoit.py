"""pydoit's own commands, with refusals as one line and the errors that it has no words for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
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
from doit.exceptions import InvalidCommand

from tbv8.commands.looking import Looking
from tbv8.commands.plan import plan
from tbv8.commands.refusals import OneLine, check_patterns
from tbv8.tasks import STATE_FILE

# mypy: disable-error-code="misc"
# pydoit ships no types, so that each base class here is Any


class Run(OneLine, doit.cmd_run.Run):
    """Run tasks; it is `doit` alone too."""

    may_mean_command = True

    def parse_execute(self, in_args: list[str]) -> int:
        """Run them, or point out where the options of a task are told."""
        if "--help" in in_args and not in_args[0].startswith("-"):
            raise InvalidCommand(f"--help: `doit help {in_args[0]}` tells its options")
        return super().parse_execute(in_args)

    def execute(self, params: Any, args: list[str]) -> int:
        """Run them; with less than no processes pydoit would run nothing and call it done."""
        if params["num_process"] < 0:
            given = str(params["num_process"])
            raise InvalidCommand(f"--process: expected a whole number, got {given!r}")
        code: int = super().execute(params, args)
        return code

    @wraps(doit.cmd_run.Run._execute)  # pydoit looks up what it wants by name
    def _execute(self, *args: Any, **options: Any) -> int:
        check_patterns(self.sel_tasks or (), self.task_list)
        code: int = super()._execute(*args, **options)
        return code


class List(OneLine, doit.cmd_list.List):
    """List tasks."""

    def execute(self, params: Any, args: list[str]) -> int:
        """List them, once it is sure that each can be written by the template."""
        try:
            (params["template"] or "").format(name="", doc="", status="")
        except (AttributeError, IndexError, KeyError, ValueError) as e:
            problem = "write it with {name}, {doc} and {status} alone"
            raise InvalidCommand(f"--template: {params['template']!r}: {problem}") from e
        code: int = super().execute(params, args)
        return code


class Info(Looking):
    """Tell about one task; pydoit's shows addresses of functions."""

    doc_purpose = doit.cmd_info.Info.doc_purpose
    doc_usage = doit.cmd_info.Info.doc_usage
    doc_description = "Exits with 1 when it would run now; `doit why TASK` tells all of its key."
    cmd_options = (doit.cmd_info.opt_hide_status,)

    def _execute(self, hide_status: bool, pos_args: Sequence[str]) -> int:
        planned = list(plan(self.selected()))  # refuses what is no task
        named = [task for task in self.task_list if [task.name] == pos_args]
        if not named:
            raise InvalidCommand("`doit info` wants one task; `doit list` names them")
        (task,) = named
        print(f"{task.name}: {task.doc}")
        for before in task.task_dep:
            print(f"    after {before}")
        if hide_status:
            return 0
        own = [reason for one in planned if one.task == task.name for reason in one.why]
        for reason in own or [f"because {one.task} will run" for one in planned]:
            print(f"    runs: {reason}")
        if not planned:
            print("    fresh")
        return 1 if planned else 0


class Help(OneLine, doit.cmd_help.Help):
    """Tell how to use a command or a task."""

    may_mean_command = True

    def _execute(self, pos_args: Sequence[str]) -> bool:
        if not super()._execute(pos_args):
            raise InvalidCommand(not_found=pos_args[0])
        return True


class Clean(OneLine, doit.cmd_clean.Clean):
    """Remove targets, of which tbv8's tasks have none: say so instead of nothing."""

    def _execute(
        self,
        dryrun: bool,
        cleandep: bool,
        cleanall: bool,
        cleanforget: bool,
        pos_args: Sequence[str],
    ) -> None:
        super()._execute(dryrun, cleandep, cleanall, cleanforget, pos_args)
        print(
            "no task has anything to clean: results are folders of data/results, and "
            "`doit verify --repair` drops damaged days"
        )


class Forget(OneLine, doit.cmd_forget.Forget):
    """Forget that tasks ran, or were to be ignored."""

    def _execute(self, forget_sub: bool, forget_disable_default: bool, forget_all: bool) -> None:
        super()._execute(forget_sub, forget_disable_default, forget_all)
        print(
            "they are ignored no more; whether they run is read from the data as before: "
            "`doit -a TASK` runs one regardless"
        )


class Ignore(OneLine, doit.cmd_ignore.Ignore):
    """Skip tasks from now on."""

    def _execute(self, pos_args: Sequence[str]) -> None:
        if not pos_args:
            raise InvalidCommand("`doit ignore` wants a task; `doit list` names them")
        super()._execute(pos_args)


class ResetDep(OneLine, doit.cmd_resetdep.ResetDep):
    """Refuse: tbv8 keeps no such notes."""

    def execute(self, _params: Any, _args: Sequence[str]) -> int:
        """Refuse, and name what tells whether a task is fresh."""
        raise InvalidCommand(
            "whether a task is fresh is read from the data, so that there is nothing to reset: "
            "`doit why TASK` tells"
        )


class TabCompletion(OneLine, doit.cmd_completion.TabCompletion):
    """Write a script for a shell."""


class DumpDB(OneLine, doit.cmd_dumpdb.DumpDB):
    """Refuse: pydoit reads only state files of another kind."""

    def execute(self, _params: Any, _args: Sequence[str]) -> int:
        """Refuse, and name what shows the file."""
        raise InvalidCommand(
            f"pydoit's state is SQLite: `sqlite3 {STATE_FILE} 'SELECT * FROM doit'` shows it; "
            "what `doit ignore` left out is all that matters in it"
        )


class Strace(OneLine, doit.cmd_strace.Strace):
    """Refuse: pydoit traces only shell commands."""

    def execute(self, _params: Any, _args: Sequence[str]) -> int:
        """Refuse, and name what traces everything."""
        raise InvalidCommand(
            "no task here is a shell command, which is all that pydoit traces: "
            "`strace -f doit TASK` traces any"
        )
