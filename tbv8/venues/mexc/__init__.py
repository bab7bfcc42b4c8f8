"""The venue `mexc`: perpetual futures with live trades, quotes, and histories of bars and funding.

    live        its wire protocol: frames and REST requests, as pure parsers

Its sizes are in contracts; they are converted to base units by the venue's contract size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbv8.market import parse_time
from tbv8.venues.live_venue import live_venue

if TYPE_CHECKING:
    from tbv8.venues.mexc.live import MexcLive


def _open_live() -> MexcLive:
    """Return its wire protocol."""
    from tbv8.venues.mexc.live import MexcLive

    return MexcLive()


VENUE = live_venue(
    "mexc",
    _open_live,
    opened_ms=parse_time("2019-01-01"),  # before its first perpetual
    payments_per_page=100,
)
