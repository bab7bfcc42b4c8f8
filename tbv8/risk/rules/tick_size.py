"""The rule that prices lie on the venue's tick."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


def _find_breach(check: OrderCheck) -> Numbers | None:
    tick = check.market.tick_size
    for price in check.order.prices:
        if price % tick or price <= 0:
            return {"price": price, "limit": tick}
    return None


def _cause(numbers: Numbers) -> str:
    price = number_text(numbers["price"])
    if numbers["price"] <= 0:
        return f"the price {price} is not above 0"
    return f"the price {price} is not a multiple of the tick of {number_text(numbers['limit'])}"


TICK_SIZE = Rule(
    name="tick_size",
    key="instruments.<symbol>.tick_size",
    description="a price that is not on the tick, or not above 0",
    find_breach=_find_breach,
    cause=_cause,
    scope="every",
    cure="instrument.next_bid_price(x) rounds down to the tick, next_ask_price(x) up",
)
