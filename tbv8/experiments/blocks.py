"""The whole days that a re-chained market is made of; imports little: each start imports it."""

from __future__ import annotations

import msgspec

from tbv8.market import DAY_MS, Span, Timeframe


class RechainedMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market of real days in another order.

    Attributes:
        block_days: The mean length of the blocks of days that stay together.
        seed: The seed of the experiment's draws.
        path: The number of this draw.
    """

    block_days: int
    seed: int
    path: int


def nests_in_a_day(timeframe: Timeframe) -> bool:
    """Return True if every UTC day is made of whole bars of a timeframe."""
    return timeframe.fixed_ms is not None and DAY_MS % timeframe.fixed_ms == 0


def whole_days(span: Span) -> range:
    """Return the UTC days that lie in a span as a whole, as numbers since the epoch."""
    return range(-(-span.start_ms // DAY_MS), span.end_ms // DAY_MS)
