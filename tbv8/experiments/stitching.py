"""The tested windows of a walk-forward, stitched to one account.

Each window starts with the starting balance, and its gain is added to the stitched equity. At the
close where two windows meet, both runs have orders; they count for the second run only. If the
second has another position there, the account pays for the change: fee, tick and slippage of a
market order at that close. The first window carries its position over as the plain backtest does,
so that with a single point in the search the walk-forward equals the backtest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec
import numpy as np

from tbv8.config.files import Instrument
from tbv8.config.records import Strategy
from tbv8.experiments.walkforward import WindowSpans
from tbv8.market import DAY_MS
from tbv8.results.accounting import from_money, to_money
from tbv8.results.statistics import Performance, measure_curve
from tbv8.risk.events import EXACT
from tbv8.store.trials import Trial
from tbv8.trading.nautilus import Ints


class WindowRun(msgspec.Struct, frozen=True, kw_only=True):
    """A window's choice and its run out of sample; of a flat window only `spans` is not empty."""

    spans: WindowSpans
    number: int | None
    params: Mapping[str, Any]
    trained: Trial | None
    tested: Trial | None
    stats: Mapping[str, Any]
    equity: Ints

    @property
    def has_run(self) -> bool:
        """True if there is a result out of sample."""
        return self.tested is not None and self.tested.status == "ok"


class StitchedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window of the stitched account; amounts are in USD.

    Attributes:
        spans: The spans of training and test.
        number: The number of the trial that it chose; None if it stayed flat.
        params: The values of that trial.
        trained: The trial in sample.
        tested: The trial out of sample.
        gain: The gain of its equity, after `switch_cost`.
        switch_cost: The cost of changing from the position before to its own.
        carried: Its position at the boundary, by symbol.
        efficiency: The Sharpe ratio out of sample over the one in sample; None unless both are
            above 0.
    """

    spans: WindowSpans
    number: int | None
    params: Mapping[str, Any]
    trained: Trial | None
    tested: Trial | None
    gain: Decimal
    switch_cost: Decimal
    carried: Mapping[str, Decimal]
    efficiency: float | None


class StitchedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """All windows one after another; equity in 10^-8 USD at the start and every UTC midnight.

    Performance is measured as that of a backtest with this equity, over the days of all windows.
    """

    windows: Sequence[StitchedWindow]
    times_ms: Ints
    equity: Ints
    window_of: Ints
    performance: Performance

    @property
    def trained_sharpes(self) -> list[float]:
        """The Sharpe ratios in sample of the chosen trials, of the windows that have one."""
        trained = [window.trained for window in self.windows if window.trained]
        return [trial.sharpe for trial in trained if trial.sharpe is not None]

    @property
    def trained_sharpe(self) -> float | None:
        """The mean of the Sharpe ratios in sample."""
        ratios = self.trained_sharpes
        return round(math.fsum(ratios) / len(ratios), 8) if ratios else None

    @property
    def efficiency(self) -> float | None:
        """The Sharpe ratio of all days out of sample over the mean in sample.

        None unless both are above 0. Short, losing and flat windows count by their days.
        """
        return _ratio(self.performance.sharpe, self.trained_sharpe)


def stitch(windows: Sequence[WindowRun], strategy: Strategy) -> StitchedAccount:
    """Return the windows as one account.

    Args:
        windows: The windows in order; each begins where the one before ends.
        strategy: The strategy, with the venue's rules and the starting balance.
    """
    start = to_money(strategy.starting_balance_usd)
    stitched: list[StitchedWindow] = []
    times_ms, equity, window_of = [windows[0].spans.test.start_ms], [start], [0]
    positions: dict[str, Decimal] = {}
    for at, window in enumerate(windows):
        carried = _carried(window)
        prices = _prices(windows[at - 1], window) if at else {}
        cost = switch_cost_of(positions if at else carried, carried, prices, strategy)
        start_equity = equity[-1] - to_money(cost)
        days = _days(window, is_last=at == len(windows) - 1)
        for ts_ms, gain_so_far in zip(_midnights(window.spans), days, strict=True):
            times_ms.append(ts_ms)
            equity.append(start_equity + gain_so_far)
            window_of.append(at)
        positions = _end_positions(window)
        stitched.append(
            StitchedWindow(
                spans=window.spans,
                number=window.number,
                params=window.params,
                trained=window.trained,
                tested=window.tested,
                gain=from_money(equity[-1] - start_equity) - cost,
                switch_cost=cost,
                carried=carried,
                efficiency=_efficiency(window),
            )
        )
    return _summarise(stitched, times_ms, equity, window_of)


def _summarise(
    windows: Sequence[StitchedWindow],
    times_ms: Sequence[int],
    equity: Sequence[int],
    window_of: Sequence[int],
) -> StitchedAccount:
    times, points = (np.array(values, dtype=np.int64) for values in (times_ms, equity))
    return StitchedAccount(
        windows=windows,
        times_ms=times,
        equity=points,
        window_of=np.array(window_of, dtype=np.int64),
        performance=measure_curve(times, points, days=len(times) - 1),
    )


def _midnights(spans: WindowSpans) -> range:
    return range(spans.test.start_ms + DAY_MS, spans.test.end_ms + DAY_MS, DAY_MS)


def _days(window: WindowRun, *, is_last: bool) -> list[int]:
    """Return a window's gain at each midnight, without the orders of its last close."""
    count = len(_midnights(window.spans))
    if not window.has_run:
        return [0] * count
    gains: list[int] = (window.equity[1:] - window.equity[0]).tolist()
    gains += gains[-1:] * (count - len(gains))  # an outage until the end
    at_end = window.stats["at_end"]
    if at_end and not is_last:
        gains[-1] -= to_money(Decimal(at_end["equity"]))
    return gains


