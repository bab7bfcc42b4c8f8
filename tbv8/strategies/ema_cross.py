"""The strategy that ships with tbv8, and the pattern for your own.

A strategy is two classes in one module under `tbv8/strategies/`: `EmaCross`, and `EmaCrossConfig`
for its params. tbv8 fills the config's first three fields; the others are the `params` of the
strategy's YAML file. A ValueError in `__post_init__` refuses them before any data is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.indicators import ExponentialMovingAverage
from nautilus_trader.model import Bar, BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class EmaCrossConfig:
    """Parameters; tbv8 sets the first three, the YAML the rest.

    `max_position` is the risk limit in base units; `trade_size` trades less than that.
    """

    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal

    fast: int = 20
    slow: int = 50
    trade_size: Decimal | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fast < self.slow:
            raise ValueError(
                f"fast must be above 0 and below slow, got fast={self.fast} and slow={self.slow}"
            )
        if self.trade_size is not None and not 0 < self.trade_size <= self.max_position:
            raise ValueError(
                f"trade_size must be above 0 and at most the max_position {self.max_position}, "
                f"got {self.trade_size}"
            )


class EmaCross(Strategy):
    """Long while the fast average of closes is above the slow one, short while it is below.

    Orders are market orders at the close of the bar on which the averages crossed; the first bar
    on which both are warm counts as a cross. Where they are equal the position stays.
    """

    config: EmaCrossConfig

    def __init__(self, config: EmaCrossConfig) -> None:
        super().__init__(config)
        self.fast = ExponentialMovingAverage(config.fast)
        self.slow = ExponentialMovingAverage(config.slow)
        self.chart_lines = {"fast": self.fast, "slow": self.slow}
        self.long: bool | None = None

    def on_start(self) -> None:
        """Round the size down to whole lots, and subscribe to the bars."""
        instrument = self.cache.instrument(self.config.instrument_id)
        assert instrument is not None  # tbv8 adds it before the run
        lot = instrument.size_increment.as_decimal()
        size = self.config.trade_size or self.config.max_position
        self.size = size // lot * lot
        self.size_precision = instrument.size_precision
        if not self.size:
            raise ValueError(f"a size of {size} is less than one lot, {lot}")
        self.register_indicator_for_bars(self.config.bar_type, self.fast)
        self.register_indicator_for_bars(self.config.bar_type, self.slow)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Reverse the position when the averages have crossed; both include this bar."""
        if not self.slow.initialized or self.fast.value == self.slow.value:
            return
        long = self.fast.value > self.slow.value
        if long == self.long:
            return
        self.long = long
        self.trade_to(self.size if long else -self.size)

    def trade_to(self, position: Decimal) -> None:
        """Send a single order from the present position to `position`."""
        change = position - self.portfolio.net_position(self.config.instrument_id)
        if change:
            order = self.order_factory.market(
                self.config.instrument_id,
                OrderSide.BUY if change > 0 else OrderSide.SELL,
                Quantity.from_decimal_dp(abs(change), self.size_precision),
            )
            self.submit_order(order)
