"""Hyperliquid's perpetual futures: live trades and quotes, and the newest 5,000 minutes of bars.

    live        its sockets and REST calls, as pure parsers

Its histories are `tbv8.venues.live_history` and `live_funding` with those calls.

Its coins are margined in USDC; `BTC/USDT` is its coin `BTC` all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tbv8.market import MINUTE_MS, Span, parse_time
from tbv8.venues.base import Cost, Endpoints, History, HistorySource, Rules, Say, Venue

if TYPE_CHECKING:
    from tbv8.venues.hyperliquid.live import HyperliquidLive

_OPENED_MS = parse_time("2023-05-01")  # before its first funding
_SURE_MINUTES = 4900  # of the newest 5,000: they move on while a backfill runs


def _span(now_ms: int) -> Span:
    """Return the newest 3.4 days: the venue keeps 5,000 minutes."""
    return Span((now_ms // MINUTE_MS - _SURE_MINUTES) * MINUTE_MS, now_ms)


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return the cost of filling `gaps`: 500 bars a request."""
    from tbv8.venues.live_history import page_cost

    return page_cost(gaps, 500)


def _open(endpoints: Endpoints, say: Say) -> History:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_history import open_history

    return open_history("hyperliquid", _open_live(), endpoints, say=say)


def _rules(endpoints: Endpoints, say: Say, symbols: Mapping[str, str | None]) -> dict[str, Rules]:
    """Ask for the rules of symbols."""
    from tbv8.venues.live_calls import Calls

    with closing(Calls("hyperliquid", _open_live(), endpoints, say=say)) as calls:
        return calls.fetch_rules(symbols)


def _open_live() -> HyperliquidLive:
    """Return its wire protocol."""
    from tbv8.venues.hyperliquid.live import HyperliquidLive

    return HyperliquidLive()


def _funding_span(now_ms: int) -> Span:
    """Return the time from the first funding to now."""
    return Span(_OPENED_MS, max(_OPENED_MS, now_ms))


def _funding_cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return what filling `gaps` takes: a payment an hour."""
    from tbv8.venues.live_funding import funding_cost

    return funding_cost(gaps, hours=1, page_rows=480)


def _open_funding(endpoints: Endpoints, say: Say) -> History:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_funding import open_funding

    return open_funding("hyperliquid", _open_live(), endpoints, usual_hours=1, say=say)


VENUE = Venue(
    name="hyperliquid",
    history=HistorySource(span=_span, cost=_cost, open=_open, rolls=True),
    live=_open_live,
    rules=_rules,
    funding_hours=1,
    funding=HistorySource(span=_funding_span, cost=_funding_cost, open=_open_funding),
)
