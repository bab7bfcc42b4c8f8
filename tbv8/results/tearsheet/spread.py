"""Distributions: histograms of days and trades, and excursions of trades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tbv8.page.charts import Chart, draw, value_axis
from tbv8.page.html import Child, element
from tbv8.page.thin import shown
from tbv8.page.words import counted, minute
from tbv8.results.read import Result
from tbv8.results.statistics import daily_returns
from tbv8.results.tearsheet.account import from_start
from tbv8.results.tearsheet.round_trips import RoundTrips
from tbv8.results.tearsheet.words import Part, caption
from tbv8.trading.nautilus import Floats, Ints

_BINS = 41
_DOTS = 2000  # the most trades drawn, evenly spread over time


def spread_part(result: Result, trips: RoundTrips) -> Part:
    """Return the histograms, and the charts of adverse and favorable excursions."""
    points = from_start(result.primary, result.primary.curve.equity)
    _, returns = daily_returns(result.times_ms, points)
    shares = trips.shares[np.isfinite(trips.shares)]
    charts = [
        ("Daily returns", _histogram("days-chart", "day", returns, result.mark)),
        ("Trades, share of entry value", _histogram("shares-chart", "trade", shares, result.mark)),
    ]
    note = ""
    if flat := int((returns == 0).sum()):
        verb = "is" if flat == 1 else "are"
        note = f"{counted(flat, 'day')} without any return {verb} left out. "
    note += (
        "All are in percent. MAE and MFE are the largest moves of the price against and in favor "
        "of a trade."
    )
    if len(trips):
        drawn = np.unique(np.linspace(0, len(trips) - 1, min(len(trips), _DOTS)).astype(np.int64))
        charts += [
            ("MAE", _dots("mae-chart", "against the trade", trips, trips.adverse, drawn, result)),
            ("MFE", _dots("mfe-chart", "for the trade", trips, trips.favorable, drawn, result)),
        ]
        note += (
            f" Measured from the whole {result.step} bars within the trade, its entry and its "
            "exit, against the average entry, before fees."
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
    largest = float(np.abs(percent).max())
    width = _round_up(2 * largest / _BINS)
    edges = width * np.arange(np.floor(percent.min() / width), np.ceil(percent.max() / width) + 1)
    counts, _ = np.histogram(percent, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for name, selected, color in (("loss", middles < 0, "--down"), ("gain", middles > 0, "--up")):
        columns[f"{name}_at"] = shown(middles[selected])
        columns[name] = counts[selected].tolist()
        columns[f"{name}_text"] = [
            f"{low:.4g} to {high:.4g} %"
            for low, high in zip(edges[:-1][selected], edges[1:][selected], strict=True)
        ]
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": f"@{name}_at",
                "y": f"@{name}",
                "text": f"@{name}_text",
                "textposition": "none",
                "width": width * 0.94,
                "marker": {"color": color},
                "hovertemplate": f"%{{text}}: %{{y}} {noun}s<extra></extra>",
            }
        )
    chart = Chart(
        id=id_,
        label=f"Number of {noun}s by their return, in percent",
        columns=columns,
        traces=traces,
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "bargap": 0,
            "xaxis": value_axis(ticksuffix=" %", zeroline=False),
            "yaxis": value_axis(),
        },
        height=260,
        mark=mark,
    )
    return draw(chart)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5 and 10 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(power * step for step in (1, 2, 5, 10, 20) if power * step >= value))


def _dots(
    id_: str, direction: str, trips: RoundTrips, reach: Floats, drawn: Ints, result: Result
) -> Child:
    """Return the chart of trades' gains over their excursions."""
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for name, is_selected, color in (
        ("won", trips.gains > 0, "--up"),
        ("lost", trips.gains <= 0, "--down"),
    ):
        selected = drawn[is_selected[drawn]]
        columns[f"{name}_at"] = shown(reach[selected] * 100, digits=5)
        columns[name] = shown(trips.shares[selected] * 100, digits=5)
        columns[f"{name}_text"] = [
            f"{trips.symbols[at]} {'long' if trips.is_long[at] else 'short'}, "
            f"{minute(int(trips.opened_ms[at]))}"
            for at in selected
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": f"@{name}_at",
                "y": f"@{name}",
                "text": f"@{name}_text",
                "marker": {"color": color, "size": 5, "opacity": 0.6},
                "hovertemplate": f"%{{text}}: %{{x}} % {direction}, gained %{{y}} %<extra></extra>",
            }
        )
    chart = Chart(
        id=id_,
        label=f"Gain of each trade over the price's largest move {direction}, in percent",
        columns=columns,
        traces=traces,
        layout={
            "hovermode": "closest",
            "xaxis": value_axis(ticksuffix=" %", rangemode="tozero"),
            "yaxis": value_axis(ticksuffix=" %"),
        },
        height=300,
        mark=result.mark,
    )
    return draw(chart)
