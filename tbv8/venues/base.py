"""The interface of a venue: the record `Venue`, and protocols for its history and its live data.

Each venue is a package (or module) `tbv8/venues/<name>` with a record `VENUE`, listed in
`tbv8.venues.registry`. Every start of doit reads these records, so heavy libraries are imported
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
    MAX_MS,
    MAX_PRICE,
    MAX_VOLUME,
    MINUTE_MS,
    Bar,
    Bbo,
    Span,
    Trade,
    iso,
)
from tbv8.text import counted, one_line, quoted

if TYPE_CHECKING:
    import pyarrow as pa


type Log = Callable[[str], None]
"""Prints a line for the user; called from any thread."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses that a user configured for a venue; None for the venue's own address.

    URLs have no slash at the end. A reply may redirect to the host of its request and to
    `redirect_hosts`.
    """

    ws_url: str | None = None
    rest_url: str | None = None
    archive_url: str | None = None
    redirect_hosts: tuple[str, ...] = ()


class FetchedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A complete span of history: all bars that the venue has in it.

    Args:
        span: At most a calendar month. Its minutes without a bar are missing at the venue itself,
            which two requests have confirmed.
        bars: A table of 1m bars (see `tbv8.market`) that open in `span`, by time; in a history of
            funding, a table of payments (see `Venue.funding`).
        source: The text for the ledger: `<file> sha256:<hex>`, `rest`, or both joined by `; `;
            and `unusable <time>` for each minute whose bar at the venue is impossible.
        notes: Lines for the user about corrected bars and rejected files.
    """

    span: Span
    bars: pa.Table
    source: str
    notes: tuple[str, ...] = ()


MAX_UNUSABLE = 60
"""A reply or file with more impossible bars than this is refused as a whole."""


def with_unusable(source: str, opens: Sequence[int]) -> str:
    """Return a ledger source extended by the minutes with impossible bars, given by their opens."""
    return "; ".join([source, *(f"unusable {iso(ts_ms)}" for ts_ms in opens)])


def unusable_note(opens: Sequence[int]) -> list[str]:
    """Return one line for the user about minutes with impossible bars; none without `opens`."""
    if not opens:
        return []
    count, first = len(opens), iso(opens[0])
    minutes = f"the minute {first} has" if count == 1 else f"{count:,} minutes from {first} on have"
    return [f"{minutes} no usable bar at the venue, counted as missing"]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The rough cost of filling gaps."""

    monthly_files: int = 0
    daily_files: int = 0
    requests: int = 0
    megabytes: float = 0.0

    def __str__(self) -> str:
        parts = [
            f"{counted(count, unit)}"
            for count, unit in (
                (self.monthly_files, "monthly file"),
                (self.daily_files, "daily file"),
                (self.requests, "request"),
            )
            if count
        ]
        return (
            f"{', '.join(parts)}, about {self.megabytes:.1f} MB" if parts else "no download needed"
        )


class Connection(Protocol):
    """A connection to a venue for requests of its history."""

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's spelling of a symbol, by the venue's rule."""

    def clock_ms(self) -> int:
        """Return the venue's clock; only minutes before it are history."""

    def close(self) -> None:
        """Close all sockets."""


