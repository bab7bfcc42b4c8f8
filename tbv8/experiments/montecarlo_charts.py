"""Charts and tables of the chosen trial's Monte Carlo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tbv8.experiments.montecarlo import SHARES, Paths
from tbv8.experiments.result import METHODS, Findings, MonteCarloResult
from tbv8.experiments.space_charts import watermark
from tbv8.market import DAY_MS
from tbv8.page.charts import Chart, draw, line, value_axis
from tbv8.page.html import Child, Html, PageSection, element, table
from tbv8.page.words import capital, number
from tbv8.text import counted
from tbv8.trading.nautilus import Floats

_BINS = 30
_MARGIN = {"l": 62, "r": 12, "t": 28, "b": 48}  # with a title below the axis
_TITLES = {name: capital(text) for name, text in METHODS.items()}


def monte_carlo_section(findings: Findings, monte_carlo: MonteCarloResult) -> PageSection:
    """Return the section about other draws of the same days and round trips."""
    content: list[Child] = [
        element(
            "p",
            f"Alternatives of trial {_number(findings)}, drawn from the days and round trips of "
            "the span; they cannot show anything that did not happen in it. 5% of the paths are "
            "below the number in a column 5%, and 5% are above the number in a column 95%; with "
            "fewer than 20 paths, these are the lowest and the highest. The "
            "columns with ≥ are shares of the paths: those that end with at least this loss of the "
            "starting balance, and those with at least this drawdown.",
            class_="note",
        ),
        _overview(monte_carlo),
    ]
    for name, _, paths in monte_carlo.methods:
        content += [element("h3", _TITLES[name]), *_method(findings, monte_carlo, name, paths)]
    failed = counted(monte_carlo.failed, "market")
    if monte_carlo.failed and not monte_carlo.markets:
        content.append(
            element(
                "p",
                f"{failed}, and none gave a result.",
                class_="note",
            )
        )
    return "monte-carlo", "Monte Carlo", content


def _number(findings: Findings) -> int:
    assert findings.chosen
    return findings.chosen.number


def _overview(monte_carlo: MonteCarloResult) -> Html:
    """Return the table of all methods: returns, drawdowns, and the chances of losses."""
    limits = [f"{loss:.0%}" for loss in monte_carlo.losses]
    heads = [
        *("method", "paths", "return, worst", "return, 5%", "return, median", "return, 95%"),
        *("drawdown, median", "drawdown, 95%", "drawdown, worst", "any loss"),
        *(f"loss ≥\N{NO-BREAK SPACE}{limit}" for limit in limits),
        *(f"drawdown ≥\N{NO-BREAK SPACE}{limit}" for limit in limits),
    ]
    rows: list[Sequence[Child]] = []
    for name, _, paths in monte_carlo.methods:
        gains, falls = paths.total_return, paths.max_drawdown
        rows.append(
            [
                METHODS[name],
                f"{len(paths.rows):,}",
                *(
                    number(value, "+.2%")
                    for value in (paths.worst_return, gains.p5, gains.p50, gains.p95)
                ),
                *(number(fall, ".2%") for fall in (falls.p50, falls.p95, paths.worst_drawdown)),
                number(paths.loss, ".0%"),
                *(number(share, ".1%") for share in (*paths.losses, *paths.falls)),
            ]
        )
    return table(heads, rows, id_="drawn-table")


def _method(
    findings: Findings, monte_carlo: MonteCarloResult, name: str, paths: Paths
) -> Iterator[Child]:
    yield element("p", _note(findings, monte_carlo, name, paths), class_="note")
    yield draw(_fan(findings, name, paths))
    if name != "order":
        chosen = findings.chosen
        real_value = chosen.trial.total_return if chosen and name == "markets" else None
        yield draw(_histogram(name, "return", paths.rows[:, 0], real_value))
    yield draw(_histogram(name, "largest drawdown", paths.rows[:, 1], None))


def _note(findings: Findings, monte_carlo: MonteCarloResult, name: str, paths: Paths) -> str:
    settings = findings.experiment.monte_carlo
    assert settings
    blocks = f"blocks of {counted(settings.block_days, 'day')} on average"
    if name == "days":
        chance = monte_carlo.days.p_value if monte_carlo.days else None
        return (
            f"As many days as there were, drawn with replacement in {blocks}. To estimate luck, "
            "such paths are also drawn from the daily returns minus their mean, so that they gain "
            f"nothing on average. {number(chance, '.1%')} of these paths gain at least as much as "
            "the trial; a small share speaks for skill."
        )
    if name == "trades":
        return (
            "As many round trips as there were, each drawn from all of them. Each gains the USD "
            "that it gained in the trial: sizes do not grow with the balance. A position that was "
            "still open at the end is left out."
        )
    if name == "order":
        return (
            "Each round trip once, in another order: the drawdown changes, the return does not. A "
            "position that was still open at the end is left out."
        )
    share = number(monte_carlo.beaten, ".0%")
    failed = f" It failed on {counted(monte_carlo.failed, 'market')}." if monte_carlo.failed else ""
    return (
        f"The whole trial, with every rule, on prices made of the real days in {blocks}. Its "
        f"return on the real market is higher than on {share} of these. Trials on them do not "
        f"count as tries.{failed}"
    )


def _fan(findings: Findings, name: str, paths: Paths) -> Chart:
    is_daily = name in ("days", "markets")
    start_ms = findings.experiment.strategy.span.start_ms
    steps = paths.steps.tolist()
    times = [start_ms + step * DAY_MS for step in steps] if is_daily else steps
    traces = []
    for at, share in enumerate(SHARES):
        filled = {"fill": "tonexty", "fillcolor": "--band"} if at else {}
        traces.append(
            line(
                f"{share} %",
                f"y{at}",
                "--accent",
                line={"color": "--accent", "width": 2 if share == 50 else 0.5},
                hovertemplate="%{y:+.2f} %",
                **filled,
            )
        )
    unit = "day" if is_daily else "round trip"
    layout: dict[str, Any] = {"showlegend": True, "yaxis": value_axis(ticksuffix=" %")}
    if not is_daily:
        layout["xaxis"] = value_axis(zeroline=False, title={"text": "round trips"})
        layout["margin"] = _MARGIN
    return Chart(
        id=f"{name}-fan-chart",
        label=f"{_TITLES[name]}: return by {unit}, in percent; 5, 25, 50, 75 and 95 % of paths are "
        "below the lines",
        columns={
            "t": times,
            **{
                f"y{at}": ((paths.fan[at] - 1) * 100).round(5).tolist() for at in range(len(traces))
            },
        },
        traces=traces,
        layout=layout,
        span=(times[0], times[-1]) if is_daily else None,
        height=280,
        mark=watermark(findings),
    )


def _histogram(name: str, quantity: str, values: Floats, real_value: float | None) -> Chart:
    """Return a histogram of the paths' values, with a line at the real value if there is one."""
    counts, edges = np.histogram(values * 100, bins=min(_BINS, 5 + len(values) // 10))
    width, unit = float(edges[1] - edges[0]), "markets" if name == "markets" else "paths"
    shapes, notes = [], []
    if real_value is not None:
        at = round(real_value * 100, 6)
        shapes.append(
            {
                "type": "line",
                "yref": "paper",
                "x0": at,
                "x1": at,
                "y0": 0,
                "y1": 1,
                "line": {"color": "--ink", "width": 2, "dash": "dot"},
            }
        )
        notes.append(
            {
                "text": "real market",
                "x": at,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"color": "--ink"},
            }
        )
    return Chart(
        id=f"{name}-{'returns' if quantity == 'return' else 'falls'}-chart",
        label=f"{_TITLES[name]}: number of {unit} by {quantity}, in percent",
        columns={"x": (edges[:-1] + width / 2).round(6).tolist(), "y": counts.tolist()},
        traces=[
            {
                "type": "bar",
                "x": "@x",
                "y": "@y",
                "width": width * 0.95,
                "marker": {"color": "--accent" if quantity == "return" else "--down"},
                "hovertemplate": f"%{{x:.2f}} %: %{{y}} {unit}<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(zeroline=False, ticksuffix=" %", title={"text": quantity}),
            "yaxis": value_axis(title={"text": unit}),
            "margin": _MARGIN,
            "shapes": shapes,
            "annotations": notes,
        },
        height=230,
    )
