"""The list of round trips; a click shows one in its price chart."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from tbv8.page.html import Child, element, table
from tbv8.page.words import length_cell, number
from tbv8.results.read import Result
from tbv8.results.summary import still_open
from tbv8.results.tearsheet.part import PERCENT, Part, caption, minutes, with_commas
from tbv8.results.tearsheet.prices import chart_id, first_drawn
from tbv8.results.tearsheet.round_trips import RoundTrips, Texts

_LISTED = 1000
_HEADS = ("opened", "closed", "side", "time held", "quantity", "entry", "exit", "PnL, USD")
_MORE_HEADS = ("PnL, %", "MAE", "MFE", "fees, USD", "funding paid, USD")
_REASONS = ("opened by", "closed by")


def trades_part(result: Result, trips: RoundTrips) -> Part:
    """Return the list of round trips, and of positions still open."""
    run, places = result.primary, _places(result, trips)
    first, count = max(0, len(trips) - _LISTED), len(trips)
    positions = run.positions.slice(first).to_pylist()
    opened, closed = (minutes(ms[first:]) for ms in (trips.opened_ms, trips.closed_ms))
    rows = [
        [
            element("a", begun, href="#price", data_trade=places[at]) if places[at] else begun,
            ended,
            *_row(position, trips, at),
        ]
        for at, (position, begun, ended) in enumerate(
            zip(positions, opened, closed, strict=True), start=first
        )
    ]
    heads, symbols = [*_HEADS, *_MORE_HEADS, *_REASONS], result.summary.symbols
    if len(symbols) > 1:
        heads.insert(0, "symbol")
        rows = [[p["symbol"], *row] for p, row in zip(positions, rows, strict=True)]
    note = (
        f"{_listed_text(len(rows), count)} round trips of {run.venue}, after fees and funding: "
        "each from the fill that opens a position to the fill that closes or turns it. Click one "
        "to see it in the chart. Percentages are of the entry's value; MAE and MFE are the largest "
        "moves of the price against it and in its favor. Opened by and closed by are the tags of "
        "the order that opened or closed it, or its type"
    )
    if len(rows) < count:
        note += ". positions.csv has all of them"
    left = 3 if len(symbols) == 1 else 4  # columns of words
    listed: Child = table(
        heads, rows, words=left, sortable=True, id_="trades-table", words_last=True
    )
    if not count:
        note, listed = "No position was closed", None
    still = [caption(f"S{still_open(position)[1:]}.") for position in run.stats.open_positions]
    return "trades", "Trades", [caption(f"{note}."), still, listed]


def _listed_text(listed: int, count: int) -> str:
    return f"All {count:,}" if listed == count else f"The last {listed:,} of {count:,}"


def _places(result: Result, trips: RoundTrips) -> Texts:
    """Return each closed position's chart and its number there; None if it is not drawn."""
    places = np.full(len(trips), None)
    for symbol in result.summary.symbols:
        own = np.flatnonzero(trips.symbols == symbol)[first_drawn(result, trips, symbol) :]
        places[own] = [f"{chart_id(result, symbol)}:{number}" for number in range(len(own))]
    return places


def _row(position: Mapping[str, Any], trips: RoundTrips, at: int) -> list[Child]:
    """Return the cells of a position behind its times."""
    gained, share = Decimal(position["pnl"]), float(trips.shares[at])
    return [
        position["side"],
        length_cell(position["closed_ms"] - position["opened_ms"]),
        with_commas(position["quantity"]),
        with_commas(position["entry_price"]),
        with_commas(position["exit_price"]),
        element("span", f"{gained:+,.2f}", class_="up" if gained > 0 else "down"),
        number(share if share == share else None, "+.2%"),
        number(float(trips.adverse[at]), PERCENT),
        number(float(trips.favorable[at]), PERCENT),
        f"{Decimal(position['fees']):,.2f}",
        f"{Decimal(position['funding']):z,.2f}",
        trips.entry_by[at],
        trips.exit_by[at],
    ]
