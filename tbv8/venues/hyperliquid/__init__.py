"""The venue `hyperliquid`: perpetual futures with live trades, quotes, funding and the newest bars.

    live        its wire protocol: frames and REST requests, as pure parsers

Its coins are margined in USDC; the symbol `BTC/USDT` still stands for its coin `BTC`.
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
    sure_minutes=4900,  # of the 5,000 that it keeps: the oldest drop out during a backfill
)
