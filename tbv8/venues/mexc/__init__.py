"""MEXC's perpetual futures: live trades and quotes, history of 1m bars and of funding.

    live        its sockets and REST calls, as pure parsers

Its sizes are contracts; tbv8 converts them to base units by the venue's contract size.
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
