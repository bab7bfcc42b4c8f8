"""The bars of a backtest, read from the store, and a look at whether its ticks fit their prices."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np

from tbv8.backtest.funding import read_funding
from tbv8.config.document import line_of, plain
from tbv8.config.records import Strategy
from tbv8.errors import ConfigError
from tbv8.store.bars import BarStore, read_stored_bars
from tbv8.trading.bars import Bars

_COARSE = 0.001  # of the price


def read_bars(store: BarStore, strategy: Strategy) -> Bars:
    """Return all bars that a strategy reads, whose whole time lies in its run, and its funding.

    The caller owns the transaction, so that the fingerprints can be of the same moment.

    Raises:
        DataError: A day's rows are not those that its ledger tells of.
    """
    tables = {
        (series.symbol, timeframe): read_stored_bars(
            store, series, timeframe, timeframe.whole(strategy.bars_span)
        )
        for series, timeframe in strategy.reads
    }
    return Bars(
        shown={
            (symbol, timeframe): tables[symbol, timeframe]
            for symbol in strategy.symbols
            for timeframe in strategy.timeframes
        },
        steps={symbol: tables[symbol, strategy.step] for symbol in strategy.symbols},
        funding=read_funding(store, strategy),
    )


def coarse_ticks(strategy: Strategy, bars: Bars) -> list[str]:
    """Return a warning for each tick of more than 0.1 % of the price: it is another unit's, mostly.

    Raises:
        ConfigError: A tick is larger than the price.
    """
    warnings = []
    for symbol in strategy.symbols:
        closes = bars.shown[symbol, strategy.timeframe]["close"].to_numpy()
        price = float(np.median(closes)) if closes.size else 0.0
        for venue, instruments in strategy.instruments.items():
            tick = instruments[symbol].tick_size
            share = float(tick) / price if price > 0 else 0.0
            if share <= _COARSE:
                continue
            path = Path(f"config/venues/{venue}.yaml")
            key = ("instruments", symbol, "tick_size")
            error = ConfigError(
                f"{plain(tick)} is {_share_text(share)} the price of {_shown_price(price)}: "
                f"{'no price is on it' if share > 1 else 'rounding to it decides the result'}: "
                f"write the tick of one {symbol.partition('/')[0]}, and `multiplier` where the "
                "venue trades several as one",
                path=path,
                line=line_of(path, key, root=strategy.root),
                key=".".join(key),
            )
            if share > 1:
                raise error
            warnings.append(str(error))
    return warnings


def _share_text(share: float) -> str:
    return f"{share:.2g} times" if share > 1 else f"{share:.2%} of"


def _shown_price(price: float) -> str:
    """Return a price with four digits or all before the point, and without an exponent."""
    return f"{price:.0f}" if price >= 1000 else f"{Decimal(f'{price:.4g}'):f}"