class Rows(Protocol):
    """One dataset of a venue: its 1m bars, or its funding payments."""

    def first_ms(self, native: str) -> int:
        """Return the time of the symbol's first row.

        Raises:
            VenueError: The venue does not list the symbol, or has no row of it.
        """

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, in time order.

        No gap may reach past the venue's clock or before the symbol's first row. Every yielded span
        is checked, and stays valid if later ones fail. Minutes that the venue may still publish
        are left out. Closing the generator early ends its downloads.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the rows of `span` from the venue's API, never from its archive of files.

        `span` has the limits of a gap of `fetch`, and a few hours at most. The requests run in the
        calling thread; missing rows are requested twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """


class RowsWithReach(Rows, Protocol):
    """Rows of a venue that may keep only its newest bars; a request shows how many."""

    def reach(self, native: str) -> str:
        """Return a sentence about the oldest bar that the venue still has.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """


class History:
    """A session with one history of a venue; use it as a context manager."""

    def __init__(self, connection: Connection, rows: Rows) -> None:
        self._connection, self.rows = connection, rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._connection.close()

    def native_symbol(self, symbol: str) -> str:
        """See `Connection.native_symbol`."""
        return self._connection.native_symbol(symbol)

    def clock_ms(self) -> int:
        """See `Connection.clock_ms`."""
        return self._connection.clock_ms()

    def first_ms(self, native: str) -> int:
        """See `Rows.first_ms`."""
        return self.rows.first_ms(native)

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """See `Rows.fetch`."""
        return self.rows.fetch(native, gaps)

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """See `Rows.fetch_direct`."""
        return self.rows.fetch_direct(native, span)


class LocalConnection:
    """The connection of a history without a network: simulated, or read from files.

    Args:
        clock_ms: Returns the time before which minutes are history, in milliseconds UTC.
    """

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.clock_ms = clock_ms

    def native_symbol(self, symbol: str) -> str:
        """Return the symbol itself."""
        return symbol

    def close(self) -> None:
        """Do nothing: there is no connection."""


class HistorySource(msgspec.Struct, frozen=True, kw_only=True):
    """The functions to plan and open a venue's history of 1m bars or of funding.

    Args:
        span: Returns the span in which the venue may have history, from our clock in ms; no I/O.
        cost: Returns the cost of filling gaps, from the gaps and our clock in ms; no I/O.
        open: Opens a session; the session logs each long wait.
        rolls: If true, the venue keeps only its newest history, so recorded bars may be older.
        files: For a history read from the user's files, which may change: returns the files of a
            native symbol by their names in the ledger, each with the span of its bars. None if
            fetched bars stay valid. Every start of doit calls it, so it must be quick.
        reach: If true, only a request shows how far back it goes; its rows are `RowsWithReach`.
        rules: Requests the trading rules, for an exchange that a user configured through ccxt.
    """

    span: Callable[[int], Span]
    cost: Callable[[Sequence[Span], int], Cost]
    open: Callable[[Endpoints, Log], History]
    rolls: bool = False
    files: Callable[[str], Mapping[str, Span]] | None = None
    reach: bool = False
    rules: FetchRules | None = None


class ExchangeOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a history from ccxt: the exchange's name there."""

    exchange: str


class FilesOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a history from the user's files of bars.

    Args:
        path: The path of the files, absolute or below `root`: a pattern with `{symbol}`, `{base}`
            or `{quote}`, and wildcards.
        root: The project's folder.
        symbols: The value of `{symbol}` for each symbol; None for the usual spellings.
        zone: The IANA time zone of times without a zone; "" to refuse such times.
    """

    path: str
    root: Path
    symbols: Mapping[str, str | None]
    zone: str = ""


# The types of fields in venues' messages; a value out of bounds never reaches the database.
type Price = Annotated[float, msgspec.Meta(gt=0, le=MAX_PRICE)]
type Amount = Annotated[float, msgspec.Meta(ge=0, le=MAX_VOLUME)]
type Moment = Annotated[int, msgspec.Meta(gt=0, lt=MAX_MS)]
type TradeNumber = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
type TradeId = Annotated[str, msgspec.Meta(max_length=80, pattern=r"\A[!-~]+\Z")]

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions that decoding raises for a frame or reply with undocumented content."""

type Channel = Literal["trades", "bbo"]


def undocumented_error(venue: str, text: bytes, problem: str) -> VenueError:
    """Return the error for a frame or reply with content that the venue does not document."""
    shown = bytes(text)[:100].decode(errors="replace")  # a Raw has no slices
    problem = one_line(problem, max_length=200)
    return VenueError(f"{venue}: undocumented message ({problem}): {quoted(shown)}")


def minutes_in(span: Span, bars: Iterable[Bar]) -> list[Bar]:
    """Return the bars that open in `span` and on a minute, by time; of equal opens the last one.

    Impossible bars (see `Bar.is_possible`) are kept.
    """
    by_open = {
        bar.ts_ms: bar
        for bar in bars
        if span.start_ms <= bar.ts_ms < span.end_ms and bar.ts_ms % MINUTE_MS == 0
    }
    return [by_open[ts_ms] for ts_ms in sorted(by_open)]


