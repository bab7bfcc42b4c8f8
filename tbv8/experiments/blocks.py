"""The whole days that a re-chained market is made of; light, since each start asks for it."""

from __future__ import annotations

import msgspec

from tbv8.market import DAY_MS, Span, Timeframe


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """A market of real days in another order: seed and number of its draw, the mean block."""

    block_days: int
    seed: int
    path: int


def nests_in_a_day(timeframe: Timeframe) -> bool:
    """Return True if every UTC day is made of whole bars of a timeframe."""
    return timeframe.fixed_ms is not None and DAY_MS % timeframe.fixed_ms == 0


def whole_days(span: Span) -> range:
    """Return the UTC days that lie in a span as a whole, as numbers since the epoch."""
    return range(-(-span.start_ms // DAY_MS), span.end_ms // DAY_MS)
