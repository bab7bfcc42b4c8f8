"""What a venue is to the rest of tbv8: protocols, and how a module is found by the venue's name.

A venue with history is a module `tbv8/venues/<venue>.py` with three functions:

    history_span(now_ms) -> Span              for what time it has history at all; no I/O
    history_cost(gaps, now_ms) -> Cost        what filling these gaps would take; no I/O
    open_history(endpoints) -> History        a session with it

Task creators call the first at each start: heavy libraries are imported inside functions only.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Generator, Sequence
from functools import cache
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from tbv8.errors import VenueError
from tbv8.market import Span

if TYPE_CHECKING:
    import pyarrow as pa


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's configured addresses, without a slash at the end; None for the venue's own."""

    ws_url: str | None = None
    rest_url: str | None = None
    archive_url: str | None = None


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A span of history that is now known whole: its bars, and no others, exist at the venue.

    Args:
        span: At most a calendar month; minutes of it without a bar are missing at the venue itself,
            as two looks have confirmed.
        bars: A table of 1m bars (see `tbv8.market`), all within `span`.
        source: For the ledger: `<file> sha256:<hex>`, `rest`, or both joined by `; `.
        notes: Lines for the user: what was mended, and where a file was not used.
    """

    span: Span
    bars: pa.Table
    source: str
    notes: tuple[str, ...] = ()


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What filling gaps takes, about."""

    monthly_files: int = 0
    daily_files: int = 0
    requests: int = 0
    megabytes: float = 0.0

    def __str__(self) -> str:
        parts = [
            f"{count} {what}{'' if count == 1 else 's'}"
            for count, what in (
                (self.monthly_files, "monthly file"),
                (self.daily_files, "daily file"),
                (self.requests, "request"),
            )
            if count
        ]
        return f"{', '.join(parts)}, about {self.megabytes:.1f} MB" if parts else "nothing to fetch"


class History(Protocol):
    """A session with a venue's history of 1m bars."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's own spelling, by its own rule."""

    def clock_ms(self) -> int:
        """Return the venue's clock: a minute that it has not passed is not history."""

    def listed_ms(self, native: str) -> int:
        """Return the open of the symbol's first bar.

        Raises:
            VenueError: The venue does not know the symbol.
        """

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield all that fills `gaps`, none of which reaches past the clock or before the listing.

        By time; closing it early ends its downloads. Nothing is yielded that was not checked; what was yielded stays good when more fails.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """


def history_span(venue: str, now_ms: int) -> Span | None:
    """Return for what time a venue has history; None for a venue that has none to give."""
    module = _module(venue)
    ask: Callable[[int], Span] | None = getattr(module, "history_span", None)
    return ask(now_ms) if ask else None


def history_cost(venue: str, gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return about what filling `gaps` would take, without asking the venue."""
    cost: Cost = _needed(venue).history_cost(gaps, now_ms)
    return cost


def open_history(venue: str, endpoints: Endpoints) -> History:
    """Return a session with a venue's history, to be used in a `with`."""
    history: History = _needed(venue).open_history(endpoints)
    return history


@cache
def _module(venue: str) -> ModuleType | None:
    name = f"tbv8.venues.{venue}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _needed(venue: str) -> Any:
    if (module := _module(venue)) is None:
        raise VenueError(f"{venue}: tbv8 has no history of this venue")
    return module
