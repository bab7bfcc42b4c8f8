"""The config of a paper session."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace

from tbv8.config.records import Funding, Strategy
from tbv8.manifest import Input
from tbv8.market import Series, Span
from tbv8.store.sessions import Role, StoredSession


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The config of one session, for its process.

    Attributes:
        strategy: The strategy, with the venue's own series as its source.
        role: `primary`, or `shadow` for the secondary venue.
        venue: The venue of its bars and rules.
        db_path: The database.
        folder: The folder of its results, `data/paper/<strategy_id>`.
        stop_path: The file that stops it while it exists.
        differs_path: The file that describes how its replay differs, while it does.
        inputs: Digest and value of each part of its key.
        stale_ms: The age of a minute above which it opens no position.
        clock_ms: The largest difference between our clock and the venue's to open a position.
        is_new: True to end the previous session and begin another one.
        priced_at: The venue whose quotes price each fill too; None for none.
        history_ms: The start of the history that `doit backfill` can fetch; None for none.
    """

    strategy: Strategy
    role: Role
    venue: str
    db_path: Path
    folder: Path
    stop_path: Path
    differs_path: Path
    inputs: dict[str, Input]
    stale_ms: int
    clock_ms: int
    is_new: bool = False
    priced_at: str | None = None
    history_ms: int | None = None

    @property
    def series(self) -> dict[str, Series]:
        """The series of each symbol."""
        return {symbol: Series(self.venue, symbol) for symbol in self.strategy.symbols}


def on_venue(strategy: Strategy, venue: str, *, is_funding_recorded: bool) -> Strategy:
    """Return a strategy that reads a venue's own series; a backtest may read another venue's.

    Its funding is the venue's own if that is recorded, else the fixed rate of the instruments.
    """
    source = Series(venue, strategy.symbol)
    funding: Funding = "history"
    if strategy.funding == "fixed" or not is_funding_recorded:
        funding = "fixed"
    return replace(strategy, source=source, simulated=False, span=Span(0, 0), funding=funding)


def with_session_span(strategy: Strategy, session: StoredSession, end_ms: int) -> Strategy:
    """Return a strategy with the span of a session up to a time."""
    return replace(strategy, span=Span(session.counted_ms, max(end_ms, session.counted_ms)))
