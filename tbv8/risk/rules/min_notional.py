"""The smallest value of an order at a venue."""

from __future__ import annotations

from collections.abc import Sequence

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


def _find_breach(check: OrderCheck) -> Numbers | None:
    order = check.order
    price = order.prices[0] if order.prices else check.prices.get(order.symbol)
    if price is None:
        return None
    value = abs(order.change) * price
    least = check.market.min_notional_usd
    return {"value_usd": value, "limit_usd": least} if value < least else None


def _explain(breaches: Sequence[Numbers]) -> str:
    """Return the value of the smallest order, and the limit."""
    least = min(breaches, key=lambda numbers: numbers["value_usd"])
    return f"from {least['value_usd']:,.2f} USD, the limit is {number_text(least['limit_usd'])} USD"


def _cause(numbers: Numbers) -> str:
    value, least = numbers["value_usd"], number_text(numbers["limit_usd"])
    return f"worth {value:,.2f} USD, the venue takes orders from {least} USD on"


MIN_NOTIONAL = Rule(
    name="min_notional_usd",
    key="instruments.<symbol>.min_notional_usd",
    description="worth less than the venue takes",
    find_breach=_find_breach,
    explain=_explain,
    cause=_cause,
)
