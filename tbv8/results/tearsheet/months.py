"""Returns by month and year."""

from __future__ import annotations

from tbv8.page.html import Html, element
from tbv8.page.words import NONE
from tbv8.results.accounting import to_money
from tbv8.results.periods import monthly_returns
from tbv8.results.read import Result
from tbv8.results.tearsheet.words import Part, caption

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def months_part(result: Result) -> Part:
    """Return the table of monthly and yearly returns."""
    curve, start = result.primary.curve, to_money(result.primary.stats.start_equity)
    returns = monthly_returns(curve.closes_ms, curve.equity, start=start)
    hold = monthly_returns(curve.closes_ms, curve.buy_and_hold, start=start)
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
                element("td", _cell_percent(hold.years[year]), class_="dim"),
                element("td", _cell_percent(returns.years[year])),
            )
        )
    heads = ["", *_MONTHS, "hold", "Year"]
    head = element("tr", [element("th", name, scope="col") for name in heads])
    return (
        "months",
        "Monthly returns",
        [
            caption(
                "Percent of the equity at the start of the month; the first and the last month may "
                "be partial. Year: its months compounded; hold: buy and hold in that year."
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