class Ack(msgspec.Struct, frozen=True):
    """A venue's confirmation of a subscription; `symbol` is None if the frame does not name it."""

    channel: Channel
    symbol: str | None = None


class ErrorFrame(msgspec.Struct, frozen=True):
    """A venue's error message; the socket may stay open."""

    text: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A market in a venue's list.

    Attributes:
        native: The native symbol.
        contract_size: The base units of a contract; None if the venue has no contracts.
        multiplier: The number of the symbol's units that the venue trades as one; from the user's
            settings, since no venue publishes it.
        problem: The reason why a listed market cannot be recorded, to follow the word "is".
    """

    native: str
    contract_size: Decimal | None = None
    multiplier: Decimal = Decimal(1)
    problem: str | None = None


class Payment(msgspec.Struct, frozen=True):
    """One payment of funding in a venue's reply.

    Attributes:
        time_ms: The time of the payment; it may be some ms after the full hour.
        rate: The rate, as a fraction of the notional.
        hours: The interval before it that it pays for; None if the venue does not publish it.
    """

    time_ms: int
    rate: float
    hours: int | None = None


_DIGITS = range(-16, 12)  # the possible exponents of an amount's first digit
_MAX_FEE = Decimal("0.1")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The trading rules of one symbol; None for rules that the venue does not publish.

    Steps are in units of the symbol, fees are fractions of the notional. `multiplier` is the number
    of the symbol's units that the venue trades as one.
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
        """True if each step is above 0 and of a usual size, and each fee is below 10 %."""
        amounts = (self.tick_size, self.lot_size, self.min_notional_usd, self.max_leverage)
        fees = (self.maker_fee, self.taker_fee)
        return all(
            amount.is_finite() and amount > 0 and amount.adjusted() in _DIGITS
            for amount in amounts
            if amount is not None
        ) and all(fee.is_finite() and abs(fee) < _MAX_FEE for fee in fees if fee is not None)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a market in the venue's units, and the venue's name of its base currency."""

    base: str
    rules: Rules

    def rules_of(self, symbol: str) -> Rules:
        """Return the rules in units of a symbol: one `kPEPE` or `1000PEPE` is 1000 PEPE."""
        base = symbol.partition("/")[0]
        match = re.fullmatch(rf"(k|K|M|1000+)?{re.escape(base)}", self.base)
        word = match[1] if match and match[1] else "1"
        multiplier = Decimal({"k": "1000", "K": "1000", "M": "1000000"}.get(word, word))
        tick, lot = self.rules.tick_size, self.rules.lot_size
        return replace(
            self.rules,
            tick_size=None if tick is None else tick / multiplier,
            lot_size=None if lot is None else lot * multiplier,
            multiplier=multiplier,
        )


type FetchRules = Callable[[Endpoints, Log, Mapping[str, str | None]], dict[str, Rules]]
"""Returns the rules of symbols; the last argument maps each to its native symbol, None for the
spelling by the venue's rule."""


class Request[T](msgspec.Struct, frozen=True, kw_only=True):
    """A REST request as data, with the parser of its reply; the caller sends it.

    Args:
        path: The path below the venue's `rest_url`.
        params: The parameters of the query.
        body: The JSON to post; None for a GET.
        weight: The cost of the request within the venue's rate limit (see `Live.weight_per_s`).
        parse: Returns the value of a reply's body, or the request for the next page. The parser of
            the last page returns the rows of all pages. Raises `RefusedError` if the venue refuses
            the request, and VenueError if the reply is undocumented.
    """

    path: str
    parse: Callable[[bytes], T | Request[T]]
    params: Mapping[str, str | int] = {}
    body: bytes | None = None
    weight: float = 1.0


def followed_by[T](rows: list[T], request: Request[list[T]]) -> Request[list[T]]:
    """Return a request whose value is `rows`, then the rows of the given request."""

    def parse(reply: bytes) -> list[T] | Request[list[T]]:
        page = request.parse(reply)
        return followed_by(rows, page) if isinstance(page, Request) else [*rows, *page]

    return replace(request, parse=parse)


