"""The price chart of each symbol, with fills, trades and the strategy's own lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from tbv8.page.candles import (
    PACKED_COLUMNS,
    Candles,
    Marks,
    pack_candles,
    pack_line,
    pack_marks,
    pack_trades,
)
from tbv8.page.charts import Chart, draw, line, time_axis, trade_buttons, value_axis, zoom_buttons
from tbv8.page.html import Child, element
from tbv8.page.packed import packed_size
from tbv8.page.thin import shown, stretches
from tbv8.results.marks import candles_of, combine, overview
from tbv8.results.read import Result
from tbv8.results.tearsheet.part import Part, caption
from tbv8.results.tearsheet.round_trips import RoundTrips
from tbv8.trading.nautilus import Floats, Ints

MAX_PACKED = 2_300_000  # characters of all charts; plotly.js takes 4.8 of a page's 8 MB
_MAX_FILLS = 110_000  # of all symbols; more are merged, buys and sells of each stretch
_MAX_TRADES = 55_000  # of all symbols; the newest are drawn
_BARS_PER_CANDLE = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 720, 1440)
_PANEL_PX = 120


def prices_part(result: Result, trips: RoundTrips) -> Part:
    """Return a chart of its candles, fills and trades for each symbol."""
    bars = {s: candles_of(result.strategy, result.bars, s) for s in result.summary.symbols}
    times, packed = _packed(result, trips, bars)
    content: list[Child] = [caption(_instructions(result, times))]
    days = {"day": 1, "week": 7, "month": 30, "3 months": 91, "year": 365}
    for symbol, prices in packed.items():
        id_ = chart_id(result, symbol)
        if len(packed) > 1:
            content.append(element("h3", symbol))
        content += [zoom_buttons(id_, days), trade_buttons(id_)]
        content.append(element("p", id=f"{id_}-note", class_="note"))
        content.append(draw(_price_chart(result, symbol, prices)))
        if symbol == result.summary.symbols[0]:
            content.append(draw(_strip(result, symbol, overview(bars[symbol]))))
    return "price", "Price and trades", content


def chart_id(result: Result, symbol: str) -> str:
    """Return the id of a symbol's chart of prices."""
    at = result.summary.symbols.index(symbol)
    return f"price-chart-{at + 1}" if at else "price-chart"


def first_drawn(result: Result, trips: RoundTrips, symbol: str) -> int:
    """Return the number of a symbol's closed positions before those in its chart."""
    return max(0, int((trips.symbols == symbol).sum()) - _per_symbol(_MAX_TRADES, result))


def _per_symbol(most: int, result: Result) -> int:
    return most // len(result.summary.symbols)


def _packed(
    result: Result, trips: RoundTrips, bars: Mapping[str, Candles]
) -> tuple[int, dict[str, Mapping[str, Any]]]:
    """Return all charts with the shortest candles that fit, and the number of bars per candle."""
    step_ms, main = result.strategy.timeframe.fixed_ms, result.summary.symbols[0]
    fills = {symbol: pack_marks(_marks(result, symbol, bars[symbol].ends_ms)) for symbol in bars}
    trades = {symbol: _trades(result, trips, symbol) for symbol in bars}
    for times in _BARS_PER_CANDLE:
        if step_ms and _least_packed(result, times) > MAX_PACKED:
            continue
        packed: dict[str, Mapping[str, Any]] = {}
        for symbol, candles in bars.items():
            shown_bars = _merge(candles, step_ms * times) if times > 1 and step_ms else candles
            packed[symbol] = {
                "bars": pack_candles(shown_bars),
                "fills": fills[symbol],
                "trades": trades[symbol],
                "lines": _chart_lines(result, shown_bars.ends_ms) if symbol == main else [],
            }
        if packed_size(packed) <= MAX_PACKED or not step_ms:
            break
    return times, packed


def _merge(candles: Candles, step_ms: int) -> Candles:
    """Return longer candles of equal length; each begins at a multiple of it."""
    groups = candles.opens_ms // step_ms
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    opens_ms = groups[starts] * step_ms
    return replace(combine(candles, starts), opens_ms=opens_ms, step_ms=step_ms)


