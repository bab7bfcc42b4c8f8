"""Closed positions by side, and by the reason for closing."""

from __future__ import annotations

import numpy as np

from tbv8.page.html import element, table
from tbv8.page.words import NONE, length, number
from tbv8.results.tearsheet.part import PERCENT, TWO_PLACES, WHOLE, Part, caption
from tbv8.results.tearsheet.round_trips import Flags, RoundTrips
from tbv8.trading.nautilus import Floats

_REASONS = 20
_OF_REASON = {  # the numbers of a reason, under shorter names
    "trades": "Round trips",
    "win rate": "Win rate",
    "USD": "Profit or loss, USD",
    "average": "Average, % of entry value",
    "time held": "Average time held",
}


def groups_part(trips: RoundTrips) -> Part:
    """Return tables of trades by side, and by the reason for closing."""
    title = "Long and short, and reasons for closing"
    if not len(trips):
        return "groups", title, caption("No position was closed.")
    everything = np.ones(len(trips), bool)
    sides = {
        name: _numbers(trips, selected)
        for name, selected in (
            ("long", trips.is_long),
            ("short", ~trips.is_long),
            ("all", everything),
        )
    }
    by_side = table(
        ["", *sides],
        [[name, *(numbers[name] for numbers in sides.values())] for name in sides["all"]],
    )
    reasons, counts = np.unique(trips.reasons, return_counts=True)
    rows = []
    for reason in reasons[np.argsort(-counts, kind="stable")][:_REASONS]:
        numbers = _numbers(trips, trips.reasons == reason)
        rows.append([reason, *(numbers[name] for name in _OF_REASON.values())])
    by_reason = table(["closed by", *_OF_REASON], rows, id_="reasons-table")
    note = (
        "Round trips from flat to flat, after fees and funding. Closed by: the tags of the last "
        "order, or its type if it has no tags; halt: closed by a risk limit."
    )
    columns = element("div", [element("div", by_side), element("div", by_reason)], class_="columns")
    return "groups", title, [caption(note), columns]


def _numbers(trips: RoundTrips, selected: Flags) -> dict[str, str]:
    """Return the statistics of a group of round trips by name."""
    gains, shares = trips.gains[selected], trips.shares[selected]
    is_won = gains > 0
    lengths_ms = (trips.closed_ms - trips.opened_ms)[selected]
    lost = -float(gains[gains < 0].sum())
    return {
        "Round trips": number(len(gains), WHOLE),
        "Win rate": number(_mean(is_won), PERCENT),
        "Profit or loss, USD": f"{float(gains.sum()):+z,.2f}",
        "Profit factor": number(float(gains[is_won].sum()) / lost if lost else None, TWO_PLACES),
        "Average, USD": number(_mean(gains), "+z,.2f"),
        "Average, % of entry value": number(_mean(shares), "+.3%"),
        "Average win": number(_mean(shares[is_won]), "+.3%"),
        "Average loss": number(_mean(shares[~is_won]), "+.3%"),
        "Best, USD": number(max(gains, default=None), "+z,.2f"),
        "Worst, USD": number(min(gains, default=None), "+z,.2f"),
        "Average time held": length(int(lengths_ms.mean())) if len(gains) else NONE,
        "Fees, USD": number(float(trips.fees[selected].sum()), TWO_PLACES),
        "Funding paid, USD": number(float(trips.funding[selected].sum()), "z,.2f"),
    }


def _mean(values: Floats | Flags) -> float | None:
    """Return the mean of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None
