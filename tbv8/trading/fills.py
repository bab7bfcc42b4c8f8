"""At what price the simulated venue fills an order: one rule a kind of order, nothing random.

The engine's own rules have three faults for bars of another venue, each tried: a price that is not
on the tick is dropped with a warning and the order stays open; an order larger than a quarter of
the bar's volume slips by one tick on the rest; its slippage is one tick at most.

So here an order is filled whole, at a price that the venue could print:

- market: the close of the bar just seen, to the next tick against us (the far side of a book one
  tick wide), `slippage_ticks` worse;
- stop: the trigger, or the bar's open where the market opened beyond it, rounded
  and slipped as a market order;
- limit that crosses at once: the close to the next tick against us, at most its limit;
- limit that rests: its limit, once a later bar traded through it (a touch is not enough);
- stop-limit: its limit, once the trigger was reached and the market is at the limit or better;
- what the guard closes by force after a liquidation: at the price that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nautilus_trader.execution import FillModel
from nautilus_trader.model import (
    BookOrder,
    BookType,
    CryptoPerpetual,
    LiquiditySide,
    OrderBook,
    OrderSide,
    OrderType,
    Price,
)

from tbv8.trading.nautilus import ENGINE_DECIMALS, Ints

_LIMITED = (OrderType.LIMIT, OrderType.STOP_LIMIT)


def taker_price(price: int, *, buy: bool, tick: int, slippage_ticks: int) -> int:
    """Return what a taker pays where the market is at `price`; all in one integer unit.

    At least one tick: a price never falls to 0.
    """
    if buy:
        return -(-price // tick) * tick + slippage_ticks * tick
    return max(price // tick * tick - slippage_ticks * tick, tick)


class BarFills(FillModel):
    """Answers the engine's question which book an order meets: one level, as large as the order.

    `opens` are the bars' opens in integers of the instrument's last decimal, `closes_ns` their
    closes; `clock_ns` is the engine's clock, known once the strategy is registered. `forced` are
    the prices that hold for single orders, by their id. The guard says whether a bar is under way,
    and which limits may not be filled in it yet.
    """

    def __init__(
        self, instrument: CryptoPerpetual, *, slippage_ticks: int, opens: Ints, closes_ns: Ints
    ) -> None:
        self.instrument = instrument
        self.slippage_ticks = slippage_ticks
        self.opens = opens
        self.closes_ns = closes_ns
        self.clock_ns: Callable[[], int] | None = None
        self.forced: dict[str, int] = {}
        self.inside_bar: Callable[[], bool] = bool
        self.is_too_early: Callable[[Any], bool] = bool

    def is_slipped(self) -> bool:
        """Say no: the slippage is in the book's price."""
        return False

    def is_limit_filled(self) -> bool:
        """Say whether a touch fills a resting limit order."""
        return False

    def fill_limit_inside_spread(self) -> bool:
        """Say whether a limit order fills before the market reaches it."""
        return False

    def get_orderbook_for_fill_simulation(
        self,
        _instrument: Any,
        order: Any,
        best_bid: Price | None = None,
        best_ask: Price | None = None,
    ) -> OrderBook | None:
        """Return the book for this one order, empty where it may not be filled yet.

        None (no market yet) leaves it to the engine.
        """
        buy = order.side == OrderSide.BUY
        touch = best_ask if buy else best_bid
        if touch is None:
            return None
        book = OrderBook(self.instrument.id, BookType.L2_MBP)
        if order.order_type in _LIMITED and self.is_too_early(order):
            return book
        raw = self._price(order, touch.raw, buy=buy)
        price = Price.from_raw(raw, self.instrument.price_precision)
        far_side = OrderSide.SELL if buy else OrderSide.BUY
        book.add(BookOrder(far_side, price, order.leaves_qty, 1), 0, 0, 0)
        return book

    def _price(self, order: Any, touch: int, *, buy: bool) -> int:
        tick = self.instrument.price_increment.raw
        if self.forced and order.client_order_id.value in self.forced:
            return self.forced[order.client_order_id.value]
        if order.order_type == OrderType.STOP_LIMIT:
            limit: int = order.price.raw
            return limit
        if order.order_type == OrderType.LIMIT:
            limit = order.price.raw
            if order.liquidity_side == LiquiditySide.MAKER or self.inside_bar():
                return limit
            taken = taker_price(touch, buy=buy, tick=tick, slippage_ticks=0)
            return min(taken, limit) if buy else max(taken, limit)
        if order.order_type == OrderType.STOP_MARKET and touch != self._open():
            touch = order.trigger_price.raw
        return taker_price(touch, buy=buy, tick=tick, slippage_ticks=self.slippage_ticks)

    def _open(self) -> int:
        """Return the open of the bar that the engine walks through now."""
        assert self.clock_ns is not None
        index = int(np.searchsorted(self.closes_ns, self.clock_ns()))
        last_decimal: int = 10 ** (ENGINE_DECIMALS - self.instrument.price_precision)
        return int(self.opens[min(index, len(self.opens) - 1)]) * last_decimal
