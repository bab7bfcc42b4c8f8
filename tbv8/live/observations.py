"""A session's observations of the venue: corrected bars and rates, and new rates of funding.

A replay uses only the new rates, which are fed like minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tbv8.live.driver import FundingRate
from tbv8.live.session_config import SessionConfig
from tbv8.market import DAY_MS, MINUTE_MS, Span
from tbv8.store.database import Query
from tbv8.store.funding import read_payments
from tbv8.store.sessions import (
    CORRECTED,
    RATE,
    Event,
    StoredSession,
    read_corrections,
    read_events,
)

_LATEST_MS = 32 * DAY_MS  # of funding; the recorder goes back a month
_CORRECTED_MS = DAY_MS  # the oldest minute that the recorder may still correct


type Rates = Mapping[tuple[str, int], float]
"""The rate of each payment of funding that a session used, by symbol and full hour."""


def correction_events(
    query: Query,
    session: StoredSession,
    config: SessionConfig,
    rates: Rates,
    done_ms: int,
    *,
    at_ms: int,
) -> list[Event]:
    """Return an event for each minute and rate that the recorder has changed since its use."""
    since_ms = max(session.first_ms, done_ms - _CORRECTED_MS)
    changed: list[tuple[int, str, Any, Any]] = [
        (used.ts_ms + MINUTE_MS, symbol, used, now)
        for symbol, used, now in read_corrections(
            query, session, config.strategy.symbols, since_ms=since_ms
        )
    ]
    for symbol, series in config.series.items() if rates else ():
        for ts_ms, rate, _ in read_payments(query, series, Span(since_ms, done_ms + 1)):
            used = rates.get((symbol, ts_ms), rate)
            if used != rate:
                before, now = ({"ts_ms": ts_ms, "rate": value} for value in (used, rate))
                changed.append((ts_ms, symbol, before, now))
    if not changed:
        return []
    bodies = {event.body for event in read_events(query, session.session_id, (CORRECTED,))}
    events: list[Event] = []
    for ts_ms, symbol, used, now in changed:
        body = msgspec.json.encode({"symbol": symbol, "used": used, "now": now}).decode()
        if body not in bodies:
            events.append(Event(CORRECTED, len(bodies) + len(events), ts_ms, at_ms, body))
    return events


def rate_events(
    query: Query, config: SessionConfig, first_ms: int, used_rates: Rates, span: Span, *, at_ms: int
) -> list[Event]:
    """Return the payments of funding that are new in a span of minutes.

    Each is booked at its hour, or at the close of the span's first minute if that is later.

    Args:
        query: The query function of an open database.
        config: The config of the session.
        first_ms: The open of the session's first minute.
        used_rates: The payments that were used before.
        span: The span of the minutes.
        at_ms: Our clock.
    """
    if config.strategy.funding == "fixed":
        return []
    window = Span(max(span.start_ms - _LATEST_MS, first_ms) + 1, span.end_ms + 1)
    payments = sorted(
        (max(ts_ms, span.start_ms + MINUTE_MS), ts_ms, symbol, rate, hours)
        for symbol, series in config.series.items()
        for ts_ms, rate, hours in read_payments(query, series, window)
        if (symbol, ts_ms) not in used_rates
    )
    return [
        Event(
            RATE,
            number,
            booked_ms,
            at_ms,
            msgspec.json.encode(
                FundingRate(symbol=symbol, ts_ms=ts_ms, rate=rate, hours=hours)
            ).decode(),
        )
        for number, (booked_ms, ts_ms, symbol, rate, hours) in enumerate(payments, len(used_rates))
    ]
