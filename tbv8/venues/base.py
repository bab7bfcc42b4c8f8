"""A venue as the rest of tbv8 sees it: one record, and protocols for history and live data.

Each venue is a package (or module) `tbv8/venues/<name>` with a record `VENUE`, listed in
`tbv8.venues.registry`. The records are read at each start of doit: heavy libraries are imported
inside functions only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self

import msgspec
from msgspec.structs import replace

from tbv8.errors import VenueError
from tbv8.market import (
    MINUTE_MS,
    MOST_MS,
    MOST_PRICE,
    MOST_VOLUME,
    Bar,
    Bbo,
    Span,
    Trade,
    iso,
)
from tbv8.text import one_line, quoted

if TYPE_CHECKING:
    import pyarrow as pa


type Log = Callable[[str], None]
"""Prints a line for the user; called from any thread."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's configured addresses, without a slash at the end; None for the venue's own.

    `redirect_hosts` are those that a reply may lead to beside the host that was asked.
    """

    ws_url: str | None = None
    rest_url: str | None = None
    archive_url: str | None = None
    redirect_hosts: tuple[str, ...] = ()


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A span of history that is now known whole: its bars, and no others, exist at the venue.

    Of a history of funding, the rows are payments (see `Venue.funding`).

    Args:
        span: At most a calendar month; minutes of it without a bar are missing at the venue itself,
            as two looks have confirmed.
        bars: A table of 1m bars (see `tbv8.market`), all within `span`.
        source: For the ledger: `<file> sha256:<hex>`, `rest`, or both joined by `; `; and
            `unusable <time>` for each minute whose bar at the venue cannot be.
        notes: Lines for the user: what was mended, and where a file was not used.
    """

    span: Span
    bars: pa.Table
    source: str
    notes: tuple[str, ...] = ()


MOST_UNUSABLE = 60
"""With more bars that cannot be, a whole reply or file counts as wrong."""


def with_unusable(source: str, opens: Sequence[int]) -> str:
    """Return a source for the ledger that names the minutes whose bars cannot be."""
    return "; ".join([source, *(f"unusable {iso(ts_ms)}" for ts_ms in opens)])


def unusable_note(opens: Sequence[int]) -> list[str]:
    """Return the line for the user about minutes whose bars cannot be, if there are any."""
    if not opens:
        return []
    count, first = len(opens), iso(opens[0])
    minutes = f"the minute {first} has" if count == 1 else f"{count} minutes from {first} on have"
    return [f"{minutes} no usable bar at the venue, written down as missing"]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The rough cost of filling gaps."""

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
        return (
            f"{', '.join(parts)}, about {self.megabytes:.1f} MB" if parts else "nothing to download"
        )


class Connection(Protocol):
    """The way to a venue that all of its histories use."""

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's own spelling, by its own rule."""

    def clock_ms(self) -> int:
        """Return the venue's clock: a minute that it has not passed is not history."""

    def close(self) -> None:
        """Close what is open."""


class Rows(Protocol):
    """One dataset at a venue: its 1m bars, or its funding."""

    def first_ms(self, native: str) -> int:
        """Return the time of the symbol's first row.

        Raises:
            VenueError: The venue does not know the symbol, or has no row of it.
        """

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield pieces that fill `gaps`; no gap reaches past the clock or before the listing.

        By time; closing it early ends its downloads. Nothing is yielded that was not checked; what
        was yielded stays good when more fails. Of minutes that may come yet nothing is yielded.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the rows that the venue's own API has in `span`, whatever its archive says.

        `span` is as those of `fetch`; a few hours at most, in this thread. What is absent was asked
        for twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """


class ReachingRows(Rows, Protocol):
    """Rows of a venue that alone knows how far back they go."""

    def reach(self, native: str) -> str:
        """Return the age of the oldest bars, in words.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """


class History:
    """A session with a history of a venue, for use in a `with`."""

    def __init__(self, connection: Connection, rows: Rows) -> None:
        self._connection, self.rows = connection, rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._connection.close()

    def native_symbol(self, symbol: str) -> str:
        """As `Connection.native_symbol`."""
        return self._connection.native_symbol(symbol)

    def clock_ms(self) -> int:
        """As `Connection.clock_ms`."""
        return self._connection.clock_ms()

    def listed_ms(self, native: str) -> int:
        """As `Rows.first_ms`."""
        return self.rows.first_ms(native)

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """As `Rows.fetch`."""
        return self.rows.fetch(native, gaps)

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """As `Rows.fetch_direct`."""
        return self.rows.fetch_direct(native, span)


class Local:
    """The connection of a history that is on this machine, where symbols have no other names."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.clock_ms = clock_ms

    def native_symbol(self, symbol: str) -> str:
        """Return the symbol."""
        return symbol

    def close(self) -> None:
        """Nothing is open."""


