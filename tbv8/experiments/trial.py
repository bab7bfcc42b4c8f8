"""A trial: a whole backtest on the primary venue that writes no files; a pure function.

It has every check that a backtest has. If the strategy raises, the outcome is its error, as a line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.backtest.feed import require_bars, run_session
from tbv8.backtest.funding import funding_within
from tbv8.config.records import Strategy
from tbv8.errors import Tbv8Error
from tbv8.market import DAY_MS, Timeframe
from tbv8.results.accounting import Books, to_books
from tbv8.results.marks import to_marks
from tbv8.results.summary import summarise, to_json
from tbv8.store.trials import TrialStatus, metric_columns
from tbv8.trading.bars import Bars
from tbv8.trading.funding import FundingPayments
from tbv8.trading.nautilus import Ints
from tbv8.trading.opened_files import track_files
from tbv8.trading.records import Run

type Tables = Mapping[tuple[str, Timeframe], pa.Table]
"""Tables of bars by symbol and timeframe."""

_EVENT_LISTS = ("denials", "halts")  # `denied` and `halted` count them by rule
_SHARED_STATS = ("buy_and_hold", "venue")  # the same for all trials


class TrialData(msgspec.Struct, frozen=True, kw_only=True):
    """The data of all trials: bars by symbol and timeframe, funding by venue and symbol."""

    tables: dict[tuple[str, Timeframe], pa.Table]
    funding: dict[str, dict[str, FundingPayments]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A trial's outcome.

    Attributes:
        status: `ok`, or `failed` if the strategy raised or its config refused the values.
        stats: The numbers of summary.json's primary as JSON, without the lists of events; for a
            failed trial only its error, under `error`.
        equity: int64 of 10^-8 USD, little-endian: the points that `run_trial` was called with, by
            default each day's as in `daily`.
        files: Digests of the files that the strategy opened, by path.
    """

    status: TrialStatus
    stats: bytes
    equity: bytes = b""
    files: dict[str, str] = {}

    @property
    def digest(self) -> bytes:
        """The sha256 over the trial's numbers and equity."""
        return hashlib.sha256(self.stats + self.equity).digest()

    @property
    def numbers(self) -> dict[str, Any]:
        """The columns of the table `trials` for sorting; empty without a result."""
        if self.status != "ok":
            return {}
        stats = json.loads(self.stats)
        return {**metric_columns(stats), "trades": stats["trades"], "fills": stats["fills"]}


def daily(books: Books) -> Ints:
    """Return the equity at the start, at every UTC midnight and at the end.

    A bar that closes at 00:00 belongs to the day that ends then, as in `daily_returns`.
    """
    curve = books.curve
    first, last = curve.start_ms // DAY_MS, (int(curve.closes_ms[-1]) - 1) // DAY_MS
    ends_ms = np.arange(first + 1, last + 2, dtype=np.int64) * DAY_MS
    points = curve.from_start(curve.equity)
    at = np.searchsorted(curve.closes_ms, ends_ms, side="right")
    return np.concatenate([points[:1], points[at]]).astype("<i8")


def run_trial(
    strategy: Strategy,
    tables: Tables,
    funding: Mapping[str, Mapping[str, FundingPayments]] | None = None,
    *,
    points: Callable[[Books], Ints] = daily,
) -> Outcome:
    """Run a strategy over its span, and return its numbers.

    Args:
        strategy: The strategy with the values of the trial.
        tables: Bars of at least its span, for every symbol and timeframe that it reads.
        funding: The charged funding of at least its span, by venue and symbol.
        points: A function that returns the outcome's equity.
    """
    bars = bars_of(strategy, tables)
    bars = msgspec.structs.replace(bars, funding=funding_within(strategy, funding or {}))
    try:
        require_bars(strategy, bars)
        with track_files(strategy) as opened:
            run = run_session(strategy, strategy.routing.primary, bars)
        files = opened.files()
        books = to_books(run, to_marks(strategy, bars))
        summary = summarise(strategy, bars, books, None)
    except Tbv8Error as e:
        return Outcome(status="failed", stats=_encode({"error": str(e)}))
    stats: dict[str, Any] = to_json(summary)["primary"]
    stats = {
        key: value for key, value in stats.items() if key not in (*_SHARED_STATS, *_EVENT_LISTS)
    }
    prices = {symbol: repr(float(closes[-1])) for symbol, closes in books.curve.prices.items()}
    stats |= {"carried": _carried(run), "at_end": _at_end(books), "end_prices": prices}
    return Outcome(status="ok", stats=_encode(stats), equity=points(books).tobytes(), files=files)


def bars_of(strategy: Strategy, tables: Tables) -> Bars:
    """Return the bars that a strategy reads in its span."""

    def slice_bars(symbol: str, timeframe: Timeframe) -> pa.Table:
        span, table = timeframe.whole(strategy.bars_span), tables[symbol, timeframe]
        first, end = np.searchsorted(table["ts_ms"].to_numpy(), [span.start_ms, span.end_ms])
        return table.slice(first, end - first)

    return Bars(
        shown={
            (symbol, timeframe): slice_bars(symbol, timeframe)
            for symbol in strategy.symbols
            for timeframe in strategy.timeframes
        },
        steps={symbol: slice_bars(symbol, strategy.step) for symbol in strategy.symbols},
    )


def _carried(run: Run) -> dict[str, Any]:
    """Return the position and price of each symbol that had a position when counting began."""
    if run.carried is None:
        return {}
    return {
        symbol: {"position": str(position), "price": str(run.carried.prices[symbol])}
        for symbol, position in run.carried.positions.items()
        if position
    }


def _at_end(books: Books) -> dict[str, Any]:
    """Return the effect of the orders at the very last close on equity and positions.

    If two runs meet at a close, both have these orders; they count for the second run only.
    """
    end_ms, equity = int(books.curve.closes_ms[-1]), Decimal(0)
    positions: dict[str, Decimal] = {}
    for fill in books.run.fills:
        if fill.ts_ms == end_ms and fill.at == "close":
            mark = Decimal(repr(float(books.curve.prices[fill.symbol][-1])))
            equity += fill.change * (mark - fill.price) - fill.fee
            positions[fill.symbol] = positions.get(fill.symbol, Decimal(0)) + fill.change
    if not positions:
        return {}
    return {"equity": str(equity), "positions": {s: str(size) for s, size in positions.items()}}


def _encode(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()
