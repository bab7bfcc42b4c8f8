"""Returns by month and year."""

from __future__ import annotations

import msgspec
import numpy as np

from tbv8.page.html import Html, element
from tbv8.page.words import NONE
from tbv8.results.read import Result
from tbv8.results.tearsheet.part import Part, caption
from tbv8.trading.nautilus import Ints

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Months(msgspec.Struct, frozen=True):
    """The return of each (year, month) and each year; None if it began without equity."""

    months: dict[tuple[int, int], float | None]
    years: dict[int, float | None]


def monthly_returns(times_ms: Ints, equity: Ints) -> Months:
    """Return the returns of each calendar month (UTC) and year.

    A bar that closes at 00:00 of the first day belongs to the month that ends then. A month without
    a close returned 0. The first and the last month may be partial. The months of a year compound
    to the year.

    Args:
        times_ms: The start, and the close of each bar.
        equity: The equity at these times, in any unit.
    """
    closes = (times_ms[[1, -1]] - 1).astype("datetime64[ms]")
    first, last = closes.astype("datetime64[M]").astype(int).tolist()  # months since 1970
    next_ms = np.arange(first + 1, last + 2).astype("datetime64[M]").astype("datetime64[ms]")
    ends = equity[np.searchsorted(times_ms, next_ms.astype(int), side="right") - 1].tolist()
    begins = [int(equity[0]), *ends[:-1]]
    months: dict[tuple[int, int], float | None] = {}
    years: dict[int, tuple[int, int]] = {}
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True), first):
        year, month = 1970 + number // 12, number % 12 + 1
        months[year, month] = _return(begin, end)
        years[year] = (years.get(year, (begin, end))[0], end)
    return Months(months, {year: _return(*points) for year, points in years.items()})


def _return(begin: int, end: int) -> float | None:
    return (end - begin) / begin if begin > 0 else None


def months_part(result: Result) -> Part:
    """Return the table of monthly and yearly returns."""
    curve = result.primary.curve
    returns, hold = (
        monthly_returns(curve.times_ms, curve.from_start(equity))
        for equity in (curve.equity, curve.buy_and_hold)
    )
    widest = max((abs(v) for v in returns.months.values() if v is not None), default=0.0)
    rows = []
    for year in returns.years:
        cells = [
            _heat_cell(returns.months.get((year, month)), widest, (year, month) in returns.months)
            for month in range(1, 13)
        ]
        rows.append(
            element(
                "tr",
                element("td", str(year)),
                cells,
                element("td", _cell_percent(returns.years[year])),
                element("td", _cell_percent(hold.years[year]), class_="dim"),
            )
        )
    heads = ["", *_MONTHS, "year", "buy and hold"]
    head = element("tr", [element("th", name, scope="col") for name in heads])
    return (
        "months",
        "Monthly returns",
        [
            caption(
                "Returns in percent of the equity at the start of the month or year; the first and "
                "the last month may be partial. The last two columns are of the whole year."
            ),
            element(
                "div",
                element("table", element("thead", head), element("tbody", rows), class_="months"),
                class_="scroll",
                tabindex=0,
            ),
        ],
    )


def _heat_cell(value: float | None, widest: float, is_in_run: bool) -> Html:
    if value is None:
        return element("td", NONE if is_in_run else "")
    share = round(8 + 62 * abs(value) / widest) if widest else 0
    color = "--up" if value > 0 else "--down"
    style = f"--heat:var({color});--share:{share}%" if value else None
    return element("td", _cell_percent(value), style=style)


def _cell_percent(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:+.1f}"
