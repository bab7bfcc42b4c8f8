"""The lines of a session's events: orders, fills, payments, denials and halts, as they happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from tbv8.live.plan import ProcessReport
from tbv8.market import iso
from tbv8.risk.checks import RULES
from tbv8.risk.events import plain

_FIRST, _HALT, _THEN, _LAST = range(4)
"""The order within a minute: what happened inside of it, a halt, what the strategy did at its
close, and how these orders ended there."""


def event_lines(report: ProcessReport) -> Iterator[str]:
    """Yield a line for each event of a minute, in the order in which they happened."""
    events = [(kind, msgspec.json.decode(body)) for kind, body in report.events]
    sent = {values["order_id"] for kind, values in events if kind == "order"}
    lines = [
        (values["ts_ms"], _place(kind, values, sent), f"{iso(values['ts_ms'])} {text}")
        for kind, values in events
        if (text := _text(kind, values))
    ]
    for _, _, line in sorted(lines, key=lambda line: line[:2]):
        yield line


def fill_text(fill: Mapping[str, Any]) -> str:
    """Return `buy 0.1 BTC/USDT at 100000`, of the body of a fill's event."""
    return f"{fill['side']} {_plain(fill['quantity'])} {fill['symbol']} at {_plain(fill['price'])}"


def _place(kind: str, values: Mapping[str, Any], sent: set[str]) -> int:
    if kind == "halt":
        return _HALT
    if kind in ("fill", "end"):
        is_forced = values["tags"] in ("halt", "stop")
        return _LAST if values["order_id"] in sent or is_forced else _FIRST
    return _FIRST if kind == "payment" else _THEN


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
    rule, numbers = RULES.get(values["rule"]), values["numbers"]
    words = f", {rule.words}" if rule else ""
    shown = ", ".join(f"{name} {_plain(value)}" for name, value in numbers.items())
    order = f"{values['order'].replace('_', ' ')} {values['symbol']}"
    return f"denied by {values['rule']}{words}: {order}{f' ({shown})' if shown else ''}"


def _order(values: Mapping[str, Any], price: str = "") -> str:
    """Return `sell stop market 0.1 BTC/USDT, trigger 99`, of an order or a fill."""
    prices = [_plain(price) for price in ([price] if price else values["prices"])]
    is_stop = values["type"].startswith("stop") and not price
    limit = prices[0] if prices and (len(prices) == 2 or not is_stop) else ""
    trigger = prices[-1] if prices and is_stop else ""
    return (
        f"{values['side']} {values['type'].replace('_', ' ')} {_plain(values['quantity'])} "
        f"{values['symbol']}{f' at {limit}' if limit else ''}"
        f"{f', trigger {trigger}' if trigger else ''}"
    )


def _tag(values: Mapping[str, Any]) -> str:
    return f" ({values['tags']})" if values["tags"] else ""


def _plain(text: str) -> str:
    return plain(Decimal(text))
