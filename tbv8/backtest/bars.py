"""Read the bars of a backtest from the store."""

from __future__ import annotations

from tbv8.backtest.funding import read_funding
from tbv8.config.records import Strategy
from tbv8.store.bars import BarStore, read_stored_bars
from tbv8.trading.bars import Bars


def read_bars(store: BarStore, strategy: Strategy) -> Bars:
    """Return a strategy's bars that lie whole within its run, and its funding.

    The caller owns the transaction, so that bars and fingerprints are of the same moment.

    Raises:
        DataError: A day's rows do not have the digest that the ledger has of them.
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
