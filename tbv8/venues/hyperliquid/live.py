"""Parses Hyperliquid's frames and REST replies. Pure, no I/O.

Wire facts: docs/venues/hyperliquid.md. The traps: subscribing to one unknown coin closes the whole
socket without a message; the first trades frame after a subscribe has old trades; numbers are
strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal

import msgspec

from tbv8.market import Bar, Bbo, Span, Trade
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
    Request,
    Rules,
    TradeNumber,
    followed_by,
    minutes_in,
    undocumented_error,
)

VENUE = "hyperliquid"
KEPT_MINUTES = 5000

_PAYMENTS_PER_REPLY = 500
_PRICE_DECIMALS = 6
_PRICE_DIGITS = 5
_MIN_ORDER_USD = Decimal(10)

_SIDES: dict[str, Literal["buy", "sell"]] = {"B": "buy", "A": "sell"}


class _Trade(msgspec.Struct):
    coin: str
    side: str
    px: Price
    sz: Amount
    time: Moment
    tid: TradeNumber


class _Level(msgspec.Struct):
    px: Price
    sz: Amount


class _Quote(msgspec.Struct):
    coin: str
    time: Moment
    bbo: tuple[_Level | None, _Level | None]


class _Subscription(msgspec.Struct):
    type: str
    coin: str = ""


class _Response(msgspec.Struct):
    method: str
    subscription: _Subscription


class _Trades(msgspec.Struct, tag_field="channel", tag="trades"):
    data: list[_Trade]


class _Bbo(msgspec.Struct, tag_field="channel", tag="bbo"):
    data: _Quote


class _SubscriptionResponse(msgspec.Struct, tag_field="channel", tag="subscriptionResponse"):
    data: _Response


class _Error(msgspec.Struct, tag_field="channel", tag="error"):
    data: str


class _Envelope(msgspec.Struct):
    channel: str


class _Candle(msgspec.Struct, rename={"low": "l"}):
    """A row of bars; its numbers are not bounded: one impossible bar must not fail the reply."""

    t: int
    o: float
    h: float
    low: float
    c: float
    v: float


class _Asset(msgspec.Struct):
    name: str
    isDelisted: bool = False


class _Meta(msgspec.Struct):
    universe: list[_Asset]


class _Funding(msgspec.Struct):
    fundingRate: float
    time: Moment


class _AssetRules(msgspec.Struct):
    name: str
    szDecimals: Annotated[int, msgspec.Meta(ge=0, le=_PRICE_DECIMALS)]
    maxLeverage: Annotated[int, msgspec.Meta(ge=1, le=1000)]


class _RulesMeta(msgspec.Struct):
    universe: list[msgspec.Raw]


class _PriceContext(msgspec.Struct):
    markPx: Price


class _Context(msgspec.Struct):
    markPx: Price | None = None
    openInterest: Amount | None = None


class _Book(msgspec.Struct):
    time: Moment
    levels: tuple[list[_Level], list[_Level]]


class _ExchangeStatus(msgspec.Struct):
    time: Moment


type _Frame = _Trades | _Bbo | _SubscriptionResponse | _Error

# strict=False reads "84143.0" as a float without a detour over Python's str.
_decode_frame = msgspec.json.Decoder(
    _Trades | _Bbo | _SubscriptionResponse | _Error, strict=False
).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_READ_CHANNELS = ("trades", "bbo", "subscriptionResponse", "error")


class HyperliquidFeed:
    """The frames of one connection; see `tbv8.venues.base.Feed`."""

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        self._natives = {symbol: listing.native for symbol, listing in listings.items()}
        self._symbols = {listing.native: symbol for symbol, listing in listings.items()}

    def subscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that subscribes to one stream of one coin; there is no list form."""
        return self._command("subscribe", symbol, channel)

    def unsubscribe(self, symbol: str, channel: Channel) -> str:
        """Return the frame that ends a subscription."""
        return self._command("unsubscribe", symbol, channel)

    def _command(self, method: str, symbol: str, channel: Channel) -> str:
        subscription = {"type": channel, "coin": self._natives[symbol]}
        return msgspec.json.encode({"method": method, "subscription": subscription}).decode()

    def parse(self, frame: bytes) -> Sequence[Trade | Bbo | Ack | ErrorFrame]:
        """Return the events in one frame.

        Text that is no JSON object is skipped, as in the venue's own clients: its greeting is one.

        Raises:
            VenueError: The frame is not one that this venue documents.
        """
        try:
            message: _Frame = _decode_frame(frame)
        except DECODE_ERRORS as e:
            if frame[:1] != b"{" or _is_other_channel(frame):
                return ()
            raise undocumented_error(VENUE, frame, str(e)) from e
        match message:
            case _Trades():
                return _trades(message.data, self._symbols)
            case _Bbo(quote):
                symbol = self._symbols.get(quote.coin)
                return () if symbol is None else (_to_bbo(symbol, quote.time, *quote.bbo),)
            case _SubscriptionResponse(response):
                return self._acks(response.method, response.subscription)
            case _Error(text):
                return self._errors(text)

    def _acks(self, method: str, subscription: _Subscription) -> Sequence[Ack]:
        symbol = self._symbols.get(subscription.coin)
        channel = subscription.type
        if method != "subscribe" or symbol is None or channel not in ("trades", "bbo"):
            return ()
        return (Ack("trades" if channel == "trades" else "bbo", symbol),)

    def _errors(self, text: str) -> Sequence[Ack | ErrorFrame]:
        if text.startswith("Already unsubscribed"):
            return ()
        if text.startswith("Already subscribed: "):
            try:
                echo = msgspec.json.decode(text.partition(": ")[2], type=_Subscription)
            except DECODE_ERRORS:
                return (ErrorFrame(text),)
            return self._acks("subscribe", echo)
        return (ErrorFrame(text),)


