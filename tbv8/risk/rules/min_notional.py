"""A venue takes no orders below a value."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, Request, Rule


def _broken(request: Request) -> Numbers | None:
    order = request.order
    price = order.prices[0] if order.prices else request.prices.get(order.symbol)
    if price is None:
        return None
    value = abs(order.change) * price
    least = request.market.min_notional_usd
    return {"value_usd": value, "limit_usd": least} if value < least else None


MIN_NOTIONAL = Rule(
    name="min_notional_usd",
    key="instruments.<symbol>.min_notional_usd",
    words="worth less than the venue takes",
    broken=_broken,
)
