"""Parses the frames and REST replies of MEXC futures. Pure, no I/O.

Wire facts: docs/venues/mexc.md. The traps: the server closes a connection 60 s after the last JSON
ping even while data arrives; sizes are in contracts; an ack names no symbol; a refusal by REST has
HTTP 200.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from itertools import repeat, zip_longest
from typing import Any, Literal

import msgspec

from tbv8.errors import VenueError
from tbv8.market import MAX_VOLUME, Bar, Bbo, Span, Trade
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
from tbv8.venues.bounds import FRAME_BYTES, BoundsError, inflate

VENUE = "mexc"
PAGE_MINUTES = 2000

_PAYMENTS_PER_PAGE = 100

_SIDES: dict[int, Literal["buy", "sell"]] = {1: "buy", 2: "sell"}
_METHODS: dict[Channel, str] = {"trades": "deal", "bbo": "depth.full"}
_CHANNELS: dict[str, Channel] = {"rs.sub.deal": "trades", "rs.sub.depth.full": "bbo"}
_GZIP = b"\x1f\x8b"
_TOO_OFTEN = 510
_MIN_CONTRACT, _MAX_CONTRACT = Decimal("1e-12"), Decimal("1e12")
_CONTRACT_DIGITS = 20


class _Deal(msgspec.Struct):
    p: Price
    v: Amount
    T: int
    t: Moment
    i: TradeId | TradeNumber | None = None


class _Level(msgspec.Struct, array_like=True):
    price: Price
    size: Amount


class _Depth(msgspec.Struct):
    asks: list[_Level]
    bids: list[_Level]
    version: int = 0
    cts: Moment | None = None


class _Deals(msgspec.Struct, tag_field="channel", tag="push.deal"):
    symbol: str
    data: list[_Deal] | _Deal


class _FullDepth(msgspec.Struct, tag_field="channel", tag="push.depth.full"):
    symbol: str
    data: _Depth
    ts: Moment = 0


class _Error(msgspec.Struct, tag_field="channel", tag="rs.error"):
    data: str


class _Envelope(msgspec.Struct):
    channel: str


class _Reply(msgspec.Struct):
    success: bool
    code: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")
    message: str = ""


class _Contract(msgspec.Struct):
    symbol: str
    contractSize: Decimal | None = None
    state: int = 0


class _ContractRules(msgspec.Struct, rename="camel"):
    symbol: str
    base_coin: str
    contract_size: Decimal
    price_unit: Decimal
    vol_unit: Decimal
    max_leverage: Decimal
    maker_fee_rate: Decimal
    taker_fee_rate: Decimal


class _Book(msgspec.Struct):
    asks: list[_Level]
    bids: list[_Level]
    timestamp: Moment


class _Funding(msgspec.Struct):
    fundingRate: float
    settleTime: Moment
    collectCycle: int | None = None


class _FundingPage(msgspec.Struct):
    resultList: list[_Funding]
    totalPage: int


class _Ticker(msgspec.Struct):
    symbol: str
    fairPrice: Price | None = None
    holdVol: Amount | None = None


class _Klines(msgspec.Struct, rename="camel"):
    """The columns of bars; `open` is the previous close, so `high` and `low` include that price.

    The columns `real_` have the prices of the minute's own trades. Numbers are not bounded: one
    impossible bar must not fail the reply.
    """

    time: list[int]
    open: list[float]
    high: list[float]
    low: list[float]
    close: list[float]
    vol: list[float]
    real_open: list[float | None] = []
    real_high: list[float | None] = []
    real_low: list[float | None] = []
    real_close: list[float | None] = []

    def rows(self) -> Iterator[tuple[int, float, float, float, float, float]]:
        """Yield time in seconds, open, high, low, close and contracts; real prices if published.

        Raises:
            ValueError: The columns are of different lengths.
        """
        stretched_rows = zip(self.open, self.high, self.low, self.close, strict=True)
        real_columns = (self.real_open, self.real_high, self.real_low, self.real_close)
        real_rows = (
            zip_longest(*real_columns) if any(real_columns) else repeat((None,) * 4, len(self.time))
        )
        for ts_s, stretched_prices, real_prices, contracts in zip(
            self.time, stretched_rows, real_rows, self.vol, strict=True
        ):
            first, high, low, last = stretched_prices
            if contracts and all(real_prices):
                first, high, low, last = map(float, real_prices)  # type: ignore[arg-type]  # no None
            yield ts_s, first, high, low, last, contracts


type _Frame = _Deals | _FullDepth | _Error
type _PaymentsOrNext = list[Payment] | Request[list[Payment]]

# strict=False reads numbers with and without quotes: `i`, `cts` and `version` occur in both forms.
_decode_frame = msgspec.json.Decoder(_Deals | _FullDepth | _Error, strict=False).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_READ_CHANNELS = ("push.deal", "push.depth.full", "rs.error")


class MexcFeed:
    """The frames of one connection; see `tbv8.venues.base.Feed`."""

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        self._natives = {symbol: listing.native for symbol, listing in listings.items()}
        self._symbols = {
            listing.native: (symbol, *_contract_ratio(listing))
            for symbol, listing in listings.items()
        }
        self._versions: dict[str, int] = {}

    def subscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that subscribes to unmerged trades, or to 5 levels of the order book."""
        options: dict[str, Any] = {"compress": False} if channel == "trades" else {"limit": 5}
        return self._command("sub", symbol, channel, options)

    def unsubscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that ends a subscription."""
        return self._command("unsub", symbol, channel, {})

    def _command(self, verb: str, symbol: str, channel: Channel, options: dict[str, Any]) -> str:
        self._versions.pop(self._natives[symbol], None)  # forget a wrong number that is far ahead
        param = {"symbol": self._natives[symbol], **options}
        command = {"method": f"{verb}.{_METHODS[channel]}", "param": param}
        return msgspec.json.encode(command).decode()

    def parse(self, frame: bytes) -> Sequence[Trade | Bbo | Ack | ErrorFrame]:
        """Return the events in one frame; none for a book older than an earlier one.

        Raises:
            VenueError: The frame is not one that this venue documents.
        """
        if frame[:2] == _GZIP:
            frame = _inflate(frame)
        try:
            message: _Frame = _decode_frame(frame)
        except DECODE_ERRORS as e:
            return self._parse_ack(frame, e)
        match message:
            case _Deals():
                if (symbol_entry := self._symbols.get(message.symbol)) is None:
                    return ()
                deals = message.data if isinstance(message.data, list) else [message.data]
                return _trades(deals, *symbol_entry)
            case _FullDepth(native, depth, ts_ms):
                symbol_entry = self._symbols.get(native)
                if symbol_entry is None or depth.version < self._versions.get(native, 0):
                    return ()
                self._versions[native] = depth.version
                return (_to_bbo(depth.bids, depth.asks, depth.cts or ts_ms, *symbol_entry),)
            case _Error(text):
                return (ErrorFrame(text),)

    def _parse_ack(self, frame: bytes, e: Exception) -> Sequence[Ack]:
        try:
            channel = _decode_envelope(frame).channel
        except DECODE_ERRORS:
            raise undocumented_error(VENUE, frame, str(e)) from e
        if channel in _CHANNELS:
            return (Ack(_CHANNELS[channel]),)
        if channel in _READ_CHANNELS:
            raise undocumented_error(VENUE, frame, str(e)) from e
        return ()


class MexcLive:
    """The wire protocol of MEXC futures; see `tbv8.venues.base.Live`."""

    ws_url = "wss://contract.mexc.com/edge"
    rest_url = "https://api.mexc.com"
    ping = '{"method":"ping"}'
    ping_s = 10.0
    dials_per_minute = 20
    subscribe_pause_s = 0.05  # tried with 150 contracts
    weight_per_s = 5.0  # in calls: the venue allows 10 a second for most of them
    weight_burst = 20.0
    page_minutes = PAGE_MINUTES
    kept_minutes: int | None = None
    payment_days: int | None = None

    def native_symbol(self, symbol: str) -> str:
        """Return `BTC_USDT` for `BTC/USDT`."""
        return symbol.replace("/", "_")

    def open_feed(self, listings: Mapping[str, Listing]) -> MexcFeed:
        """Return the feed of a new connection."""
        return MexcFeed(listings)

    def clock_request(self) -> Request[int]:
        """Return the request for the venue's clock."""
        return Request(path="/api/v1/contract/ping", parse=_parse_clock)

    def listings_request(self) -> Request[dict[str, Listing]]:
        """Return the request for all contracts; the reply has 2 MB."""
        return Request(path="/api/v1/contract/detail", parse=_parse_listings, weight=10)

    def contracts_request(self) -> Request[dict[str, Contract]]:
        """Return the request for the rules of all contracts."""
        return Request(path="/api/v1/contract/detail", parse=_parse_contracts, weight=10)

    def recent_trades_request(self, symbol: str, listing: Listing) -> Request[list[Trade]]:
        """Return the request for the newest 100 trades."""
        return Request(
            path=f"/api/v1/contract/deals/{listing.native}",
            params={"limit": 100},
            parse=partial(_parse_recent, symbol, listing),
        )

    def bbo_request(self, symbol: str, listing: Listing) -> Request[Bbo]:
        """Return the request for the book's best levels."""
        return Request(
            path=f"/api/v1/contract/depth/{listing.native}",
            params={"limit": 5},
            parse=partial(_parse_book, symbol, listing),
        )

    def payments_request(self, listing: Listing, span: Span) -> Request[list[Payment]]:
        """Return the request for payments, newest first, in pages of 100."""
        return self._payments_page_request(
            listing, 1, partial(_parse_payments, self, listing, span, 1)
        )

    def oldest_payments_request(self, listing: Listing) -> Request[list[Payment]]:
        """Return the request for the first page of payments, then for the last one."""
        return self._payments_page_request(listing, 1, partial(_parse_oldest, self, listing))

    def _payments_page_request(
        self, listing: Listing, page: int, parse: Callable[[bytes], _PaymentsOrNext]
    ) -> Request[list[Payment]]:
        return Request(
            path="/api/v1/contract/funding_rate/history",
            params={"symbol": listing.native, "page_num": page, "page_size": _PAYMENTS_PER_PAGE},
            parse=parse,
        )

    def marks_request(self) -> Request[dict[str, tuple[float, float | None]]]:
        """Return the request for the mark price and open interest of all contracts."""
        return Request(path="/api/v1/contract/ticker", parse=_parse_marks, weight=5)

    def minutes_request(self, listing: Listing, span: Span) -> Request[list[Bar]]:
        """Return the request for 1m bars, at most 2000; a longer reply is cut at an unknown end."""
        return Request(
            path=f"/api/v1/contract/kline/{listing.native}",
            params={
                "interval": "Min1",
                "start": span.start_ms // 1000,
                "end": (span.end_ms - 1) // 1000,
            },
            parse=partial(_parse_klines, listing, span),
        )


