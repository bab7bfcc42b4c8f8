"""The list of closed positions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tbv8.page.html import Child, element, table
from tbv8.page.words import NONE, length_cell, minute, part_of
from tbv8.results.read import Result
from tbv8.results.summary import still_open
from tbv8.results.tearsheet.words import Part, caption, with_commas

_TRADES = 1000  # listed


def trades_part(result: Result) -> Part:
    """Return the list of closed positions, and what is still open."""
    run, alone = result.primary, len(result.summary.symbols) == 1
    count = run.positions.num_rows
    listed = run.positions.slice(max(0, count - _TRADES)).to_pylist()
    heads = ["opened", "closed", "side", "held", "quantity", "entry", "exit", "PnL", "%"]
    heads += ["fees", "funding"]
    rows = [_trade_row(position) for position in listed]
    if not alone:
        heads = ["symbol", *heads]
        rows = [[position["symbol"], *row] for position, row in zip(listed, rows, strict=True)]
    said = f"{part_of(len(listed), count, 'last')} closed positions of {run.venue}, "
    said += "from flat to flat, after fees and funding"
    if len(listed) < count:
        said += "; all of them are in positions.csv"
    words = 3 if alone else 4
    content: Child = table(heads, rows, words=words, sortable=True, id_="trades-table")
    if not count:
        said, content = "No position was closed", None
    still = [caption(f"S{still_open(one)[1:]}.") for one in run.stats.open_positions]
    return "trades", "Trades", [caption(f"{said}."), still, content]


def _trade_row(position: Mapping[str, Any]) -> list[Child]:
    basis = float(position["entry_price"]) * float(position["quantity"])
    gained = Decimal(position["pnl"])
    return [
        minute(position["opened_ms"]),
        minute(position["closed_ms"]),
        position["side"],
        length_cell(position["closed_ms"] - position["opened_ms"]),
        with_commas(position["quantity"]),
        with_commas(position["entry_price"]),
        with_commas(position["exit_price"]),
        element("span", f"{gained:+,.2f}", class_="up" if gained > 0 else "down"),
        f"{float(gained) / basis:+.2%}" if basis else NONE,
        f"{Decimal(position['fees']):,.2f}",
        f"{Decimal(position['funding']):z,.2f}",
    ]