class HistorySource(msgspec.Struct, frozen=True, kw_only=True):
    """The source of a venue's history of 1m bars.

    Args:
        span: For what time the venue has history at all, by our clock; no I/O.
        cost: What filling gaps would take, by our clock; no I/O.
        open: Opens a session, for use in a `with`; it logs each long wait.
        rolls: The venue keeps its newest history only, so what was recorded may be older.
        files: For history that may be replaced: the files of a native symbol as the ledger names
            them, each with the time from its first bar to its last; None where a bar that was
            fetched stays good. Standard library only, since freshness asks.
        reach: How far back it goes only the venue knows; its sessions have `ReachingRows`.
        rules: Asks for what orders there are worth, at a venue that a user configured.
    """

    span: Callable[[int], Span]
    cost: Callable[[Sequence[Span], int], Cost]
    open: Callable[[Endpoints, Log], History]
    rolls: bool = False
    files: Callable[[str], Mapping[str, Span]] | None = None
    reach: bool = False
    rules: FetchRules | None = None


class FromExchange(msgspec.Struct, frozen=True, kw_only=True):
    """History that a user configured: an exchange by ccxt's name of it."""

    exchange: str


class FromFiles(msgspec.Struct, frozen=True, kw_only=True):
    """History that a user configured: files of bars.

    Args:
        path: Their path, absolute or below `root`: a pattern with `{symbol}`, `{base}`, `{quote}`.
        root: The project's folder.
        symbols: Symbol to what `{symbol}` stands for, None for the usual spellings.
        zone: The time zone of times that are written without one; "" if there are none.
    """

    path: str
    root: Path
    symbols: Mapping[str, str | None]
    zone: str = ""


# What numbers on the wire must be, so that nothing else reaches a bar or the database.
type Price = Annotated[float, msgspec.Meta(gt=0, le=MOST_PRICE)]
type Amount = Annotated[float, msgspec.Meta(ge=0, le=MOST_VOLUME)]
type Moment = Annotated[int, msgspec.Meta(gt=0, lt=MOST_MS)]
type TradeNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
type TradeId = Annotated[str, msgspec.Meta(max_length=80, pattern=r"\A[!-~]+\Z")]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a frame or a reply raises when it is not what it should be, or no text at all."""

type Channel = Literal["trades", "bbo"]


def undocumented(venue: str, text: bytes, problem: str) -> VenueError:
    """Return the refusal of a frame or reply that the venue does not document."""
    shown = bytes(text)[:100].decode(errors="replace")  # a Raw has no slices
    problem = one_line(problem, most=200)
    return VenueError(f"{venue}: not what it documents ({problem}): {quoted(shown)}")


def minutes_in(span: Span, bars: Iterable[Bar]) -> list[Bar]:
    """Return the bars that open in `span` and on a minute, by time; of twins the last.

    They are as the venue has them, so some may not be possible (see `Bar.is_possible`).
    """
    found = {
        bar.ts_ms: bar
        for bar in bars
        if span.start_ms <= bar.ts_ms < span.end_ms and bar.ts_ms % MINUTE_MS == 0
    }
    return [found[ts_ms] for ts_ms in sorted(found)]


class Ack(msgspec.Struct, frozen=True):
    """The venue confirms a subscription; with symbol None, one of this channel without its name."""

    channel: Channel
    symbol: str | None = None


class ErrorFrame(msgspec.Struct, frozen=True):
    """The venue says in words that something is wrong; the socket may stay open."""

    text: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A market as the venue lists it; `contract_size` is base units a contract, or None for none.

    `problem` says why it cannot be recorded though the venue lists it. `multiplier` is how many of
    the symbol's units the venue trades as one: the user's setting, that no venue publishes.
    """

    native: str
    contract_size: Decimal | None = None
    multiplier: Decimal = Decimal(1)
    problem: str | None = None