def _contract_ratio(listing: Listing) -> tuple[int, int]:
    """Return the contract size as a fraction, so that `contracts * num / den` rounds only once.

    Raises:
        RefusedError: The venue publishes no contract size of it, or an impossible one.
    """
    if listing.contract_size is None:
        raise RefusedError(f"{VENUE}: {listing.native} is {listing.problem}")
    return listing.contract_size.as_integer_ratio()


def _base_units(contracts: float, num: int, den: int) -> float:
    return (int(contracts) if contracts.is_integer() else contracts) * num / den


def _trades(deals: Sequence[_Deal], symbol: str, num: int, den: int) -> list[Trade]:
    """Return deals as trades by time, those of one millisecond by their numeric id.

    A deal without an id gets one from its time, side, price and size, and the number of its
    occurrence in the frame. So a frame that comes twice gives the same ids.
    """
    if len(deals) > 1:
        deals = sorted(deals[::-1], key=_deal_order)  # they come newest first
    twins: Counter[str] = Counter()
    events = []
    for deal in deals:
        side = _SIDES.get(deal.T)
        size = _base_units(deal.v, num, den)
        if side is None or not 0 < size <= MAX_VOLUME:
            shown = msgspec.json.encode(deal)
            raise undocumented_error(VENUE, shown, "a trade without a side or a size")
        if deal.i is None:
            name = f"{deal.t}-{side}-{deal.p!r}-{size!r}"
            twins[name] += 1
            trade_id = f"{name}-{twins[name]}"
        else:
            trade_id = str(deal.i)
        events.append(Trade(VENUE, symbol, deal.t, trade_id, deal.p, size, side))
    return events


