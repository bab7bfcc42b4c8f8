"""The page of an experiment: one file that opens offline.

A Sharpe ratio of a chosen trial never stands alone: beside it is what of it is luck.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tbv8.config.document import plain
from tbv8.config.space import Axis, to_text
from tbv8.experiments.keys import subject_of
from tbv8.experiments.overfitting import Bootstrap, deflated_sharpe
from tbv8.experiments.result import Findings, Row
from tbv8.experiments.stitching import Stitched
from tbv8.experiments.walkforward import score
from tbv8.market import DAY_MS, iso_day
from tbv8.page.charts import Chart, draw, label_text, line, value_axis
from tbv8.page.html import Child, Html, color_keys, element, page, section, table, tiles
from tbv8.page.words import counted, number, part_of

type Part = tuple[str, str, Child]

_TOP, _LINES = 20, 50
_MOST_PAIRS = 6
_MOST_CELLS = 40_000
_BANDS = 60
_SIMULATED = "SIMULATED: all numbers are of a market that tbv8 makes up."


def experiment_page(findings: Findings) -> str:
    """Return the page."""
    parts = list(_parts(findings))
    links = [element("a", title, href=f"#{id_}") for id_, title, _ in parts]
    return page(
        f"tbv8 {findings.experiment.experiment_id}",
        _header(findings),
        element("nav", links, aria_label="Parts of this page"),
        tiles(_tiles(findings)),
        [section(id_, title, content) for id_, title, content in parts],
        banner=_SIMULATED if findings.experiment.strategy.simulated else None,
    )


def _parts(findings: Findings) -> Iterator[Part]:
    if findings.chosen:
        yield _luck(findings)
        yield _space(findings)
    if findings.walk:
        yield _walk(findings, findings.walk)
    if findings.bootstrap:
        yield _monte_carlo(findings, findings.bootstrap)
    if findings.chosen:
        yield _path(findings)
        yield _best(findings)
    if findings.failed:
        yield _failed(findings)


def _header(findings: Findings) -> Html:
    experiment = findings.experiment
    span = experiment.strategy.span
    days = f"{iso_day(span.start_ms)} to {iso_day(span.end_ms)}"
    chosen = findings.chosen
    said = (
        f"Best of {counted(len(findings.rows), 'trial')}: {_point(findings, chosen)}"
        if chosen
        else f"None of {counted(len(findings.rows), 'trial')} has a result with enough round trips"
    )
    return element(
        "header",
        element("h1", experiment.experiment_id),
        element("p", said),
        element(
            "p",
            f"{subject_of(experiment.strategy)}, {days}, {experiment.search.method} over "
            f"{', '.join(axis.name for axis in experiment.search.axes)}"
            + (
                f" where {' and '.join(experiment.search.written)}"
                if experiment.search.written
                else ""
            ),
            class_="facts",
        ),
    )


def _point(findings: Findings, row: Row) -> str:
    return to_text(findings.experiment.search.axes, tuple(row.params.values()))


def _tiles(findings: Findings) -> Iterator[tuple[str, str, str]]:
    luck, chosen, walk = findings.luck, findings.chosen, findings.walk
    failed = counted(len(findings.failed), "trial")
    if chosen is None:
        yield "Trials", f"{len(findings.rows):,}", f"{failed} failed"
        return
    tries = f"of {luck.tries:,} tries" if luck else ""
    deflated = luck.deflated if luck else None
    yield (
        "Sharpe ratio of the best",
        number(chosen.trial.sharpe, ".2f"),
        f"{number(deflated, '.0%')} that it is more than luck {tries}",
    )
    yield "Return of the best", number(chosen.trial.total_return, "+.2%"), _trips(chosen)
    overfitting = luck.overfitting if luck else None
    yield (
        "Probability of overfitting",
        number(overfitting.probability if overfitting else None, ".0%"),
        "that the best of one half is below the median of the other",
    )
    if walk:
        yield (
            "Out of sample",
            f"{walk.performance.total_return:+.2%}",
            f"Sharpe {number(walk.performance.sharpe, '.2f')}, efficiency "
            f"{number(walk.efficiency, '.2f')}",
        )
    yield "Trials", f"{len(findings.rows):,}", f"{failed} failed"


def _trips(row: Row) -> str:
    fall = number(row.trial.max_drawdown, ".2%")
    return f"{counted(row.trial.trades, 'round trip')}, drawdown {fall}"


# Luck.


def _luck(findings: Findings) -> Part:
    luck = findings.luck
    if luck is None:
        said = "The span is too short for daily returns: nothing can be said of luck."
        return "luck", "How much of it is luck", element("p", said, class_="dim")
    rows: list[Sequence[Child]] = [
        [
            "Sharpe ratio of the best, a year",
            number(findings.chosen and findings.chosen.trial.sharpe, ".2f"),
        ],
        ["probability that it is above 0, were it the only try", number(luck.probabilistic, ".1%")],
        [
            f"the same against the best of {luck.tries:,} without skill (deflated)",
            number(luck.deflated, ".1%"),
        ],
        [
            f"the same for {luck.effective:,.1f} independent ones, as correlated as these are",
            number(luck.deflated_effective, ".1%"),
        ],
    ]
    overfitting = luck.overfitting
    note = (
        "Tries are all variants of this strategy that the database knows to have had a result on "
        "this series, whichever experiment ran them. Bailey and López de Prado, The Deflated "
        "Sharpe Ratio, 2014; Bailey, Borwein, López de Prado and Zhu, The Probability of Backtest "
        "Overfitting, 2017."
    )
    content: list[Child] = [element("p", note, class_="note"), table(["", ""], rows)]
    if overfitting is None:
        said = "Too few days or trials to cross-validate the search."
        content.append(element("p", said, class_="dim"))
    else:
        content += [
            element("h3", "Where the best of one half of the days ranked in the other half"),
            draw(_ranks(overfitting.ranks)),
            element(
                "p",
                f"{overfitting.splits:,} ways to halve {findings.experiment.blocks} blocks: "
                f"in {overfitting.probability:.0%} the best of one half was no better than the "
                f"median of the other, in {overfitting.loss:.0%} it lost there.",
                class_="note",
            ),
        ]
    return "luck", "How much of it is luck", content


def _ranks(ranks: Sequence[int]) -> Chart:
    width = 100 / len(ranks)
    return Chart(
        id="ranks-chart",
        label="How often the best of one half had which rank in the other",
        columns={
            "x": [width * (at + 0.5) for at in range(len(ranks))],
            "y": [count / sum(ranks) * 100 for count in ranks],
        },
        traces=[
            {
                "type": "bar",
                "x": "@x",
                "y": "@y",
                "width": width * 0.92,
                "marker": {
                    "color": [
                        "--down" if at < len(ranks) // 2 else "--up" for at in range(len(ranks))
                    ]
                },
                "hovertemplate": "above %{x:.0f} % of trials: %{y:.1f} % of splits<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": {**value_axis(zeroline=False, range=[0, 100]), "ticksuffix": " %"},
            "yaxis": value_axis(ticksuffix=" %"),
        },
        height=240,
    )


# The space.


class _Panel(msgspec.Struct, frozen=True):
    """One way to look at a pair of axes."""

    id: str
    title: str
    chart: Chart


def _space(findings: Findings) -> Part:
    panels = list(itertools.islice(_panels(findings), _MOST_PAIRS * 3))
    title = f"The space by {findings.experiment.objective.metric}"
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
            "p", "A peak among low neighbours is luck more often than a plateau.", class_="note"
        ),
        color_keys([("--axis", "no result, or too few round trips")]),
    ]
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
    for at, (one, other) in enumerate(itertools.combinations(axes, 2)):
        name = f"{one.name} × {other.name}"
        if findings.experiment.search.method != "grid":
            yield _Panel(f"space-{at}", name, _scatter(findings, one, other, f"space-{at}-chart"))
            continue
        if len(one.values) * len(other.values) > _MOST_CELLS:
            continue
        for how, words in _WAYS.items() if len(axes) > 2 else [("chosen", "")]:
            id_ = f"space-{at}-{how}"
            title = f"{name}{words}"
            yield _Panel(id_, title, _heatmap(findings, one, other, how=how, id_=f"{id_}-chart"))


_WAYS = {"chosen": ", others as chosen", "mean": ", mean of others", "worst": ", worst of others"}


def _value(findings: Findings, row: Row) -> float | None:
    """Return a trial's number by the objective; None where it may not be chosen."""
    objective = findings.experiment.objective
    found = score(row.trial, objective)
    return found if found is None or objective.maximize else -found


