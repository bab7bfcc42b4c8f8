"""Prices of the primary's orders at the secondary, by that venue's recorded quotes.

A market order, and a triggered stop, take the other side of the book at the time when the fill was
written. The quantity beyond the top level is one tick worse, as in NautilusTrader. A limit order
fills at its price if the quotes of its step traded through it; otherwise it is priced as if it had
crossed the spread. Without quotes (a gap of the recorder, an empty side) there is no price.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

import msgspec

from tbv8.market import Bbo
from tbv8.risk.events import EXACT
from tbv8.trading.records import Fill

_SMALLEST = Decimal("0.00000001")


class PricedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A fill or a reached limit order of the primary, and its price at the secondary.

    Attributes:
        order_id: The primary's order.
        ts_ms: The session's time of the fill.
        quoted_ms: The time of the quote at the secondary; None without one.
        symbol: The symbol.
        side: The side of the order.
        type: The type of the order.
        quantity: The quantity in base units.
        price: The price at the primary.
        quoted: The price at the secondary; None without a quote.
        cost_usd: The extra cost there without fees; below 0 if it is cheaper there.
        why: The basis of the price, or the reason why there is none.
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


def price_fill(fill: Fill, quotes: Sequence[Bbo], tick: Decimal, *, is_gap: bool) -> PricedOrder:
    """Return a fill with its price at the secondary.

    Args:
        fill: The primary's fill.
        quotes: The secondary's quotes, from the last one before the fill's step to the time when
            the fill was written.
        tick: The tick of the secondary's prices.
        is_gap: True if the recorder missed quotes at that time.
    """
    if is_gap or not quotes:
        return _priced(fill, None, None, "no quotes were recorded")
    buy, last = fill.side == "buy", quotes[-1]
    if fill.liquidity == "maker" and any(_trades_through(fill.price, q, buy=buy) for q in quotes):
        return _priced(fill, last.ts_ms, fill.price, "its limit")
    price, size = (last.ask_price, last.ask_size) if buy else (last.bid_price, last.bid_size)
    if price is None or size is None:
        return _priced(fill, last.ts_ms, None, "the other side of the book was empty")
    with localcontext(EXACT):
        touch, offered = Decimal(repr(price)), Decimal(repr(size))
        beyond = max(Decimal(0), fill.quantity - offered)
        worse = touch + tick if buy else touch - tick
        quoted = (touch * (fill.quantity - beyond) + worse * beyond) / fill.quantity
        why = "the top of the book" if not beyond else "the top of the book and a tick beyond"
        if fill.liquidity == "maker":
            why = f"{why}, its limit was not reached"
        return _priced(fill, last.ts_ms, quoted.quantize(_SMALLEST), why)


def _trades_through(limit: Decimal, quote: Bbo, *, buy: bool) -> bool:
    price = quote.ask_price if buy else quote.bid_price
    return price is not None and (price <= limit if buy else price >= limit)


def _priced(fill: Fill, quoted_ms: int | None, quoted: Decimal | None, why: str) -> PricedOrder:
    cost = None
    if quoted is not None:
        with localcontext(EXACT):
            difference = quoted - fill.price if fill.side == "buy" else fill.price - quoted
            cost = (difference * fill.quantity).quantize(_SMALLEST)
    return PricedOrder(
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
