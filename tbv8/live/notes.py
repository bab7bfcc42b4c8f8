"""What a session notices and writes down beside what it does; a replay does not look at it."""

from __future__ import annotations

import msgspec

from tbv8.live.plan import Plan
from tbv8.live.pricing import price_fill
from tbv8.market import DAY_MS, MINUTE_MS, Series, Span
from tbv8.store.database import Query
from tbv8.store.sessions import (
    CORRECTED,
    PRICED,
    Event,
    StoredSession,
    is_quote_gap,
    read_corrected,
    read_events,
    read_quotes,
)
from tbv8.trading.records import Fill

_QUOTES_MS = 5000  # after which the recorder has written what it had received
_CORRECTED_MS = DAY_MS  # how long ago a minute may be that the recorder still corrects


def corrected_notes(
    query: Query, session: StoredSession, plan: Plan, done_ms: int, *, at_ms: int
) -> list[Event]:
    """Return a note of each minute that the recorder has changed since it was used."""
    since_ms = max(session.first_ms, done_ms - _CORRECTED_MS)
    changed = read_corrected(query, session, plan.strategy.symbols, since_ms=since_ms)
    if not changed:
        return []
    bodies = {event.body for event in read_events(query, session.session_id, (CORRECTED,))}
    notes: list[Event] = []
    for symbol, used, now in changed:
        body = msgspec.json.encode({"symbol": symbol, "used": used, "now": now}).decode()
        if body not in bodies:
            number = len(bodies) + len(notes)
            notes.append(Event(CORRECTED, number, used.ts_ms + MINUTE_MS, at_ms, body))
    return notes


def priced_notes(
    query: Query, session: StoredSession, plan: Plan, first: int, *, at_ms: int
) -> list[Event]:
    """Return the price at the secondary of each fill from a number on.

    Fills of just now wait until the recorder has had the time to write their quotes.
    """
    assert plan.priced_at is not None
    notes = []
    for event in read_events(query, session.session_id, ("fill",), first=first):
        if event.at_ms + _QUOTES_MS > at_ms:
            break
        fill = msgspec.json.decode(event.body, type=Fill)
        series = Series(plan.priced_at, fill.symbol)
        step_ms = plan.strategy.step.fixed_ms or DAY_MS
        quotes = read_quotes(query, series, Span(event.ts_ms - step_ms, event.at_ms + 1))
        tick = plan.strategy.instruments[plan.priced_at][fill.symbol].tick_size
        is_gap = is_quote_gap(query, series, event.at_ms)
        body = msgspec.json.encode(price_fill(fill, quotes, tick, is_gap=is_gap)).decode()
        notes.append(Event(PRICED, event.number, event.ts_ms, at_ms, body))
    return notes
