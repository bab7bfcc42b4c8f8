"""`doit stop` and `doit start`: the kill switch of a paper session, and its release."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.looking import Looking
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import DataError
from tbv8.store.database import open_reader
from tbv8.store.sessions import COMMAND, read_events, read_session, session_runs

_WAIT_S = 3.0
_POLL_S = 0.05


class _Switch(Looking):
    """What both have in common."""

    def _chosen(self, words: Sequence[str]) -> tuple[Project, str]:
        project: Project = self.loader.namespace["PROJECT"]
        for word in words:
            if word.startswith("-"):  # an option behind the name comes to the front by these words
                raise InvalidCommand(f"{word!r} is not a task.")
        if len(words) != 1:
            raise InvalidCommand(f"name one strategy: `doit {self.get_name()} <strategy_id>`")
        if words[0] not in project.strategies:
            raise InvalidCommand(unknown("strategy", words[0], project.strategies))
        return project, words[0]

    def _wait(self, project: Project, name: str, do: str, began_ms: int) -> str:
        """Return how the session answered: it writes the command down once it is obeyed."""
        if not session_runs(project.db_path, name):
            return "no session runs: it holds from the next start on"
        until_s = time.monotonic() + _WAIT_S
        while time.monotonic() < until_s:
            if _is_obeyed(project, name, do, began_ms):
                return "obeyed"
            time.sleep(_POLL_S)
        return (
            "not answered yet: nothing is opened while the session starts, replays or hangs; "
            "`doit status` shows when it has"
        )


class Stop(_Switch):
    """Stop a session."""

    doc_purpose = "stop a paper session: cancel its orders and open nothing until `doit start`"
    doc_usage = "STRATEGY_ID"
    doc_description = (
        "Makes the file data/paper/<strategy_id>.stop, which a running session obeys within a "
        "second, also while the strategy hangs; it holds over restarts until `doit start`. Orders "
        "that only reduce a position still go. With --close what is held is closed at the last "
        "price, too."
    )
    cmd_options: tuple[dict[str, Any], ...] = (
        {
            "name": "close",
            "long": "close",
            "type": bool,
            "default": False,
            "help": "close what is held, too",
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
