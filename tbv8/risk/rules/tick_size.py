"""The rule that prices lie on the venue's tick."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule


def _find_breach(check: OrderCheck) -> Numbers | None:
    tick = check.market.tick_size
    for price in check.order.prices:
        if price % tick or price <= 0:
            return {"price": price, "limit": tick}
    return None


TICK_SIZE = Rule(
    name="tick_size",
    key="instruments.<symbol>.tick_size",
    description="a price that is not on the tick, or not above 0",
    find_breach=_find_breach,
    scope="every",
    cure="instrument.next_bid_price(x) rounds down to the tick, next_ask_price(x) up",
)