class HyperliquidLive:
    """The wire protocol of Hyperliquid; see `tbv8.venues.base.Live`."""

    ws_url = "wss://api.hyperliquid.xyz/ws"
    rest_url = "https://api.hyperliquid.xyz"
    ping = '{"method":"ping"}'
    ping_s = 20.0
    dials_per_minute = 20  # the venue allows 30 per IP address
    subscribe_pause_s = 0.01
    weight_per_s = 15.0  # the venue allows 1200 a minute
    weight_burst = 240.0
    page_minutes = 500  # the limit of a reply, according to some sources
    kept_minutes: int | None = KEPT_MINUTES
    payment_days: int | None = 19  # plus the day before: 480 hourly payments, a reply has 500

    def native_symbol(self, symbol: str) -> str:
        """Return the coin: `BTC` for `BTC/USDT`."""
        return symbol.partition("/")[0]

    def open_feed(self, listings: Mapping[str, Listing]) -> HyperliquidFeed:
        """Return the feed of a new connection."""
        return HyperliquidFeed(listings)

    def clock_request(self) -> Request[int]:
        """Return the request for the venue's clock."""
        return _info({"type": "exchangeStatus"}, _parse_clock, weight=2)

    def listings_request(self) -> Request[dict[str, Listing]]:
        """Return the request for all coins."""
        return _info({"type": "meta"}, _parse_listings)

    def contracts_request(self) -> Request[dict[str, Contract]]:
        """Return the request for the rules of all coins; fees depend on the account."""
        return _info({"type": "metaAndAssetCtxs"}, _parse_contracts)

    def recent_trades_request(self, symbol: str, listing: Listing) -> Request[list[Trade]]:
        """Return the request for the newest trades, about 10; older ones are not available."""
        parse = partial(_parse_recent, {listing.native: symbol})
        return _info({"type": "recentTrades", "coin": listing.native}, parse, weight=21)

    def bbo_request(self, symbol: str, listing: Listing) -> Request[Bbo]:
        """Return the request for the book's best levels."""
        parse = partial(_parse_book, symbol)
        return _info({"type": "l2Book", "coin": listing.native}, parse, weight=2)

    def payments_request(self, listing: Listing, span: Span) -> Request[list[Payment]]:
        """Return the request for payments by time, in pages of 500."""
        last_ms = span.end_ms - 1
        body = {
            "type": "fundingHistory",
            "coin": listing.native,
            "startTime": span.start_ms,
            "endTime": last_ms,
        }
        return _info(body, partial(_parse_payments, self, listing, span))

    def oldest_payments_request(self, listing: Listing) -> Request[list[Payment]]:
        """Return the request for the first 500 payments."""
        body = {"type": "fundingHistory", "coin": listing.native, "startTime": 0}
        return _info(body, _payments)

    def marks_request(self) -> Request[dict[str, tuple[float, float | None]]]:
        """Return the request for the mark price and open interest of all coins."""
        return _info({"type": "metaAndAssetCtxs"}, _parse_marks)

    def minutes_request(self, listing: Listing, span: Span) -> Request[list[Bar]]:
        """Return the request for 1m bars; the venue keeps only the newest 5000."""
        request = {
            "coin": listing.native,
            "interval": "1m",
            "startTime": span.start_ms,
            "endTime": span.end_ms - 1,
        }
        return _info(
            {"type": "candleSnapshot", "req": request},
            partial(_parse_candles, span),
            weight=20 + span.minutes / 60,
        )


def _info[T](
    body: object, parse: Callable[[bytes], T | Request[T]], *, weight: float = 20.0
) -> Request[T]:
    return Request(path="/info", parse=parse, body=msgspec.json.encode(body), weight=weight)


