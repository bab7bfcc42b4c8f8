"""The source of NautilusTrader's fill and fee models: price, size and fee of each fill."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from nautilus_trader.model import OrderType

from tbv8.trading.orders import Orders
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.terms import id_of


class FillSource:
    """The fills of one run, by its plans; prices and sizes are integers of the symbol's units.

    Attributes:
        maker: True if the last returned fill is a maker's.
        path_price: The market's price at the last returned fill inside of a step.
    """

    def __init__(self, orders: Orders) -> None:
        self.orders, self.markets = orders, orders.markets
        self.maker, self.path_price = False, 0

    def fill(self, order: Any) -> tuple[int, int] | None:
        """Return price and size of an order's fill at this moment; None if it does not fill."""
        market = self.markets[order.instrument_id]
        if self.orders.walking is None:
            self.maker = False
            return self._at_close(order, market)
        name = id_of(order)
        planned = market.take_fill(name) if name in market.working else None
        if planned is None:
            return None
        self.maker, self.path_price = planned.maker, planned.path_price
        return planned.price, planned.size

    def _at_close(self, order: Any, market: SimulatedMarket) -> tuple[int, int] | None:
        units, resting = market.units, market.working.get(id_of(order))
        forced = self.orders.forced.get(id_of(order))
        if forced is not None and forced.price is not None:
            return forced.price, units.from_size(order.leaves_qty)
        assert market.last is not None  # orders are refused before the first close
        if resting is None:
            if order.order_type != OrderType.MARKET:
                return None  # it has ended, but the engine has not processed its end yet
            price = units.taker_price(market.last, buy=order.is_buy)
            return price, units.from_size(order.leaves_qty)
        if not resting.at_close:
            return None  # the close touched its price, which is not enough for a resting order
        if resting.kind == "stop":
            price = units.taker_price(market.last, buy=order.is_buy)
        else:
            limit, worse = units.from_price(order.price), min if order.is_buy else max
            taken = units.taker_price(market.last, buy=order.is_buy, slipped=False)
            price = worse(taken, limit)
        size = resting.could_fill(market.position)
        return (price, size) if size else None

    def fee(self, order: Any, quantity: Any, price: Any) -> Decimal:
        """Return the fee of the last returned fill, in USD."""
        units = self.markets[order.instrument_id].units
        return units.to_money(
            units.fee(units.from_price(price), units.from_size(quantity), maker=self.maker)
        )
