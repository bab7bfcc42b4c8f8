"""The rule that a stop's trigger lies beyond the price when it is sent, as at most venues."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


def _find_breach(check: OrderCheck) -> Numbers | None:
    """Return the numbers; None for a deferred stop that only reduces, which triggers at once."""
    order, trigger = check.order, check.trigger
    price = check.prices.get(order.symbol)
    if trigger is None or price is None:
        return None
    if trigger > price if order.change > 0 else trigger < price:
        return None
    reduces = check.expected * order.change < 0
    is_small = order.reduce_only or abs(order.change) <= abs(check.expected)
    if check.terms and check.terms.was_deferred and reduces and is_small:
        return None
    return {"trigger": trigger, "price": price}


def _cause(numbers: Numbers) -> str:
    price, trigger = number_text(numbers["price"]), number_text(numbers["trigger"])
    return f"the last close {price} has reached the trigger {trigger}"


STOP_IN_MARKET = Rule(
    name="stop_in_market",
    description="a stop whose trigger the close has reached",
    find_breach=_find_breach,
    cause=_cause,
    scope="beginning",
    cure="place triggers above the close to buy, below it to sell",
)
