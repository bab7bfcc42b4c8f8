"""Funding and maintenance margin: amounts, and the times at which funding is due."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from tbv8.market import DAY_MS, HOUR_MS
from tbv8.risk.events import EXACT

_SMALLEST = Decimal("1e-8")
_RATE_HOURS = 8


def funding(position: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """Return one funding payment, to 10^-8 USD: longs pay a positive rate.

    Args:
        position: The position at that time.
        price: The price then.
        rate: The rate of the payment, as a fraction of the notional.
    """
    with localcontext(EXACT):
        paid = position * price * rate
        return paid.quantize(_SMALLEST, rounding=ROUND_HALF_EVEN)


def fixed_rate(rate_8h: Decimal, hours: int) -> Decimal:
    """Return the rate of a payment every `hours` hours, from a rate per eight hours."""
    return EXACT.divide(EXACT.multiply(rate_8h, Decimal(hours)), Decimal(_RATE_HOURS))


def next_funding(ts_ms: int, hours: int) -> int:
    """Return the first funding time after `ts_ms`, counted from 00:00 UTC."""
    step = hours * HOUR_MS
    return (ts_ms // step + 1) * step


def next_midnight(ts_ms: int) -> int:
    """Return the first 00:00 UTC after `ts_ms`."""
    return (ts_ms // DAY_MS + 1) * DAY_MS
