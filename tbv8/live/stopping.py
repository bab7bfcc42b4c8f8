"""The reply of a paper session to `doit stop` and `doit start`, and its line for the user."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from tbv8.errors import DataError
from tbv8.live.event_lines import fill_text
from tbv8.market import ONE_MINUTE, Timeframe, iso
from tbv8.store.database import open_reader
from tbv8.store.locks import session_runs
from tbv8.store.sessions import COMMAND, read_events, read_session
from tbv8.text import counted
from tbv8.trading.records import STOP

_WAIT_S = 5.0  # the last closed minute is read within three seconds
_CLOSE_S = 75.0  # a minute, and the time until it is read
_POLL_S = 0.05
_MAX_FILLS = 20  # of a stop: one a symbol
_NO_REPLY = (
    "not confirmed yet: the session opens nothing while it starts, replays, hangs or waits for "
    "minutes; `doit status` shows when that has happened"
)


class SessionReply(msgspec.Struct, frozen=True):
    """The effect of a command.

    Attributes:
        kind: `done`; `done before` this command; `no session` runs; `no reply` in time.
        state: The account of the session, None if it is unknown.
        fills: The fills of positions that the command closed.
        done_ms: The time at which the session saw the request, by our clock.
    """

    kind: Literal["done", "done before", "no session", "no reply"]
    state: Mapping[str, Any] | None = None
    fills: Sequence[Mapping[str, Any]] = ()
    done_ms: int = 0

    @property
    def awaits_close(self) -> bool:
        """True if positions are, or may be, closed by the command."""
        holds = bool(self.fills or positions_text(self.state or {}))
        return self.kind == "no reply" or (self.kind != "no session" and holds)


def write_stop(path: Path, *, close: bool) -> None:
    """Write a stop file; one that closes positions stays so until `doit start`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if close or not path.exists():
        path.write_text("close\n" if close else "\n", encoding="utf-8")


def count_commands(db_path: Path, name: str) -> int:
    """Return how many commands a strategy's session has executed; 0 if it is unknown."""
    return int((_read_state(db_path, name) or {}).get("commands", 0))


def await_reply(
    db_path: Path, name: str, *, action: str, close: bool = False, after: int = 0
) -> SessionReply:
    """Wait for the reply of a strategy's session: it writes its account after the command.

    Args:
        db_path: The database.
        name: The strategy.
        action: `stop` or `start`.
        close: True to wait until the stop has closed all positions.
        after: The number of commands that the session had executed before this one.
    """
    if not session_runs(db_path, name):
        return SessionReply("no session", _read_state(db_path, name))
    until_s = time.monotonic() + (_CLOSE_S if close else _WAIT_S)
    while time.monotonic() < until_s:
        reply = read_reply(db_path, name, action=action, close=close, after=after)
        if reply is not None:
            return reply
        time.sleep(_POLL_S)
    return SessionReply("no reply")


