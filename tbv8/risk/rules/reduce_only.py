"""The rule that a reduce-only order needs a position to reduce."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


def _find_breach(check: OrderCheck) -> Numbers | None:
    order = check.order
    if not order.reduce_only or order.parent is not None:
        return None
    has_use = check.expected * order.change < 0
    return None if has_use else {"position": check.expected, "order": order.change}


def _cause(numbers: Numbers) -> str:
    position, side = numbers["position"], "buy" if numbers["order"] > 0 else "sell"
    if not position:
        return "there is no position to reduce"
    return f"a {side} order cannot reduce a position of {number_text(position)}"


REDUCE_ONLY = Rule(
    name="reduce_only",
    description="a reduce-only order with nothing to reduce",
    find_breach=_find_breach,
    cause=_cause,
    scope="sending",
    cure="send it only while there is a position that it reduces",
)
