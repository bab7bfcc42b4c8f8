"""Bybit's linear perpetuals: live trades and quotes, history of 1m bars and of funding.

    live        its sockets and REST calls, as pure parsers

Its histories are `tbv8.venues.live_history` and `live_funding` with those calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tbv8.market import Span, parse_time
from tbv8.venues.base import Cost, Endpoints, HistorySource, Rules, Say, Venue

if TYPE_CHECKING:
    from tbv8.venues.bybit.live import BybitLive
    from tbv8.venues.live_funding import LiveFunding
    from tbv8.venues.live_history import LiveHistory

_OPENED_MS = parse_time("2020-03-01")  # before its first perpetual in USDT


def _span(now_ms: int) -> Span:
    """Return the time from the first perpetual to now."""
    return Span(_OPENED_MS, max(_OPENED_MS, now_ms))


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return the cost of filling `gaps`: 1000 bars a request."""
    from tbv8.venues.live_history import page_cost

    return page_cost(gaps, 1000)


def _open(endpoints: Endpoints, say: Say) -> LiveHistory:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_history import LiveHistory

    return LiveHistory("bybit", _open_live(), endpoints, opened_ms=_OPENED_MS, say=say)


def _rules(endpoints: Endpoints, say: Say, symbols: Mapping[str, str | None]) -> dict[str, Rules]:
    """Ask for the rules of symbols."""
    with _open(endpoints, say) as session:
        return session.fetch_rules(symbols)


def _open_live() -> BybitLive:
    """Return its wire protocol."""
    from tbv8.venues.bybit.live import BybitLive

    return BybitLive()


def _funding_cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return what filling `gaps` takes: a payment every eight hours, 200 a request."""
    from tbv8.venues.live_funding import funding_cost

    return funding_cost(gaps, hours=8, page_rows=180)


def _open_funding(endpoints: Endpoints, say: Say) -> LiveFunding:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_funding import LiveFunding

    return LiveFunding("bybit", _open_live(), endpoints, usual_hours=8, say=say)


VENUE = Venue(
    name="bybit",
    history=HistorySource(span=_span, cost=_cost, open=_open),
    live=_open_live,
    rules=_rules,
    funding=HistorySource(span=_span, cost=_funding_cost, open=_open_funding),
)
