"""The limit of all positions together, as a multiple of the equity."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


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


def _up(leverage: Decimal) -> Decimal:
    """Return a leverage with four places, rounded up: one beyond its limit never looks equal."""
    return leverage.quantize(Decimal("0.0001"), ROUND_UP)


def _leverage(numbers: Numbers) -> Decimal:
    gross = numbers.get("gross_usd", abs(numbers["worst"]) * numbers["price"])
    return gross / numbers["equity_usd"]


def _cause(numbers: Numbers) -> str:
    """Return the leverage and its limit, or what is missing for a position."""
    if "price" not in numbers:
        return "there is no price before the symbol's first bar"
    equity, limit = numbers["equity_usd"], number_text(numbers["limit"])
    if equity <= 0:
        return f"no equity is left ({equity:,.2f} USD)"
    leverage = number_text(_up(_leverage(numbers)))
    return f"{leverage} times the equity of {equity:,.2f} USD, the limit is {limit}"


def _explain(breaches: Sequence[Numbers]) -> str:
    """Return the highest leverage and the limit."""
    priced = [numbers for numbers in breaches if "price" in numbers]
    if not priced:
        return "a symbol had no price yet: wait for its first bar"
    leverages = [_leverage(numbers) for numbers in priced if numbers["equity_usd"] > 0]
    limit = number_text(priced[0]["limit"])
    if not leverages:
        return f"no equity was left, the limit is {limit} times the equity"
    return f"up to {number_text(_up(max(leverages)))} times the equity, the limit is {limit}"


MAX_LEVERAGE = Rule(
    name="max_leverage",
    key="risk.max_leverage",
    description="more leverage than allowed, or no price yet",
    find_breach=_find_breach,
    explain=_explain,
    cause=_cause,
)
