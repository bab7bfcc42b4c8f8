"""The drawdown of the equity over time, and the five deepest drawdowns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tbv8.market import DAY_MS
from tbv8.page.charts import Chart, draw, line, value_axis
from tbv8.page.html import Child, element, table
from tbv8.page.thin import keep_extremes, shown
from tbv8.page.words import minute
from tbv8.results.read import Result
from tbv8.results.statistics import Drawdown
from tbv8.results.tearsheet.account import from_start
from tbv8.results.tearsheet.words import POINTS, Part, caption, thinned_words
from tbv8.trading.nautilus import Ints

_LISTED = 5


def drawdown_part(result: Result) -> Part:
    """Return the chart of the drawdown and the list of the deepest ones."""
    run, times_ms = result.primary, result.times_ms
    points = from_start(run, run.curve.equity)
    peaks = np.maximum.accumulate(points)
    depth = -(peaks - points) / peaks * 100
    at = keep_extremes([depth], most=POINTS)
    falls = worst_falls(points, most=_LISTED)
    chart = Chart(
        id="drawdown-chart",
        label="Drawdown: the equity below its highest value so far, in percent",
        columns={"t": times_ms[at].tolist(), "drawdown": shown(depth[at], digits=5)},
        traces=[
            line(
                "drawdown",
                "drawdown",
                "--down",
                fill="tozeroy",
                fillcolor="--fall",
                hovertemplate="%{y:.2f} %",
            )
        ],
        layout={
            "yaxis": value_axis(ticksuffix=" %"),
            **_marks(falls, times_ms),
            "showlegend": False,
        },
        span=result.span,
        height=260,
        mark=result.mark,
    )
    thinned = thinned_words(len(at), len(depth))
    if not falls:
        note = f"The equity never fell below an earlier value. {thinned}"
        return "drawdown", "Drawdown", [caption(note), draw(chart)]
    note = f"Percent below the highest equity so far; the deepest are marked. {thinned}"
    return "drawdown", "Drawdown", [caption(note), draw(chart), _list(falls, times_ms)]


def worst_falls(equity: Ints, *, most: int) -> list[Drawdown]:
    """Return the deepest drawdowns, each until its peak is reached again, the deepest first."""
    peaks = np.maximum.accumulate(equity)
    edges = np.flatnonzero(np.diff((equity < peaks).astype(np.int8), append=0))
    starts, lasts = edges[::2], edges[1::2]  # of each: its peak, and its last point below
    falls = []
    for start, last in zip(starts.tolist(), lasts.tolist(), strict=True):
        bottom = start + 1 + int(np.argmin(equity[start + 1 : last + 1]))
        depth = float((peaks[bottom] - equity[bottom]) / peaks[bottom])
        falls.append(Drawdown(depth, start, bottom, last + 1 if last + 1 < len(equity) else None))
    return sorted(falls, key=lambda fall: -fall.depth)[:most]


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
            _days(times_ms, fall.start, fall.bottom),
            _days(times_ms, fall.start, -1 if fall.end is None else fall.end),
        ]
        for fall in falls
    ]
    heads = ["drawdown", "peak", "bottom", "recovered", "days to bottom", "days in total"]
    return element("div", table(heads, rows, words=4, id_="drawdowns-table"))


def _days(times_ms: Ints, start: int, end: int) -> str:
    return f"{(int(times_ms[end]) - int(times_ms[start])) / DAY_MS:,.1f}"
