"""The answer of a paper session to `doit stop` and `doit start`, and its line for the user."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from tbv8.errors import DataError
from tbv8.live.lines import fill_text
from tbv8.market import iso
from tbv8.page.words import counted
from tbv8.store.database import open_reader
from tbv8.store.sessions import COMMAND, read_events, read_session, session_runs

_WAIT_S = 3.0
_POLL_S = 0.05
_MOST_FILLS = 20  # of a stop: one a symbol
_NO_ANSWER = (
    "not confirmed yet: the session opens nothing while it starts, replays or hangs; `doit status` "
    "shows when it has obeyed"
)


class SessionReply(msgspec.Struct, frozen=True):
    """The effect of a command.

    Attributes:
        kind: `done`; `done before` by an earlier command; `no session` runs; `no answer` in time.
        state: The account of the session, None if it is unknown.
        fills: The fills of positions that the command closed.
        done_ms: The time at which the session executed the command, by our clock.
    """

    kind: Literal["done", "done before", "no session", "no answer"]
    state: Mapping[str, Any] | None = None
    fills: Sequence[Mapping[str, Any]] = ()
    done_ms: int = 0


def count_commands(db_path: Path, name: str) -> int:
    """Return how many commands a strategy's session has executed; 0 if it is unknown."""
    return int((_read_state(db_path, name) or {}).get("commands", 0))


def await_reply(
    db_path: Path, name: str, *, action: str, close: bool = False, after: int = 0
) -> SessionReply:
    """Return the answer of a strategy's session, which writes its account after the command.

    Args:
        db_path: The database.
        name: The strategy.
        action: `stop` or `start`.
        close: True if the stop closes all positions.
        after: The number of commands that the session had executed before this one.
    """
    if not session_runs(db_path, name):
        return SessionReply("no session", _read_state(db_path, name))
    until_s = time.monotonic() + _WAIT_S
    while time.monotonic() < until_s:
        reply = read_reply(db_path, name, action=action, close=close, after=after)
        if reply is not None:
            return reply
        time.sleep(_POLL_S)
    return SessionReply("no answer")


def stop_line(name: str, reply: SessionReply, *, close: bool = False) -> str:
    """Return the line about a stop: the remaining position, and the cancelled orders."""
    if reply.kind == "no answer":
        return f"{name}: stopped, {_NO_ANSWER}"
    state = reply.state or {}
    positions = positions_text(state)
    cure = f"; `doit stop {name} --close` closes it" if positions and not close else ""
    holds = f"holds {positions or 'no position'}"
    if reply.kind == "no session":
        then = ", which that start closes" if positions and close else cure
        known = f": {holds}{then}" if state else ""
        until = f"opens nothing until `doit start {name}`"
        return f"{name}: no session runs; its next start {until}{known}"
    end = "; the process goes on, Ctrl-C ends it"
    if reply.kind == "done before":
        working = state["working"]
        sent = f", {counted(working, 'order')} sent since then" if working else ""
        at = iso(reply.done_ms // 1000 * 1000)
        return f"{name}: was stopped at {at} already: {holds}{sent}{cure}{end}"
    done = {"buy": "bought", "sell": "sold"}
    closed = " and ".join(fill_text({**fill, "side": done[fill["side"]]}) for fill in reply.fills)
    orders = state["cancelled"]
    cancelled = f"{counted(orders, 'working order')} cancelled" if orders else "no order to cancel"
    return f"{name}: stopped: {f'{closed}, ' if closed else ''}{holds}, {cancelled}{cure}{end}"


def start_line(name: str, reply: SessionReply) -> str:
    """Return the line about the end of a stop."""
    words = {"no session": "from its next start on (no session runs)", "no answer": _NO_ANSWER}
    return f"{name}: may open positions again, {words.get(reply.kind, 'confirmed by the session')}"


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


def read_reply(
    db_path: Path, name: str, *, action: str, close: bool, after: int = 0
) -> SessionReply | None:
    """Return the answer of a session to its last command; None before it has obeyed.

    One of the first `after` commands may have had the same effect before.
    """
    with suppress(DataError), open_reader(db_path, timeout_s=1) as query:
        session = read_session(query, name, "primary")
        if session is None:
            return None
        for command in read_events(query, session.session_id, (COMMAND,), last=1):
            last = json.loads(command.body)
            is_it = last["do"] == action and (last["close"] or not close)
            if not is_it or session.state.get("commands") != command.number + 1:
                return None
            if command.number < after:
                return SessionReply("done before", session.state, done_ms=command.at_ms)
            fills = read_events(query, session.session_id, ("fill",), last=_MOST_FILLS)
            closing = [
                json.loads(fill.body)
                for fill in fills
                if fill.ts_ms >= command.ts_ms and fill.at_ms >= command.at_ms
            ]
            return SessionReply("done", session.state, closing, command.at_ms)
    return None
