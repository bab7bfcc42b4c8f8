"""Charts of a search's space: maps over two axes, the best trial so far, the best trials."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tbv8.config.document import plain
from tbv8.config.space import Axis
from tbv8.experiments.result import FRACTIONS, METRIC_NAMES, Findings, SearchTrial
from tbv8.experiments.walkforward import score
from tbv8.page.charts import Chart, draw, label_text, value_axis
from tbv8.page.html import Child, PageSection, color_keys, element
from tbv8.page.words import number
from tbv8.text import counted

_MAX_LINES = 50
_MAX_PAIRS = 6
_MAX_CELLS = 40_000
_MAX_TICKS = 12  # with more trials, Plotly chooses the ticks


def ranked_trials(findings: Findings) -> list[SearchTrial]:
    """Return the trials that qualify, the best first."""
    objective = findings.experiment.objective
    scored = [
        (value, row) for row in findings.rows if (value := score(row.trial, objective)) is not None
    ]
    return [row for _, row in sorted(scored, key=lambda pair: (-pair[0], pair[1].number))]


def watermark(findings: Findings) -> str:
    """Return the text across each chart."""
    return "simulated" if findings.experiment.strategy.simulated else ""


def value_of(findings: Findings, row: SearchTrial) -> float | None:
    """Return a trial's value by the objective, in percent if it is a fraction; None if excluded."""
    objective = findings.experiment.objective
    value = score(row.trial, objective)
    if value is None:
        return None
    scale = 100 if objective.metric in FRACTIONS else 1
    return scale * (value if objective.maximize else -value)


# The space.


class _Panel(msgspec.Struct, frozen=True):
    """A chart of a pair of axes, with the title of its radio button."""

    id: str
    title: str
    chart: Chart


def space_section(findings: Findings) -> PageSection:
    """Return a map for each pair of axes."""
    panels = list(itertools.islice(_panels(findings), _MAX_PAIRS * 3))
    title = f"Each point by {_metric_name(findings)}"
    choices = [
        element(
            "label",
            element("input", type="radio", name="pair", data_panel=panel.id, checked=not at),
            f" {panel.title}",
        )
        for at, panel in enumerate(panels)
    ]
    content: list[Child] = [
        element(
            "p",
            "A single peak among low neighbours is more likely luck than a plateau is.",
            class_="note",
        ),
    ]
    if findings.experiment.search.method == "grid" and any(
        value_of(findings, row) is None for row in findings.rows
    ):
        content.append(color_keys([("--axis", "no result, or too few round trips")]))
    if len(panels) > 1:
        content.append(
            element("div", choices, class_="choice", role="radiogroup", aria_label="Axes")
        )
    content += [
        element("div", draw(panel.chart), id=panel.id, hidden=at > 0)
        for at, panel in enumerate(panels)
    ]
    return "space", title, content


def _panels(findings: Findings) -> Iterator[_Panel]:
    axes = [axis for axis in findings.experiment.search.axes if len(axis.values) > 1]
    if len(axes) < 2:
        yield _Panel("space-one", "all", _dots(findings, axes[0] if axes else None))
        return
    for at, (across, up) in enumerate(itertools.combinations(axes, 2)):
        name = f"{across.name} × {up.name}"
        if findings.experiment.search.method != "grid":
            yield _Panel(f"space-{at}", name, _scatter(findings, across, up, f"space-{at}-chart"))
            continue
        if len(across.values) * len(up.values) > _MAX_CELLS:
            continue
        for mode, suffix in _MODES.items() if len(axes) > 2 else [("chosen", "")]:
            id_ = f"space-{at}-{mode}"
            title = f"{name}{suffix}"
            yield _Panel(id_, title, _heatmap(findings, across, up, mode=mode, id_=f"{id_}-chart"))


_MODES = {"chosen": ", others as chosen", "mean": ", mean of others", "worst": ", worst of others"}


def _scored(findings: Findings) -> list[tuple[SearchTrial, float]]:
    """Return the trials that qualify, with their values."""
    pairs = ((row, value_of(findings, row)) for row in findings.rows)
    return [(row, value) for row, value in pairs if value is not None]