class Payment(msgspec.Struct, frozen=True):
    """One payment of funding as a venue tells it; `hours` is its interval, None if it is not told.

    `time_ms` may be some ms behind the full hour.
    """

    time_ms: int
    rate: float
    hours: int | None = None


_DIGITS = range(-16, 12)  # of the first digit of an amount
_MOST_FEE = Decimal("0.1")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The trading rules of one symbol as the venue publishes them; None for unpublished ones.

    In the units of the symbol, fees as fractions of the notional; `multiplier` is how many of its
    units one unit of the venue holds.
    """

    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    min_notional_usd: Decimal | None = None
    max_leverage: Decimal | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    multiplier: Decimal | None = None

    @property
    def are_possible(self) -> bool:
        """Return True if a market can have them: steps above 0, fees of less than a tenth."""
        amounts = (self.tick_size, self.lot_size, self.min_notional_usd, self.max_leverage)
        fees = (self.maker_fee, self.taker_fee)
        return all(
            amount.is_finite() and amount > 0 and amount.adjusted() in _DIGITS
            for amount in amounts
            if amount is not None
        ) and all(fee.is_finite() and abs(fee) < _MOST_FEE for fee in fees if fee is not None)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a market in the venue's own units, and the venue's name of its base currency."""

    base: str
    rules: Rules

    def rules_of(self, symbol: str) -> Rules:
        """Return the rules in the units of a symbol: `kPEPE` and `1000PEPE` hold 1000 PEPE."""
        base = symbol.partition("/")[0]
        found = re.fullmatch(rf"(k|K|M|1000+)?{re.escape(base)}", self.base)
        word = found[1] if found and found[1] else "1"
        multiplier = Decimal({"k": "1000", "K": "1000", "M": "1000000"}.get(word, word))
        tick, lot = self.rules.tick_size, self.rules.lot_size
        return replace(
            self.rules,
            tick_size=None if tick is None else tick / multiplier,
            lot_size=None if lot is None else lot * multiplier,
            multiplier=multiplier,
        )


type FetchRules = Callable[[Endpoints, Log, Mapping[str, str | None]], dict[str, Rules]]
"""Return the rules of symbols, given with their native ones, None for the venue's own spelling."""


class Request[T](msgspec.Struct, frozen=True, kw_only=True):
    """A REST request that somebody else sends, and how to read its reply.

    Args:
        path: Below the venue's `rest_url`.
        params: Of the query.
        body: JSON to post; None for a GET.
        weight: What it takes of the venue's limit, in the units of `Live.weight_per_s`.
        parse: Reply body to value; or to the request for the next page, whose `parse` knows what
            came before.

    `parse` raises `RefusedError` where the venue says no, and VenueError for what it does not
    document.
    """

    path: str
    parse: Callable[[bytes], T | Request[T]]
    params: Mapping[str, str | int] = {}
    body: bytes | None = None
    weight: float = 1.0


def followed_by[T](rows: list[T], request: Request[list[T]]) -> Request[list[T]]:
    """Return a request for the rows behind those of the pages before it, together with these."""

    def parse(reply: bytes) -> list[T] | Request[list[T]]:
        found = request.parse(reply)
        return followed_by(rows, found) if isinstance(found, Request) else [*rows, *found]

    return replace(request, parse=parse)


