"""Charts are data that plotly's own checks accept, and that no text breaks out of."""

from __future__ import annotations

import json
import re
from typing import Any

import plotly.graph_objects as go

from tbv8.page.charts import Chart, draw, label_text, line


def data_of(html: str, id_: str) -> dict[str, Any]:
    """Return the data of a chart in a page."""
    found = re.search(rf'<script id="{id_}-data" type="application/json">(.*?)</script>', html)
    assert found, id_
    value: dict[str, Any] = json.loads(found[1])
    return value


def as_figure(data: dict[str, Any]) -> go.Figure:
    """Return the figure as plotly checks it: names of colours and columns in their places."""

    def resolve(value: Any) -> Any:
        if isinstance(value, str):
            if value.startswith("--"):
                return "#123456"
            return data["columns"][value[1:]] if value.startswith("@") else value
        if isinstance(value, list):
            return [resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: resolve(item) for key, item in value.items()}
        return value

    return go.Figure(data=resolve(data["traces"]), layout=resolve(data["layout"]))


def test_a_chart_is_what_plotly_accepts_and_holds_its_numbers() -> None:
    chart = Chart(
        id="a",
        label="A curve",
        columns={"t": [0, 60_000], "equity": [1.5, 2]},
        traces=[line("equity", "equity", "--accent")],
        span=(0, 60_000),
        mark="simulated",
    )

    figure = as_figure(data_of(draw(chart), "a"))

    assert list(figure.data[0].y) == [1.5, 2]
    assert figure.layout.annotations[0].text == "simulated"
    assert list(figure.layout.xaxis.range) == [0, 60_000]


def test_no_text_ends_the_script_or_becomes_a_tag() -> None:
    chart = Chart(
        id="a",
        label="</div><b>",
        columns={"t": ["</script><script>alert(1)</script>"]},
        traces=[line(label_text("<a href='x'>--@y</a>"), "t", "--ink")],
    )

    html = draw(chart)

    assert html.count("</script>") == 1
    assert "<b>" not in html
    data = data_of(html, "a")
    assert data["columns"]["t"] == ["</script><script>alert(1)</script>"]
    assert data["traces"][0]["name"] == "&lt;a href='x'&gt;--@y&lt;/a&gt;"


def test_a_label_is_never_taken_for_a_colour_or_a_column() -> None:
    assert label_text("--ink") == "ink"
    assert label_text("@t") == "t"
    assert label_text("--") == "-"
