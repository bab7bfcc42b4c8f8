"""MEXC's perpetual futures: live trades and quotes, and history of 1m bars.

    live        its sockets and REST calls, as pure parsers

Its histories are `tbv8.venues.live_history` and `live_funding` with those calls.

Its sizes are contracts; tbv8's are base units, by the contract size that the venue tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tbv8.market import Span, parse_time
from tbv8.venues.base import Cost, Endpoints, History, HistorySource, Rules, Say, Venue

if TYPE_CHECKING:
    from tbv8.venues.mexc.live import MexcLive

_OPENED_MS = parse_time("2019-01-01")  # before its first perpetual


def _span(now_ms: int) -> Span:
    """Return the time from the venue's opening to now."""
    return Span(_OPENED_MS, max(_OPENED_MS, now_ms))


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return the cost of filling `gaps`: 2000 bars a request."""
    from tbv8.venues.live_history import page_cost

    return page_cost(gaps, 2000)


def _open(endpoints: Endpoints, say: Say) -> History:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_history import open_history

    return open_history("mexc", _open_live(), endpoints, opened_ms=_OPENED_MS, say=say)


def _rules(endpoints: Endpoints, say: Say, symbols: Mapping[str, str | None]) -> dict[str, Rules]:
    """Ask for the rules of symbols."""
    from tbv8.venues.live_calls import Calls

    with closing(Calls("mexc", _open_live(), endpoints, say=say)) as calls:
        return calls.fetch_rules(symbols)


def _open_live() -> MexcLive:
    """Return its wire protocol."""
    from tbv8.venues.mexc.live import MexcLive

    return MexcLive()


def _funding_cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return what filling `gaps` takes: pages of 100 payments, counted from now."""
    from tbv8.venues.live_funding import funding_cost

    since = [Span(gap.start_ms, max(gap.end_ms, now_ms)) for gap in gaps]
    return funding_cost(since, hours=8, page_rows=100)


def _open_funding(endpoints: Endpoints, say: Say) -> History:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.live_funding import open_funding

    return open_funding("mexc", _open_live(), endpoints, usual_hours=8, say=say)


VENUE = Venue(
    name="mexc",
    history=HistorySource(span=_span, cost=_cost, open=_open),
    live=_open_live,
    funding=HistorySource(span=_span, cost=_funding_cost, open=_open_funding),
    rules=_rules,
)