class RefusedError(VenueError):
    """A venue's no to one request; asking again helps only if it was asked `too_often`."""

    def __init__(self, text: str, *, too_often: bool = False) -> None:
        super().__init__(text)
        self.too_often = too_often


class Feed(Protocol):
    """One connection's frames; made anew for each connection, no method does I/O."""

    def subscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that subscribes to a stream."""

    def unsubscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that ends a stream."""

    def parse(self, frame: bytes) -> Sequence[Trade | Bbo | Ack | ErrorFrame]:
        """Return the events in one frame, in the venue's order; none for pongs and the like.

        Raises:
            VenueError: The frame is not one that this venue documents.
        """


class Live(Protocol):
    """The wire protocol of a venue that can be recorded.

    Args:
        ws_url: The venue's own address; `rest_url` too, without a slash at the end.
        ping: The frame that keeps a connection alive, to be sent every `ping_s` whatever flows.
        dials_per_minute: How many connections may be tried.
        subscribe_pause_s: Between two frames that subscribe.
        weight_per_s: How much may be asked by REST, and `weight_burst` at once.
        page_minutes: How many 1m bars one `minutes_request` may span.
        kept_minutes: How many of the newest 1m bars the venue keeps; None for all.
        payment_days: How many days of funding one `payments_request` may span; None where its pages
            are counted from now.
    """

    ws_url: str
    rest_url: str
    ping: str
    ping_s: float
    dials_per_minute: int
    subscribe_pause_s: float
    weight_per_s: float
    weight_burst: float
    page_minutes: int
    kept_minutes: int | None
    payment_days: int | None

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's own spelling, by its own rule."""

    def open_feed(self, listings: Mapping[str, Listing]) -> Feed:
        """Return the parser of a new connection, for symbols and their markets."""

    def clock_request(self) -> Request[int]:
        """Ask for the venue's clock, milliseconds UTC."""

    def listings_request(self) -> Request[dict[str, Listing]]:
        """Ask for every market, by native symbol."""

    def contracts_request(self) -> Request[dict[str, Contract]]:
        """Ask for the rules of every market, by native symbol."""

    def recent_trades_request(self, symbol: str, listing: Listing) -> Request[list[Trade]]:
        """Ask for the newest trades, which come by time and without a hole between them."""

    def bbo_request(self, symbol: str, listing: Listing) -> Request[Bbo]:
        """Ask for the best bid and offer of now."""

    def payments_request(self, listing: Listing, span: Span) -> Request[list[Payment]]:
        """Ask for the funding that was paid in `span`, in any order."""

    def oldest_payments_request(self, listing: Listing) -> Request[list[Payment]]:
        """Ask for payments among which is the first that was ever charged."""

    def marks_request(self) -> Request[dict[str, tuple[float, float | None]]]:
        """Ask for the mark price and the open interest of every market, by native symbol.

        Open interest is in the venue's own units (see `Listing.contract_size`), None for none.
        """

    def minutes_request(self, listing: Listing, span: Span) -> Request[list[Bar]]:
        """Ask for the 1m bars that open in `span`, by time; the newest may be unfinished.

        A bar that is not possible is the venue's own error: see `Bar.is_possible`.
        """


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's facts in code; `tbv8.config.Venue` has the user's settings of it.

    Args:
        name: As in `config/venues/<name>.yaml`.
        history: Its history of 1m bars; None if it has none to give.
        live: Returns how to speak to it live; None if tbv8 cannot record it.
        rules: Asks for what orders there are worth; None if it publishes nothing of that.
        simulated: Its market is made up, no price is real.
        funding_hours: Hours between two payments of funding.
        funding: What it charged: a history whose `Fetched.bars` are tables of funding rates, and
            whose listing is its first payment. None if it is no perpetual, or tbv8 cannot ask it.
    """

    name: str
    history: HistorySource | None = None
    live: Callable[[], Live] | None = None
    rules: FetchRules | None = None
    simulated: bool = False
    funding_hours: int = 8
    funding: HistorySource | None = None
