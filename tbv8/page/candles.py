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

PACKED_COLUMNS = 5
"""The number of columns of packed candles; each value takes a byte or more."""

_LINE_DIGITS = 7  # precise to a pixel in any zoom down to a day


class Candles(msgspec.Struct, frozen=True, kw_only=True):
    """Bars in order; each begins at one of `opens_ms` and ends at one of `ends_ms`.

    `step_ms` is the length of each; None if they have several, as months have.
    """

    opens_ms: Ints
    ends_ms: Ints
    step_ms: int | None
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


def pack_candles(candles: Candles) -> Mapping[str, Any]:
    """Return candles in the format of the page's script: `PACKED_COLUMNS` columns."""
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
        "end": int(candles.ends_ms[-1]),
        "t": pack(candles.opens_ms),
        "close": pack(close, places=places),
        **{name: pack(values, places=places, steps=False) for name, values in columns.items()},
    }


def pack_marks(marks: Marks) -> Mapping[str, Any]:
    """Return fills in the format of the page's script."""
    return {
        "t": pack(marks.times_ms),
        "price": _numbers(marks.prices),
        "quantity": _numbers(marks.quantities),
        "count": pack(marks.counts),
        "kind": pack(marks.kinds, steps=False),
        "names": marks.names,
    }


def pack_trades(
    *,
    opened_ms: Ints,
    closed_ms: Ints,
    entries: Floats,
    exits: Floats,
    cents: Ints,
    kinds: Ints,
    names: Sequence[tuple[str, str, str]],
) -> Mapping[str, Any]:
    """Return positions from entry to exit in the format of the page's script.

    They are in order and without overlap; `cents` are their gains, and `kinds` indexes names:
    the side, and the reasons of entry and exit.
    """
    return {
        "opened": pack(opened_ms),
        "length": pack(closed_ms - opened_ms, steps=False),
        "entry": _numbers(entries),
        "exit": _numbers(exits),
        "gain": pack(cents, places=2, steps=False),
        "kind": pack(kinds, steps=False),
        "names": names,
    }


def pack_line(name: str, panel: str | None, values: Floats) -> Mapping[str, Any]:
    """Return a value at the end of each candle, or NaN; `panel` names its panel below the prices.

    The format is that of the page's script.
    """
    return {"name": name, "panel": panel, "values": pack_gappy(values, digits=_LINE_DIGITS)}


def _numbers(values: Floats) -> Mapping[str, Any]:
    places = places_of(values)
    return pack(to_units(values, places), places=places)