class RefusedError(VenueError):
    """A venue refuses a request; another try helps only if the rate limit is why (`too_often`)."""

    def __init__(self, text: str, *, too_often: bool = False) -> None:
        super().__init__(text)
        self.too_often = too_often


class Feed(Protocol):
    """The frames of one connection, to send and to parse; no method does I/O.

    Each connection needs a new one, since it may have state.
    """

    def subscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that subscribes to a stream."""

    def unsubscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that ends a subscription."""

    def parse(self, frame: bytes) -> Sequence[Trade | Bbo | Ack | ErrorFrame]:
        """Return the events in one frame: trades by time, others as sent; none for a pong.

        Raises:
            VenueError: The frame is not one that this venue documents.
        """


class Live(Protocol):
    """The wire protocol of a venue that can be recorded.

    Args:
        ws_url: The address of the venue's websocket, without a slash at the end.
        rest_url: The base URL of its REST API, without a slash at the end.
        ping: The frame that keeps a connection alive.
        ping_s: The interval of pings; they are sent even while data arrives.
        dials_per_minute: The largest number of attempts to connect in a minute.
        subscribe_pause_s: The pause between two subscribe frames.
        weight_per_s: The request weight that may be spent each second, on average.
        weight_burst: The request weight that may be spent at once.
        page_minutes: The largest number of 1m bars in one `minutes_request`.
        kept_minutes: The number of newest 1m bars that the venue keeps; None for all.
        payment_days: The largest number of days in one `payments_request`; None if its pages count
            back from now.
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
        """Return the venue's spelling of a symbol, by the venue's rule."""

    def open_feed(self, listings: Mapping[str, Listing]) -> Feed:
        """Return the feed of a new connection, for symbols and their listings."""

    def clock_request(self) -> Request[int]:
        """Return the request for the venue's clock, in milliseconds UTC."""

    def listings_request(self) -> Request[dict[str, Listing]]:
        """Return the request for all markets, by native symbol."""

    def contracts_request(self) -> Request[dict[str, Contract]]:
        """Return the request for the rules of all markets, by native symbol."""

    def recent_trades_request(self, symbol: str, listing: Listing) -> Request[list[Trade]]:
        """Return the request for the newest trades, by time and without a hole."""

    def bbo_request(self, symbol: str, listing: Listing) -> Request[Bbo]:
        """Return the request for the current best bid and offer."""

    def payments_request(self, listing: Listing, span: Span) -> Request[list[Payment]]:
        """Return the request for the payments of `span`, in any order; others may come too."""

    def oldest_payments_request(self, listing: Listing) -> Request[list[Payment]]:
        """Return the request for the market's first payment; later ones may come too."""

    def marks_request(self) -> Request[dict[str, tuple[float, float | None]]]:
        """Return the request for the mark price and open interest of all markets.

        The keys are native symbols. Open interest is in contracts, or in base units where the venue
        has no contracts (see `Listing.contract_size`); None if it is not published.
        """

    def minutes_request(self, listing: Listing, span: Span) -> Request[list[Bar]]:
        """Return the request for the 1m bars that open in `span`, by time.

        The newest bar may be unfinished. Impossible bars (see `Bar.is_possible`) are kept.
        """


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """A venue that tbv8 supports; `tbv8.config.records.Venue` has the user's settings of it.

    Args:
        name: The name, as in `config/venues/<name>.yaml`.
        history: Its history of 1m bars; None if it has none.
        symbols: The only symbols of its history; empty if only a request shows which it has.
        live: Returns its wire protocol; None if tbv8 cannot record it.
        rules: Requests its trading rules; None if it does not publish them.
        simulated: If true, its market is simulated, and no price is real.
        funding_hours: The usual hours between two payments of funding.
        funding: The history of its funding: `FetchedSpan.bars` are tables of funding rates, and
            `first_ms` is the first payment. None for a spot venue, or if tbv8 cannot fetch it.
    """

    name: str
    history: HistorySource | None = None
    symbols: tuple[str, ...] = ()
    live: Callable[[], Live] | None = None
    rules: FetchRules | None = None
    simulated: bool = False
    funding_hours: int = 8
    funding: HistorySource | None = None
