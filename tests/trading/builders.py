"""Builders of what the parts of a session are tested with."""

from __future__ import annotations

from tbv8.trading.units import NEVER, Ratio, Units

UNITS = Units(
    price_decimals=1,
    size_decimals=3,
    money_decimals=8,
    tick=5,
    slippage=0,
    maker=Ratio(0, 1),
    taker=Ratio(0, 1),
    maintenance=Ratio(1, 80),
    max_position=NEVER,
)
"""Of `tests.backtest.builders.rules`, without fees: a tick of 0.5, a lot of 0.001."""
