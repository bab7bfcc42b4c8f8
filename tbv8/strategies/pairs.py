"""Two symbols on one account: buy one and sell the other, for the same amount of money."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.indicators import BollingerBands
from nautilus_trader.model import Bar, BarType, InstrumentId
from nautilus_trader.trading import Strategy

from tbv8.strategies.base import sided, whole_lots


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """Parameters; tbv8 sets the first three (in the order of `symbols`), the YAML the rest."""

    instrument_ids: tuple[InstrumentId, ...]
    bar_types: tuple[BarType, ...]
    max_positions: tuple[Decimal, ...]

    ratio_bars: int = 72
    enter: float = 2.0
    leave: float = 0.0

    def __post_init__(self) -> None:
        if len(self.instrument_ids) != 2 or len(self.bar_types) != 2:
            raise ValueError("pairs needs two `symbols` and no further `bars`")
        if self.ratio_bars < 2 or not 0 <= self.leave < self.enter:
            raise ValueError("ratio_bars must be 2 or more, leave at least 0 and below enter")


class Pairs(Strategy):
    """Sell the first symbol and buy the second while the ratio of their prices is high; and back.

    The score of the ratio is its distance from its mean over `ratio_bars`, in standard deviations.
    Positions are opened beyond `enter`, and closed within `leave` of the mean.
    """

    config: PairsConfig

    def __init__(self, config: PairsConfig) -> None:
        super().__init__(config)
        self.bands = BollingerBands(config.ratio_bars, 1.0)
        self.second: Bar | None = None

    def on_start(self) -> None:
        """Subscribe to the bars of both symbols."""
        for bar_type in self.config.bar_types:
            self.subscribe_bars(bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Decide at a close of both symbols; the first symbol's bar arrives last."""
        if bar.bar_type != self.config.bar_types[0]:
            self.second = bar
        elif self.second is not None and self.second.ts_event == bar.ts_event:
            self.decide(bar.close.as_decimal(), self.second.close.as_decimal())

    def decide(self, *prices: Decimal) -> None:
        """Trade both legs at this close, or neither."""
        ratio = float(prices[0] / prices[1])
        self.bands.update_raw(ratio)
        if not self.bands.initialized or not self.bands.stddev:
            return
        score = (ratio - self.bands.middle) / self.bands.stddev
        positions = [self.portfolio.net_position(leg) for leg in self.config.instrument_ids]
        if any(positions):
            side = 1 if positions[0] > 0 else -1
            alone = not all(positions)  # the order of the other leg was denied
            if alone or score * side >= -self.config.leave:
                self.trade(*(-position for position in positions))
        elif abs(score) > self.config.enter:
            side = 1 if score < 0 else -1
            money = min(m * p for m, p in zip(self.config.max_positions, prices, strict=True))
            self.trade(side * money / prices[0], -side * money / prices[1])

    def trade(self, *changes: Decimal) -> None:
        """Send a market order for each leg, rounded down to whole lots."""
        for instrument_id, change in zip(self.config.instrument_ids, changes, strict=True):
            instrument = self.cache.instrument(instrument_id)
            if size := whole_lots(change, instrument):
                self.submit_order(self.order_factory.market(*sided(size, instrument)))