def _cells(
    findings: Findings, across: Axis, up: Axis, mode: str
) -> tuple[list[list[float | None]], list[list[int | None]]]:
    """Return a map over two axes, and the cells that have trials but no value."""
    cells: dict[tuple[int, int], list[float]] = {}
    empty: set[tuple[int, int]] = set()
    chosen = findings.chosen
    assert chosen
    for row in findings.rows:
        others = [name for name in row.params if name not in (across.name, up.name)]
        if mode == "chosen" and any(row.params[name] != chosen.params[name] for name in others):
            continue
        place = (up.values.index(row.params[up.name]), across.values.index(row.params[across.name]))
        value = value_of(findings, row)
        if value is None:
            empty.add(place)
        else:
            cells.setdefault(place, []).append(value)
    worst = min if findings.experiment.objective.maximize else max
    combine = worst if mode == "worst" else statistics.fmean
    grid: list[list[float | None]] = [[None] * len(across.values) for _ in up.values]
    unscored: list[list[int | None]] = [[None] * len(across.values) for _ in up.values]
    for (y, x), values in cells.items():
        grid[y][x] = round(combine(values), 6)
    for y, x in empty - cells.keys():
        unscored[y][x] = 1
    return grid, unscored


def _heatmap(findings: Findings, across: Axis, up: Axis, *, mode: str, id_: str) -> Chart:
    grid, unscored = _cells(findings, across, up, mode)
    chosen = findings.chosen
    assert chosen
    return Chart(
        id=id_,
        label=f"{_metric_name(findings)} over {across.name} and {up.name}",
        columns={
            "x": _labels(across),
            "y": _labels(up),
            "z": grid,
            "rest": unscored,
            "at": [str(plain(chosen.params[across.name]))],
            "and": [str(plain(chosen.params[up.name]))],
        },
        traces=[
            {
                "type": "heatmap",
                "x": "@x",
                "y": "@y",
                "z": "@z",
                **_colors(findings),
                "xgap": 1,
                "ygap": 1,
                "hoverongaps": False,
                "hovertemplate": f"{label_text(across.name)} %{{x}}, {label_text(up.name)} %{{y}}: "
                "%{z:.4g}<extra></extra>",
            },
            {
                "type": "heatmap",
                "x": "@x",
                "y": "@y",
                "z": "@rest",
                "colorscale": [[0, "--axis"], [1, "--axis"]],
                "showscale": False,
                "hoverongaps": False,
                "xgap": 1,
                "ygap": 1,
                "hovertemplate": "no result, or too few round trips<extra></extra>",
            },
            _marker(),
        ],
        layout=_square(across, up),
        height=max(260, min(620, 90 + 30 * len(up.values))),
        mark=watermark(findings),
    )


def _labels(axis: Axis) -> list[str]:
    return [str(plain(value)) for value in axis.values]


def _marker() -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": "@at",
        "y": "@and",
        "marker": {
            "symbol": "circle-open",
            "size": 16,
            "color": "--ink",
            "line": {"width": 2.5, "color": "--ink"},
        },
        "hovertemplate": "the best<extra></extra>",
    }


def _colors(findings: Findings) -> dict[str, Any]:
    """Return the color scale: good is green; its middle is break-even if higher is better."""
    bar = {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "--muted"}}
    objective = findings.experiment.objective
    if objective.maximize:
        scale = [[0, "--down"], [0.5, "--card"], [1, "--up"]]
        middle = 1 if objective.metric == "profit_factor" else 0
        return {"colorscale": scale, "zmid": middle, "colorbar": bar}
    return {"colorscale": [[0, "--up"], [1, "--card"]], "colorbar": bar}


def _square(across: Axis, up: Axis) -> dict[str, Any]:
    kind = {"type": "category", "showgrid": False, "automargin": True}
    return {
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {
            **kind,
            "title": {"text": label_text(across.name)},
            "tickfont": {"color": "--muted"},
        },
        "yaxis": {
            **kind,
            "title": {"text": label_text(up.name)},
            "tickfont": {"color": "--muted"},
        },
        "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
    }