def _trades(trades: Sequence[_Trade], symbols: Mapping[str, str]) -> list[Trade]:
    events = []
    for trade in trades:
        if (symbol := symbols.get(trade.coin)) is None:
            continue
        side = _SIDES.get(trade.side)
        if side is None or trade.sz == 0:
            raise undocumented_error(
                VENUE, msgspec.json.encode(trade), "a trade without a side or a size"
            )
        events.append(Trade(VENUE, symbol, trade.time, str(trade.tid), trade.px, trade.sz, side))
    if len(events) > 1:
        events.sort(key=_time)
    return events


def _time(trade: Trade) -> int:
    return trade.ts_ms


def _to_bbo(symbol: str, ts_ms: int, bid: _Level | None, ask: _Level | None) -> Bbo:
    return Bbo(
        VENUE,
        symbol,
        ts_ms,
        bid.px if bid else None,
        bid.sz if bid else None,
        ask.px if ask else None,
        ask.sz if ask else None,
    )


def _decode[T](reply: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(reply, type=kind, strict=False)
    except DECODE_ERRORS as e:
        raise undocumented_error(VENUE, reply, str(e)) from e


def _parse_clock(reply: bytes) -> int:
    return _decode(reply, _ExchangeStatus).time


def _parse_listings(reply: bytes) -> dict[str, Listing]:
    return {
        asset.name: Listing(native=asset.name, problem="delisted" if asset.isDelisted else None)
        for asset in _decode(reply, _Meta).universe
    }


def _parse_contracts(reply: bytes) -> dict[str, Contract]:
    """Return the rules of all coins.

    Prices have at most 5 significant digits and 6 - szDecimals decimals, or are whole numbers.
    """
    meta, contexts = _decode(reply, tuple[_RulesMeta, list[msgspec.Raw]])
    if len(meta.universe) != len(contexts):
        raise undocumented_error(VENUE, reply, "the numbers of coins and contexts differ")
    contracts = {}
    for coin, context in zip(meta.universe, contexts, strict=True):
        try:
            asset = msgspec.json.decode(coin, type=_AssetRules)
            price = msgspec.json.decode(context, type=_PriceContext, strict=False).markPx
        except DECODE_ERRORS:  # a delisted coin may have no price
            continue
        max_decimals = _PRICE_DECIMALS - asset.szDecimals
        digits = _PRICE_DIGITS - 1 - math.floor(math.log10(price))
        rules = Rules(
            tick_size=Decimal(1).scaleb(-max(0, min(max_decimals, digits))),
            lot_size=Decimal(1).scaleb(-asset.szDecimals),
            min_notional_usd=_MIN_ORDER_USD,
            max_leverage=Decimal(asset.maxLeverage),
        )
        contracts[asset.name] = Contract(base=asset.name, rules=rules)
    return contracts


def _parse_recent(symbols: Mapping[str, str], reply: bytes) -> list[Trade]:
    newest_first = _decode(reply, list[_Trade])
    return _trades(newest_first[::-1], symbols)


def _parse_book(symbol: str, reply: bytes) -> Bbo:
    book = _decode(reply, _Book)
    bids, asks = book.levels
    return _to_bbo(symbol, book.time, bids[0] if bids else None, asks[0] if asks else None)


def _parse_candles(span: Span, reply: bytes) -> list[Bar]:
    candles = _decode(reply, list[_Candle])
    return minutes_in(span, (Bar(c.t, c.o, c.h, c.low, c.c, round(c.v, 10)) for c in candles))


def _payments(reply: bytes) -> list[Payment]:
    return [Payment(row.time, row.fundingRate, 1) for row in _decode(reply, list[_Funding])]


def _parse_payments(
    live: HyperliquidLive, listing: Listing, span: Span, reply: bytes
) -> list[Payment] | Request[list[Payment]]:
    payments = _payments(reply)
    newest_ms = max((payment.time_ms for payment in payments), default=0)
    if len(payments) < _PAYMENTS_PER_REPLY or newest_ms < span.start_ms:
        return payments
    return followed_by(payments, live.payments_request(listing, Span(newest_ms + 1, span.end_ms)))


def _parse_marks(reply: bytes) -> dict[str, tuple[float, float | None]]:
    meta, contexts = _decode(reply, tuple[_Meta, list[_Context]])
    if len(meta.universe) != len(contexts):
        raise undocumented_error(VENUE, reply, "the numbers of coins and contexts differ")
    return {
        asset.name: (context.markPx, context.openInterest)
        for asset, context in zip(meta.universe, contexts, strict=True)
        if context.markPx is not None
    }


def _is_other_channel(frame: bytes) -> bool:
    """Return True for a complete frame of another channel, such as a pong."""
    try:
        return _decode_envelope(frame).channel not in _READ_CHANNELS
    except DECODE_ERRORS:
        return False