def stop_line(name: str, reply: SessionReply, *, closing: str = "") -> str:
    """Return the line about a stop: the cancelled orders, and the remaining position.

    Args:
        name: The strategy.
        reply: The reply of its session.
        closing: When the session closes its positions, from `closing_text`; empty if it does not.
    """
    if reply.kind == "no reply":
        return f"{name}: stopped, {_NO_REPLY}"
    state = reply.state or {}
    positions = positions_text(state)
    cure = f"; `doit stop {name} --close` closes it" if positions and not closing else ""
    if reply.kind == "no session":
        return f"{name}: {_next_start(name, state, closes=bool(closing))}{cure}"
    holds = f"holds {positions or 'no position'}"
    end = "; the process goes on, Ctrl-C ends it"
    if positions and closing:
        holds, end = f"{_closing_positions(state)} {closing}", ""
    if reply.kind == "done before":
        working = state["working"]
        sent = f", {counted(working, 'order')} sent since then" if working else ""
        at = iso(reply.done_ms // 1000 * 1000)
        return f"{name}: was stopped at {at} already: {holds}{sent}{cure}{end}"
    orders = state["cancelled"]
    cancelled = f"{counted(orders, 'working order')} cancelled" if orders else "no order to cancel"
    if stops := state.get("cancelled_stops"):
        unprotected = ": the position has no stop now" if positions else ""
        cancelled = f"{cancelled}, among them {counted(stops, 'stop')}{unprotected}"
    return f"{name}: stopped: {cancelled}; {holds}{cure}{end}"


def _next_start(name: str, state: Mapping[str, Any], *, closes: bool) -> str:
    """Return the effect of a stop without a running session on the next `doit paper`."""
    positions, working = positions_text(state), state.get("working", 0)
    position = f", {positions or 'no position'} is held" if state else ""
    steps = []
    if positions or working:
        orders = f" with {counted(working, 'working order')}" if working else ""
        steps.append(f"uses the minutes before it{orders}, ")
        steps += ["closes any position at its first close, "] if closes else []
        steps.append("and ")
    steps.append(f"opens nothing until `doit start {name}`")
    return f"no session runs{position}: the next `doit paper:{name}` {''.join(steps)}"


def closing_text(step: Timeframe, now_ms: int) -> str:
    """Return when a request to close positions is executed: at the next close of a step."""
    closes = iso(step.ceil(now_ms))
    bar = "this minute" if step == ONE_MINUTE else f"this {step} bar"
    return f"at the close of {bar}, {closes}"


def closed_line(name: str, reply: SessionReply) -> str:
    """Return the line about closed positions, with their prices; or about those still open."""
    if reply.kind != "done":
        return (
            f"{name}: not closed yet: the session does it at the next close that it reads, also "
            "without this command; `doit status` shows it"
        )
    done = {"buy": "bought", "sell": "sold"}
    closed = " and ".join(fill_text({**fill, "side": done[fill["side"]]}) for fill in reply.fills)
    at = f"closed at {iso(reply.fills[0]['ts_ms'])}: {closed}, " if reply.fills else ""
    positions = positions_text(reply.state or {})
    nothing = "holds no position" if reply.fills else "no position is left to close"
    holds = f"holds {positions}" if positions else nothing
    return f"{name}: {at}{holds}; the process goes on, Ctrl-C ends it"


def await_close(db_path: Path, name: str) -> int:
    """Print what the session has closed; Ctrl-C ends the wait alone.

    Returns:
        The exit code.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(closed_line(name, await_reply(db_path, name, action="stop", close=True)))
    except KeyboardInterrupt:
        print(f"{name}: the session goes on closing; `doit status` shows it")
        return 130
    finally:
        signal.signal(signal.SIGINT, before)
    return 0


def left_line(name: str, state: Mapping[str, Any]) -> str:
    """Return the line about what a session leaves open as its process ends; empty for nothing."""
    positions = positions_text(state)
    if not positions:
        return ""
    working = state["working"]
    orders = f" with {counted(working, 'working order')}" if working else ""
    return (
        f"{name}: still holds {positions}{orders}: the next `doit paper:{name}` continues with it; "
        f"to close it, run `doit stop {name} --close` first"
    )


def start_line(name: str, reply: SessionReply) -> str:
    """Return the line about the end of a stop."""
    states = {"no session": "from its next start on (no session runs)", "no reply": _NO_REPLY}
    state = states.get(reply.kind, "confirmed by the session")
    return f"{name}: may open positions again, {state}"


def positions_text(state: Mapping[str, Any]) -> str:
    """Return `0.1 BTC long and 2 ETH short`; empty for an account without a position."""
    sizes = {symbol: Decimal(size) for symbol, size in state.get("positions", {}).items()}
    return " and ".join(
        f"{abs(size)} {symbol.partition('/')[0]} {'long' if size > 0 else 'short'}"
        for symbol, size in sizes.items()
        if size
    )


def _closing_positions(state: Mapping[str, Any]) -> str:
    """Return `0.1 BTC is sold and 2 ETH is bought`."""
    sizes = {symbol: Decimal(size) for symbol, size in state["positions"].items()}
    return " and ".join(
        f"{abs(size)} {symbol.partition('/')[0]} is {'sold' if size > 0 else 'bought'}"
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
    db_path: Path, name: str, *, action: str, close: bool = False, after: int = 0
) -> SessionReply | None:
    """Return the reply of a session to its last command; None before it is executed.

    One of the first `after` commands may have had the same effect before. A session without any
    command is started.
    """
    with suppress(DataError), open_reader(db_path, timeout_s=1) as query:
        session = read_session(query, name, "primary")
        if session is None:
            return None
        commands = read_events(query, session.session_id, (COMMAND,), last=1)
        if not commands:
            return SessionReply("done before", session.state) if action == "start" else None
        (command,) = commands
        last = json.loads(command.body)
        is_it = last["do"] == action and (last["close"] or not close)
        if not is_it or session.state.get("commands") != command.number + 1:
            return None
        if command.number < after:
            return SessionReply("done before", session.state, done_ms=command.at_ms)
        fills = read_events(query, session.session_id, ("fill",), last=_MAX_FILLS)
        bodies = [json.loads(fill.body) for fill in fills if fill.ts_ms == command.ts_ms]
        closing = [body for body in bodies if last["close"] and body["tags"] == STOP]
        return SessionReply("done", session.state, closing, command.at_ms)
    return None
