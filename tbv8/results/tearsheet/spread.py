"""Distributions: histograms of days and trades, and excursions of trades."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tbv8.page.charts import Chart, draw, value_axis
from tbv8.page.html import Child, element
from tbv8.page.thin import shown
from tbv8.results.read import Result
from tbv8.results.statistics import daily_returns
from tbv8.results.tearsheet.part import Part, caption, minutes
from tbv8.results.tearsheet.round_trips import RoundTrips
from tbv8.text import counted
from tbv8.trading.nautilus import Floats, Ints

_BINS = 41
_DOTS = 2000  # the most trades drawn, evenly spread over time

type _Side = tuple[str, str, Sequence[Any], Sequence[Any], Sequence[str]]
"""Name, colour, and each point's x, y and text."""


def spread_part(result: Result, trips: RoundTrips) -> Part:
    """Return the histograms, and the charts of adverse and favorable excursions."""
    curve, mark = result.primary.curve, result.mark
    _, returns = daily_returns(curve.times_ms, curve.from_start(curve.equity))
    shares = trips.shares[np.isfinite(trips.shares)]
    charts = [
        ("Daily returns", _histogram("days-chart", "day", returns, mark)),
        ("Trades by gain, % of entry value", _histogram("shares-chart", "trade", shares, mark)),
    ]
    note = ""
    if flat := int((returns == 0).sum()):
        days, them = counted(flat, "day"), "it" if flat == 1 else "them"
        note = (
            f"The histogram of daily returns leaves out {days} with a return of exactly 0; the "
            f"statistics count {them}. "
        )
    if len(trips):
        drawn = np.unique(np.linspace(0, len(trips) - 1, min(len(trips), _DOTS)).astype(np.int64))
        charts += [
            ("Gain and MAE", _dots("MAE", "against the trade", trips, trips.adverse, drawn, mark)),
            ("Gain and MFE", _dots("MFE", "for the trade", trips, trips.favorable, drawn, mark)),
        ]
        note += (
            "MAE is the largest move of the price against a trade, MFE the largest in its favor, "
            "in percent of the average entry price and before fees. Of the "
            f"{result.strategy.step} bar inside of which a trade begins, only the close counts; "
            "of the one inside of which it ends, only the open and the exit price."
        )
        if len(drawn) < len(trips):
            note += f" {len(drawn):,} of {len(trips):,} trades are drawn."
    parts = [element("div", element("h3", title), chart) for title, chart in charts]
    return "spread", "Days and trades", [caption(note), element("div", parts, class_="columns")]


def _histogram(id_: str, noun: str, values: Floats, mark: str) -> Child:
    """Return a histogram without zeros; gains and losses never share a bin."""
    values = values[values != 0]
    if not values.size:
        return element("p", f"There is no {noun} to show.", class_="dim")
    percent = values * 100
    width = _round_up(2 * float(np.abs(percent).max()) / _BINS)
    edges = width * np.arange(np.floor(percent.min() / width), np.ceil(percent.max() / width) + 1)
    counts, _ = np.histogram(percent, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    texts = np.array([f"{low:.4g} to {high:.4g} %" for low, high in itertools.pairwise(edges)])
    bars = [
        (name, color, shown(middles[side]), counts[side].tolist(), texts[side].tolist())
        for name, color, side in (("loss", "--down", middles < 0), ("gain", "--up", middles > 0))
    ]
    look = {
        "textposition": "none",
        "width": width * 0.94,
        "marker": {},
        "hovertemplate": f"%{{text}}: %{{y}} {noun}s<extra></extra>",
    }
    layout = {
        "showlegend": False,
        "bargap": 0,
        "xaxis": value_axis(ticksuffix=" %", zeroline=False),
        "yaxis": value_axis(title={"text": f"{noun}s"}),
    }
    label = f"Number of {noun}s by their return, in percent"
    chart = Chart(id=id_, label=label, layout=layout, height=260, mark=mark)
    return _draw(chart, bars, {"type": "bar"}, look)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5 and 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(power * step for step in (1, 2, 5, 10, 20) if power * step >= value))


def _dots(
    name: str, direction: str, trips: RoundTrips, reach: Floats, drawn: Ints, mark: str
) -> Child:
    """Return the chart of trades' gains over an excursion, `MAE` or `MFE`."""
    dots = []
    for side, color, is_selected in (
        ("won", "--up", trips.gains > 0),
        ("lost", "--down", trips.gains <= 0),
    ):
        own = drawn[is_selected[drawn]]
        sides = np.where(trips.is_long[own], "long", "short")
        texts = [
            f"{symbol} {side}, {opened}"
            for symbol, side, opened in zip(
                trips.symbols[own], sides, minutes(trips.opened_ms[own]), strict=True
            )
        ]
        reached, gained = (shown(v[own] * 100, digits=5) for v in (reach, trips.shares))
        dots.append((side, color, reached, gained, texts))
    look = {
        "marker": {"size": 5, "opacity": 0.6},
        "hovertemplate": f"%{{text}}: %{{x}} % {direction}, gained %{{y}} %<extra></extra>",
    }
    layout = {
        "xaxis": value_axis(ticksuffix=" %", rangemode="tozero", title={"text": name}),
        "yaxis": value_axis(ticksuffix=" %", title={"text": "gain"}),
    }
    label = f"Gain of each trade over the price's largest move {direction}, in percent"
    chart = Chart(id=f"{name.lower()}-chart", label=label, layout=layout, height=300, mark=mark)
    return _draw(chart, dots, {"type": "scatter", "mode": "markers"}, look)


def _draw(
    chart: Chart, sides: Iterable[_Side], kind: Mapping[str, Any], look: Mapping[str, Any]
) -> Child:
    """Return a chart of two sides, each with its own colour and a text per point."""
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for name, color, x, y, texts in sides:
        columns |= {f"{name}_at": x, name: y, f"{name}_text": texts}
        axes = {"name": name, "x": f"@{name}_at", "y": f"@{name}", "text": f"@{name}_text"}
        traces.append({**kind, **axes, **look, "marker": {"color": color, **look["marker"]}})
    layout = {"hovermode": "closest", **chart.layout}
    return draw(msgspec.structs.replace(chart, columns=columns, traces=traces, layout=layout))