def _least_packed(result: Result, times: int) -> int:
    """Return the fewest characters of candles of `times` bars: a byte per value.

    Only those of the main symbol are counted.
    """
    lines = 0 if result.chart_lines is None else result.chart_lines.num_columns - 1
    return (PACKED_COLUMNS + lines) * (result.summary.bars // times - 1) * 4 // 3


def _instructions(result: Result, times: int) -> str:
    fills = result.primary.fills.num_rows
    text = (
        "Zoom with the buttons, by dragging in a chart, or by moving the marked part of the strip; "
        "all charts over time follow. Click a trade in the list below to see it here. Dotted "
        "lines connect entry and exit, at average prices."
    )
    if times > 1:
        text += f" The shortest candles combine {times} of the {result.summary.bars:,} bars each."
    if not fills:
        text += " There were no fills."
    return text


def _chart_lines(result: Result, ends_ms: Ints) -> list[Mapping[str, Any]]:
    """Return the lines that the strategy names, at the ends of candles."""
    table = result.chart_lines
    if table is None:
        return []
    times_ms = table["ts_ms"].to_numpy()
    at = np.searchsorted(times_ms, ends_ms).clip(max=len(times_ms) - 1)
    is_known = times_ms[at] == ends_ms
    lines = []
    for key in table.column_names[1:]:
        panel, slash, name = key.partition("/")
        values = np.where(is_known, table[key].to_numpy()[at], np.nan)
        lines.append(pack_line(name if slash else key, panel if slash else None, values))
    return lines


def _marks(result: Result, symbol: str, ends_ms: Ints) -> Marks:
    fills = result.primary.fills
    fills = fills.filter(pc.equal(fills["symbol"], symbol))
    tags = result.primary.tags
    names = [
        (side, f"{type_}, {tag}" if (tag := tags.get(id_)) else type_)
        for side, type_, id_ in zip(
            fills["side"].to_pylist(),
            pc.replace_substring(fills["type"], "_", " ").to_pylist(),
            fills["order_id"].to_pylist(),
            strict=True,
        )
    ]
    known, kinds = _numbered(names)
    marks = Marks(
        times_ms=fills["ts_ms"].to_numpy(),
        prices=fills["price"].cast(pa.float64()).to_numpy(),
        quantities=fills["quantity"].cast(pa.float64()).to_numpy(),
        counts=np.ones(len(kinds), dtype=np.int64),
        kinds=kinds,
        names=known,
    )
    return _merge_marks(marks, ends_ms, most=_per_symbol(_MAX_FILLS, result))


def _merge_marks(marks: Marks, ends_ms: Ints, *, most: int) -> Marks:
    """Return the marks; too many are merged: the buys of each stretch, and its sells."""
    if len(marks.kinds) <= most:
        return marks
    starts = stretches(len(ends_ms), most // 2)
    bars = np.searchsorted(ends_ms, marks.times_ms).clip(max=len(ends_ms) - 1)
    is_sell = np.array([side == "sell" for side, _ in marks.names])[marks.kinds]
    group = 2 * (np.searchsorted(starts, bars, side="right") - 1) + is_sell
    size = 2 * len(starts)
    counts = np.bincount(group, minlength=size)
    total = np.bincount(group, weights=marks.quantities, minlength=size)
    paid = np.bincount(group, weights=marks.quantities * marks.prices, minlength=size)
    last = np.zeros(size, dtype=np.int64)
    last[group] = marks.times_ms  # in order, so that the last of a group stays
    groups = np.flatnonzero(counts)
    groups = groups[np.argsort(last[groups], kind="stable")]
    return Marks(
        times_ms=last[groups],
        prices=paid[groups] / total[groups],
        quantities=total[groups],
        counts=counts[groups],
        kinds=groups % 2,
        names=[("buy", ""), ("sell", "")],
    )


def _trades(result: Result, trips: RoundTrips, symbol: str) -> Mapping[str, Any]:
    own = np.flatnonzero(trips.symbols == symbol)[first_drawn(result, trips, symbol) :]
    sides = np.where(trips.is_long[own], "long", "short").tolist()
    reasons = trips.entry_by[own].tolist(), trips.exit_by[own].tolist()
    names, kinds = _numbered(list(zip(sides, *reasons, strict=True)))
    return pack_trades(
        opened_ms=trips.opened_ms[own],
        closed_ms=trips.closed_ms[own],
        entries=trips.entries[own],
        exits=trips.exits[own],
        cents=trips.cents[own],
        kinds=kinds,
        names=names,
    )


def _numbered[T](names: Sequence[T]) -> tuple[list[T], Ints]:
    """Return the unique names, and for each name its index among them."""
    indices = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return list(indices), np.array([indices[name] for name in names], dtype=np.int64)


def _price_chart(result: Result, symbol: str, prices: Mapping[str, Any]) -> Chart:
    panels = {line["panel"] for line in prices["lines"]} - {None}
    return Chart(
        id=chart_id(result, symbol),
        label=f"Price of {symbol} with fills and trades",
        prices=prices,
        layout={
            "hovermode": "closest",
            "xaxis": time_axis(rangeslider={"visible": False}),
            "yaxis": value_axis(tickformat=",~r", zeroline=False),
        },
        span=result.span,
        height=460 + _PANEL_PX * len(panels),
        mark=result.mark,
    )


def _strip(result: Result, symbol: str, candles: Candles) -> Chart:
    """Return a strip with the whole run, in which the visible part is marked."""

    def from_start(first: Floats, values: Floats) -> list[float | int | None]:
        return shown(np.concatenate([first[:1], values]))

    edge = {"line": {"width": 0, "shape": "vh"}, "hoverinfo": "skip"}
    area = {"fill": "tonexty", "fillcolor": "--band"}
    sight = {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "fillcolor": "--band",
        "line": {"width": 1, "color": "--accent"},
    }
    return Chart(
        id="price-strip",
        label=f"Price of {symbol} over the whole run, with the visible part marked",
        columns={  # each candle is drawn at its end, as a step
            "t": [result.span[0], *candles.ends_ms.tolist()],
            "low": from_start(candles.low, candles.low),
            "high": from_start(candles.high, candles.high),
            "close": from_start(candles.open, candles.close),
        },
        traces=[
            line("low", "low", "--hold", **edge),
            line("low to high", "high", "--hold", **edge, **area),
            line("close", "close", "--hold", hoverinfo="skip", line={"color": "--hold"}),
        ],
        layout={
            "showlegend": False,
            "margin": {"l": 62, "r": 12, "t": 4, "b": 22},
            "yaxis": value_axis(visible=False, fixedrange=True, zeroline=False),
            "shapes": [sight],
        },
        span=result.span,
        overview=True,
        height=92,
    )
