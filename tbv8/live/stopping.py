"""The answer of a paper session to `doit stop` and `doit start`, and its line for the user."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tbv8.errors import DataError
from tbv8.live.view import fill_text
from tbv8.page.words import counted
from tbv8.store.database import open_reader
from tbv8.store.sessions import COMMAND, read_events, read_session, session_runs

_WAIT_S = 3.0
_POLL_S = 0.05
_MOST_FILLS = 20  # of a stop: one a symbol


class SessionReply(msgspec.Struct, frozen=True):
    """The effect of a command.

    `state` is the account of the session, None if it is unknown; `fills` are those of positions
    that the command closed.
    """

    text: str
    state: Mapping[str, Any] | None = None
    is_confirmed: bool = False
    fills: Sequence[Mapping[str, Any]] = ()


def await_reply(db_path: Path, name: str, *, action: str, close: bool = False) -> SessionReply:
    """Return the answer of a strategy's session, which writes its account after the command."""
    if not session_runs(db_path, name):
        state = _read_state(db_path, name)
        return SessionReply("no session runs: takes effect at the next start", state)
    until_s = time.monotonic() + _WAIT_S
    while time.monotonic() < until_s:
        reply = read_reply(db_path, name, action=action, close=close)
        if reply is not None:
            return reply
        time.sleep(_POLL_S)
    return SessionReply(
        "not confirmed yet: the session opens nothing while it starts, replays or hangs; "
        "`doit status` shows the confirmation"
    )


def stop_line(name: str, reply: SessionReply) -> str:
    """Return the line about a stop: the remaining position, and the cancelled orders."""
    state = reply.state or {}
    positions = positions_text(state)
    cure = f"; `doit stop {name} --close` closes it" if positions else ""
    if not reply.is_confirmed:
        return f"{name}: stopped ({reply.text})" + (
            f", holds {positions}{cure}" if positions else ""
        )
    done = {"buy": "bought", "sell": "sold"}
    closed = " and ".join(fill_text({**fill, "side": done[fill["side"]]}) for fill in reply.fills)
    orders = state["cancelled"]
    cancelled = f"{counted(orders, 'working order')} cancelled" if orders else "no order to cancel"
    return (
        f"{name}: stopped: {f'{closed}, ' if closed else ''}holds "
        f"{positions or 'no position'}, {cancelled}{cure}; the process goes on, Ctrl-C ends it"
    )


def positions_text(state: Mapping[str, Any]) -> str:
    """Return `0.1 BTC long and 2 ETH short`; empty for an account without a position."""
    sizes = {symbol: Decimal(size) for symbol, size in state.get("positions", {}).items()}
    return " and ".join(
        f"{abs(size)} {symbol.partition('/')[0]} {'long' if size > 0 else 'short'}"
        for symbol, size in sizes.items()
        if size
    )


def _read_state(db_path: Path, name: str) -> Mapping[str, Any] | None:
    """Return the account of a session; None if it is unknown."""
    with suppress(DataError), open_reader(db_path, timeout_s=1) as query:
        session = read_session(query, name, "primary")
        return None if session is None else session.state
    return None


def read_reply(db_path: Path, name: str, *, action: str, close: bool) -> SessionReply | None:
    """Return the answer of a session to its last command; None before it has obeyed."""
    with suppress(DataError), open_reader(db_path, timeout_s=1) as query:
        session = read_session(query, name, "primary")
        if session is None:
            return None
        for command in read_events(query, session.session_id, (COMMAND,), last=1):
            last = json.loads(command.body)
            is_it = last["do"] == action and (last["close"] or not close)
            if is_it and session.state.get("commands") == command.number + 1:
                fills = read_events(query, session.session_id, ("fill",), last=_MOST_FILLS)
                closing = [
                    json.loads(fill.body)
                    for fill in fills
                    if fill.ts_ms >= command.ts_ms and fill.at_ms >= command.at_ms
                ]
                text = "confirmed by the session"
                return SessionReply(text, session.state, is_confirmed=True, fills=closing)
    return None
