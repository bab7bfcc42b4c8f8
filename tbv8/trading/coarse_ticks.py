"""Ticks that are coarse against the price, mostly by a mistake in their unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from tbv8.config import records
from tbv8.config.document import line_of, plain
from tbv8.errors import ConfigError
from tbv8.trading.bars import Bars

_COARSE = 0.001  # of the price


class CoarseTick(msgspec.Struct, frozen=True, kw_only=True):
    """A tick of more than 0.1 % of its symbol's price; `share` is that fraction."""

    venue: str
    symbol: str
    tick: Decimal
    price: float

    @property
    def share(self) -> float:
        """The tick as a fraction of the price."""
        return float(self.tick) / self.price

    @property
    def text(self) -> str:
        """The tick, the price and the effect, for the user."""
        share = f"{self.share:.2g} times" if self.share > 1 else f"{self.share:.2%} of"
        effect = "no price is on it" if self.share > 1 else "rounding to it decides the result"
        return f"{plain(self.tick)} is {share} the price of {_price_text(self.price)}: {effect}"


def find_coarse_ticks(
    strategy: records.Strategy, prices: Mapping[str, float]
) -> Iterator[CoarseTick]:
    """Yield each coarse tick of a strategy's venues; `prices` are by symbol, NaN if unknown."""
    for symbol in strategy.symbols:
        for venue, instruments in strategy.instruments.items():
            tick, price = instruments[symbol].tick_size, prices[symbol]
            if price > 0 and float(tick) > _COARSE * price:
                yield CoarseTick(venue=venue, symbol=symbol, tick=tick, price=price)


def tick_warnings(strategy: records.Strategy, prices: Mapping[str, float]) -> list[str]:
    """Return a warning for each coarse tick, with its place in the venue's file and the cure.

    Raises:
        ConfigError: A tick is larger than the price.
    """
    warnings = []
    for coarse in find_coarse_ticks(strategy, prices):
        path = Path(f"config/venues/{coarse.venue}.yaml")
        key = ("instruments", coarse.symbol, "tick_size")
        error = ConfigError(
            f"{coarse.text}: write the tick of one {coarse.symbol.partition('/')[0]}, and "
            "`multiplier` where the venue trades several as one",
            path=path,
            line=line_of(path, key, root=strategy.root),
            key=".".join(key),
        )
        if coarse.share > 1:
            raise error
        warnings.append(str(error))
    return warnings


def median_closes(strategy: records.Strategy, bars: Bars) -> dict[str, float]:
    """Return the median close of each symbol's main timeframe; NaN without bars."""
    closes = {
        symbol: bars.shown[symbol, strategy.timeframe]["close"].to_numpy()
        for symbol in strategy.symbols
    }
    return {s: float(np.median(values)) if values.size else np.nan for s, values in closes.items()}


def _price_text(price: float) -> str:
    """Return a price with four digits, or all before the point, and without an exponent."""
    return f"{price:.0f}" if price >= 1000 else f"{Decimal(f'{price:.4g}'):f}"
