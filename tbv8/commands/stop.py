"""`doit stop` and `doit start`: the kill switch of a paper session, and its release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.readonly import ReadOnlyCommand
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.live.stopping import await_reply, count_commands, start_line, stop_line


class _Switch(ReadOnlyCommand):
    """The common parts of `stop` and `start`."""

    def _choose(self, names: Sequence[str]) -> tuple[Project, str]:
        project: Project = self.loader.namespace["PROJECT"]
        for name in names:
            if name.startswith(
                "-"
            ):  # by this message `OneLineErrors` moves the option to the front
                raise InvalidCommand(f"{name!r} is not a task.")
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
        "Cancels all working orders, exits such as stop losses too, and denies new entries; the "
        "position stays, unprotected, unless --close closes it at the last price. The strategy may "
        "still send orders that only reduce a position. The process goes on: Ctrl-C ends it. The "
        "stop is the file data/paper/<strategy_id>.stop: a session obeys it within a second, also "
        "while the strategy hangs, and stays stopped over restarts until `doit start`."
    )
    cmd_options: tuple[dict[str, Any], ...] = (
        {
            "name": "close",
            "long": "close",
            "type": bool,
            "default": False,
            "help": "also close all positions",
        },
    )

    def _execute(self, close: bool, pos_args: Sequence[str]) -> int:
        project, name = self._choose(pos_args)
        path = project.stop_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = count_commands(project.db_path, name)
        path.write_text("close\n" if close else "\n", encoding="utf-8")
        reply = await_reply(project.db_path, name, action="stop", close=close, after=before)
        print(stop_line(name, reply, close=close))
        return 0


class Start(_Switch):
    """Let a session trade again."""

    doc_purpose = "let a paper session that `doit stop` stopped open positions again"
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
