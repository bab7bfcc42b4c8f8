"""A venue takes no orders below a value."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule


def _find_breach(check: OrderCheck) -> Numbers | None:
    order = check.order
    price = order.prices[0] if order.prices else check.prices.get(order.symbol)
    if price is None:
        return None
    value = abs(order.change) * price
    least = check.market.min_notional_usd
    return {"value_usd": value, "limit_usd": least} if value < least else None


MIN_NOTIONAL = Rule(
    name="min_notional_usd",
    key="instruments.<symbol>.min_notional_usd",
    words="worth less than the venue takes",
    find_breach=_find_breach,
)
