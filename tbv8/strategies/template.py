"""A start for a strategy of one's own: `doit new strategy NAME` copies it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import Bar, BarType, InstrumentId

from tbv8.strategies.base import LastCloses, OneMarket


@dataclass(frozen=True, kw_only=True)
class TemplateConfig:
    """Parameters; tbv8 sets the first three, the YAML's `params` the rest."""

    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal

    lookback: int = 48
    risk_percent: float = 0.1

    def __post_init__(self) -> None:
        # A ValueError here refuses the params before any data is fetched.
        if self.lookback < 2 or not 0 < self.risk_percent < 100:
            raise ValueError("lookback must be 2 or more, and risk_percent within 0 .. 100")


class Template(OneMarket):
    """Buy when a bar closes above all closes of the lookback; leave at a stop or at a target.

    The stop is the lowest of those closes, and the target as far above the entry.
    """

    config: TemplateConfig

    def __init__(self, config: TemplateConfig) -> None:
        super().__init__(config)
        self.closes = LastCloses(config.lookback)

    def on_start(self) -> None:
        """Register the indicators, which get each bar before `on_bar`; subscribe to the bars."""
        self.register_indicator_for_bars(self.config.bar_type, self.closes)
        super().on_start()

    def on_bar(self, bar: Bar) -> None:
        """Decide at the close of a bar; a market order fills at that close."""
        if not self.closes.initialized or self.position or self.open_orders:
            return
        close, before = bar.close.as_double(), self.closes.values[:-1]
        if close <= before.max():
            return
        stop = self.price(before.min(), up=False)
        target = self.price(2 * close - before.min(), up=True)
        size = self.size_by_risk(self.config.risk_percent, entry=close, stop=stop)
        if size:  # at least one lot
            self.bracket(size, stop=stop, target=target)