def _heatmap(findings: Findings, one: Axis, other: Axis, *, how: str, id_: str) -> Chart:
    cells: dict[tuple[int, int], list[float]] = {}
    out: dict[tuple[int, int], str] = {}
    chosen = findings.chosen
    assert chosen
    for row in findings.rows:
        others = [name for name in row.params if name not in (one.name, other.name)]
        if how == "chosen" and any(row.params[name] != chosen.params[name] for name in others):
            continue
        place = (other.values.index(row.params[other.name]), one.values.index(row.params[one.name]))
        value = _value(findings, row)
        if value is None:
            out[place] = "failed" if row.trial.status != "ok" else "few"
        else:
            cells.setdefault(place, []).append(value)
    pick = min if findings.experiment.objective.maximize else max
    combine = pick if how == "worst" else statistics.fmean
    grid: list[list[float | None]] = [[None] * len(one.values) for _ in other.values]
    rest: list[list[int | None]] = [[None] * len(one.values) for _ in other.values]
    for (y, x), values in cells.items():
        grid[y][x] = round(combine(values), 6)
    for y, x in out.keys() - cells.keys():
        rest[y][x] = 1
    return Chart(
        id=id_,
        label=f"{findings.experiment.objective.metric} over {one.name} and {other.name}",
        columns={
            "x": _labels(one),
            "y": _labels(other),
            "z": grid,
            "rest": rest,
            "at": [str(plain(chosen.params[one.name]))],
            "and": [str(plain(chosen.params[other.name]))],
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
                "hovertemplate": f"{label_text(one.name)} %{{x}}, {label_text(other.name)} %{{y}}: "
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
        layout=_square(one, other),
        height=max(260, min(620, 90 + 30 * len(other.values))),
        mark=_mark(findings),
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
    """Return the scale: good is green; with a middle at 0 where there is good and bad."""
    bar = {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": "--muted"}}
    if findings.experiment.objective.maximize:
        scale = [[0, "--down"], [0.5, "--card"], [1, "--up"]]
        return {"colorscale": scale, "zmid": 0, "colorbar": bar}
    return {"colorscale": [[0, "--up"], [1, "--card"]], "colorbar": bar}


def _square(one: Axis, other: Axis) -> dict[str, Any]:
    kind = {"type": "category", "showgrid": False, "automargin": True}
    return {
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {
            **kind,
            "title": {"text": label_text(one.name)},
            "tickfont": {"color": "--muted"},
        },
        "yaxis": {
            **kind,
            "title": {"text": label_text(other.name)},
            "tickfont": {"color": "--muted"},
        },
        "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
    }


def _scatter(findings: Findings, one: Axis, other: Axis, id_: str) -> Chart:
    known = [(row, value) for row in findings.rows if (value := _value(findings, row)) is not None]
    colors = _colors(findings)
    middle = {"cmid": 0} if "zmid" in colors else {}
    chosen = findings.chosen
    assert chosen
    return Chart(
        id=id_,
        label=f"{findings.experiment.objective.metric} over {one.name} and {other.name}",
        columns={
            "x": [plain(row.params[one.name]) for row, _ in known],
            "y": [plain(row.params[other.name]) for row, _ in known],
            "c": [round(value, 6) for _, value in known],
            "at": [plain(chosen.params[one.name])],
            "and": [plain(chosen.params[other.name])],
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
            "xaxis": value_axis(zeroline=False, title={"text": label_text(one.name)}),
            "yaxis": value_axis(zeroline=False, title={"text": label_text(other.name)}),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=380,
        mark=_mark(findings),
    )


def _dots(findings: Findings, axis: Axis | None) -> Chart:
    """Return the only axis against the objective."""
    known = [(row, value) for row in findings.rows if (value := _value(findings, row)) is not None]
    name = axis.name if axis else "number"
    xs = [plain(row.params[axis.name]) if axis else row.number for row, _ in known]
    return Chart(
        id="space-one-chart",
        label=f"{findings.experiment.objective.metric} over {name}",
        columns={"x": xs, "y": [round(value, 6) for _, value in known]},
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
        mark=_mark(findings),
    )


def _mark(findings: Findings) -> str:
    return "simulated" if findings.experiment.strategy.simulated else ""


# Walk-forward.


def _walk(findings: Findings, walk: Stitched) -> Part:
    note = (
        "Each window's values are the best of the time before it, and it is run on with the "
        "position that these values would hold; changing position from window to window is paid "
        "for. Efficiency is the Sharpe ratio out of sample over that in sample."
    )
    content: list[Child] = [
        element("p", note, class_="note"),
        draw(_stitched(findings, walk)),
        draw(_steps(findings, walk)),
    ]
    known = [one for one in walk.windows if one.trained and one.tested]
    if known:
        content += [
            element("h3", "Sharpe ratio of each window, in sample and out of it"),
            draw(_in_and_out(walk)),
        ]
    names = [axis.name for axis in findings.experiment.search.axes]
    rows: list[Sequence[Child]] = [
        [
            f"{iso_day(one.fold.test.start_ms)} to {iso_day(one.fold.test.end_ms)}",
            *(str(plain(one.params.get(name, "–"))) for name in names),
            number(one.trained.sharpe if one.trained else None, ".2f"),
            number(one.tested.sharpe if one.tested else None, ".2f"),
            f"{one.gain:+,.2f}",
            f"{one.switch_cost:,.2f}",
            number(one.tested.trades if one.tested else None, ","),
            number(one.efficiency, ".2f"),
        ]
        for one in walk.windows
    ]
    heads = ["window", *names, "Sharpe in", "out", "gain USD", "switch USD", "trades", "efficiency"]
    content.append(table(heads, rows, sortable=True, id_="windows-table"))
    return "walk", "Walk-forward", content


def _stitched(findings: Findings, walk: Stitched) -> Chart:
    shapes = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": one.fold.test.start_ms,
            "x1": one.fold.test.end_ms,
            "y0": 0,
            "y1": 1,
            "fillcolor": "--band",
            "line": {"width": 0},
            "layer": "below",
        }
        for one in walk.windows[:_BANDS:2]
    ]
    return Chart(
        id="stitched-chart",
        label="Equity of all windows one after another, in USD",
        columns={"t": walk.times_ms.tolist(), "equity": (walk.equity / 1e8).round(4).tolist()},
        traces=[line("out of sample", "equity", "--accent", hovertemplate="%{y:,.2f} USD")],
        layout={"shapes": shapes, "showlegend": False, "yaxis": value_axis(zeroline=False)},
        span=(int(walk.times_ms[0]), int(walk.times_ms[-1])),
        mark=_mark(findings),
    )


def _steps(findings: Findings, walk: Stitched) -> Chart:
    """Return the chosen values over time, each axis by the number of its value."""
    axes = findings.experiment.search.axes
    times = [one.fold.test.start_ms for one in walk.windows] + [walk.windows[-1].fold.test.end_ms]
    columns: dict[str, Sequence[Any]] = {"t": times}
    traces = []
    for at, axis in enumerate(axes):
        values = [one.params.get(axis.name) for one in walk.windows]
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
        label="The values that each window chose, from the first to the last of each axis",
        columns=columns,
        traces=traces,
        layout={
            "showlegend": True,
            "yaxis": value_axis(tickvals=[0, 1], ticktext=["first", "last"], zeroline=False),
        },
        span=(times[0], times[-1]),
        height=200,
    )


def _in_and_out(walk: Stitched) -> Chart:
    pairs = [
        (one.trained.sharpe, one.tested.sharpe, iso_day(one.fold.test.start_ms))
        for one in walk.windows
        if one.trained and one.tested and one.tested.sharpe is not None
    ]
    return Chart(
        id="in-out-chart",
        label="Sharpe ratio in sample against that out of it, a point a window",
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


# Monte Carlo.


def _monte_carlo(findings: Findings, found: Bootstrap) -> Part:
    settings = findings.experiment.monte_carlo
    assert settings
    note = (
        f"{counted(len(found.paths), 'path')} of the best trial's own days in other orders, in "
        f"blocks of {settings.block_days} days on average. It shows what these days might have "
        "brought, not what other days would."
    )
    facts = (
        f"A path loses money with {found.loss:.0%}; a market without a trend in these returns "
        f"brings such a mean with {found.p_value:.1%}."
    )
    return (
        "monte-carlo",
        "Bootstrap of the best trial",
        [
            element("p", note, class_="note"),
            draw(_fan(findings, found)),
            element("h3", "Largest drawdown of the paths"),
            draw(_histogram(found)),
            element("p", facts),
        ],
    )


def _fan(findings: Findings, found: Bootstrap) -> Chart:
    start_ms = findings.experiment.strategy.span.start_ms
    days = found.fan.shape[1]
    times = [start_ms + at * DAY_MS for at in range(days)]
    names = ("5 %", "25 %", "50 %", "75 %", "95 %")
    traces = []
    for at, name in enumerate(names):
        filled = {"fill": "tonexty", "fillcolor": "--band"} if at else {}
        traces.append(
            line(
                name,
                f"y{at}",
                "--accent",
                line={"color": "--accent", "width": 2 if at == 2 else 0.5},
                hovertemplate="%{y:+.2f} %",
                **filled,
            )
        )
    return Chart(
        id="fan-chart",
        label="Return of the paths by day, in percent: 5, 25, 50, 75 and 95 of a hundred are below",
        columns={
            "t": times,
            **{f"y{at}": ((found.fan[at] - 1) * 100).round(5).tolist() for at in range(len(names))},
        },
        traces=traces,
        layout={"showlegend": True, "yaxis": value_axis(ticksuffix=" %")},
        span=(times[0], times[-1]),
        mark=_mark(findings),
    )


def _histogram(found: Bootstrap) -> Chart:
    counts, edges = np.histogram(found.paths[:, 1] * 100, bins=30)
    width = float(edges[1] - edges[0])
    return Chart(
        id="falls-chart",
        label="How many paths had which largest drawdown, in percent",
        columns={"x": (edges[:-1] + width / 2).round(6).tolist(), "y": counts.tolist()},
        traces=[
            {
                "type": "bar",
                "x": "@x",
                "y": "@y",
                "width": width * 0.95,
                "marker": {"color": "--down"},
                "hovertemplate": "%{x:.2f} %: %{y} paths<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(zeroline=False, ticksuffix=" %"),
        },
        height=220,
    )


# The trials.


def _ordered(findings: Findings) -> list[Row]:
    """Return the trials that may be chosen, the best first."""
    objective = findings.experiment.objective
    known = [
        (found, row) for row in findings.rows if (found := score(row.trial, objective)) is not None
    ]
    return [row for _, row in sorted(known, key=lambda pair: (-pair[0], pair[1].number))]


def _path(findings: Findings) -> Part:
    best: list[float] = []
    numbers: list[int] = []
    pick = max if findings.experiment.objective.maximize else min
    for row in findings.rows:
        value = _value(findings, row)
        if value is not None and (not best or pick(value, best[-1]) != best[-1]):
            best.append(value)
            numbers.append(row.number)
    best.append(best[-1])
    numbers.append(len(findings.rows))
    metric = findings.experiment.objective.metric
    chart = Chart(
        id="path-chart",
        label=f"The best {metric} so far, by the number of the trial",
        columns={"x": numbers, "y": [round(value, 6) for value in best]},
        traces=[
            {
                "type": "scatter",
                "mode": "lines",
                "x": "@x",
                "y": "@y",
                "line": {"color": "--accent", "shape": "hv", "width": 2},
                "hovertemplate": "number %{x}: %{y:.4g}<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(zeroline=False, title={"text": "trial"}),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=220,
        mark=_mark(findings),
    )
    content: list[Child] = [draw(chart)]
    if len(findings.experiment.search.axes) > 1:
        content += [element("h3", f"The best {_LINES}"), draw(_parallel(findings))]
    return "path", "How it was found", content


def _parallel(findings: Findings) -> Chart:
    rows = _ordered(findings)[:_LINES]
    metric = findings.experiment.objective.metric
    values = [_value(findings, row) or 0.0 for row in rows]
    columns: dict[str, Sequence[Any]] = {"c": [round(value, 6) for value in values]}
    dimensions: list[dict[str, Any]] = []
    for at, axis in enumerate(findings.experiment.search.axes):
        columns[f"v{at}"] = [axis.values.index(row.params[axis.name]) for row in rows]
        ticks = _spread(len(axis.values))
        dimensions.append(
            {
                "label": label_text(axis.name),
                "values": f"@v{at}",
                "range": [0, max(1, len(axis.values) - 1)],
                "tickvals": ticks,
                "ticktext": [str(plain(axis.values[tick])) for tick in ticks],
            }
        )
    dimensions.append({"label": metric, "values": "@c"})
    return Chart(
        id="parallel-chart",
        label=f"The values of the best {len(rows)} trials, a line each, coloured by {metric}",
        columns=columns,
        traces=[
            {
                "type": "parcoords",
                "dimensions": dimensions,
                "line": {"color": "@c", "colorscale": [[0, "--axis"], [1, "--accent"]]},
                "labelfont": {"color": "--ink"},
                "tickfont": {"color": "--muted"},
                "rangefont": {"color": "--muted"},
            }
        ],
        layout={"margin": {"l": 60, "r": 40, "t": 46, "b": 20}},
        height=320,
    )


def _spread(count: int) -> list[int]:
    """Return up to eight places of so many, the first and the last among them."""
    step = max(1, math.ceil((count - 1) / 7))
    return sorted({*range(0, count, step), count - 1})


def _best(findings: Findings) -> Part:
    luck, experiment = findings.luck, findings.experiment
    names = [axis.name for axis in experiment.search.axes]
    ordered = _ordered(findings)
    rows: list[Sequence[Child]] = []
    for row in ordered[:_TOP]:
        trial = row.trial
        deflated = (
            deflated_sharpe(row.returns, trials=luck.tries, variance=luck.variance)
            if luck and row.returns
            else None
        )
        rows.append(
            [
                f"{row.number}",
                *(str(plain(row.params[name])) for name in names),
                number(trial.sharpe, ".2f"),
                number(deflated, ".0%"),
                number(trial.total_return, "+.2%"),
                number(trial.max_drawdown, ".2%"),
                number(trial.profit_factor, ".2f"),
                f"{trial.trades:,}",
                element("code", _promotion(experiment.experiment_id, row.number)),
            ]
        )
    heads = [
        *("number", *names, "Sharpe", "deflated", "return", "drawdown", "profit factor"),
        *("trades", "write it as a strategy"),
    ]
    which = part_of(len(rows), len(ordered), "best")
    note = (
        f"{which} of the trials that may be chosen, by {experiment.objective.metric}. Deflated is "
        "the probability that the true Sharpe ratio is above that of the best without skill."
    )
    return (
        "best",
        "The best trials",
        [
            element("p", note, class_="note"),
            table(heads, rows, sortable=True, id_="best-table"),
        ],
    )


def _promotion(experiment_id: str, at: int) -> str:
    return f"doit promote {experiment_id} --number {at} --as {experiment_id}_{at}"


def _failed(findings: Findings) -> Part:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in findings.failed:
        grouped.setdefault(row.line or "", []).append(row.params)
    rows: list[Sequence[Child]] = [
        [f"{len(params):,}", element("div", said, class_="wrap")]
        for said, params in sorted(grouped.items(), key=lambda pair: -len(pair[1]))[:_TOP]
    ]
    count = counted(len(findings.failed), "trial")
    note = f"{count} of {len(findings.rows):,} have no result. A failed point is part of a search."
    return (
        "failed",
        "Trials that failed",
        [element("p", note, class_="note"), table(["trials", "why"], rows, words=9)],
    )
