"""`doit run`, which is `doit` alone: pydoit's own, where a task that is none is one line."""

from __future__ import annotations

from typing import Any

import doit.cmd_run
from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand


class Run(doit.cmd_run.Run):  # type: ignore[misc]  # doit ships no types
    """Run tasks."""

    def parse_execute(self, in_args: list[str]) -> int:
        """Refuse an option that is none, of the command or of a task, in one line."""
        try:
            result: int = super().parse_execute(in_args)
        except CmdParseError as e:
            from tbv8.commands.looking import no_such_option  # late: see tbv8.commands.state

            raise no_such_option(e) from e
        return result

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the tasks, or refuse a name that is none of theirs."""
        try:
            result: int = super().execute(params, args)
        except InvalidCommand as e:
            from tbv8.commands.looking import no_such_task  # late: see tbv8.commands.state

            raise (no_such_task(e.not_found, self.task_list) if e.not_found else e) from e
        return result