def _carried(window: WindowRun) -> dict[str, Decimal]:
    if not window.has_run:
        return {}
    return {symbol: Decimal(entry["position"]) for symbol, entry in window.stats["carried"].items()}


def _end_positions(window: WindowRun) -> dict[str, Decimal]:
    """Return a window's positions at its end, before the orders of that close."""
    if not window.has_run:
        return {}
    positions = {
        position["symbol"]: Decimal(str(position["quantity"]))
        for position in window.stats["open_positions"]
    }
    for symbol, change in window.stats["at_end"].get("positions", {}).items():
        positions[symbol] = positions.get(symbol, Decimal(0)) - Decimal(change)
    return {symbol: position for symbol, position in positions.items() if position}


def _prices(before: WindowRun, window: WindowRun) -> dict[str, Decimal]:
    """Return the closes at a boundary, of all symbols that either window has."""
    ended = before.stats["end_prices"] if before.has_run else {}
    carried = window.stats["carried"] if window.has_run else {}
    prices = {symbol: Decimal(price) for symbol, price in ended.items()}
    return prices | {symbol: Decimal(entry["price"]) for symbol, entry in carried.items()}


def switch_cost_of(
    before: Mapping[str, Decimal],
    after: Mapping[str, Decimal],
    prices: Mapping[str, Decimal],
    strategy: Strategy,
) -> Decimal:
    """Return the cost in USD of the market orders that change positions at `prices`.

    It has the fee, the rounding to the tick and the slippage. Positions are in base units.
    """
    rules = strategy.instruments[strategy.routing.primary]
    total = Decimal(0)
    with localcontext(EXACT):
        for symbol in sorted({*before, *after}):
            change = after.get(symbol, Decimal(0)) - before.get(symbol, Decimal(0))
            if change:
                total += _cost_of(change, prices[symbol], rules[symbol], strategy.slippage_ticks)
    return round(total, 8)


def _cost_of(change: Decimal, price: Decimal, rules: Instrument, slippage_ticks: int) -> Decimal:
    """Return the cost of a market order against the close at which it is sent."""
    ticks = price / rules.tick_size
    whole = ticks.to_integral_value("ROUND_CEILING" if change > 0 else "ROUND_FLOOR")
    paid = (
        max(whole + (slippage_ticks if change > 0 else -slippage_ticks), Decimal(1))
        * rules.tick_size
    )
    return abs(change) * (abs(paid - price) + paid * rules.taker_fee)


def _efficiency(window: WindowRun) -> float | None:
    trained = window.trained.sharpe if window.trained else None
    return _ratio(window.tested.sharpe if window.tested else None, trained)


def _ratio(tested: float | None, trained: float | None) -> float | None:
    if trained is None or tested is None or trained <= 0 or tested <= 0:
        return None
    return round(tested / trained, 8)
