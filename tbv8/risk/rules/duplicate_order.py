"""An order is sent once."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, Request, Rule


def _broken(request: Request) -> Numbers | None:
    return {} if request.terms and request.terms.is_repeated else None


DUPLICATE_ORDER = Rule(
    name="duplicate_order",
    key=None,
    words="an order that was sent before",
    broken=_broken,
    scope="sending",
    cure="make a new order each time",
)