def _deal_order(deal: _Deal) -> tuple[int, int]:
    text = str(deal.i)
    return deal.t, int(text) if text.isdecimal() else 0


def _to_bbo(
    bids: Sequence[_Level],
    asks: Sequence[_Level],
    ts_ms: int,
    symbol: str,
    num: int,
    den: int,
) -> Bbo:
    if not ts_ms:
        raise VenueError(f"{VENUE}: a book of {symbol} without a time")
    bid_size = _base_units(bids[0].size, num, den) if bids else None
    ask_size = _base_units(asks[0].size, num, den) if asks else None
    if max(bid_size or 0, ask_size or 0) > MAX_VOLUME:
        raise VenueError(f"{VENUE}: a book of {symbol} with an impossible size")
    return Bbo(
        VENUE,
        symbol,
        ts_ms,
        bids[0].price if bids else None,
        bid_size,
        asks[0].price if asks else None,
        ask_size,
    )


def _decode[T](kind: type[T], reply: bytes) -> T:
    try:
        envelope = msgspec.json.decode(reply, type=_Reply)
        if envelope.success and envelope.code == 0:
            return msgspec.json.decode(envelope.data, type=kind, strict=False)
    except DECODE_ERRORS as e:
        raise undocumented_error(VENUE, reply, str(e)) from e
    raise RefusedError(
        f"{VENUE}: code {envelope.code} {quoted(envelope.message)}",
        too_often=envelope.code == _TOO_OFTEN,
    )


