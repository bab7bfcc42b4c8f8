"""Charts over time: equity, drawdown, rolling Sharpe ratio, exposure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tbv8.market import DAY_MS, parse_time
from tbv8.page.charts import Chart, buttons, draw, label_text, line, value_axis
from tbv8.page.html import Child, element
from tbv8.page.thin import keep_extremes, shown, stretches
from tbv8.page.words import number
from tbv8.results.periods import rolling_sharpe
from tbv8.results.read import Result
from tbv8.results.summary import Event
from tbv8.results.tearsheet.account import (
    average_position,
    from_start,
    gross_value,
    hold_at_exposure,
    in_usd,
    position_value,
)
from tbv8.results.tearsheet.words import POINTS, Part, caption, thinned_words
from tbv8.trading.nautilus import Floats, Ints

_WINDOWS_DAYS = (30, 90)  # of the rolling Sharpe ratio


def equity_part(result: Result) -> Part:
    """Return the chart of the equity beside buy and hold."""
    run, venue, times_ms = result.primary, result.primary.venue, result.times_ms
    curves = [
        in_usd(from_start(run, run.curve.equity)),
        in_usd(from_start(run, run.curve.buy_and_hold)),
    ]
    if (exposed := hold_at_exposure(run)) is not None:
        curves.append(in_usd(from_start(run, exposed)))
    at = keep_extremes(curves, most=POINTS)
    columns = {
        "t": times_ms[at].tolist(),
        "equity": shown(curves[0][at]),
        "hold": shown(curves[1][at]),
    }
    traces = [
        line("buy and hold", "hold", "--hold"),
        line(label_text(venue), "equity", "--accent", line={"color": "--accent", "width": 2}),
    ]
    if len(curves) > 2:
        columns["exposed"] = shown(curves[2][at])
        share = number(average_position(run.curve), ".3g")
        dotted = {"color": "--hold", "width": 1.5, "dash": "dot"}
        traces.insert(1, line(f"hold {share} ×", "exposed", "--hold", line=dotted))
    if run.stats.halts:
        marks = _halt_points(run.stats.halts, times_ms)
        columns |= {
            "halt_t": times_ms[marks].tolist(),
            "halt_equity": shown(curves[0][marks]),
        }
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
    chart = Chart(
        id="equity-chart",
        label="Equity of the strategy and of buy and hold, in USD",
        columns=columns,
        traces=traces,
        layout={"yaxis": value_axis(tickformat=",~r", zeroline=False)},
        span=result.span,
        mark=result.mark,
    )
    note = (
        "USD at the close of each bar. The dotted curve is buy and hold at the strategy's "
        f"average exposure. {thinned_words(len(at), len(times_ms))}"
    )
    scale = buttons({"log scale": {"data_log": "equity-chart"}}, label="Scale")
    return "equity", "Equity against buy and hold", [caption(note), scale, draw(chart)]


def _halt_points(halts: Sequence[Event], times_ms: Ints) -> Ints:
    """Return the points of the halts; of many only the first in each stretch."""
    halts_ms = [parse_time(halt.time) for halt in halts]
    at = np.searchsorted(times_ms, halts_ms).clip(max=len(times_ms) - 1)
    starts = stretches(len(times_ms), POINTS // 2)
    _, first = np.unique(np.searchsorted(starts, at, side="right"), return_index=True)
    return np.unique(at[first]).astype(np.int64)


def rolling_part(result: Result) -> Part:
    """Return the chart of the Sharpe ratio over rolling windows."""
    points = from_start(result.primary, result.primary.curve.equity)
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for days, color in zip(_WINDOWS_DAYS, ("--hold", "--accent"), strict=True):
        days_ms, ratios = rolling_sharpe(result.times_ms, points, days=days)
        if not ratios:
            continue
        values = np.array([np.nan if ratio is None else ratio for ratio in ratios])
        at = keep_extremes([np.nan_to_num(values)], most=POINTS)
        columns[f"t_{days}"] = (days_ms[at] + DAY_MS).tolist()
        columns[f"sharpe_{days}"] = shown(values[at], digits=5)
        traces.append(
            line(f"{days} days", f"sharpe_{days}", color, x=f"@t_{days}", hovertemplate="%{y:.2f}")
        )
    note = (
        "Sharpe ratio of the daily returns over the last 30 and 90 days, for a year of 365 days. "
        "Short windows are mostly noise."
    )
    chart = Chart(
        id="rolling-chart",
        label="Sharpe ratio over a rolling window",
        columns=columns,
        traces=traces,
        layout={"showlegend": True},
        span=result.span,
        height=260,
        mark=result.mark,
    )
    content: Child = draw(chart)
    if not traces:
        content = element("p", f"The run is shorter than {_WINDOWS_DAYS[0]} days.", class_="dim")
    return "rolling", "Rolling Sharpe ratio", [caption(note), content]


def exposure_part(result: Result) -> Part:
    """Return the chart of the positions' values as multiples of the equity."""
    curve, symbols = result.primary.curve, result.summary.symbols
    equity = in_usd(curve.equity)

    def times(worth: Floats) -> Floats:
        share: Floats = np.full(len(equity), np.nan)
        np.divide(worth, equity, out=share, where=equity > 0)
        return share

    exposures = [times(position_value(curve, symbol)) for symbol in symbols]
    names, colors = [label_text(s) for s in symbols], [f"--c{n % 10}" for n in range(len(symbols))]
    if len(symbols) == 1:
        names, colors = ["exposure"], ["--accent"]
    else:  # first, so that it lies under the others
        exposures.insert(0, times(gross_value(curve)))
        names.insert(0, "gross, long and short added")
        colors.insert(0, "--hold")
    at = keep_extremes(
        [np.nan_to_num(values) for values in exposures], most=POINTS // len(exposures)
    )
    columns = {f"exposure_{n}": shown(values[at], digits=5) for n, values in enumerate(exposures)}
    fill = {"fill": "tozeroy", "fillcolor": "--band"} if len(symbols) == 1 else {}
    traces = [
        line(
            name,
            f"exposure_{n}",
            color,
            line={"color": color, "width": 1, "shape": "hv"},
            hovertemplate="%{y:.3f} × equity",
            **fill,
        )
        for n, (name, color) in enumerate(zip(names, colors, strict=True))
    ]
    chart = Chart(
        id="exposure-chart",
        label="Value of the position as a multiple of the equity; negative if short",
        columns={"t": curve.closes_ms[at].tolist(), **columns},
        traces=traces,
        layout={
            "yaxis": value_axis(tickformat=",~r", ticksuffix=" ×"),
            "showlegend": len(symbols) > 1,
        },
        span=result.span,
        height=240 if len(symbols) == 1 else 280,
        mark=result.mark,
    )
    subject = "The position's value" if len(symbols) == 1 else "Each position's value"
    thinned = thinned_words(len(at), len(equity))
    note = f"{subject} as a multiple of the equity, negative when short. {thinned}"
    return "exposure", "Exposure", [caption(note), draw(chart)]
