"""Builds the record of a venue that has a wire protocol: its histories and rules use its REST API.

Every start of doit builds these records, so the wire protocols are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import msgspec

from tbv8.market import MINUTE_MS, Span
from tbv8.venues.base import Cost, Endpoints, History, HistorySource, Live, Log, Rules, Venue


def live_venue(
    name: str,
    open_live: Callable[[], Live],
    *,
    opened_ms: int,
    payments_per_page: int,
    funding_hours: int = 8,
    sure_minutes: int | None = None,
) -> Venue:
    """Return the record of a venue of perpetuals that has a wire protocol.

    Args:
        name: The venue's name.
        open_live: Imports the protocol's module and returns the protocol.
        opened_ms: A time before its first bar and its first funding.
        payments_per_page: The number of payments in one reply.
        funding_hours: The usual hours between two payments.
        sure_minutes: The number of newest 1m bars to fetch from a venue that keeps no older ones: a
            little fewer than it keeps, since the oldest drop out during a backfill. None for all.
    """
    source = _Source(
        name=name,
        open_live=open_live,
        opened_ms=opened_ms,
        payments_per_page=payments_per_page,
        funding_hours=funding_hours,
        sure_minutes=sure_minutes,
    )
    return Venue(
        name=name,
        history=HistorySource(
            span=source.bars_span,
            cost=source.bars_cost,
            open=source.open_bars,
            rolls=sure_minutes is not None,
        ),
        live=open_live,
        rules=source.fetch_rules,
        funding_hours=funding_hours,
        funding=HistorySource(span=source.span, cost=source.funding_cost, open=source.open_funding),
    )


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    """The functions of such a venue's record; the fields are those of `live_venue`."""

    name: str
    open_live: Callable[[], Live]
    opened_ms: int
    payments_per_page: int
    funding_hours: int
    sure_minutes: int | None

    def span(self, now_ms: int) -> Span:
        return Span(self.opened_ms, max(self.opened_ms, now_ms))

    def bars_span(self, now_ms: int) -> Span:
        if self.sure_minutes is None:
            return self.span(now_ms)
        return Span((now_ms // MINUTE_MS - self.sure_minutes) * MINUTE_MS, now_ms)

    def bars_cost(self, gaps: Sequence[Span], _now_ms: int) -> Cost:
        from tbv8.venues.live_history import page_cost

        return page_cost(gaps, self.open_live().page_minutes)

    def open_bars(self, endpoints: Endpoints, log: Log) -> History:
        from tbv8.venues.live_history import open_history

        live = self.open_live()
        return open_history(self.name, live, endpoints, opened_ms=self.opened_ms, log=log)

    def funding_cost(self, gaps: Sequence[Span], now_ms: int) -> Cost:
        from tbv8.venues.live_funding import funding_cost

        if self.open_live().payment_days is None:  # pages count back from now
            gaps = [Span(gap.start_ms, max(gap.end_ms, now_ms)) for gap in gaps]
        return funding_cost(gaps, hours=self.funding_hours, page_rows=self.payments_per_page)

    def open_funding(self, endpoints: Endpoints, log: Log) -> History:
        from tbv8.venues.live_funding import open_funding

        live, hours = self.open_live(), self.funding_hours
        return open_funding(self.name, live, endpoints, usual_hours=hours, log=log)

    def fetch_rules(
        self, endpoints: Endpoints, log: Log, symbols: Mapping[str, str | None]
    ) -> dict[str, Rules]:
        from tbv8.venues.live_calls import Calls

        with closing(Calls(self.name, self.open_live(), endpoints, log=log)) as calls:
            return calls.fetch_rules(symbols)
