"""Two timeframes: the hours say in which direction, the strategy's own bars say when."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.indicators import ExponentialMovingAverage, RelativeStrengthIndex
from nautilus_trader.model import Bar, BarType, InstrumentId

from tbv8.strategies.base import OneMarket


@dataclass(frozen=True, kw_only=True)
class PullbackConfig:
    """What tbv8 gives (the first three) and what the YAML may set.

    `trend_hours` is the span of the hourly average; the strength index lies between 0 and 100.
    """

    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal

    trend_hours: int = 48
    strength_bars: int = 14
    weak: float = 30

    def __post_init__(self) -> None:
        if min(self.trend_hours, self.strength_bars) < 1 or not 0 < self.weak < 50:
            raise ValueError("trend_hours and strength_bars must be above 0, weak within 0 .. 50")


class Pullback(OneMarket):
    """Buy a weak moment while the hour closed above its average, sell a strong one while below.

    Out when the strength index is beyond its middle again, or the hours have turned. NautilusTrader
    builds the hours out of our bars: one arrives right after the bar that ends it.
    """

    config: PullbackConfig

    def __init__(self, config: PullbackConfig) -> None:
        super().__init__(config)
        self.average = ExponentialMovingAverage(config.trend_hours)
        self.strength = RelativeStrengthIndex(config.strength_bars)
        self.trend = 0  # 1 up, -1 down, 0 not known yet

    def on_start(self) -> None:
        """Ask for the hours too: INTERNAL are built here, @ says from what."""
        own = self.config.bar_type
        source = f"{own.spec.step}-{own.spec.aggregation.name}-EXTERNAL"
        hours = BarType.from_str(f"{own.instrument_id}-1-HOUR-LAST-INTERNAL@{source}")
        self.register_indicator_for_bars(own, self.strength)
        self.subscribe_bars(hours)
        super().on_start()

    def on_bar(self, bar: Bar) -> None:
        """Follow the hours; enter and leave on our own bars."""
        if bar.bar_type != self.config.bar_type:
            self.average.handle_bar(bar)
            if self.average.initialized:
                self.trend = 1 if bar.close.as_double() > self.average.value else -1
            return
        strength = (self.strength.value - 50) * self.trend  # below 0 is against the trend
        if self.position:
            if strength > 0 or self.position * self.trend < 0:
                self.market(-self.position)
        elif self.trend and self.strength.initialized and strength < self.config.weak - 50:
            self.market(self.size * self.trend)
