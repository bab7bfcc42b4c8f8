"""Parts of a result's page: their shape, charts over time, captions, formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from tbv8.market import parse_time
from tbv8.page.charts import Chart, draw
from tbv8.page.html import Child, Html, element, table
from tbv8.page.thin import keep_extremes, shown
from tbv8.page.words import minute, part_of
from tbv8.results.read import Result
from tbv8.trading.nautilus import Floats, Ints

_EVENTS = 200  # of a list
PERCENT, SIGNED_PERCENT, TWO_PLACES, WHOLE = ",.2%", "+,.2%", ",.2f", ","
"""Formats of numbers."""

POINTS = 800  # stretches of a curve; the lowest and the highest value of each are drawn

type Part = tuple[str, str, Child]
"""The id, the heading and the content of a part."""


def draw_over_time(
    result: Result,
    id_: str,
    label: str,
    columns: Mapping[str, Sequence[Any]],
    traces: Sequence[Mapping[str, Any]],
    *,
    height: int = 340,
    **layout: Any,
) -> Html:
    """Return a chart over the time of a run; arguments as those of a Chart."""
    chart = Chart(
        id=id_,
        label=label,
        columns=columns,
        traces=traces,
        layout=layout,
        span=result.span,
        height=height,
        mark=result.mark,
    )
    return draw(chart)


def caption(text: str) -> Html:
    """Return the line below a heading that explains how to read the part."""
    return element("p", text.strip(), class_="note")


def thin(
    times_ms: Ints,
    curves: Mapping[str, Floats],
    *,
    most: int = POINTS,
    digits: int = 7,
    also: Ints | None = None,
) -> tuple[dict[str, Sequence[Any]], str]:
    """Return the columns of a chart of curves, `t` and each curve, and a note about thinning.

    Args:
        times_ms: The times of the curves' points.
        curves: The values of each; NaN counts as 0 in the search for extremes.
        most: The number of stretches; the lowest and the highest point of each are drawn.
        digits: The digits of the largest value.
        also: The indices of points that are drawn too.
    """
    at = keep_extremes([np.nan_to_num(values) for values in curves.values()], most=most)
    if also is not None:
        at = np.union1d(at, also)
    columns = {name: shown(values[at], digits=digits) for name, values in curves.items()}
    if len(at) == len(times_ms):
        return {"t": times_ms[at].tolist(), **columns}, ""
    note = (
        f"The chart shows {len(at):,} of {len(times_ms):,} points, with the lowest and the highest "
        "of each stretch; the numbers use all."
    )
    return {"t": times_ms[at].tolist(), **columns}, note


def events_list[T](
    title: str,
    count: int,
    events: Sequence[T],
    heads: Sequence[str],
    row: Callable[[T], list[Child]],
) -> Html:
    """Return a folded list of the first events; the words of its cells are in four columns."""
    listed = events[:_EVENTS]
    return element(
        "details",
        element("summary", f"{title}: {part_of(len(listed), count, 'first')}"),
        table(heads, map(row, listed), words=4),
    )


# Formats.


def moment(time: str) -> str:
    """Return an ISO time as `2024-01-31 12:00`."""
    return minute(parse_time(time))


def minutes(times_ms: Ints) -> list[str]:
    """Return many times as `minute` does, of the years 0 to 9999."""
    texts = np.datetime_as_string((times_ms // 1000).astype("datetime64[s]"))
    return [text.replace("T", " ").removesuffix(":00") for text in texts.tolist()]


def with_commas(text: str) -> str:
    """Return a file's number with commas between thousands, and all of its decimals."""
    return f"{Decimal(text):,f}"
