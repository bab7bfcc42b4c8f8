"""Closed positions apart: long and short, and by why they were closed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tbv8.page.html import element, table
from tbv8.page.words import NONE, length, number
from tbv8.results.tearsheet.round_trips import Flags, RoundTrips
from tbv8.results.tearsheet.words import Part, caption, money_text, percent, two_places, whole
from tbv8.trading.nautilus import Floats

_REASONS = 20

type Row = tuple[str, Callable[[RoundTrips, Flags], str]]


def groups_part(trips: RoundTrips) -> Part:
    """Return tables of long and short trades, and of trades by what closed them."""
    title = "Long and short, and why trades ended"
    if not len(trips):
        return "groups", title, caption("No position was closed.")
    sides = {"long": trips.is_long, "short": ~trips.is_long, "all": np.ones(len(trips), bool)}
    reasons = np.array(trips.reasons)
    names, counts = np.unique(reasons, return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")][:_REASONS]
    by_side = table(
        ["", *sides],
        [[name, *(form(trips, own) for own in sides.values())] for name, form in _ROWS],
    )
    by_reason = table(
        ["closed by", *(name for name, _ in _REASON_ROWS)],
        [
            [str(reason), *(form(trips, reasons == reason) for _, form in _REASON_ROWS)]
            for reason in ordered
        ],
        id_="reasons-table",
    )
    note = (
        "Round trips from flat to flat, after fees and funding. Closed by: the tags of the last "
        "order, or its type where it has none; halt: closed by a risk limit."
    )
    columns = element("div", [element("div", by_side), element("div", by_reason)], class_="columns")
    return "groups", title, [caption(note), columns]


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _profit_factor(gains: Floats) -> float | None:
    lost = -float(gains[gains < 0].sum())
    return float(gains[gains > 0].sum()) / lost if lost else None


def _held(trips: RoundTrips, own: Flags) -> str:
    lengths = (trips.closed_ms - trips.opened_ms)[own]
    return length(int(lengths.mean())) if lengths.size else NONE


def _gain(trips: RoundTrips, own: Flags) -> str:
    return f"{float(trips.gains[own].sum()):+z,.2f}"


def _count(_trips: RoundTrips, own: Flags) -> str:
    return whole(int(own.sum()))


def _win_rate(trips: RoundTrips, own: Flags) -> str:
    return percent(float((trips.gains[own] > 0).mean()) if own.any() else None)


def _mean_share(trips: RoundTrips, own: Flags) -> str:
    return number(_mean(trips.shares[own]), "+.3%")


_ROWS: tuple[Row, ...] = (
    ("Round trips", _count),
    ("Win rate", _win_rate),
    ("Profit or loss, USD", _gain),
    ("Profit factor", lambda trips, own: two_places(_profit_factor(trips.gains[own]))),
    ("Average, USD", lambda trips, own: number(_mean(trips.gains[own]), "+z,.2f")),
    ("Average of what was entered", _mean_share),
    ("Average win", lambda trips, own: number(_mean(_won(trips, own)), "+.3%")),
    ("Average loss", lambda trips, own: number(_mean(_lost(trips, own)), "+.3%")),
    ("Best, USD", lambda trips, own: number(max(trips.gains[own], default=None), "+z,.2f")),
    ("Worst, USD", lambda trips, own: number(min(trips.gains[own], default=None), "+z,.2f")),
    ("Average time held", _held),
    ("Fees, USD", lambda trips, own: money_text(float(trips.fees[own].sum()))),
    ("Funding paid, USD", lambda trips, own: number(float(trips.funding[own].sum()), "z,.2f")),
)
_REASON_ROWS: tuple[Row, ...] = (
    ("trades", _count),
    ("win rate", _win_rate),
    ("USD", _gain),
    ("average", _mean_share),
    ("time held", _held),
)


def _won(trips: RoundTrips, own: Flags) -> Floats:
    return trips.shares[own & (trips.gains > 0)]


def _lost(trips: RoundTrips, own: Flags) -> Floats:
    return trips.shares[own & (trips.gains <= 0)]
