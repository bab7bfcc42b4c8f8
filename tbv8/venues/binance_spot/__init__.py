"""History of Binance Spot: its archive of monthly and daily files, and its REST API for the rest.

    plan <- archive, history        which file or call for which time
    minutes <- archive, rest        rows of 1m bars: checks, mending, holes
    host <- rest, history           tries, waits and limits of one host
    history                         the session

Only `plan` is imported at the top: the others bring requests, numpy and pyarrow with them, and
ccxt (two seconds) comes with the first page of bars that REST is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tbv8.market import Span
from tbv8.venues.base import Cost, Endpoints, HistorySource, Say, Venue
from tbv8.venues.binance_spot import plan

if TYPE_CHECKING:
    from tbv8.venues.binance_spot.history import BinanceHistory


def _span(now_ms: int) -> Span:
    """Return the time from the venue's opening to now."""
    return Span(plan.OPENED_MS, max(plan.OPENED_MS, now_ms))


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return what filling `gaps` takes if the archive has every file that it should have."""
    return plan.cost(plan.pieces(gaps, now_ms=now_ms))


def _open(endpoints: Endpoints, say: Say) -> BinanceHistory:
    """Return a session; nothing is sent before it is asked."""
    from tbv8.venues.binance_spot.history import BinanceHistory
    from tbv8.venues.binance_spot.host import Patience

    return BinanceHistory(endpoints, Patience(say=say))


VENUE = Venue(name="binance_spot", history=HistorySource(span=_span, cost=_cost, open=_open))
