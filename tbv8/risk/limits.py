"""The limits of a strategy at a venue."""

from __future__ import annotations

from decimal import Decimal

import msgspec


class MarketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one symbol: steps of price and size, smallest order, largest position.

    `max_leverage` is the instrument's own; it decides the maintenance margin.
    """

    tick_size: Decimal
    lot_size: Decimal
    min_notional_usd: Decimal
    max_position: Decimal
    max_leverage: Decimal


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the account, and of each symbol."""

    max_daily_loss_usd: Decimal
    max_leverage: Decimal
    markets: dict[str, MarketLimits]

    @property
    def leverage(self) -> Decimal:
        """The highest gross position as a multiple of equity: the lowest of all that limit it."""
        return min(self.max_leverage, *(m.max_leverage for m in self.markets.values()))
