"""A part of a result's page, and what several parts need: charts over time, captions, formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tbv8.market import parse_time
from tbv8.page.charts import Chart, draw
from tbv8.page.html import Child, Html, element, table
from tbv8.page.words import minute, number, part_of
from tbv8.results.read import Result

_EVENTS = 200  # of a list
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


def thinned_words(drawn: int, count: int) -> str:
    """Return a note about a curve drawn from fewer points; "" if it has all."""
    if drawn == count:
        return ""
    return (
        f"Drawn from {drawn:,} of {count:,} points, with the lowest and the highest of each "
        "stretch. Numbers use all points."
    )


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


def percent(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return number(value, ",.2%")


def signed_percent(value: float | None) -> str:
    """Return a fraction as a percentage with its sign."""
    return number(value, "+,.2%")


def two_places(value: float | None) -> str:
    """Return a number, such as USD with cents, with two decimals."""
    return number(value, ",.2f")


def whole(value: int) -> str:
    """Return an integer with commas."""
    return f"{value:,}"


def with_commas(text: str) -> str:
    """Return a file's number with commas between thousands, and all of its decimals."""
    return f"{Decimal(text):,f}"
