"""`doit stop` and `doit start`: the kill switch of a paper session, and its release."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.readonly import ReadOnlyCommand
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import DataError
from tbv8.store.database import open_reader
from tbv8.store.sessions import COMMAND, read_events, read_session, session_runs

_WAIT_S = 3.0
_POLL_S = 0.05


class _Switch(ReadOnlyCommand):
    """The common parts of `stop` and `start`."""

    def _chosen(self, words: Sequence[str]) -> tuple[Project, str]:
        project: Project = self.loader.namespace["PROJECT"]
        for word in words:
            if word.startswith("-"):  # with this message `OneLine` moves the option to the front
                raise InvalidCommand(f"{word!r} is not a task.")
        if len(words) != 1:
            raise InvalidCommand(f"name one strategy: `doit {self.get_name()} <strategy_id>`")
        if words[0] not in project.strategies:
            raise InvalidCommand(unknown("strategy", words[0], project.strategies))
        return project, words[0]

    def _wait(self, project: Project, name: str, do: str, began_ms: int) -> str:
        """Return the session's answer: it records the command once it has carried it out."""
        if not session_runs(project.db_path, name):
            return "no session runs: takes effect at the next start"
        until_s = time.monotonic() + _WAIT_S
        while time.monotonic() < until_s:
            if _is_obeyed(project, name, do, began_ms):
                return "confirmed by the session"
            time.sleep(_POLL_S)
        return (
            "not confirmed yet: the session opens nothing while it starts, replays or hangs; "
            "`doit status` shows the confirmation"
        )


class Stop(_Switch):
    """Stop a session."""

    doc_purpose = "stop a paper session: cancel its orders and open nothing until `doit start`"
    doc_usage = "STRATEGY_ID"
    doc_description = (
        "Creates the file data/paper/<strategy_id>.stop. A running session stops within a second, "
        "also while the strategy hangs, and stays stopped over restarts until `doit start`. Orders "
        "that only reduce a position are still allowed. --close also closes all positions at the "
        "last price."
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
        project, name = self._chosen(pos_args)
        path = project.stop_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        began_ms = time.time_ns() // 1_000_000
        path.write_text("close\n" if close else "\n", encoding="utf-8")
        print(f"{name}: stopped ({self._wait(project, name, 'stop', began_ms)})")
        return 0


class Start(_Switch):
    """Let a session trade again."""

    doc_purpose = "let a paper session that `doit stop` stopped open positions again"
    doc_usage = "STRATEGY_ID"
    doc_description = "Removes the file data/paper/<strategy_id>.stop."
    cmd_options = ()

    def _execute(self, pos_args: Sequence[str]) -> int:
        project, name = self._chosen(pos_args)
        began_ms = time.time_ns() // 1_000_000
        try:
            project.stop_file(name).unlink()
        except FileNotFoundError:
            print(f"{name}: was not stopped")
            return 0
        print(f"{name}: may open positions again ({self._wait(project, name, 'start', began_ms)})")
        return 0


def _is_obeyed(project: Project, name: str, do: str, began_ms: int) -> bool:
    with suppress(DataError), open_reader(project.db_path, timeout_s=1) as query:
        session = read_session(query, name, "primary")
        if session is not None:
            for event in read_events(query, session.session_id, (COMMAND,), last=1):
                is_new = event.at_ms >= began_ms
                return is_new and json.loads(event.body)["do"] == do
    return False
