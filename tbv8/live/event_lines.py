"""The lines of a session's events: orders, fills, payments, denials and halts, as they happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from tbv8.live.output import ProcessReport
from tbv8.market import iso
from tbv8.risk.checks import RULES
from tbv8.risk.events import plain
from tbv8.trading.records import HALT, STOP

_INSIDE, _HALT, _CLOSE, _SENT, _END = range(5)
"""The order of lines within a minute: what happened inside of it, a halt, changes, denials and
waiting children of its close, other orders and fills of that close, orders that ended unfilled."""


def event_lines(report: ProcessReport) -> Iterator[str]:
    """Yield a line for each event of a minute, in the order in which they happened."""
    events = [(kind, msgspec.json.decode(body)) for kind, body in report.events]
    sent = {values["order_id"] for kind, values in events if kind == "order"}
    lines = [
        (values["ts_ms"], *_place(kind, values, sent), f"{iso(values['ts_ms'])} {text}")
        for kind, values in events
        if (text := _text(kind, values))
    ]
    for *_, line in sorted(lines, key=lambda line: line[:-1]):
        yield line


def held_text(positions: Mapping[str, str]) -> str:
    """Return `0.1 BTC/USDT, 0 ETH/USDT`, of positions by symbol."""
    return ", ".join(f"{size} {symbol}" for symbol, size in positions.items())


def fill_text(fill: Mapping[str, Any]) -> str:
    """Return `buy 0.1 BTC/USDT at 100000`, of the body of a fill's event."""
    return f"{fill['side']} {_plain(fill['quantity'])} {fill['symbol']} at {_plain(fill['price'])}"


def _place(kind: str, values: Mapping[str, Any], sent: set[str]) -> tuple[int, int]:
    """Return a line's place in its minute, and there the number of its order, if that counts.

    An order that a strategy sends on a fill has a higher number than the filled one.
    """
    if kind in ("order", "fill"):
        number = int(values["order_id"].rpartition("-")[2] or 0)  # a liquidation has no order
        if kind == "order":
            return (_CLOSE, 0) if values["waits"] else (_SENT, number)
        is_of_close = values["order_id"] in sent or values["tags"] in (HALT, STOP)
        return (_SENT, number) if is_of_close else (_INSIDE, 0)
    return {"payment": _INSIDE, "halt": _HALT, "end": _END, "counting": _INSIDE}.get(
        kind, _CLOSE
    ), 0


def _text(kind: str, values: Mapping[str, Any]) -> str:
    """Return an event in words; empty for one that another event shows."""
    match kind:
        case "order":
            return "" if values["type"] == "market" else _accepted(values)
        case "change":
            is_change = Decimal(values["quantity"])
            return f"{values['order_id']} changed to: {_order(values)}" if is_change else ""
        case "fill":
            fee = f"fee {float(values['fee']):,.2f} USD"
            filled = _order(values, values["price"])
            return f"{values['order_id']} filled: {filled}, {fee}{_tag(values)}"
        case "end":
            return (
                f"{values['order_id']} {values['how']}, {values['why']}: "
                f"{_order(values)}{_tag(values)}"
            )
        case "payment":
            amount = float(values["amount"])
            paid = f"{'paid' if amount > 0 else 'got'} {abs(amount):,.2f} USD"
            return f"{paid}, {values['kind']} of {values['symbol']}"
        case "counting":
            return f"the warm-up has ended, with position {held_text(values['positions'])}"
        case "denial":
            return _denied(values)
        case "halt":
            return (
                f"HALT by {values['rule']}: every order cancelled, every position closed, opens "
                f"nothing until {iso(values['until_ms'])}"
            )
    return ""


def _accepted(values: Mapping[str, Any]) -> str:
    waits = ", works once its entry is filled" if values["waits"] else ""
    return f"{values['order_id']} accepted{waits}: {_order(values)}{_tag(values)}"


def _denied(values: Mapping[str, Any]) -> str:
    name, until_ms = values["rule"], values["until_ms"]
    numbers = {key: Decimal(value) for key, value in values["numbers"].items()}
    reason = RULES[name].reason(numbers) if name in RULES else ""
    until = f"; halted until {iso(until_ms)}" if until_ms is not None else ""
    why = f" ({reason}{until})" if reason else ""
    words, _, size = values["order"].replace("_", " ").rpartition(" ")
    return f"denied by {name}{why}: {words} {_plain(size)} {values['symbol']}{_tag(values)}"


def _order(values: Mapping[str, Any], price: str = "") -> str:
    """Return `sell stop market 0.1 BTC/USDT, trigger 99`; with the price of a fill in place."""
    words = (
        f"{values['side']} {values['type'].replace('_', ' ')} {_plain(values['quantity'])} "
        f"{values['symbol']}"
    )
    if price:
        return f"{words} at {_plain(price)}"
    match values["type"], list(map(_plain, values["prices"])):
        case "limit", [limit]:
            return f"{words} at {limit}"
        case _, [trigger]:
            return f"{words}, trigger {trigger}"
        case _, [limit, trigger]:
            return f"{words} at {limit}, trigger {trigger}"
    return words


def _tag(values: Mapping[str, Any]) -> str:
    return f" ({values['tags']})" if values["tags"] else ""


def _plain(text: str) -> str:
    return plain(Decimal(text))
