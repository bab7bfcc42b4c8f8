"""All positions together are limited to a multiple of the equity."""

from __future__ import annotations

from decimal import Decimal

from tbv8.risk.rule import Numbers, Request, Rule


def _broken(request: Request) -> Numbers | None:
    limit, own = request.limits.leverage, request.prices.get(request.order.symbol)
    if own is None:
        return request.sizes() | {"limit": limit}
    gross = sum(
        (abs(worst) * request.prices[symbol] for symbol, worst in request.worst.items() if worst),
        Decimal(0),
    )
    if request.equity > 0 and gross <= limit * request.equity:
        return None
    numbers = {"price": own, "equity_usd": request.equity, "limit": limit}
    if len(request.worst) > 1:
        numbers["gross_usd"] = gross
    return request.sizes() | numbers


MAX_LEVERAGE = Rule(
    name="max_leverage",
    key="risk.max_leverage",
    words="more than the equity carries, or before there is a price",
    broken=_broken,
)