def _parse_clock(reply: bytes) -> int:
    clock_ms: int = _decode(Moment, reply)  # type: ignore[arg-type]  # an alias is no type
    return clock_ms


def _parse_listings(reply: bytes) -> dict[str, Listing]:
    result = _decode(list[_Contract] | _Contract, reply)  # type: ignore[arg-type]
    contracts: list[_Contract] = result if isinstance(result, list) else [result]
    return {contract.symbol: _to_listing(contract) for contract in contracts}


def _parse_contracts(reply: bytes) -> dict[str, Contract]:
    """Return the rules of contracts with complete rows; those of new contracts may lack fields."""
    contracts = {}
    for raw in _decode(list[msgspec.Raw], reply):
        try:
            contract = msgspec.json.decode(raw, type=_ContractRules)
        except DECODE_ERRORS:
            continue
        rules = Rules(
            tick_size=contract.price_unit,
            lot_size=_product(contract.contract_size, contract.vol_unit),
            max_leverage=contract.max_leverage,
            maker_fee=contract.maker_fee_rate,
            taker_fee=contract.taker_fee_rate,
        )
        if rules.are_possible:
            contracts[contract.symbol] = Contract(base=contract.base_coin, rules=rules)
    return contracts


def _product(size: Decimal, unit: Decimal) -> Decimal:
    """Return the product; NaN, which is no possible rule, if it overflows."""
    try:
        return size * unit
    except ArithmeticError:
        return Decimal("NaN")


def _to_listing(contract: _Contract) -> Listing:
    size = contract.contractSize
    states = {1: "in delivery", 2: "delivered", 3: "offline"}
    problem = states.get(contract.state)
    if not size:
        size, problem = None, problem or "without a contract size"
    elif not (
        size.is_finite()
        and _MIN_CONTRACT <= size <= _MAX_CONTRACT
        and len(size.as_tuple().digits) <= _CONTRACT_DIGITS
    ):
        problem = f"of an impossible contract size, {str(size)[:40]!r}"
        size = None
    return Listing(native=contract.symbol, contract_size=size, problem=problem)


def _parse_recent(symbol: str, listing: Listing, reply: bytes) -> list[Trade]:
    return _trades(_decode(list[_Deal], reply), symbol, *_contract_ratio(listing))


def _parse_book(symbol: str, listing: Listing, reply: bytes) -> Bbo:
    book = _decode(_Book, reply)
    return _to_bbo(book.bids, book.asks, book.timestamp, symbol, *_contract_ratio(listing))


def _parse_klines(listing: Listing, span: Span, reply: bytes) -> list[Bar]:
    klines = _decode(_Klines, reply)
    num, den = _contract_ratio(listing)
    try:
        rows = list(klines.rows())
    except ValueError as e:
        raise undocumented_error(VENUE, reply, "columns of different lengths") from e
    return minutes_in(
        span,
        (
            Bar(time_s * 1000, first, high, low, last, _base_units(contracts, num, den))
            for time_s, first, high, low, last, contracts in rows
        ),
    )


def _payments(page: _FundingPage) -> list[Payment]:
    return [Payment(row.settleTime, row.fundingRate, row.collectCycle) for row in page.resultList]


def _parse_payments(
    live: MexcLive, listing: Listing, span: Span, number: int, reply: bytes
) -> _PaymentsOrNext:
    page = _decode(_FundingPage, reply)
    payments = _payments(page)
    if not payments or number >= page.totalPage or min(p.time_ms for p in payments) < span.start_ms:
        return payments
    parse = partial(_parse_payments, live, listing, span, number + 1)
    return followed_by(payments, live._payments_page_request(listing, number + 1, parse))


def _parse_oldest(live: MexcLive, listing: Listing, reply: bytes) -> _PaymentsOrNext:
    page = _decode(_FundingPage, reply)
    if page.totalPage <= 1:
        return _payments(page)
    return live._payments_page_request(
        listing, page.totalPage, lambda r: _payments(_decode(_FundingPage, r))
    )


def _parse_marks(reply: bytes) -> dict[str, tuple[float, float | None]]:
    result = _decode(list[_Ticker] | _Ticker, reply)  # type: ignore[arg-type]
    tickers: list[_Ticker] = result if isinstance(result, list) else [result]
    return {
        ticker.symbol: (ticker.fairPrice, ticker.holdVol)
        for ticker in tickers
        if ticker.fairPrice is not None
    }


def _inflate(frame: bytes) -> bytes:
    try:
        return inflate(frame, FRAME_BYTES)
    except BoundsError as e:
        raise undocumented_error(VENUE, frame, str(e)) from e
