"""The venue `bybit`: linear perpetuals with live trades, quotes, and histories of bars and funding.

live        its wire protocol: frames and REST requests, as pure parsers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbv8.market import parse_time
from tbv8.venues.live_venue import live_venue

if TYPE_CHECKING:
    from tbv8.venues.bybit.live import BybitLive


def _open_live() -> BybitLive:
    """Return its wire protocol."""
    from tbv8.venues.bybit.live import BybitLive

    return BybitLive()


VENUE = live_venue(
    "bybit",
    _open_live,
    opened_ms=parse_time("2020-03-01"),  # before its first perpetual in USDT
    payments_per_page=200,
)
