"""Hyperliquid's perpetual futures: live trades and quotes, and the newest 5,000 minutes of bars.

    live        its sockets and REST calls, as pure parsers

Its history is `tbv8.venues.live_history` with those calls.

Its coins are margined in USDC; `BTC/USDT` is its coin `BTC` all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tbv8.market import MINUTE_MS, Span
from tbv8.venues.base import Cost, Endpoints, HistorySource, Rules, Say, Venue

if TYPE_CHECKING:
    from tbv8.venues.hyperliquid.live import HyperliquidLive
    from tbv8.venues.live_history import LiveHistory

_SURE_MINUTES = 4900  # of the newest 5,000: they move on while a backfill runs


def _span(now_ms: int) -> Span:
    """Return the newest 3.4 days: the venue keeps 5,000 minutes."""
    return Span((now_ms // MINUTE_MS - _SURE_MINUTES) * MINUTE_MS, now_ms)


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return the cost of filling `gaps`: 500 bars a request."""
    from tbv8.venues.live_history import page_cost

    return page_cost(gaps, 500)


def _open(endpoints: Endpoints, say: Say) -> LiveHistory:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_history import LiveHistory

    return LiveHistory("hyperliquid", _open_live(), endpoints, say=say)


def _rules(endpoints: Endpoints, say: Say, symbols: Mapping[str, str | None]) -> dict[str, Rules]:
    """Ask for the rules of symbols."""
    with _open(endpoints, say) as session:
        return session.fetch_rules(symbols)


def _open_live() -> HyperliquidLive:
    """Return its wire protocol."""
    from tbv8.venues.hyperliquid.live import HyperliquidLive

    return HyperliquidLive()


VENUE = Venue(
    name="hyperliquid",
    history=HistorySource(span=_span, cost=_cost, open=_open, rolls=True),
    live=_open_live,
    rules=_rules,
    funding_hours=1,
)
