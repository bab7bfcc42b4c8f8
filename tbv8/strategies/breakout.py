"""A breakout with a trailing stop, which moves after the entry and never back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nautilus_trader.indicators import AverageTrueRange, DonchianChannel
from nautilus_trader.model import Bar, BarType, InstrumentId

from tbv8.strategies.base import OneMarket


@dataclass(frozen=True, kw_only=True)
class BreakoutConfig:
    """Parameters in bars and average ranges; tbv8 sets the first three, the YAML the rest."""

    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal

    channel_bars: int = 48
    range_bars: int = 24
    stop_ranges: float = 3.0

    def __post_init__(self) -> None:
        if min(self.channel_bars, self.range_bars) < 1 or self.stop_ranges <= 0:
            raise ValueError("channel_bars, range_bars and stop_ranges must be above 0")


class Breakout(OneMarket):
    """Long when a bar closes above the highest high of the bars before it, short below the lowest.

    The only way out is the stop, `stop_ranges` average true ranges behind the best close so far.
    """

    config: BreakoutConfig

    def __init__(self, config: BreakoutConfig) -> None:
        super().__init__(config)
        self.channel = DonchianChannel(config.channel_bars)
        self.range = AverageTrueRange(config.range_bars)
        self.chart_lines = {
            "upper": lambda: self.channel.upper if self.channel.initialized else None,
            "lower": lambda: self.channel.lower if self.channel.initialized else None,
        }

    def on_bar(self, bar: Bar) -> None:
        """Trail the stop while there is a position, else look for a breakout."""
        upper, lower = self.channel.upper, self.channel.lower  # of the bars before this one
        ready = self.channel.initialized and self.range.initialized
        self.channel.handle_bar(bar)
        self.range.handle_bar(bar)
        self.close = bar.close.as_double()
        if self.position:
            self.trail()
        elif ready and self.close > upper:
            self.market(self.size)
        elif ready and self.close < lower:
            self.market(-self.size)

    def on_position_opened(self, _event: Any) -> None:
        """Protect the position as soon as there is one."""
        self.trail()

    def trail(self) -> None:
        """Keep the stop behind the best close."""
        self.trail_stop(self.close, distance=self.config.stop_ranges * self.range.value)
