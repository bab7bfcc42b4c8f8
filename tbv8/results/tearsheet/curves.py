"""Curves over time: equity, drawdown, rolling Sharpe ratio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tbv8.market import DAY_MS, parse_time
from tbv8.page.charts import buttons, label_text, line, value_axis
from tbv8.page.html import Child, element, table
from tbv8.page.thin import shown, stretches
from tbv8.page.words import length, minute
from tbv8.results.accounting import in_usd
from tbv8.results.read import Result
from tbv8.results.statistics import Drawdown, deepest_falls, rolling_sharpe
from tbv8.results.summary import Event
from tbv8.results.tearsheet.exposure import HoldAtExposure
from tbv8.results.tearsheet.part import POINTS, Part, caption, draw_over_time, thin
from tbv8.trading.nautilus import Ints

_WINDOWS_DAYS = (30, 90)  # of the rolling Sharpe ratio
_LISTED = 5  # drawdowns


def equity_part(result: Result, exposed: HoldAtExposure) -> Part:
    """Return the chart of the equity beside buy and hold."""
    venue, curve = result.primary.venue, result.primary.curve
    times_ms, equity = curve.times_ms, in_usd(curve.from_start(curve.equity))
    curves = {"equity": equity, "hold": in_usd(curve.from_start(curve.buy_and_hold))}
    traces = [
        line("buy and hold", "hold", "--hold"),
        line(label_text(venue), "equity", "--accent", line={"color": "--accent", "width": 2}),
    ]
    if exposed.equity is not None:
        curves["exposed"] = in_usd(exposed.equity)
        dotted = {"color": "--hold", "width": 1.5, "dash": "dot"}
        traces.insert(1, line(exposed.name, "exposed", "--hold", line=dotted))
    columns, thinned = thin(times_ms, curves)
    if halts := result.primary.stats.halts:
        marks = _halt_points(halts, times_ms)
        columns |= {"halt_t": times_ms[marks].tolist(), "halt_equity": shown(equity[marks])}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "halt",
                "x": "@halt_t",
                "y": "@halt_equity",
                "marker": {"symbol": "line-ns-open", "size": 9, "color": "--warn"},
                "hovertemplate": "closed and halted",
            }
        )
    chart = draw_over_time(
        result,
        "equity-chart",
        "Equity of the strategy and of buy and hold, in USD",
        columns,
        traces,
        yaxis=value_axis(tickformat=",~r", zeroline=False),
    )
    note = (
        "USD at the close of each bar. The dotted curve always holds the strategy's average "
        f"position, {exposed.percent} of its equity, with short positions negative. {thinned}"
    )
    scale = buttons({"log scale": {"data_log": "equity-chart"}}, label="Scale")
    return "equity", "Equity against buy and hold", [caption(note), scale, chart]


def _halt_points(halts: Sequence[Event], times_ms: Ints) -> Ints:
    """Return the points of the halts; of many only the first in each stretch."""
    halts_ms = [parse_time(halt.time) for halt in halts]
    at = np.searchsorted(times_ms, halts_ms).clip(max=len(times_ms) - 1)
    starts = stretches(len(times_ms), POINTS // 2)
    _, first = np.unique(np.searchsorted(starts, at, side="right"), return_index=True)
    return np.unique(at[first]).astype(np.int64)


def rolling_part(result: Result) -> Part:
    """Return the chart of the Sharpe ratio over rolling windows."""
    curve = result.primary.curve
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for days, color in zip(_WINDOWS_DAYS, ("--hold", "--accent"), strict=True):
        days_ms, ratios = rolling_sharpe(curve.times_ms, curve.from_start(curve.equity), days=days)
        if not ratios:
            continue
        values = np.array([np.nan if ratio is None else ratio for ratio in ratios])
        name, times = f"sharpe_{days}", f"t_{days}"
        drawn, _ = thin(days_ms + DAY_MS, {name: values}, digits=5)
        columns |= {times: drawn["t"], name: drawn[name]}
        traces.append(line(f"{days} days", name, color, x=f"@{times}", hovertemplate="%{y:.2f}"))
    note = (
        "Sharpe ratio of the daily returns over the last 30 and 90 days, for a year of 365 days. "
        "Short windows are mostly noise."
    )
    label = "Sharpe ratio over a rolling window"
    content: Child = draw_over_time(
        result, "rolling-chart", label, columns, traces, height=260, showlegend=True
    )
    if not traces:
        content = element("p", f"The run is shorter than {_WINDOWS_DAYS[0]} days.", class_="dim")
    return "rolling", "Rolling Sharpe ratio", [caption(note), content]


def drawdown_part(result: Result) -> Part:
    """Return the chart of the drawdown and the list of the deepest ones."""
    times_ms = result.primary.curve.times_ms
    points = result.primary.curve.from_start(result.primary.curve.equity)
    peaks = np.maximum.accumulate(points)
    depth = -(peaks - points) / peaks * 100
    columns, thinned = thin(times_ms, {"drawdown": depth}, digits=5)
    falls = deepest_falls(points, most=_LISTED)
    drawn = line(
        "drawdown",
        "drawdown",
        "--down",
        fill="tozeroy",
        fillcolor="--fall",
        hovertemplate="%{y:.2f} %",
    )
    chart = draw_over_time(
        result,
        "drawdown-chart",
        "Drawdown: the equity below its highest value so far, in percent",
        columns,
        [drawn],
        height=260,
        yaxis=value_axis(ticksuffix=" %"),
        **_marks(falls, times_ms),
        showlegend=False,
    )
    if not falls:
        note = f"The equity never fell below an earlier value. {thinned}"
        return "drawdown", "Drawdown", [caption(note), chart]
    note = (
        "The equity in percent below its highest value so far; the table lists the deepest "
        f"drawdowns. {thinned}"
    )
    return "drawdown", "Drawdown", [caption(note), chart, _list(falls, times_ms)]


def _marks(falls: Sequence[Drawdown], times_ms: Ints) -> dict[str, Any]:
    """Return the parts of a layout that mark drawdowns, the deepest most visibly."""
    if not falls:
        return {}
    bands = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": int(times_ms[fall.start]),
            "x1": int(times_ms[-1 if fall.end is None else fall.end]),
            "y0": 0,
            "y1": 1,
            "fillcolor": "--fall",
            "opacity": 0.25 if number else 0.6,
            "line": {"width": 0},
            "layer": "below",
        }
        for number, fall in enumerate(falls)
    ]
    worst = falls[0]
    bottom_ms = int(times_ms[worst.bottom])
    is_early = bottom_ms < (int(times_ms[0]) + int(times_ms[-1])) // 2
    arrow = {
        "x": bottom_ms,
        "y": -worst.depth * 100,
        "text": f"{-worst.depth:.2%}",
        "showarrow": True,
        "arrowcolor": "--down",
        "arrowhead": 2,
        "ax": 44 if is_early else -44,  # inside, at both ends
        "ay": -24,
        "font": {"color": "--down"},
        "bgcolor": "--card",
    }
    return {"shapes": bands, "annotations": [arrow]}


def _list(falls: Sequence[Drawdown], times_ms: Ints) -> Child:
    rows = [
        [
            f"{-fall.depth:.2%}",
            minute(int(times_ms[fall.start])),
            minute(int(times_ms[fall.bottom])),
            "not yet" if fall.end is None else minute(int(times_ms[fall.end])),
            _time(times_ms, fall.start, fall.bottom),
            _time(times_ms, fall.start, -1 if fall.end is None else fall.end),
        ]
        for fall in falls
    ]
    heads = ["drawdown", "peak", "bottom", "recovered", "time to bottom", "time in total"]
    return element("div", table(heads, rows, words=4, id_="drawdowns-table"))


def _time(times_ms: Ints, start: int, end: int) -> str:
    return length(int(times_ms[end]) - int(times_ms[start]))
