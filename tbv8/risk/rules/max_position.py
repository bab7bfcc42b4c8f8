"""The limit of each symbol's position."""

from __future__ import annotations

from collections.abc import Sequence

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text

_OPEN_ORDERS = (
    "open orders count, also one that the same callback cancels: move it with modify_order, or "
    "send the new one at the next bar"
)
_SIZE = "send smaller orders, or raise the limit"


def _find_breach(check: OrderCheck) -> Numbers | None:
    limit = check.market.max_position
    return check.sizes() | {"limit": limit} if abs(check.worst_here) > limit else None


def _explain(breaches: Sequence[Numbers]) -> str:
    """Return the largest order, the limit, and what to change: open orders if they are a reason."""
    largest = max(breaches, key=lambda numbers: abs(numbers["order"]) / numbers["limit"])
    without_open_orders = [abs(b["position"] + b["order"]) > b["limit"] for b in breaches]
    cures = [_SIZE] if any(without_open_orders) else []
    cures += [] if all(without_open_orders) else [_OPEN_ORDERS]
    return (
        f"the largest of {number_text(abs(largest['order']))} at a position of "
        f"{number_text(largest['position'])}, the limit is {number_text(largest['limit'])}: "
        f"{'; '.join(cures)}"
    )


def _cause(numbers: Numbers) -> str:
    worst, limit, position, open_orders, order = (
        number_text(numbers[name])
        for name in ("worst", "limit", "position", "open_orders", "order")
    )
    return (
        f"the position could reach {worst}, the limit is {limit}; it is {position}, open orders on "
        f"that side are {open_orders}, this order is {order}"
    )


MAX_POSITION = Rule(
    name="max_position",
    key="risk.max_position_<base>",
    description="a position beyond the limit",
    find_breach=_find_breach,
    explain=_explain,
    cause=_cause,
)
