"""The venues that tbv8 supports, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tbv8.venues import binance_perp, binance_spot, bybit, hyperliquid, mexc, sample
from tbv8.venues.base import ExchangeOrigin, FetchRules, FilesOrigin, HistorySource, Venue

_MODULES = (binance_perp, binance_spot, bybit, hyperliquid, mexc, sample)

VENUES: Mapping[str, Venue] = {module.VENUE.name: module.VENUE for module in _MODULES}


def find_venue(name: str) -> Venue:
    """Return a venue's record; for an unknown name, a record without any source."""
    return VENUES.get(name) or Venue(name=name)


def find_funding(name: str) -> HistorySource | None:
    """Return the source of a venue's funding; None if it has none."""
    return find_venue(name).funding


def find_history(name: str) -> HistorySource | None:
    """Return the source of a venue's history; None if it has none."""
    return find_venue(name).history


def find_rules(name: str) -> FetchRules | None:
    """Return the function that requests a venue's trading rules; None if it publishes none."""
    return find_venue(name).rules


def make_history(origin: ExchangeOrigin | FilesOrigin) -> HistorySource:
    """Return the history that a user configured: files, or an exchange through ccxt."""
    if isinstance(origin, FilesOrigin):
        from tbv8.venues.files import files_source

        return files_source(origin)
    from tbv8.venues.ccxt import exchange_source

    return exchange_source(origin)
