"""Hyperliquid's perpetual futures: live trades and quotes, funding, the newest bars.

    live        its sockets and REST calls, as pure parsers

Its coins are margined in USDC; `BTC/USDT` is its coin `BTC` all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbv8.market import parse_time
from tbv8.venues.live_venue import live_venue

if TYPE_CHECKING:
    from tbv8.venues.hyperliquid.live import HyperliquidLive


def _open_live() -> HyperliquidLive:
    """Return its wire protocol."""
    from tbv8.venues.hyperliquid.live import HyperliquidLive

    return HyperliquidLive()


VENUE = live_venue(
    "hyperliquid",
    _open_live,
    opened_ms=parse_time("2023-05-01"),  # before its first funding
    payments_per_page=480,
    funding_hours=1,
    sure_minutes=4900,  # of the newest 5,000: they move on while a backfill runs
)
