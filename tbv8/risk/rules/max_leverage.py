"""All positions together are limited to a multiple of the equity."""

from __future__ import annotations

from decimal import Decimal

from tbv8.risk.rule import Numbers, OrderCheck, Rule


def _find_breach(check: OrderCheck) -> Numbers | None:
    limit, price = check.limits.leverage, check.prices.get(check.order.symbol)
    if price is None:
        return check.sizes() | {"limit": limit}
    gross = sum(
        (abs(worst) * check.prices[symbol] for symbol, worst in check.worst.items() if worst),
        Decimal(0),
    )
    if check.equity > 0 and gross <= limit * check.equity:
        return None
    numbers = {"price": price, "equity_usd": check.equity, "limit": limit}
    if len(check.worst) > 1:
        numbers["gross_usd"] = gross
    return check.sizes() | numbers


MAX_LEVERAGE = Rule(
    name="max_leverage",
    key="risk.max_leverage",
    words="more leverage than allowed, or no price yet",
    find_breach=_find_breach,
)
