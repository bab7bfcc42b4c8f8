"""Parses Bybit's frames and REST replies for linear perpetuals. Pure, no I/O.

Wire facts: docs/venues/bybit.md. The traps: an ack names no topic, only the `req_id` of its
command; a refusal by REST has HTTP 200; rows by REST are newest first; a bar opens at the close of
the previous one, so its open may be no price of its minute; block trades, which never were in the
order book, are among the trades and dropped here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MAX_MS, MAX_VOLUME, Bar, Bbo, Span, Trade
from tbv8.text import quoted
from tbv8.venues.base import (
    DECODE_ERRORS,
    Ack,
    Amount,
    Channel,
    Contract,
    ErrorFrame,
    Listing,
    Moment,
    Payment,
    Price,
    RefusedError,
    Request,
    Rules,
    TradeId,
    TradeNumber,
    followed_by,
    minutes_in,
    undocumented_error,
)

VENUE = "bybit"
PAGE_MINUTES = 1000

_PAYMENTS_PER_REPLY = 200
_MAX_PAGES = 20  # of instruments: 800 existed in 2026, and a page has 1000
_TRADES_PER_REPLY = 1000
_OLDEST_DAYS = 60  # per request for payments: 180 at intervals of 8 hours, a reply has 200

_TOPICS: dict[Channel, str] = {"trades": "publicTrade", "bbo": "orderbook.1"}
_SIDES: dict[str, Literal["buy", "sell"]] = {"Buy": "buy", "Sell": "sell"}
_ALREADY = "error:already subscribed"
_TOO_OFTEN = (429, 10006, 10018, 10429)
_TEMPORARY = (10000, 10016)  # a timeout, an error of the server

type _Side = Literal["Buy", "Sell"]
type _Size = Annotated[float, msgspec.Meta(gt=0, le=MAX_VOLUME)]
type _Nanoseconds = Annotated[int, msgspec.Meta(gt=0, lt=MAX_MS * 1_000_000)]


class _Frame(msgspec.Struct):
    """A frame: data of a topic, or the reply to a command."""

    topic: str = ""
    type: str = ""
    ts: Moment = 0
    cts: Moment | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _Trade(
    msgspec.Struct,
    rename={"ts_ms": "T", "side": "S", "size": "v", "price": "p", "name": "i", "is_block": "BT"},
):
    ts_ms: Moment
    side: _Side
    size: _Size
    price: Price
    name: TradeId
    is_block: bool = False
    seq: int = 0


class _RecentTrade(
    msgspec.Struct, rename={"ts_ms": "time", "name": "execId", "is_block": "isBlockTrade"}
):
    ts_ms: Moment
    side: _Side
    size: _Size
    price: Price
    name: TradeId
    is_block: bool = False
    seq: int = 0


class _Level(msgspec.Struct, array_like=True):
    price: Price
    size: Amount


class _Book(msgspec.Struct):
    b: list[_Level]
    a: list[_Level]
    u: TradeNumber = 0
    seq: TradeNumber = 0
    ts: Moment = 0
    cts: Moment | None = None


class _Reply(msgspec.Struct):
    retCode: int
    retMsg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"null")
    time: Moment = 0


class _RowsPage[T](msgspec.Struct, rename={"rows": "list", "cursor": "nextPageCursor"}):
    rows: list[T]
    cursor: str | None = None


class _Time(msgspec.Struct):
    timeNano: _Nanoseconds


class _Candle(msgspec.Struct, array_like=True):
    """A row of bars; its numbers are not bounded: one impossible bar must not fail the reply."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class _Instrument(msgspec.Struct, rename="camel"):
    symbol: str
    contract_type: str = ""
    status: str = ""


class _Launch(msgspec.Struct):
    launchTime: int


class _PriceFilter(msgspec.Struct, rename="camel"):
    tick_size: Decimal


class _LotSizeFilter(msgspec.Struct, rename="camel"):
    qty_step: Decimal
    min_notional_value: Decimal | None = None


class _LeverageFilter(msgspec.Struct, rename="camel"):
    max_leverage: Decimal


