"""Two timeframes: the longer one gives the direction, the main one the time of entry."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.indicators import ExponentialMovingAverage, RelativeStrengthIndex
from nautilus_trader.model import Bar, BarType, InstrumentId

from tbv8.strategies.base import OneMarket


@dataclass(frozen=True, kw_only=True)
class PullbackConfig:
    """Parameters; tbv8 sets the first four, the YAML the rest.

    `trend_bars` is the span of the average of the longer bars; the strength index lies between 0
    and 100.
    """

    instrument_id: InstrumentId
    bar_type: BarType
    bar_types: tuple[BarType, ...]
    max_position: Decimal

    trend_bars: int = 48
    strength_bars: int = 14
    weak: float = 30

    def __post_init__(self) -> None:
        if len(self.bar_types) != 2:
            raise ValueError("pullback needs one longer timeframe: write `bars: [1h]`")
        if min(self.trend_bars, self.strength_bars) < 1 or not 0 < self.weak < 50:
            raise ValueError("trend_bars and strength_bars must be above 0, weak within 0 .. 50")


class Pullback(OneMarket):
    """Buy a weak moment while the longer bars close above their average, sell a strong one below.

    Out when the strength index is beyond its middle again, or the trend has turned. Of bars that
    close at the same time the longer one arrives first: the trend is known when ours arrives.
    """

    config: PullbackConfig

    def __init__(self, config: PullbackConfig) -> None:
        super().__init__(config)
        self.average = ExponentialMovingAverage(config.trend_bars)
        self.strength = RelativeStrengthIndex(config.strength_bars)
        self.chart_lines = {"trend": self.average, "strength/RSI": self.strength}
        self.trend = 0  # 1 up, -1 down, 0 not known yet

    def on_start(self) -> None:
        """Subscribe to the bars of both timeframes; the main one is first in `bar_types`."""
        ours, longer = self.config.bar_types
        self.register_indicator_for_bars(ours, self.strength)
        self.subscribe_bars(longer)
        super().on_start()

    def on_bar(self, bar: Bar) -> None:
        """Update the trend on long bars; enter and exit on bars of the main timeframe."""
        if bar.bar_type != self.config.bar_type:
            self.average.handle_bar(bar)
            if self.average.initialized:
                self.trend = 1 if bar.close.as_double() > self.average.value else -1
            return
        strength = (self.strength.value - 50) * self.trend  # below 0 is against the trend
        if self.position:
            if strength > 0 or self.position * self.trend < 0:
                self.market(-self.position, tag="recovered" if strength > 0 else "trend turned")
        elif self.trend and self.strength.initialized and strength < self.config.weak - 50:
            self.market(self.size * self.trend)
