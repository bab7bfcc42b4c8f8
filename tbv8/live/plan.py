"""The plan of a paper session, and the reports of the process that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.records import Funding, Strategy
from tbv8.manifest import Input
from tbv8.market import Series, Span
from tbv8.store.sessions import Role, StoredSession


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One session.

    Attributes:
        strategy: As the session runs it, its source the venue's own series.
        role: `primary`, or `shadow` of the secondary venue.
        venue: Whose bars and rules.
        db_path: The database.
        folder: Of its results, `data/paper/<strategy_id>`.
        stop_path: The file that stops it while it exists.
        differs_path: The file that says what it did not give again, while that is so.
        inputs: Digest and value of each part of its key.
        stale_ms: How late a minute may be read so that an order may open something.
        clock_ms: How far apart our clock and the venue's may be.
        is_new: Ends the session before, and begins another one.
        priced_at: The venue by whose quotes each fill is priced too.
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

    @property
    def series(self) -> dict[str, Series]:
        """The series of each symbol."""
        return {symbol: Series(self.venue, symbol) for symbol in self.strategy.symbols}


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line that a session's process writes to the one that watches it.

    Attributes:
        kind: `began`, `replayed`, `minute`, `alive`, `waiting`, `stopped`, `started`, `stale`,
            `fresh`, `corrected`, `gap`, `kept`, `differs` or `failed`; of the
            watching process `killed`, of results `written` or `no results`.
        text: What a user should read, if anything.
        done_ms: The close of the last minute that is done.
        lag_ms: How late it was read.
        took_ms: How long its use took.
        state: The account after it.
        events: What came of it, kind and body.
        is_warm_up: True for a minute before the counted span.
        lines: The lines of a result, as a backtest prints them.
    """

    kind: str
    text: str = ""
    done_ms: int | None = None
    lag_ms: int | None = None
    took_ms: float | None = None
    state: dict[str, Any] = {}
    events: list[tuple[str, str]] = []
    is_warm_up: bool = False
    lines: list[str] = []


def on_venue(strategy: Strategy, venue: str, *, is_funding_recorded: bool) -> Strategy:
    """Return a strategy that reads a venue's own series, where a backtest may read another's.

    It is charged what the venue charges where that is recorded, else the fixed rate of the
    instruments.
    """
    source = Series(venue, strategy.symbol)
    funding: Funding = "history"
    if strategy.funding == "fixed" or not is_funding_recorded:
        funding = "fixed"
    return replace(strategy, source=source, simulated=False, span=Span(0, 0), funding=funding)


def within(strategy: Strategy, session: StoredSession, end_ms: int) -> Strategy:
    """Return a strategy whose run is a session's, up to a time."""
    return replace(strategy, span=Span(session.counted_ms, max(end_ms, session.counted_ms)))
