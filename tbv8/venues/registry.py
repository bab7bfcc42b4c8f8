"""Every venue that tbv8 knows, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tbv8.venues import binance_perp, binance_spot, hyperliquid, mexc, sample
from tbv8.venues.base import HistorySource, Venue

_MODULES = (binance_perp, binance_spot, hyperliquid, mexc, sample)

VENUES: Mapping[str, Venue] = {module.VENUE.name: module.VENUE for module in _MODULES}


def find_venue(name: str) -> Venue:
    """Return a venue's record; one without anything for a name that tbv8 does not know."""
    return VENUES.get(name) or Venue(name=name)


def find_source(name: str, dataset: str) -> HistorySource | None:
    """Return where a dataset's history of a venue comes from: `funding`, else its 1m bars."""
    venue = find_venue(name)
    return venue.funding if dataset == "funding" else venue.history


def find_history(name: str) -> HistorySource | None:
    """Return the source of a venue's history; None if it has none to give."""
    return find_venue(name).history
