"""`doit stop` and `doit start`: the kill switch of a paper session, and its release."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
from doit.exceptions import InvalidCommand

from tbv8.commands.readonly import ReadOnlyCommand
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import DataError
from tbv8.page.words import counted
from tbv8.store.database import open_reader
from tbv8.store.sessions import COMMAND, read_events, read_session, session_runs

_WAIT_S = 3.0
_POLL_S = 0.05


class Answer(msgspec.Struct, frozen=True):
    """The effect of a command; `state` is the account of the session, None if it is unknown."""

    text: str
    state: Mapping[str, Any] | None = None
    is_confirmed: bool = False


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

    def _wait(self, project: Project, name: str, *, do: str, close: bool = False) -> Answer:
        """Return the session's answer: it writes the account once it has obeyed."""
        if not session_runs(project.db_path, name):
            state = _read_state(project, name)
            return Answer("no session runs: takes effect at the next start", state)
        until_s = time.monotonic() + _WAIT_S
        while time.monotonic() < until_s:
            state = _read_state(project, name, do=do, close=close)
            if state is not None:
                return Answer("confirmed by the session", state, is_confirmed=True)
            time.sleep(_POLL_S)
        return Answer(
            "not confirmed yet: the session opens nothing while it starts, replays or hangs; "
            "`doit status` shows the confirmation"
        )


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
        project, name = self._chosen(pos_args)
        path = project.stop_file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("close\n" if close else "\n", encoding="utf-8")
        print(stop_line(name, self._wait(project, name, do="stop", close=close)))
        return 0


class Start(_Switch):
    """Let a session trade again."""

    doc_purpose = "let a paper session that `doit stop` stopped open positions again"
    doc_usage = "STRATEGY_ID"
    doc_description = "Removes the file data/paper/<strategy_id>.stop."
    cmd_options = ()

    def _execute(self, pos_args: Sequence[str]) -> int:
        project, name = self._chosen(pos_args)
        try:
            project.stop_file(name).unlink()
        except FileNotFoundError:
            print(f"{name}: was not stopped")
            return 0
        answer = self._wait(project, name, do="start")
        print(f"{name}: may open positions again ({answer.text})")
        return 0


def stop_line(name: str, answer: Answer) -> str:
    """Return the line about a stop: what the session still holds, and what was cancelled."""
    state = answer.state or {}
    holds = held_text(state)
    cure = f"; `doit stop {name} --close` closes it" if holds else ""
    if not answer.is_confirmed:
        return f"{name}: stopped ({answer.text})" + (f", holds {holds}{cure}" if holds else "")
    orders = counted(state["cancelled"], "working order") if state["cancelled"] else "no order"
    return (
        f"{name}: stopped: holds {holds or 'no position'}, {orders} cancelled{cure}; "
        "the process goes on, Ctrl-C ends it"
    )


def held_text(state: Mapping[str, Any]) -> str:
    """Return `0.1 BTC long and 2 ETH short`; empty for an account without a position."""
    sizes = {symbol: Decimal(size) for symbol, size in state.get("positions", {}).items()}
    return " and ".join(
        f"{abs(size)} {symbol.partition('/')[0]} {'long' if size > 0 else 'short'}"
        for symbol, size in sizes.items()
        if size
    )


def _read_state(
    project: Project, name: str, *, do: str | None = None, close: bool = False
) -> Mapping[str, Any] | None:
    """Return the account of a session; of one that was commanded, once it has obeyed."""
    with suppress(DataError), open_reader(project.db_path, timeout_s=1) as query:
        session = read_session(query, name, "primary")
        if session is None or do is None:
            return None if session is None else session.state
        for event in read_events(query, session.session_id, (COMMAND,), last=1):
            last = json.loads(event.body)
            is_it = last["do"] == do and (last["close"] or not close)
            if is_it and session.state.get("commands") == event.number + 1:
                return session.state
    return None
