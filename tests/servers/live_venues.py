"""The local live venues by name, for the tests that walk all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.servers.bybit import BybitOptions, bybit_market, bybit_server
from tests.servers.hyperliquid import HyperliquidOptions, hyperliquid_market, hyperliquid_server
from tests.servers.live_market import MarketSpec, VenueClock
from tests.servers.live_server import LiveServer, Options
from tests.servers.mexc import MexcOptions, mexc_market, mexc_server


class LocalVenue(NamedTuple):
    """How a venue's local server is made.

    Args:
        native: Its name of BTC/USDT.
        market: Makes a market of a native symbol.
        server: Makes a server of markets.
        options: Makes its options, of bars that are as the truth has them.
        funding_hours: Between two of its payments.
    """

    native: str
    market: Callable[..., MarketSpec]
    server: Callable[..., LiveServer]
    options: Callable[[], Options]
    funding_hours: int = 8


LIVE_VENUES = {
    "bybit": LocalVenue(
        "BTCUSDT", bybit_market, bybit_server, lambda: BybitOptions(stitched=False)
    ),
    "hyperliquid": LocalVenue(
        "BTC", hyperliquid_market, hyperliquid_server, HyperliquidOptions, funding_hours=1
    ),
    "mexc": LocalVenue("BTC_USDT", mexc_market, mexc_server, MexcOptions),
}


def serve(
    name: str, *, clock: VenueClock | None = None, limits: bool = True, **market: Any
) -> LiveServer:
    """Return a running server of a venue with BTC/USDT, for a `with`.

    Args:
        name: The venue's.
        clock: Its time.
        limits: Whether its limits of requests and dials hold.
        market: Fields of the market's MarketSpec.
    """
    venue = LIVE_VENUES[name]
    options = venue.options()
    options.limits = limits
    return venue.server([venue.market(venue.native, **market)], clock=clock, options=options)
