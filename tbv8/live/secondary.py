"""The primary's orders at the secondary's quotes, written to the journal as the quotes arrive.

A fill is priced once (`priced`). A limit order that works at the primary is compared with every
quote of the secondary: `reached` is the first quote that trades through its limit, whether the
primary fills the order later or never.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from tbv8.live.pricing import PricedOrder, price_fill
from tbv8.live.session_config import SessionConfig
from tbv8.market import DAY_MS, Series, Span
from tbv8.store.database import BusyError
from tbv8.store.sessions import (
    PRICED,
    REACHED,
    Event,
    Journal,
    StoredSession,
    first_quote_beyond,
    missed_quotes,
    read_events,
    read_quotes,
)
from tbv8.trading.records import Fill, RestingLimit

_QUOTES_MS = 5000  # the recorder has written each quote this long after its receipt


class SecondaryPricer:
    """Prices the orders of one session at the quotes of its secondary venue.

    Args:
        config: The config of the session; its `priced_at` is the secondary.
        journal: The journal to write to.
        session: The session.
    """

    def __init__(self, config: SessionConfig, journal: Journal, session: StoredSession) -> None:
        assert config.priced_at is not None
        self._config, self._venue = config, config.priced_at
        self._journal, self._session = journal, session
        reached = read_events(journal.query, session.session_id, (REACHED,))
        self._priced = journal.count_events(session.session_id).get(PRICED, 0)
        self._reached = {
            msgspec.json.decode(item.body, type=PricedOrder).order_id for item in reached
        }
        self._resting: dict[str, RestingLimit] = {}
        self._read_ms: dict[str, int] = {}  # the end of the read quotes, by order
        self._next_ms = 0

    def watch(self, resting: Iterable[RestingLimit], since_ms: int) -> None:
        """Watch the given limit orders from now on; new ones from a time on."""
        self._resting = {
            item.order_id: item for item in resting if item.order_id not in self._reached
        }
        self._read_ms = {name: self._read_ms.get(name, since_ms) for name in self._resting}

    def write(self, fills: int, done_ms: int, *, at_ms: int) -> None:
        """Write new prices of fills and new limits reached.

        Args:
            fills: The number of fills of the session.
            done_ms: The session's time.
            at_ms: Our clock.
        """
        prices = self._price_fills(at_ms) if self._priced < fills else []
        reached = self._find_reached(done_ms, at_ms) if at_ms >= self._next_ms else []
        if prices or reached:
            with suppress(BusyError):  # the next time
                self._journal.write_minutes(self._session.session_id, [], [*prices, *reached])
                self._priced += len(prices)
                for event in reached:
                    self._mark_reached(msgspec.json.decode(event.body, type=PricedOrder).order_id)

    def _mark_reached(self, order_id: str) -> None:
        self._reached.add(order_id)
        del self._resting[order_id], self._read_ms[order_id]

    def _price_fills(self, at_ms: int) -> list[Event]:
        """Return the price at the secondary of each fill that has none.

        The newest fills wait until the recorder has written their quotes.
        """
        config, query, events = self._config, self._journal.query, list[Event]()
        for event in read_events(query, self._session.session_id, ("fill",), first=self._priced):
            if event.at_ms + _QUOTES_MS > at_ms:
                break
            fill = msgspec.json.decode(event.body, type=Fill)
            series = Series(self._venue, fill.symbol)
            step_ms = config.strategy.step.fixed_ms or DAY_MS
            quotes = read_quotes(query, series, Span(event.ts_ms - step_ms, event.at_ms + 1))
            tick = config.strategy.instruments[self._venue][fill.symbol].tick_size
            is_gap = missed_quotes(query, series, event.at_ms)
            body = msgspec.json.encode(price_fill(fill, quotes, tick, is_gap=is_gap)).decode()
            events.append(Event(PRICED, event.number, event.ts_ms, at_ms, body))
        return events

    def _find_reached(self, done_ms: int, at_ms: int) -> list[Event]:
        """Return an event for each working order whose limit a new quote has reached."""
        self._next_ms = at_ms + _QUOTES_MS
        until_ms, events = at_ms - _QUOTES_MS, list[Event]()
        for name, limit in self._resting.items():
            span = Span(self._read_ms[name], max(until_ms, self._read_ms[name]))
            series = Series(self._venue, limit.symbol)
            quoted_ms = first_quote_beyond(
                self._journal.query, series, span, limit.price, buy=limit.side == "buy"
            )
            self._read_ms[name] = span.end_ms
            if quoted_ms is None:
                continue
            priced = PricedOrder(
                order_id=limit.order_id,
                ts_ms=done_ms,
                quoted_ms=quoted_ms,
                symbol=limit.symbol,
                side=limit.side,
                type="limit",
                quantity=limit.quantity,
                price=limit.price,
                quoted=limit.price,
                cost_usd=None,
                why=f"its limit was reached while it rested at {self._config.venue}",
            )
            body = msgspec.json.encode(priced).decode()
            events.append(Event(REACHED, len(self._reached) + len(events), done_ms, at_ms, body))
        return events
