"""The list of closed positions; a click shows one in its price chart."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

from tbv8.page.html import Child, element, table
from tbv8.page.words import length_cell, minute, number, part_of
from tbv8.results.read import Result
from tbv8.results.summary import still_open
from tbv8.results.tearsheet.part import Part, caption, percent, with_commas
from tbv8.results.tearsheet.prices import chart_id, first_drawn
from tbv8.results.tearsheet.round_trips import RoundTrips

_LISTED = 1000
_HEADS = ("opened", "closed", "side", "held", "quantity", "entry", "exit", "PnL", "%")
_MORE_HEADS = ("MAE", "MFE", "fees", "funding", "by")


def trades_part(result: Result, trips: RoundTrips) -> Part:
    """Return the list of closed positions, and of those still open."""
    run, count = result.primary, len(trips)
    alone = len(result.summary.symbols) == 1
    first = max(0, count - _LISTED)
    rows = [
        [*([] if alone else [position["symbol"]]), *_row(position, trips, at, place)]
        for at, (position, place) in enumerate(
            zip(
                run.positions.slice(first).to_pylist(),
                islice(_places(result, trips), first, None),
                strict=True,
            ),
            start=first,
        )
    ]
    heads = [*([] if alone else ["symbol"]), *_HEADS, *_MORE_HEADS]
    words = (
        f"{part_of(len(rows), count, 'last')} closed positions of {run.venue}, from flat to flat, "
        "after fees and funding; click one to see it in the chart. By: the tags or the type of the "
        "closing order"
    )
    if len(rows) < count:
        words += "; positions.csv has all of them"
    listed: Child = table(
        heads, rows, words=3 if alone else 4, sortable=True, id_="trades-table", words_last=True
    )
    if not count:
        words, listed = "No position was closed", None
    still = [caption(f"S{still_open(position)[1:]}.") for position in run.stats.open_positions]
    return "trades", "Trades", [caption(f"{words}."), still, listed]


def _places(result: Result, trips: RoundTrips) -> list[str | None]:
    """Return each closed position's chart and its number there; None if it is not drawn."""
    numbers = {symbol: -first_drawn(result, trips, symbol) for symbol in result.summary.symbols}
    places = []
    for symbol in trips.symbols:
        at = numbers[symbol]
        places.append(f"{chart_id(result, symbol)}:{at}" if at >= 0 else None)
        numbers[symbol] += 1
    return places


def _row(position: Mapping[str, Any], trips: RoundTrips, at: int, place: str | None) -> list[Child]:
    opened, gained = minute(position["opened_ms"]), Decimal(position["pnl"])
    share = float(trips.shares[at])
    return [
        element("a", opened, href="#price", data_trade=place) if place else opened,
        minute(position["closed_ms"]),
        position["side"],
        length_cell(position["closed_ms"] - position["opened_ms"]),
        with_commas(position["quantity"]),
        with_commas(position["entry_price"]),
        with_commas(position["exit_price"]),
        element("span", f"{gained:+,.2f}", class_="up" if gained > 0 else "down"),
        number(share if share == share else None, "+.2%"),
        percent(float(trips.adverse[at])),
        percent(float(trips.favorable[at])),
        f"{Decimal(position['fees']):,.2f}",
        f"{Decimal(position['funding']):z,.2f}",
        trips.reasons[at],
    ]
