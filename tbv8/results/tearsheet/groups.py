"""Closed positions by side, and by the reason for closing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tbv8.page.html import element, table
from tbv8.page.words import NONE, length, number
from tbv8.results.tearsheet.part import Part, caption, percent, two_places, whole
from tbv8.results.tearsheet.round_trips import Flags, RoundTrips
from tbv8.trading.nautilus import Floats

_REASONS = 20

type Row = tuple[str, Callable[[RoundTrips, Flags], str]]


def groups_part(trips: RoundTrips) -> Part:
    """Return tables of trades by side, and by the reason for closing."""
    title = "Long and short, and reasons for closing"
    if not len(trips):
        return "groups", title, caption("No position was closed.")
    sides = {"long": trips.is_long, "short": ~trips.is_long, "all": np.ones(len(trips), bool)}
    reasons = trips.reasons
    names, counts = np.unique(reasons, return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")][:_REASONS]
    by_side = table(
        ["", *sides],
        [[name, *(form(trips, selected) for selected in sides.values())] for name, form in _ROWS],
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
        "order, or its type if it has no tags; halt: closed by a risk limit."
    )
    columns = element("div", [element("div", by_side), element("div", by_reason)], class_="columns")
    return "groups", title, [caption(note), columns]


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None


def _profit_factor(gains: Floats) -> float | None:
    lost = -float(gains[gains < 0].sum())
    return float(gains[gains > 0].sum()) / lost if lost else None


def _holding_time(trips: RoundTrips, selected: Flags) -> str:
    lengths = (trips.closed_ms - trips.opened_ms)[selected]
    return length(int(lengths.mean())) if lengths.size else NONE


def _gain(trips: RoundTrips, selected: Flags) -> str:
    return f"{float(trips.gains[selected].sum()):+z,.2f}"


def _count(_trips: RoundTrips, selected: Flags) -> str:
    return whole(int(selected.sum()))


def _win_rate(trips: RoundTrips, selected: Flags) -> str:
    return percent(float((trips.gains[selected] > 0).mean()) if selected.any() else None)


def _mean_share(trips: RoundTrips, selected: Flags) -> str:
    return number(_mean(trips.shares[selected]), "+.3%")


_ROWS: tuple[Row, ...] = (
    ("Round trips", _count),
    ("Win rate", _win_rate),
    ("Profit or loss, USD", _gain),
    ("Profit factor", lambda trips, selected: two_places(_profit_factor(trips.gains[selected]))),
    ("Average, USD", lambda trips, selected: number(_mean(trips.gains[selected]), "+z,.2f")),
    ("Average, share of entry value", _mean_share),
    ("Average win", lambda trips, selected: number(_mean(_won(trips, selected)), "+.3%")),
    ("Average loss", lambda trips, selected: number(_mean(_lost(trips, selected)), "+.3%")),
    (
        "Best, USD",
        lambda trips, selected: number(max(trips.gains[selected], default=None), "+z,.2f"),
    ),
    (
        "Worst, USD",
        lambda trips, selected: number(min(trips.gains[selected], default=None), "+z,.2f"),
    ),
    ("Average time held", _holding_time),
    ("Fees, USD", lambda trips, selected: two_places(float(trips.fees[selected].sum()))),
    (
        "Funding paid, USD",
        lambda trips, selected: number(float(trips.funding[selected].sum()), "z,.2f"),
    ),
)
_REASON_ROWS: tuple[Row, ...] = (
    ("trades", _count),
    ("win rate", _win_rate),
    ("USD", _gain),
    ("average", _mean_share),
    ("time held", _holding_time),
)


def _won(trips: RoundTrips, selected: Flags) -> Floats:
    return trips.shares[selected & (trips.gains > 0)]


def _lost(trips: RoundTrips, selected: Flags) -> Floats:
    return trips.shares[selected & (trips.gains <= 0)]
