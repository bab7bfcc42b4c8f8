"""Closed minutes of a session's series from the database, fetched or recorded."""

from __future__ import annotations

from collections.abc import Mapping

from tbv8.live.session_config import SessionConfig
from tbv8.market import MINUTE_MS, Bar
from tbv8.store.database import Query
from tbv8.store.sessions import ClosedMinutes, SessionMinute, read_closed_minutes


def read_symbols(
    query: Query, config: SessionConfig, from_ms: int, until_ms: int
) -> dict[str, ClosedMinutes]:
    """Return the known closed minutes of each symbol from a time on."""
    return {
        symbol: read_closed_minutes(query, series, from_ms=from_ms, until_ms=until_ms)
        for symbol, series in config.series.items()
    }


def read_stored_minutes(
    query: Query, config: SessionConfig, symbol: str, from_ms: int, until_ms: int
) -> list[Bar]:
    """Return all stored bars of a symbol in a span, also with gaps between them."""
    bars: dict[int, Bar] = {}
    cursor: int | None = from_ms
    while cursor is not None and cursor < until_ms:
        closed = read_closed_minutes(
            query, config.series[symbol], from_ms=cursor, until_ms=until_ms
        )
        bars |= closed.bars
        cursor = closed.next_ms
    return [bars[ts_ms] for ts_ms in sorted(bars)]


def to_minutes(
    closed_minutes: Mapping[str, ClosedMinutes], from_ms: int, until_ms: int, *, seen_ms: int
) -> list[SessionMinute]:
    """Return the minutes of a span, with the bars of all symbols."""
    return [
        SessionMinute(
            ts_ms=ts_ms,
            bars={symbol: closed.bars.get(ts_ms) for symbol, closed in closed_minutes.items()},
            seen_ms=seen_ms,
        )
        for ts_ms in range(from_ms, until_ms, MINUTE_MS)
    ]
