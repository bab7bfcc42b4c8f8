"""A reduce-only order needs a position to reduce."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, Request, Rule


def _broken(request: Request) -> Numbers | None:
    order = request.order
    if not order.reduce_only or order.parent is not None:
        return None
    has_use = request.expected * order.change < 0
    return None if has_use else {"position": request.expected, "order": order.change}


REDUCE_ONLY = Rule(
    name="reduce_only",
    words="reducing where there is nothing to reduce",
    broken=_broken,
    scope="sending",
    cure="send it while a position of the other direction is held",
)
