"""The rule that quantities are whole lots."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


def _find_breach(check: OrderCheck) -> Numbers | None:
    lot, change = check.market.lot_size, check.order.change
    return {"order": change, "limit": lot} if change % lot or not change else None


def _cause(numbers: Numbers) -> str:
    if not numbers["order"]:
        return "the quantity is 0"
    quantity, lot = number_text(abs(numbers["order"])), number_text(numbers["limit"])
    return f"the quantity {quantity} is not a whole number of lots of {lot}"


LOT_SIZE = Rule(
    name="lot_size",
    key="instruments.<symbol>.lot_size",
    description="a quantity that is not a whole number of lots",
    find_breach=_find_breach,
    cause=_cause,
    scope="every",
    cure="round quantities down to instrument.size_increment",
)
