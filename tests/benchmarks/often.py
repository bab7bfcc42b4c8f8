"""A strategy that sends many orders, for bench_orders."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import Bar, BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class OftenConfig:
    """What it is given; `each` are the bars of which every one has an order, else every 20th."""

    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    each: list[list[int]]


class Often(Strategy):
    """Buy and sell in turns."""

    config: OftenConfig

    def on_start(self) -> None:
        """Ask for the bars."""
        self.seen = self.sent = 0
        self.each = frozenset(at for first, end in self.config.each for at in range(first, end))
        self.size = Quantity.from_decimal_dp(self.config.max_position, 5)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, _bar: Bar) -> None:
        """Send a market order, if it is time for that."""
        self.seen += 1
        if self.seen % 20 and self.seen not in self.each:
            return
        self.sent += 1
        side = OrderSide.BUY if self.sent % 2 else OrderSide.SELL
        self.submit_order(self.order_factory.market(self.config.instrument_id, side, self.size))
