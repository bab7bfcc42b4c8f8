"""The local venues are asked directly, whatever proxy the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES, serve
from tests.servers.mexc import mexc_market, mexc_server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> VenueClock:
    """Return the venues' clock, which a test may make faster by parametrizing it."""
    return VenueClock(speed=getattr(request, "param", 1.0))


@pytest.fixture
def servers(clock: VenueClock) -> Iterator[dict[str, LiveServer]]:
    """Serve every live venue, by name."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serve(name, clock=clock, rate=20, quote_rate=20))
            for name in LIVE_VENUES
        }


@pytest.fixture
def hyperliquid(clock: VenueClock) -> Iterator[LiveServer]:
    market = hyperliquid_market("BTC", rate=20, quote_rate=20)
    with hyperliquid_server([market], clock=clock) as server:
        yield server


@pytest.fixture
def mexc(clock: VenueClock) -> Iterator[LiveServer]:
    market = mexc_market("BTC_USDT", rate=20, quote_rate=20)
    with mexc_server([market], clock=clock) as server:
        yield server
