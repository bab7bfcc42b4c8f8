"""`doit stop` and `doit start`: the kill switch of a paper session, and its release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.base import ProjectCommand
from tbv8.commands.errors import refuse_options
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.live.environment import our_clock
from tbv8.live.stopping import (
    await_close,
    await_reply,
    closing_text,
    count_commands,
    start_line,
    stop_line,
    write_stop,
)
from tbv8.market import MINUTE_MS


class _Switch(ProjectCommand):
    """The common parts of `stop` and `start`."""

    def _choose(self, names: Sequence[str]) -> tuple[Project, str]:
        project: Project = self.loader.namespace["PROJECT"]
        refuse_options(names)
        if len(names) != 1:
            raise InvalidCommand(f"name one strategy: `doit {self.get_name()} <strategy_id>`")
        if names[0] not in project.paper_strategies:
            project.check_file("strategy", names[0])
            raise InvalidCommand(unknown("strategy", names[0], project.paper_strategies))
        return project, names[0]


class Stop(_Switch):
    """Stop a session."""

    doc_purpose = "stop a paper session: cancel its orders and open nothing until `doit start`"
    doc_usage = "STRATEGY_ID"
    doc_description = (
        "From now on the session opens no position, and cancels all working orders, stop losses "
        "too. The position stays, unprotected. With --close it is closed as well, at the first "
        "close after the command: at the end of the present minute. If no session runs, it is "
        "closed at the first close after the next start. The strategy may still send orders that "
        "only reduce a position. The process keeps running; Ctrl-C ends it. The stop is the file "
        "data/paper/<strategy_id>.stop. It lasts until `doit start`, also through restarts."
    )
    cmd_options: tuple[dict[str, Any], ...] = (
        {
            "name": "close",
            "long": "close",
            "type": bool,
            "default": False,
            "help": "also close all positions, at the first close after the command",
        },
    )

    def _execute(self, close: bool, pos_args: Sequence[str]) -> int:
        project, name = self._choose(pos_args)
        db_path, step = project.db_path, project.paper_strategies[name].step
        before = count_commands(db_path, name)
        write_stop(project.stop_file(name), close=close)
        now_ms = our_clock()
        closing = closing_text(step, now_ms) if close else ""
        reply = await_reply(db_path, name, action="stop", after=before)
        print(stop_line(name, reply, closing=closing), flush=True)
        is_soon = step.ceil(now_ms) - now_ms <= MINUTE_MS
        if close and is_soon and reply.awaits_close:
            return await_close(db_path, name)
        return 0


class Start(_Switch):
    """Let a session trade again."""

    doc_purpose = "undo `doit stop`: the session may open positions again"
    doc_usage = "STRATEGY_ID"
    doc_description = "Removes the file data/paper/<strategy_id>.stop."
    cmd_options = ()

    def _execute(self, pos_args: Sequence[str]) -> int:
        project, name = self._choose(pos_args)
        try:
            project.stop_file(name).unlink()
        except FileNotFoundError:
            print(f"{name}: is not stopped")
            return 0
        print(start_line(name, await_reply(project.db_path, name, action="start")))
        return 0
