"""The shadow compared with the primary: both equities, their difference, one-sided fills."""

from __future__ import annotations

from tbv8.page.charts import label_text, line, value_axis
from tbv8.page.html import Child, element, table
from tbv8.results.accounting import in_usd
from tbv8.results.read import Result
from tbv8.results.summary import OneSided
from tbv8.results.tearsheet.part import (
    POINTS,
    Part,
    caption,
    draw_over_time,
    events_list,
    moment,
    thin,
)
from tbv8.text import counted

_DAYS = 200  # listed
_HEADS = ("time", "symbol", "side", "type", "quantity", "price")


def shadow_part(result: Result) -> Part:
    """Return the charts and numbers of the shadow beside the primary."""
    primary, shadow = result.primary, result.shadow
    assert shadow is not None
    curves = {
        name: in_usd(run.curve.from_start(run.curve.equity))
        for name, run in (("primary", primary), ("shadow", shadow))
    }
    curves["difference"] = curves["shadow"] - curves["primary"]
    columns, thinned = thin(primary.curve.times_ms, curves, most=POINTS // 2)
    equities = draw_over_time(
        result,
        "shadow-chart",
        f"Equity at {primary.venue} and at {shadow.venue}, in USD",
        {name: columns[name] for name in ("t", "primary", "shadow")},
        [
            line(f"{label_text(primary.venue)}, primary", "primary", "--accent"),
            line(f"{label_text(shadow.venue)}, shadow", "shadow", "--shadow"),
        ],
        height=300,
        yaxis=value_axis(tickformat=",~r", zeroline=False),
    )
    area = {"fill": "tozeroy", "fillcolor": "--shadow-band"}
    difference = draw_over_time(
        result,
        "difference-chart",
        "Equity of the shadow minus that of the primary, in USD",
        {name: columns[name] for name in ("t", "difference")},
        [line("shadow minus primary", "difference", "--shadow", **area)],
        height=200,
        showlegend=False,
    )
    content = [
        caption(f"The same strategy with the rules and fees of each venue. {thinned}"),
        equities,
        element("h3", "Shadow minus primary, USD"),
        difference,
        *_divergence(result, primary.venue, shadow.venue),
    ]
    return "shadow", "Primary against shadow", content


def priced_part(result: Result) -> Part:
    """Return the table of each day's fills at the secondary's recorded quotes."""
    priced = result.summary.priced
    assert priced is not None
    rows = [
        [day.day, f"{day.fills:,}", f"{day.priced:,}", f"{day.cost_usd:+,.2f}"]
        for day in priced.days[-_DAYS:]
    ]
    rows.append(["total", f"{priced.fills:,}", f"{priced.priced:,}", f"{priced.cost_usd:+,.2f}"])
    note = (
        f"The fills of {result.primary.venue}, priced by the quotes that {priced.venue} had at the "
        "same time. Cost: how much more they would have cost there, without fees. "
        f"{counted(priced.reached, 'limit order')} rested while the price of {priced.venue} passed "
        "the limit. shadow/orders.csv lists all orders."
    )
    heads = ["day, UTC", "fills", "with a quote", "cost, USD"]
    title = f"Fills at the quotes of {priced.venue}"
    return "priced", title, [caption(note), element("div", table(heads, rows), class_="narrow")]


def _divergence(result: Result, primary: str, shadow: str) -> list[Child]:
    """Return the differences in numbers, and the one-sided fills."""
    divergence = result.summary.divergence
    assert divergence is not None
    rows = [
        ["Profit or loss, USD", f"{divergence.pnl:+z,.2f}"],
        ["Fees, USD", f"{divergence.fees:+z,.2f}"],
        ["Funding paid, USD", f"{divergence.funding:+z,.2f}"],
        ["Fills", f"{divergence.fills:+,}"],
        ["Largest difference of equity, USD", f"{divergence.max_equity_difference:,.2f}"],
        [f"Fills only at {primary}", f"{divergence.only_primary:,}"],
        [f"Fills only at {shadow}", f"{divergence.only_shadow:,}"],
    ]
    lists = [
        events_list(f"Fills only at {venue}", count, fills, _HEADS, _fill_row)
        for venue, count, fills in (
            (primary, divergence.only_primary, divergence.only_primary_fills),
            (shadow, divergence.only_shadow, divergence.only_shadow_fills),
        )
        if count
    ]
    return [element("div", table(["Shadow minus primary", ""], rows), class_="narrow"), *lists]


def _fill_row(fill: OneSided) -> list[Child]:
    quantity, price = f"{fill.quantity:,}", f"{fill.price:,}"
    return [moment(fill.time), fill.symbol, fill.side, fill.type, quantity, price]
