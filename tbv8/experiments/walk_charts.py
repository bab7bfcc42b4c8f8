"""The tested windows of an experiment as charts and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tbv8.config.document import plain
from tbv8.experiments.result import Findings
from tbv8.experiments.space_charts import watermark
from tbv8.experiments.stitching import StitchedAccount
from tbv8.market import MIN_DAYS, iso_day
from tbv8.page.charts import Chart, draw, label_text, line, value_axis
from tbv8.page.html import Child, PageSection, element, table
from tbv8.page.words import number

_BANDS = 60
_AXIS = "The axis runs from the first to the last value in the YAML."


def walk_section(findings: Findings, walk: StitchedAccount) -> PageSection:
    """Return the windows one after another, and the values that each chose."""
    note = (
        "Each window trades the values that were best in the days before it (in sample). It begins "
        "with the position that these values would have; the cost of changing to that position is "
        "counted."
    )
    ratios = (
        "Efficiency is the Sharpe ratio out of sample divided by the one in sample. It is a "
        f"dash if either is not above 0, or if the window has fewer than {MIN_DAYS} days. For "
        "all windows together, the Sharpe ratio of all days out of sample"
        f"{_in_brackets(walk.performance.sharpe)} is divided by the mean of the windows' Sharpe "
        f"ratios in sample{_in_brackets(walk.trained_sharpe)}."
    )
    content: list[Child] = [
        element("p", note, class_="note"),
        element("h3", "Equity of all windows, one after another, USD"),
        draw(_stitched(findings, walk)),
        element("h3", "Values chosen for each window"),
        element("p", _AXIS, class_="note"),
        draw(_steps(findings, walk)),
    ]
    if pairs := _pairs(walk):
        content += [
            element("h3", "Sharpe ratio of each window, in and out of sample"),
            draw(_in_and_out(pairs)),
        ]
    names = [axis.name for axis in findings.experiment.search.axes]
    rows: list[Sequence[Child]] = [
        [
            f"{iso_day(window.spans.test.start_ms)} to {iso_day(window.spans.test.end_ms)}",
            *(str(plain(window.params.get(name, "–"))) for name in names),
            number(window.trained.sharpe if window.trained else None, ".2f"),
            number(window.tested.sharpe if window.tested else None, ".2f"),
            f"{window.gain:+,.2f}",
            f"{window.switch_cost:,.2f}",
            number(window.tested.trades if window.tested else None, ","),
            number(window.efficiency, ".2f"),
        ]
        for window in walk.windows
    ]
    heads = [
        *("window, out of sample", *names, "Sharpe ratio in sample", "Sharpe ratio out of sample"),
        *("gain, USD", "cost of changing position, USD", "round trips", "efficiency"),
    ]
    content += [
        element("p", ratios, class_="note"),
        table(heads, rows, sortable=True, id_="windows-table"),
    ]
    return "walk", "Walk-forward", content


def _in_brackets(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.2f})"


def _stitched(findings: Findings, walk: StitchedAccount) -> Chart:
    shapes = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": window.spans.test.start_ms,
            "x1": window.spans.test.end_ms,
            "y0": 0,
            "y1": 1,
            "fillcolor": "--band",
            "line": {"width": 0},
            "layer": "below",
        }
        for window in walk.windows[:_BANDS:2]
    ]
    return Chart(
        id="stitched-chart",
        label="Equity of all windows one after another, in USD",
        columns={"t": walk.times_ms.tolist(), "equity": (walk.equity / 1e8).round(4).tolist()},
        traces=[line("out of sample", "equity", "--accent", hovertemplate="%{y:,.2f} USD")],
        layout={"shapes": shapes, "showlegend": False, "yaxis": value_axis(zeroline=False)},
        span=(int(walk.times_ms[0]), int(walk.times_ms[-1])),
        mark=watermark(findings),
    )


def _steps(findings: Findings, walk: StitchedAccount) -> Chart:
    """Return the chosen values over time, as their places on each axis."""
    axes = findings.experiment.search.axes
    times = [window.spans.test.start_ms for window in walk.windows] + [
        walk.windows[-1].spans.test.end_ms
    ]
    columns: dict[str, Sequence[Any]] = {"t": times}
    traces = []
    for at, axis in enumerate(axes):
        values = [window.params.get(axis.name) for window in walk.windows]
        values.append(values[-1])
        columns[f"y{at}"] = [
            None if value is None else axis.values.index(value) / max(1, len(axis.values) - 1)
            for value in values
        ]
        columns[f"text{at}"] = [str(plain(value)) for value in values]
        traces.append(
            line(
                label_text(axis.name),
                f"y{at}",
                f"--c{at % 10}",
                line={"color": f"--c{at % 10}", "shape": "hv", "width": 2},
                text=f"@text{at}",
                hovertemplate="%{text}",
            )
        )
    return Chart(
        id="steps-chart",
        label="The values chosen for each window, from the first to the last of each axis",
        columns=columns,
        traces=traces,
        layout={
            "showlegend": True,
            "yaxis": value_axis(
                tickvals=[0, 1], ticktext=["first", "last"], zeroline=False, range=[-0.08, 1.08]
            ),
        },
        span=(times[0], times[-1]),
        height=200,
    )


def _pairs(walk: StitchedAccount) -> list[tuple[float, float, str]]:
    """Return the Sharpe ratios in and out of sample, and the first day of each window."""
    return [
        (window.trained.sharpe, window.tested.sharpe, iso_day(window.spans.test.start_ms))
        for window in walk.windows
        if window.trained
        and window.tested
        and window.trained.sharpe is not None
        and window.tested.sharpe is not None
    ]


def _in_and_out(pairs: Sequence[tuple[float, float, str]]) -> Chart:
    return Chart(
        id="in-out-chart",
        label="Sharpe ratio of each window in sample and out of sample",
        columns={
            "x": [x for x, _, _ in pairs],
            "y": [y for _, y, _ in pairs],
            "text": [text for _, _, text in pairs],
        },
        traces=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": "@x",
                "y": "@y",
                "text": "@text",
                "marker": {"color": "--accent", "size": 9},
                "hovertemplate": "from %{text}: %{x:.2f} in, %{y:.2f} out<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(title={"text": "in sample"}),
            "yaxis": value_axis(title={"text": "out of sample"}),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=280,
    )
