"""Quantities are whole lots."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, Request, Rule


def _broken(request: Request) -> Numbers | None:
    lot, change = request.market.lot_size, request.order.change
    return {"order": change, "limit": lot} if change % lot or not change else None


LOT_SIZE = Rule(
    name="lot_size",
    key="instruments.<symbol>.lot_size",
    words="a quantity that is not a whole number of lots",
    broken=_broken,
    scope="every",
    cure="round quantities down to instrument.size_increment",
)
