"""Prices of the primary's orders at the secondary, by that venue's recorded quotes.

A market order, and a stop that went off, take the other side of the book as it was when the fill
was written down: what its top level does not hold is one tick worse, as NautilusTrader has it. A
limit order fills at its price if the quotes of its step traded through it; else it is taken to have
crossed the spread. Without quotes (a gap of the recorder, an empty side) there is no price.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

import msgspec

from tbv8.market import Bbo
from tbv8.risk.events import EXACT
from tbv8.trading.records import Fill

_CENTS = Decimal("0.00000001")


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of the primary, and what it would have been at the secondary.

    Attributes:
        order_id: The primary's.
        ts_ms: The session's time of the fill.
        quoted_ms: The time of the quote at the secondary; None without one.
        symbol: Which.
        side: Of the order.
        type: Of the order.
        quantity: In base units.
        price: At the primary.
        quoted: At the secondary; None without a quote.
        cost_usd: How much more it costs there, fees not counted; below 0 it is less.
        why: Why there is no price, or what it is by.
    """

    order_id: str
    ts_ms: int
    quoted_ms: int | None
    symbol: str
    side: str
    type: str
    quantity: Decimal
    price: Decimal
    quoted: Decimal | None
    cost_usd: Decimal | None
    why: str


def price_fill(fill: Fill, quotes: Sequence[Bbo], tick: Decimal, *, is_gap: bool) -> Priced:
    """Return a fill with its price at the secondary.

    Args:
        fill: The primary's.
        quotes: The secondary's from the last one before the fill's step up to the moment at which
            the fill was written down.
        tick: The step of the secondary's prices.
        is_gap: Whether the recorder missed quotes at that moment.
    """
    if is_gap or not quotes:
        return _priced(fill, None, None, "no quotes were recorded")
    buy, last = fill.side == "buy", quotes[-1]
    if fill.liquidity == "maker" and any(_trades_through(fill.price, q, buy=buy) for q in quotes):
        return _priced(fill, last.ts_ms, fill.price, "its limit")
    price, size = (last.ask_price, last.ask_size) if buy else (last.bid_price, last.bid_size)
    if price is None or size is None:
        return _priced(fill, last.ts_ms, None, "nobody offered the other side")
    with localcontext(EXACT):
        touch, held = Decimal(repr(price)), Decimal(repr(size))
        beyond = max(Decimal(0), fill.quantity - held)
        worse = touch + tick if buy else touch - tick
        quoted = (touch * (fill.quantity - beyond) + worse * beyond) / fill.quantity
        why = "the top of the book" if not beyond else "the top of the book and a tick beyond"
        if fill.liquidity == "maker":
            why = f"{why}, its limit was not reached"
        return _priced(fill, last.ts_ms, quoted.quantize(_CENTS), why)


def _trades_through(limit: Decimal, quote: Bbo, *, buy: bool) -> bool:
    price = quote.ask_price if buy else quote.bid_price
    return price is not None and (price <= limit if buy else price >= limit)


def _priced(fill: Fill, quoted_ms: int | None, quoted: Decimal | None, why: str) -> Priced:
    cost = None
    if quoted is not None:
        with localcontext(EXACT):
            apart = quoted - fill.price if fill.side == "buy" else fill.price - quoted
            cost = (apart * fill.quantity).quantize(_CENTS)
    return Priced(
        order_id=fill.order_id,
        ts_ms=fill.ts_ms,
        quoted_ms=quoted_ms,
        symbol=fill.symbol,
        side=fill.side,
        type=fill.type,
        quantity=fill.quantity,
        price=fill.price,
        quoted=quoted,
        cost_usd=cost,
        why=why,
    )