def _scatter(findings: Findings, across: Axis, up: Axis, id_: str) -> Chart:
    scored = _scored(findings)
    colors = _colors(findings)
    middle = {"cmid": colors["zmid"]} if "zmid" in colors else {}
    chosen = findings.chosen
    assert chosen
    return Chart(
        id=id_,
        label=f"{_metric_name(findings)} over {across.name} and {up.name}",
        columns={
            "x": [plain(row.params[across.name]) for row, _ in scored],
            "y": [plain(row.params[up.name]) for row, _ in scored],
            "c": [round(value, 6) for _, value in scored],
            "at": [plain(chosen.params[across.name])],
            "and": [plain(chosen.params[up.name])],
        },
        traces=[
            {
                "type": "scatter",
                "mode": "markers",
                "x": "@x",
                "y": "@y",
                "marker": {
                    "color": "@c",
                    "size": 9,
                    "colorscale": colors["colorscale"],
                    "colorbar": colors["colorbar"],
                    "line": {"width": 0.5, "color": "--axis"},
                    **middle,
                },
                "hovertemplate": "%{x}, %{y}: %{marker.color:.4g}<extra></extra>",
            },
            _marker(),
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(zeroline=False, title={"text": label_text(across.name)}),
            "yaxis": value_axis(zeroline=False, title={"text": label_text(up.name)}),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=380,
        mark=watermark(findings),
    )


def _dots(findings: Findings, axis: Axis | None) -> Chart:
    """Return a chart of the objective over the only axis, or over the number of the trial."""
    scored = _scored(findings)
    name = axis.name if axis else "number"
    xs = [plain(row.params[axis.name]) if axis else row.number for row, _ in scored]
    return Chart(
        id="space-one-chart",
        label=f"{_metric_name(findings)} over {name}",
        columns={"x": xs, "y": [round(value, 6) for _, value in scored]},
        traces=[
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": "@x",
                "y": "@y",
                "line": {"color": "--accent", "width": 1},
                "hovertemplate": "%{x}: %{y:.4g}<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(zeroline=False, title={"text": label_text(name)}),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=300,
        mark=watermark(findings),
    )


def path_section(findings: Findings) -> PageSection:
    """Return the best so far by the number of the trial, and the best trials."""
    best: list[float] = []
    numbers: list[int] = []
    pick = max if findings.experiment.objective.maximize else min
    for row in findings.rows:
        value = value_of(findings, row)
        if value is not None and (not best or pick(value, best[-1]) != best[-1]):
            best.append(value)
            numbers.append(row.number)
    best.append(best[-1])
    numbers.append(len(findings.rows) - 1)
    metric = _metric_name(findings)
    chart = Chart(
        id="path-chart",
        label=f"The best so far by {metric}, trial by trial",
        columns={"x": numbers, "y": [round(value, 6) for value in best]},
        traces=[
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": "@x",
                "y": "@y",
                "line": {"color": "--accent", "shape": "hv", "width": 2},
                "hovertemplate": "trial %{x}: %{y:.4g}<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(
                zeroline=False,
                range=[-0.5, len(findings.rows) - 0.5],
                title={"text": "trial"},
                **({"dtick": 1} if len(findings.rows) <= _MAX_TICKS else {}),
            ),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=220,
        mark=watermark(findings),
    )
    content: list[Child] = [element("h3", f"Best so far by {metric}, trial by trial"), draw(chart)]
    if len(findings.experiment.search.axes) > 1:
        count = min(len(ranked_trials(findings)), _MAX_LINES)
        note = (
            "Each line is a trial, the thick one the best. Each axis goes from the first to the "
            "last value in the YAML."
        )
        content += [
            element("h3", f"The values of the best {counted(count, 'trial')}"),
            element("p", note, class_="note"),
            draw(_parallel(findings)),
        ]
    return "path", "How the best trial was found", content


def _metric_name(findings: Findings) -> str:
    name = findings.experiment.objective.metric
    return f"{METRIC_NAMES[name]}{', %' if name in FRACTIONS else ''}"


def _parallel(findings: Findings) -> Chart:
    """Return the values of the best trials, a line each; each axis from its first to its last."""
    axes = findings.experiment.search.axes
    rows = ranked_trials(findings)[:_MAX_LINES]
    columns: dict[str, Sequence[Any]] = {"x": [label_text(axis.name) for axis in axes]}
    traces = []
    for at, row in reversed(list(enumerate(rows))):
        places = [axis.values.index(row.params[axis.name]) for axis in axes]
        columns[f"y{at}"] = [
            place / max(1, len(axis.values) - 1) for place, axis in zip(places, axes, strict=True)
        ]
        columns[f"text{at}"] = [str(plain(row.params[axis.name])) for axis in axes]
        shown = number(value_of(findings, row), ".4g")
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": "@x",
                "y": f"@y{at}",
                "text": f"@text{at}",
                "line": {"color": "--axis" if at else "--accent", "width": 1 if at else 3},
                "hovertemplate": f"%{{x}} %{{text}}, trial {row.number}: {shown}<extra></extra>",
            }
        )
    return Chart(
        id="parallel-chart",
        label=f"The values of the best {counted(len(rows), 'trial')}, a line each",
        columns=columns,
        traces=traces,
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": {"type": "category", "tickfont": {"color": "--ink"}, "automargin": True},
            "yaxis": value_axis(
                tickvals=[0, 1], ticktext=["first", "last"], zeroline=False, range=[-0.05, 1.05]
            ),
        },
        height=280,
    )
