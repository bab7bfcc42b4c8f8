"""Round trips by side, and by the reasons of entry and exit."""

from __future__ import annotations

import numpy as np

from tbv8.page.html import Html, element, table
from tbv8.page.words import NONE, length, number
from tbv8.results.tearsheet.part import PERCENT, TWO_PLACES, WHOLE, Part, caption
from tbv8.results.tearsheet.round_trips import Flags, RoundTrips, Texts
from tbv8.trading.nautilus import Floats

_REASONS = 20
_OF_REASON = {  # the numbers of a reason, under shorter names
    "round trips": "Round trips",
    "win rate": "Win rate",
    "gain, USD": "Profit or loss, USD",
    "average gain, %": "Average gain, % of entry value",
    "average time": "Average time of a round trip",
}


def groups_part(trips: RoundTrips) -> Part:
    """Return tables of round trips by side, and by the tags of entry and exit."""
    title = "Trades by side, entry and exit"
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
        ["round trips", *sides],
        [[name, *(numbers[name] for numbers in sides.values())] for name in sides["all"]],
    )
    note = (
        "Round trips after fees and funding. Opened by and closed by are the tags of the order "
        "that opened or closed the trade, or its type if it has no tags. Warm-up: the trade was "
        "open when the result began; halt: a risk limit closed it."
    )
    opened = _by_reason(trips, trips.entry_by, "opened by", "entries-table")
    closed = _by_reason(trips, trips.exit_by, "closed by", "exits-table")
    parts = [element("div", by_side), element("div", opened, closed)]
    return "groups", title, [caption(note), element("div", parts, class_="columns")]


def _by_reason(trips: RoundTrips, reasons: Texts, head: str, id_: str) -> Html:
    """Return the table of the most frequent reasons."""
    names, counts = np.unique(reasons, return_counts=True)
    rows = []
    for name in names[np.argsort(-counts, kind="stable")][:_REASONS]:
        numbers = _numbers(trips, reasons == name)
        rows.append([name, *(numbers[key] for key in _OF_REASON.values())])
    return table([head, *_OF_REASON], rows, id_=id_)


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
        "Average gain, USD": number(_mean(gains), "+z,.2f"),
        "Average gain, % of entry value": number(_mean(shares), "+.3%"),
        "Average win, % of entry value": number(_mean(shares[is_won]), "+.3%"),
        "Average loss, % of entry value": number(_mean(shares[~is_won]), "+.3%"),
        "Best round trip, USD": number(max(gains, default=None), "+z,.2f"),
        "Worst round trip, USD": number(min(gains, default=None), "+z,.2f"),
        "Average time of a round trip": length(round(lengths_ms.mean())) if len(gains) else NONE,
        "Fees, USD": number(float(trips.fees[selected].sum()), TWO_PLACES),
        "Funding paid, USD": number(float(trips.funding[selected].sum()), "z,.2f"),
    }


def _mean(values: Floats | Flags) -> float | None:
    """Return the mean of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else None
