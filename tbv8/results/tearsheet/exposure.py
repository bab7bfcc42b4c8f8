"""The exposure of an account: its chart, its averages, and buy and hold at the net one."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.page.charts import label_text, line, value_axis
from tbv8.page.words import number
from tbv8.results.accounting import in_usd
from tbv8.results.read import Account, Result
from tbv8.results.tearsheet.part import POINTS, Part, caption, draw_over_time, thin
from tbv8.trading.nautilus import Floats, Ints

_MAX_CHANGES = 20_000  # of the position, which the chart draws all: 0.5 MB


class HoldAtExposure(msgspec.Struct, frozen=True):
    """Buy and hold at the run's average net exposure, rebalanced at no cost.

    The net one, in which short positions count against long ones, is the part of the market's
    moves that the run had on average: the rest of its return is from its timing. `share` is that
    average as a fraction of the equity, negative if short; `equity` is in 10^-8 USD at the curve's
    `times_ms`. Both are None if the run had no equity.
    """

    share: float | None
    equity: Ints | None

    @property
    def percent(self) -> str:
        """The share as text: `26.1%`, `-3.44%`."""
        is_small = self.share is not None and abs(self.share) < 0.1
        return number(self.share, ",.2%" if is_small else ",.1%")

    @property
    def name(self) -> str:
        """The name of its curve and of its column of numbers."""
        return f"always {self.percent}"


def hold_at_exposure(run: Account) -> HoldAtExposure:
    """Return buy and hold at the average net exposure of a run."""
    curve, share = run.curve, average_position(run, is_net=True)
    if share is None:
        return HoldAtExposure(None, None)
    hold = curve.from_start(curve.buy_and_hold).astype(np.float64)
    growth = np.maximum(1 + share * (hold[1:] / hold[:-1] - 1), 0)
    return HoldAtExposure(
        share, curve.from_start(np.rint(hold[0] * np.cumprod(growth)).astype(np.int64))
    )


def average_position(run: Account, *, is_net: bool = False) -> float | None:
    """Return the mean value of the positions over time, as a share of the equity.

    Time counts as in `exposure`: a position counts from its fill on, and a bar by its length. It is
    valued at the last close, also the equity; before the first one, at the first price and the
    equity of the start. Long and short positions are added up, or set off against each other if
    `is_net`. Bars that begin without equity are left out.
    """
    curve = run.curve
    equity = in_usd(curve.from_start(curve.equity)[:-1])
    has_equity = equity > 0
    weights_ms = int(np.diff(curve.times_ms)[has_equity].sum())
    if not weights_ms:
        return None
    worth = np.zeros(len(equity))
    for symbol, closes in curve.prices.items():
        last = np.concatenate([[np.nan], closes[:-1]])
        prices = np.where(np.isnan(last), closes, last)
        worth += np.nan_to_num(_size_by_time(run, symbol, is_net=is_net) * prices)
    return math.fsum(worth[has_equity] / equity[has_equity]) / weights_ms


def _size_by_time(run: Account, symbol: str, *, is_net: bool) -> Floats:
    """Return the size of a position times its milliseconds, of each bar; negative if net short."""
    times_ms, fills = run.curve.times_ms, run.fills.filter(pc.equal(run.fills["symbol"], symbol))
    carried = float(run.stats.start_positions.get(symbol, 0))
    sizes = np.append(carried, pc.cast(fills["position"], pa.float64()).to_numpy())
    if not is_net:
        sizes = np.abs(sizes)
    edges_ms = np.concatenate([times_ms[:1], fills["ts_ms"].to_numpy(), times_ms[-1:]])
    total = np.append(0.0, np.cumsum(sizes * np.diff(edges_ms)))
    return np.diff(np.interp(times_ms, edges_ms, total))


def _sizes(run: Account, symbol: str) -> Floats:
    """Return the position in a symbol at the curve's `times_ms`."""
    return np.append(float(run.stats.start_positions.get(symbol, 0)), run.curve.positions[symbol])


def _values(run: Account, symbol: str) -> Floats:
    """Return the value of a position at the curve's `times_ms`, negative if short.

    It is 0 before the symbol has a price; at the start it is at the first price.
    """
    prices = run.curve.prices[symbol]
    worth: Floats = np.nan_to_num(_sizes(run, symbol) * np.append(prices[:1], prices))
    return worth


def _changes(run: Account) -> Ints:
    """Return the indices of the start and of the closes after which a position has changed."""
    sizes = [_sizes(run, symbol) for symbol in run.curve.positions]
    return np.unique(np.concatenate([[0], *(np.flatnonzero(np.diff(each)) + 1 for each in sizes)]))


def exposure_part(result: Result) -> Part:
    """Return the chart of the positions' values as multiples of the equity."""
    run, symbols = result.primary, result.summary.symbols
    curve = run.curve
    equity = in_usd(curve.from_start(curve.equity))
    values = {symbol: _values(run, symbol) for symbol in symbols}

    def times(worth: Floats) -> Floats:
        share: Floats = np.full(len(equity), np.nan)
        np.divide(worth, equity, out=share, where=equity > 0)
        return share

    alone = len(symbols) == 1
    if alone:
        curves = [("exposure", "--accent", times(values[symbols[0]]))]
    else:
        gross = np.abs(list(values.values())).sum(axis=0)
        curves = [("gross, long and short added", "--hold", times(gross))]
        curves += [
            (label_text(symbol), f"--c{at % 10}", times(values[symbol]))
            for at, symbol in enumerate(symbols)
        ]
    exposures = {f"exposure_{at}": shares for at, (_, _, shares) in enumerate(curves)}
    changes, most = _changes(run), POINTS // len(curves)
    also = changes if len(changes) <= _MAX_CHANGES else None
    columns, thinned = thin(curve.times_ms, exposures, most=most, digits=5, also=also)
    fill = {"fill": "tozeroy", "fillcolor": "--band"} if alone else {}
    traces = [
        line(
            name,
            column,
            color,
            line={"color": color, "width": 1, "shape": "hv"},
            hovertemplate="%{y:.3f} × equity",
            **fill,
        )
        for column, (name, color, _) in zip(exposures, curves, strict=True)
    ]
    chart = draw_over_time(
        result,
        "exposure-chart",
        "Value of the position as a multiple of the equity; negative if short",
        columns,
        traces,
        height=240 if alone else 280,
        yaxis=value_axis(tickformat=",~r", ticksuffix=" ×"),
        showlegend=not alone,
    )
    subject = "The position's value" if alone else "Each position's value"
    note = f"{subject} as a multiple of the equity, negative when short. {thinned}"
    return "exposure", "Exposure", [caption(note), chart]
