"""The position of each symbol has a limit."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule


def _find_breach(check: OrderCheck) -> Numbers | None:
    limit = check.market.max_position
    return check.sizes() | {"limit": limit} if abs(check.worst_here) > limit else None


MAX_POSITION = Rule(
    name="max_position",
    key="risk.max_position_<base>",
    words="a position beyond the limit",
    find_breach=_find_breach,
    cure=(
        "open orders count, also one that the same callback cancels: move it with modify_order, or "
        "send the new one at the next bar"
    ),
)
