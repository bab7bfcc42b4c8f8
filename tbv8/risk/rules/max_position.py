"""The position of each symbol has a limit."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, Request, Rule


def _broken(request: Request) -> Numbers | None:
    limit = request.market.max_position
    return request.sizes() | {"limit": limit} if abs(request.worst_here) > limit else None


MAX_POSITION = Rule(
    name="max_position",
    key="risk.max_position_<base>",
    words="a position beyond the limit",
    broken=_broken,
    cure=(
        "open orders count, also one that the same callback cancels: move it with modify_order, or "
        "send the new one at the next bar"
    ),
)
