"""Price charts: candles, fills and trades as data that the page's script draws for each zoom.

All of them lie in the page as packed columns. What is in sight is drawn: candles of the bars
themselves where a day or less is, longer ones, of whole hours or days, where there is no room; each
fill alone, or those of a candle together where there are very many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tbv8.page.packed import pack, pack_gappy, places_of, to_units
from tbv8.page.thin import Floats, Ints

_LINE_DIGITS = 7  # precise to a pixel in any zoom down to a day


class Candles(msgspec.Struct, frozen=True, kw_only=True):
    """Bars in order; the last one ends at `end_ms`.

    `step_ms` is the length of each; None for months, each of which ends where the next begins.
    """

    opens_ms: Ints
    step_ms: int | None
    end_ms: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """Fills in order, some merged (`counts`); `kinds` indexes pairs of side and text.

    A side is `buy` or `sell`.
    """

    times_ms: Ints
    prices: Floats
    quantities: Floats
    counts: Ints
    kinds: Ints
    names: Sequence[tuple[str, str]]


class Trades(msgspec.Struct, frozen=True, kw_only=True):
    """Positions from entry to exit, in order and without overlap.

    `gains` are in cents, `kinds` indexes pairs of side and text.
    """

    opened_ms: Ints
    closed_ms: Ints
    entries: Floats
    exits: Floats
    gains: Ints
    kinds: Ints
    names: Sequence[tuple[str, str]]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A value at the end of each bar, or NaN; `panel` names its panel below the prices."""

    name: str
    panel: str | None
    values: Floats


def merge(candles: Candles, step_ms: int) -> tuple[Candles, Ints]:
    """Return longer candles, and the index of the last bar in each."""
    groups = candles.opens_ms // step_ms
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    ends = np.append(starts[1:], len(groups)) - 1
    merged = Candles(
        opens_ms=groups[starts] * step_ms,
        step_ms=step_ms,
        end_ms=candles.end_ms,
        open=candles.open[starts],
        high=np.maximum.reduceat(candles.high, starts),
        low=np.minimum.reduceat(candles.low, starts),
        close=candles.close[ends],
    )
    return merged, ends


def pack_chart(
    candles: Candles, marks: Marks, trades: Trades, lines: Sequence[Line]
) -> dict[str, Any]:
    """Return a chart in the format of the page's script."""
    return {
        "bars": _pack_candles(candles),
        "fills": _pack_marks(marks),
        "trades": _pack_trades(trades),
        "lines": [
            {
                "name": line.name,
                "panel": line.panel,
                "values": pack_gappy(line.values, digits=_LINE_DIGITS),
            }
            for line in lines
        ],
    }


def _pack_candles(candles: Candles) -> Mapping[str, Any]:
    places = places_of(candles.open, candles.high, candles.low, candles.close)
    opened, high, low, close = (
        to_units(column, places)
        for column in (candles.open, candles.high, candles.low, candles.close)
    )
    before = np.concatenate([close[:1], close[:-1]])
    columns = {  # differences, which are mostly small
        "jump": opened - before,
        "above": high - np.maximum(opened, close),
        "below": np.minimum(opened, close) - low,
    }
    return {
        "step": candles.step_ms,
        "end": candles.end_ms,
        "t": pack(candles.opens_ms),
        "close": pack(close, places=places),
        **{name: pack(values, places=places, steps=False) for name, values in columns.items()},
    }


def _pack_marks(marks: Marks) -> Mapping[str, Any]:
    return {
        "t": pack(marks.times_ms),
        "price": _numbers(marks.prices),
        "quantity": _numbers(marks.quantities),
        "count": pack(marks.counts),
        "kind": pack(marks.kinds, steps=False),
        "names": marks.names,
    }


def _pack_trades(trades: Trades) -> Mapping[str, Any]:
    return {
        "opened": pack(trades.opened_ms),
        "length": pack(trades.closed_ms - trades.opened_ms, steps=False),
        "entry": _numbers(trades.entries),
        "exit": _numbers(trades.exits),
        "gain": pack(trades.gains, places=2, steps=False),
        "kind": pack(trades.kinds, steps=False),
        "names": trades.names,
    }


def _numbers(values: Floats) -> Mapping[str, Any]:
    places = places_of(values)
    return pack(to_units(values, places), places=places)
