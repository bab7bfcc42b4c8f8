"""Mean reversion with limit orders that move with the market at every close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.indicators import BollingerBands
from nautilus_trader.model import Bar, BarType, ClientOrderId, InstrumentId

from tbv8.strategies.base import OneMarket


@dataclass(frozen=True, kw_only=True)
class ReversionConfig:
    """Parameters of the bands; tbv8 sets the first three, the YAML the rest."""

    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal

    bars: int = 24
    deviations: float = 2.0

    def __post_init__(self) -> None:
        if self.bars < 2 or self.deviations <= 0:
            raise ValueError("bars must be 2 or more, and deviations above 0")


class Reversion(OneMarket):
    """Buy at the lower Bollinger band, sell at the upper one, leave at the mean between them.

    At most one order rests on each side, and is moved at every close: a cancelled order counts
    against `max_position` until the venue confirms it, beside the one sent in its place. There is
    no stop but the daily loss limit of the YAML.
    """

    config: ReversionConfig

    def __init__(self, config: ReversionConfig) -> None:
        super().__init__(config)
        self.bands = BollingerBands(config.bars, config.deviations)
        self.chart_lines = {name: self.band(name) for name in ("lower", "middle", "upper")}
        self.resting: dict[str, ClientOrderId] = {}

    def on_bar(self, bar: Bar) -> None:
        """Move the orders to the bands: both sides while flat, else the exit."""
        self.bands.handle_bar(bar)
        if not self.bands.initialized:
            return
        position = self.position
        if position <= 0:
            self.quote("buy", self.bands.middle if position else self.bands.lower)
        if position >= 0:
            self.quote("sell", self.bands.middle if position else self.bands.upper)

    def band(self, name: str) -> Callable[[], float | None]:
        """Return a line of the price chart: a band, once there is one."""
        return lambda: getattr(self.bands, name) if self.bands.initialized else None

    def quote(self, side: str, value: float) -> None:
        """Move the resting order of a side, or send a new one."""
        price = self.price(value, up=side == "sell")
        resting = self.resting.get(side)
        order = self.cache.order(resting) if resting else None
        if resting is None or order is None or order.is_closed:
            self.resting[side] = self.limit(self.size if side == "buy" else -self.size, price)
        elif order.price != price:
            self.modify_order(resting, price=price)
