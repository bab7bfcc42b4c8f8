"""The examples' base: one market, a size in whole lots, prices on the tick, signed orders.

A change of position is in base units, below 0 to sell, as `position` is below 0 when short.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from nautilus_trader.model import OrderSide, Price, Quantity
from nautilus_trader.trading import Strategy


class OneMarket(Strategy):
    """A strategy of one instrument that trades all of its `max_position`."""

    config: Any

    def on_start(self) -> None:
        """Round the size down to whole lots, and ask for the bars."""
        instrument = self.cache.instrument(self.config.instrument_id)
        assert instrument is not None  # tbv8 adds it before the run
        self.instrument = instrument
        lot = self.instrument.size_increment.as_decimal()
        self.size = self.config.max_position // lot * lot
        if not self.size:
            raise ValueError(f"max_position {self.config.max_position} is less than a lot, {lot}")
        self.subscribe_bars(self.config.bar_type)

    @property
    def position(self) -> Decimal:
        """The net position now."""
        return self.portfolio.net_position(self.config.instrument_id)

    def market(self, change: Decimal) -> None:
        """Send a market order."""
        self.submit_order(self.order_factory.market(*self._order(change)))

    def limit(self, change: Decimal, price: Price) -> Any:
        """Send a limit order; return its id."""
        order = self.order_factory.limit(*self._order(change), price)
        self.submit_order(order)
        return order.client_order_id

    def stop_loss(self, change: Decimal, trigger: Price) -> Any:
        """Send a stop order that can only reduce; return its id."""
        order = self.order_factory.stop_market(*self._order(change), trigger, reduce_only=True)
        self.submit_order(order)
        return order.client_order_id

    def price(self, value: float, *, up: bool) -> Price:
        """Return the next price on the tick, up or down; `make_price` only rounds to decimals."""
        instrument = self.instrument
        price: Price = instrument.next_ask_price(value) if up else instrument.next_bid_price(value)
        return price

    def _order(self, change: Decimal) -> tuple[Any, OrderSide, Quantity]:
        side = OrderSide.BUY if change > 0 else OrderSide.SELL
        quantity = Quantity.from_decimal_dp(abs(change), self.instrument.size_precision)
        return self.config.instrument_id, side, quantity
