"""Checks of values that occur in several files: amounts and timeframes."""

from __future__ import annotations

from decimal import Decimal

from tbv8.config.document import Document, Key
from tbv8.market import Timeframe, parse_timeframe

_AMOUNT_LIMIT = Decimal(10) ** 12  # NautilusTrader's own is 1.7e13
_DECIMALS = 16  # NautilusTrader keeps no more


def check_amount(document: Document, key: Key, value: Decimal) -> None:
    """Refuse an amount that is not above 0, too large, or with too many decimals."""
    if not (value.is_finite() and value > 0):
        document.refuse(key, f"expected a number above 0, got {value}")
    if value >= _AMOUNT_LIMIT:
        document.refuse(key, f"expected a number below {_AMOUNT_LIMIT}, got {value}")
    check_decimals(document, key, value)


def check_decimals(document: Document, key: Key, value: Decimal) -> None:
    """Refuse more decimals than NautilusTrader keeps."""
    if value != round(value, _DECIMALS):
        document.refuse(key, f"expected at most {_DECIMALS} decimals, got {value}")


def to_timeframe(document: Document, key: Key, text: str) -> Timeframe:
    """Return the timeframe of a text; refuse any other text."""
    try:
        return parse_timeframe(text)
    except ValueError as e:
        document.refuse(key, str(e))