class _InstrumentRules(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    price_filter: _PriceFilter
    lot_size_filter: _LotSizeFilter
    leverage_filter: _LeverageFilter


class _Funding(msgspec.Struct):
    fundingRate: float
    fundingRateTimestamp: Moment


class _Ticker(msgspec.Struct):
    symbol: str
    markPrice: Price
    singleOpenInterest: Amount | None = None


# strict=False reads numbers in quotes, and all of them are.
_decode_frame = msgspec.json.Decoder(_Frame, strict=False).decode
_decode_trades = msgspec.json.Decoder(list[_Trade], strict=False).decode
_decode_book = msgspec.json.Decoder(_Book, strict=False).decode


class BybitFeed:
    """The frames of one connection; see `tbv8.venues.base.Feed`."""

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        self._natives = {symbol: listing.native for symbol, listing in listings.items()}
        self._streams: dict[str, tuple[Channel, str]] = {
            f"{topic}.{listing.native}": (channel, symbol)
            for symbol, listing in listings.items()
            for channel, topic in _TOPICS.items()
        }
        self._sequences: dict[str, int] = {}

    def subscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that subscribes to a stream.

        A frame has one topic: of several, all would fail if one is already subscribed.
        """
        self._sequences.pop(symbol, None)  # forget a wrong number that is far ahead
        return self._command("subscribe", symbol, channel)

    def unsubscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that ends a subscription."""
        return self._command("unsubscribe", symbol, channel)

    def _command(self, op: str, symbol: str, channel: Channel) -> str:
        topic = f"{_TOPICS[channel]}.{self._natives[symbol]}"
        return msgspec.json.encode({"op": op, "args": [topic], "req_id": topic}).decode()

    def parse(self, frame: bytes) -> Sequence[Trade | Bbo | Ack | ErrorFrame]:
        """Return the events in one frame; none for a book older than an earlier one.

        Raises:
            VenueError: The frame is not one that this venue documents.
        """
        try:
            message = _decode_frame(frame)
            if message.topic:
                return self._parse_data(message)
        except DECODE_ERRORS as e:
            raise undocumented_error(VENUE, frame, str(e)) from e
        if not message.op and message.success is None:
            raise undocumented_error(VENUE, frame, "neither data nor a reply")
        return self._acks(message)

    def _parse_data(self, message: _Frame) -> Sequence[Trade | Bbo]:
        channel, symbol = self._streams.get(message.topic, (None, ""))
        if channel is None:
            return ()
        if message.type != "snapshot":  # the only type that these topics have
            problem = f"a {quoted(message.type)} of {message.topic}"
            raise undocumented_error(VENUE, message.data, problem)
        if channel == "trades":
            return _to_trades(_decode_trades(message.data), symbol)
        book = _decode_book(message.data)
        # Update 1 comes after a restart of the service, which may reset the sequence.
        if book.u != 1 and book.seq < self._sequences.get(symbol, 0):
            return ()
        self._sequences[symbol] = book.seq
        return (_to_bbo(book, message.cts or message.ts, symbol),)

    def _acks(self, message: _Frame) -> Sequence[Ack | ErrorFrame]:
        subscribed = message.success or message.ret_msg.startswith(_ALREADY)
        if message.op == "subscribe" and subscribed and message.req_id in self._streams:
            return (Ack(*self._streams[message.req_id]),)
        return (ErrorFrame(message.ret_msg),) if message.success is False else ()


class BybitLive:
    """The wire protocol of Bybit's linear perpetuals; see `tbv8.venues.base.Live`."""

    ws_url = "wss://stream.bybit.com/v5/public/linear"
    rest_url = "https://api.bybit.com"
    ping = '{"op":"ping"}'
    ping_s = 20.0
    dials_per_minute = 20  # the venue allows 500 in five minutes
    subscribe_pause_s = 0.02
    weight_per_s = 20.0  # calls: the venue allows 600 in five seconds
    weight_burst = 60.0
    page_minutes = PAGE_MINUTES
    kept_minutes: int | None = None
    payment_days: int | None = _OLDEST_DAYS

    def native_symbol(self, symbol: str) -> str:
        """Return `BTCUSDT` for `BTC/USDT`, `BTCPERP` for `BTC/USDC`."""
        base, _, quote = symbol.partition("/")
        return f"{base}{'PERP' if quote == 'USDC' else quote}"

    def open_feed(self, listings: Mapping[str, Listing]) -> BybitFeed:
        """Return the feed of a new connection."""
        return BybitFeed(listings)

    def clock_request(self) -> Request[int]:
        """Return the request for the venue's clock."""
        return _request("time", _parse_clock)

    def listings_request(self) -> Request[dict[str, Listing]]:
        """Return the request for all trading contracts, page by page."""
        return _instruments_request(_to_listings)

    def contracts_request(self) -> Request[dict[str, Contract]]:
        """Return the request for the rules of all contracts; fees depend on the account."""
        return _instruments_request(_to_contracts)

    def recent_trades_request(self, symbol: str, listing: Listing) -> Request[list[Trade]]:
        """Return the request for the newest 1000 trades."""
        parse = partial(_parse_recent, symbol)
        return _request("recent-trade", parse, symbol=listing.native, limit=_TRADES_PER_REPLY)

    def bbo_request(self, symbol: str, listing: Listing) -> Request[Bbo]:
        """Return the request for the book's best levels."""
        return _request("orderbook", partial(_parse_book, symbol), symbol=listing.native, limit=1)

    def payments_request(self, listing: Listing, span: Span) -> Request[list[Payment]]:
        """Return the request for payments, newest first, in pages of 200."""
        return _request(
            "funding/history",
            partial(_parse_payments, self, listing, span),
            symbol=listing.native,
            startTime=span.start_ms,
            endTime=span.end_ms - 1,
            limit=_PAYMENTS_PER_REPLY,
        )

    def oldest_payments_request(self, listing: Listing) -> Request[list[Payment]]:
        """Return the request for the contract's launch time, then for the payments after it."""
        parse = partial(_parse_launch, self, listing)
        return _request("instruments-info", parse, symbol=listing.native)

    def marks_request(self) -> Request[dict[str, tuple[float, float | None]]]:
        """Return the request for the mark price and open interest of all contracts."""
        return _request("tickers", _parse_marks, weight=5)

    def minutes_request(self, listing: Listing, span: Span) -> Request[list[Bar]]:
        """Return the request for 1m bars: the newest 1000 of the span."""
        return _request(
            "kline",
            partial(_parse_candles, span),
            symbol=listing.native,
            interval="1",
            start=span.start_ms,
            end=span.end_ms - 1,
            limit=PAGE_MINUTES,
        )


def _request[T](
    call: str, parse: Callable[[bytes], T | Request[T]], *, weight: float = 1.0, **params: str | int
) -> Request[T]:
    return Request(
        path=f"/v5/market/{call}",
        parse=parse,
        params={"category": "linear", **params},
        weight=weight,
    )


def _instruments_request[T](
    read: Callable[[Sequence[msgspec.Raw]], dict[str, T]],
    before: Sequence[dict[str, T]] = (),
    **cursor: str,
) -> Request[dict[str, T]]:
    """Return the request for a page of instruments and all pages after it.

    Args:
        read: Returns the values of a page by native symbol.
        before: The values of the pages before.
        cursor: The parameter `cursor` of the page; none for the first.
    """

    def parse(reply: bytes) -> dict[str, T] | Request[dict[str, T]]:
        page = _decode(_RowsPage[msgspec.Raw], reply)
        pages = [*before, read(page.rows)]
        if not page.cursor:
            return {native: value for values in pages for native, value in values.items()}
        if len(pages) >= _MAX_PAGES:
            raise undocumented_error(VENUE, reply, f"more than {_MAX_PAGES} pages of instruments")
        # The cursor comes URL-quoted; sending it quotes it again.
        return _instruments_request(read, pages, cursor=unquote(page.cursor))

    return _request("instruments-info", parse, weight=5, limit=1000, **cursor)


def _to_trades(trades: Sequence[_Trade] | Sequence[_RecentTrade], symbol: str) -> list[Trade]:
    """Return trades by time, in their given order within one millisecond."""
    events = [
        Trade(VENUE, symbol, t.ts_ms, t.name, t.price, t.size, _SIDES[t.side])
        for t in trades
        if not t.is_block
    ]
    if len(events) > 1:
        events.sort(key=_time)
    return events


def _time(trade: Trade) -> int:
    return trade.ts_ms


def _sequence(trade: _RecentTrade) -> tuple[int, int]:
    return trade.ts_ms, trade.seq


def _to_bbo(book: _Book, ts_ms: int, symbol: str) -> Bbo:
    if not ts_ms:
        raise VenueError(f"{VENUE}: a book of {symbol} without a time")
    bid, ask = book.b[0] if book.b else None, book.a[0] if book.a else None
    return Bbo(
        VENUE,
        symbol,
        ts_ms,
        bid.price if bid else None,
        bid.size if bid else None,
        ask.price if ask else None,
        ask.size if ask else None,
    )


def _decode_envelope(reply: bytes) -> _Reply:
    """Return the envelope of a successful reply.

    Raises:
        RefusedError: The venue refuses the request.
        VenueError: The venue failed, or the reply is undocumented.
    """
    try:
        envelope = msgspec.json.decode(reply, type=_Reply, strict=False)
    except DECODE_ERRORS as e:
        raise undocumented_error(VENUE, reply, str(e)) from e
    if envelope.retCode == 0:
        return envelope
    problem = f"{VENUE}: code {envelope.retCode} {quoted(envelope.retMsg)}"
    if envelope.retCode in _TEMPORARY:
        raise VenueError(problem)
    raise RefusedError(problem, too_often=envelope.retCode in _TOO_OFTEN)


def _decode[T](kind: type[T], reply: bytes) -> T:
    result = _decode_envelope(reply).result
    try:
        return msgspec.json.decode(result, type=kind, strict=False)
    except DECODE_ERRORS as e:
        raise undocumented_error(VENUE, reply, str(e)) from e


def _decode_rows[T](kind: type[T], rows: Sequence[msgspec.Raw]) -> list[T]:
    """Return the rows with all fields of a type; the rows of new contracts may lack some."""
    complete = []
    for row in rows:
        try:
            complete.append(msgspec.json.decode(row, type=kind, strict=False))
        except DECODE_ERRORS:
            continue
    return complete


def _parse_clock(reply: bytes) -> int:
    return _decode(_Time, reply).timeNano // 1_000_000


def _to_listings(rows: Sequence[msgspec.Raw]) -> dict[str, Listing]:
    return {
        row.symbol: Listing(native=row.symbol, problem=_problem(row))
        for row in _decode_rows(_Instrument, rows)
    }


def _problem(row: _Instrument) -> str | None:
    if row.contract_type != "LinearPerpetual":
        return f"no perpetual but of type {quoted(row.contract_type[:40])}"
    return None if row.status == "Trading" else f"in status {quoted(row.status[:40])}"


def _to_contracts(rows: Sequence[msgspec.Raw]) -> dict[str, Contract]:
    contracts = {}
    for row in _decode_rows(_InstrumentRules, rows):
        rules = Rules(
            tick_size=row.price_filter.tick_size,
            lot_size=row.lot_size_filter.qty_step,
            min_notional_usd=row.lot_size_filter.min_notional_value,
            max_leverage=row.leverage_filter.max_leverage,
        )
        if rules.are_possible:
            contracts[row.symbol] = Contract(base=row.base_coin, rules=rules)
    return contracts


def _parse_recent(symbol: str, reply: bytes) -> list[Trade]:
    trades = _decode(_RowsPage[_RecentTrade], reply).rows[::-1]  # they come newest first
    trades.sort(key=_sequence)
    return _to_trades(trades, symbol)


def _parse_book(symbol: str, reply: bytes) -> Bbo:
    book = _decode(_Book, reply)
    return _to_bbo(book, book.cts or book.ts, symbol)


def _parse_candles(span: Span, reply: bytes) -> list[Bar]:
    candles = _decode(_RowsPage[_Candle], reply).rows
    return minutes_in(
        span, (Bar(c.start, c.open, c.high, c.low, c.close, c.volume) for c in candles)
    )


def _parse_payments(
    live: BybitLive, listing: Listing, span: Span, reply: bytes
) -> list[Payment] | Request[list[Payment]]:
    rows = _decode(_RowsPage[_Funding], reply).rows
    payments = [Payment(row.fundingRateTimestamp, row.fundingRate) for row in rows]
    oldest_ms = min((payment.time_ms for payment in payments), default=0)
    if len(payments) < _PAYMENTS_PER_REPLY or oldest_ms <= span.start_ms:
        return payments
    if oldest_ms >= span.end_ms:
        raise undocumented_error(VENUE, reply, "payments after the requested ones")
    return followed_by(payments, live.payments_request(listing, Span(span.start_ms, oldest_ms)))


def _parse_launch(
    live: BybitLive, listing: Listing, reply: bytes
) -> list[Payment] | Request[list[Payment]]:
    now_ms, launches = _decode_envelope(reply).time, _decode(_RowsPage[_Launch], reply).rows
    launch_ms = launches[0].launchTime // DAY_MS * DAY_MS if launches else now_ms
    return _oldest(live, listing, launch_ms, now_ms)


def _oldest(
    live: BybitLive, listing: Listing, start_ms: int, now_ms: int
) -> list[Payment] | Request[list[Payment]]:
    """Return a request for the payments of some days, or else of the first later days with any."""
    if not 0 <= start_ms < now_ms:
        return []
    span = Span(start_ms, start_ms + _OLDEST_DAYS * DAY_MS)

    def parse(reply: bytes) -> list[Payment] | Request[list[Payment]]:
        payments = _parse_payments(live, listing, span, reply)
        return payments or _oldest(live, listing, span.end_ms, now_ms)

    return replace(live.payments_request(listing, span), parse=parse)


def _parse_marks(reply: bytes) -> dict[str, tuple[float, float | None]]:
    tickers = _decode_rows(_Ticker, _decode(_RowsPage[msgspec.Raw], reply).rows)
    return {ticker.symbol: (ticker.markPrice, ticker.singleOpenInterest) for ticker in tickers}
