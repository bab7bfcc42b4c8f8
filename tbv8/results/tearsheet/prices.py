"""The price of each symbol and where it was bought and sold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.page.charts import Chart, draw, line, time_axis, value_axis, zoom_buttons
from tbv8.page.html import Child, element
from tbv8.page.thin import shown, stretches
from tbv8.page.words import counted
from tbv8.results.accounting import Curve
from tbv8.results.read import Result
from tbv8.results.tearsheet.words import Part, caption, decimals_of, with_commas

_FILLS = 1500  # drawn one by one; of more, those of a stretch together


_MARKET = ("ts_ms", "open", "high", "low", "close")


def prices_part(result: Result) -> Part:
    """Return a chart of its price and fills for each symbol."""
    content: list[Child] = []
    days = {"1 d": 1, "1 w": 7, "1 m": 30, "3 m": 91, "1 y": 365}
    for at, symbol in enumerate(result.summary.symbols):
        fills = result.primary.fills
        fills = fills.filter(pc.equal(fills["symbol"], symbol))
        id_ = "price-chart" if not at else f"price-chart-{at + 1}"
        chart, marks = _price_chart(result, symbol, fills, id_=id_, has_slider=not at)
        if len(result.summary.symbols) > 1:
            content.append(element("h3", symbol))
        said = _price_note(result, result.market[symbol].num_rows, fills, marks, is_first=not at)
        content += [caption(said), zoom_buttons(id_, days), draw(chart)]
    return "price", "Price and fills", content


def _price_chart(
    result: Result, symbol: str, fills: pa.Table, *, id_: str, has_slider: bool
) -> tuple[Chart, dict[str, dict[str, Sequence[Any]]]]:
    """Return the chart of a symbol, and the marks of its buys and sells."""
    market = {name: result.market[symbol][name].to_numpy() for name in _MARKET}
    low, high, close = market["low"], market["high"], market["close"]
    columns: dict[str, Sequence[Any]] = {  # what a stretch was stands at its end, in steps
        "t": [result.span[0], *market["ts_ms"].tolist()],
        "low": shown(np.concatenate([low[:1], low])),
        "high": shown(np.concatenate([high[:1], high])),
        "close": shown(np.concatenate([market["open"][:1], close])),
    }
    edge = {"line": {"width": 0, "shape": "vh"}, "hoverinfo": "skip", "showlegend": False}
    traces = [
        line("low", "low", "--hold", **edge),
        line(
            "low to high",
            "high",
            "--hold",
            **{**edge, "showlegend": True},
            fill="tonexty",
            fillcolor="--band",
        ),
        line("close", "close", "--hold", line={"color": "--hold", "width": 1.2}),
    ]
    marks = {side: _fill_marks(result.primary.curve, fills, side) for side in ("buy", "sell")}
    for side, shape in (("buy", "triangle-up"), ("sell", "triangle-down")):
        columns |= {f"{side}_{name}": values for name, values in marks[side].items()}
        traces.append(_mark_trace(side, shape))
    slider = {
        "visible": True,
        "thickness": 0.1,
        "bordercolor": "--line",
        "range": list(result.span),
        "yaxis": {"rangemode": "auto"},
    }
    layout = {
        "hovermode": "closest",
        "xaxis": time_axis(**({"rangeslider": slider} if has_slider else {})),
        "yaxis": value_axis(tickformat=",~r", zeroline=False),
    }
    chart = Chart(
        id=id_,
        label=f"Price of {symbol} and where it was bought and sold",
        columns=columns,
        traces=traces,
        layout=layout,
        span=result.span,
        height=480 if has_slider else 400,
        mark=result.mark,
    )
    return chart, marks


def _mark_trace(side: str, shape: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": side,
        "x": f"@{side}_t",
        "y": f"@{side}_price",
        "text": f"@{side}_text",
        "hovertemplate": f"{side} %{{text}}<extra></extra>",
        "meta": "marks",
        "marker": {
            "color": f"--{side}",
            "symbol": shape,
            "line": {"color": "--card", "width": 0.5},
        },
    }


def _price_note(
    result: Result,
    drawn_bars: int,
    fills: pa.Table,
    marks: Mapping[str, Mapping[str, Sequence[Any]]],
    *,
    is_first: bool,
) -> str:
    bars, said = result.summary.bars, []
    if is_first:
        said.append(
            "Zoom with the buttons, the strip below or by dragging; every chart of time follows."
        )
        if drawn_bars < bars:
            width = -(-bars // drawn_bars)
            said.append(
                f"Drawn thinner: {bars:,} bars as {drawn_bars:,} stretches of {width:,}, "
                "each with its lowest and highest price and its last close."
            )
    drawn = sum(len(mark["t"]) for mark in marks.values())
    if drawn < fills.num_rows:
        said.append(
            f"The {fills.num_rows:,} fills are drawn as {drawn:,} marks: the buys of a stretch "
            "together, and the sells, at their average price."
        )
    elif not fills.num_rows:
        said.append("There were no fills.")
    return " ".join(said)


def _fill_marks(curve: Curve, fills: pa.Table, side: str) -> dict[str, Sequence[Any]]:
    """Return time, price and text of the marks of one side."""
    own = fills.filter(pc.equal(fills["side"], side))
    if fills.num_rows <= _FILLS:
        rows = own.to_pylist()
        return {
            "t": [row["ts_ms"] for row in rows],
            "price": [float(row["price"]) for row in rows],
            "text": [
                f"{with_commas(row['quantity'])} at {with_commas(row['price'])}, "
                f"{row['type'].replace('_', ' ')}"
                for row in rows
            ],
        }
    closes_ms = curve.closes_ms
    starts = stretches(len(closes_ms), _FILLS // 2)
    ends = np.append(starts[1:], len(closes_ms)) - 1
    bars = np.searchsorted(closes_ms, own["ts_ms"].to_numpy()).clip(max=len(closes_ms) - 1)
    stretch = np.searchsorted(starts, bars, side="right") - 1
    quantity, price = (own[name].cast(pa.float64()).to_numpy() for name in ("quantity", "price"))
    sizes, places = (decimals_of(own[name][0].as_py()) for name in ("quantity", "price"))
    counts = np.bincount(stretch, minlength=len(starts))
    total = np.bincount(stretch, weights=quantity, minlength=len(starts))
    paid = np.bincount(stretch, weights=quantity * price, minlength=len(starts))
    at = np.flatnonzero(counts)
    average = np.round(paid[at] / total[at], places)
    return {
        "t": closes_ms[ends[at]].tolist(),
        "price": average.tolist(),
        "text": [
            f"{counted(count, 'fill')}, {amount:,.{sizes}f} at {mean:,.{places}f}"
            for count, amount, mean in zip(
                counts[at].tolist(), total[at].tolist(), average.tolist(), strict=True
            )
        ],
    }
