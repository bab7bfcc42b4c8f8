"""Charts for plotly.js as plain data: columns of numbers, and traces that refer to them.

In traces and layouts a text such as `--ink` is the page's colour of that name, so that charts
follow light and dark, and `@equity` is the chart's column of that name. Text of users goes into
columns, or through `label_text`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tbv8.page.html import Html, element, join

_FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12}


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One chart.

    `label` describes it for screen readers; `mark` is a watermark. The charts of a page with a
    `span`, the first and the last time, zoom together, and their visible part fills their height at
    each zoom. A chart of `prices`, packed as in candles.py, has no traces of its own. An `overview`
    shows the whole span at any zoom; its first shape marks the visible part.
    """

    id: str
    label: str
    columns: Mapping[str, Sequence[Any]] = {}
    traces: Sequence[Mapping[str, Any]] = ()
    prices: Mapping[str, Any] | None = None
    overview: bool = False
    layout: Mapping[str, Any] = {}
    span: tuple[int, int] | None = None
    height: int = 340
    mark: str = ""


def draw(chart: Chart) -> Html:
    """Return the element and the data of a chart; the page's script draws it."""
    data = {
        "span": chart.span,
        "columns": chart.columns,
        "traces": chart.traces,
        "layout": _layout(chart),
        **({"prices": chart.prices} if chart.prices else {}),
        **({"overview": True} if chart.overview else {}),
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return element(
        "figure",
        element(
            "div",
            id=chart.id,
            class_="chart",
            role="img",
            aria_label=chart.label,
            style=f"height:{chart.height}px",
        ),
        element(
            "script",
            Html(text.replace("<", "\\u003c")),
            id=f"{chart.id}-data",
            type="application/json",
        ),
    )


def zoom_buttons(chart_id: str, days: Mapping[str, int]) -> Html:
    """Return buttons that zoom to a number of days before the visible end, and that pan."""
    zooms = {name: {"data_zoom": f"{chart_id}:{n}"} for name, n in {**days, "all": 0}.items()}
    moves = {
        "◀ earlier": {"data_move": f"{chart_id}:-1"},
        "later ▶": {"data_move": f"{chart_id}:1"},
    }
    return buttons({**zooms, **moves}, label="Zoom")


def trade_buttons(chart_id: str) -> Html:
    """Return buttons that step through the trades, and the line that describes one."""
    steps = {
        "◀ trade before": {"data_trade_step": f"{chart_id}:-1"},
        "next trade ▶": {"data_trade_step": f"{chart_id}:1"},
    }
    words = element("span", id=f"{chart_id}-trade", class_="dim", aria_live="polite")
    return join([buttons(steps, label="Trades"), element("p", words, class_="trade")])


def buttons(named: Mapping[str, Mapping[str, str]], *, label: str) -> Html:
    """Return a group of buttons, from their texts and their data attributes for the script."""
    each = [element("button", text, type="button", **data) for text, data in named.items()]
    return element("div", each, class_="zoom", role="group", aria_label=label)


def time_axis(**changes: Any) -> dict[str, Any]:
    """Return an x axis of time, UTC."""
    return {"type": "date", **_axis(), "showgrid": False, **changes}


def value_axis(**changes: Any) -> dict[str, Any]:
    """Return a y axis."""
    return {**_axis(), "zeroline": True, "zerolinecolor": "--axis", **changes}


def line(name: str, y: str, color: str, **changes: Any) -> dict[str, Any]:
    """Return a curve over the column `t`."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": "@t",
        "y": f"@{y}",
        "line": {"color": color, "width": 1.5},
        **changes,
    }


def label_text(text: str) -> str:
    """Return a text escaped for names and titles, in which plotly.js would read tags."""
    return html.escape(text, quote=False).lstrip("@-") or "-"


def _axis() -> dict[str, Any]:
    return {
        "gridcolor": "--grid",
        "linecolor": "--axis",
        "tickcolor": "--axis",
        "tickfont": {"color": "--muted"},
        "automargin": True,
        "zeroline": False,
    }


def _layout(chart: Chart) -> dict[str, Any]:
    mark = {
        "text": label_text(chart.mark),
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "showarrow": False,
        "font": {"size": 38, "color": "--watermark"},
    }
    overrides = dict(chart.layout)
    axis = overrides.pop("xaxis", time_axis() if chart.span else {})
    if chart.span:
        axis = {**axis, "range": list(chart.span)}
    annotations = [*([mark] if chart.mark else []), *overrides.pop("annotations", [])]
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {**_FONT, "color": "--ink"},
        "margin": {"l": 62, "r": 12, "t": 28, "b": 32},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "--card", "bordercolor": "--line", "font": {"color": "--ink"}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        "xaxis": axis,
        "yaxis": value_axis(),
        "annotations": annotations,
        **overrides,
    }
