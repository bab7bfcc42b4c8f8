"""A local Bybit: `/v5/public/linear` and `/v5/market`, as docs/venues/bybit.md has them.

with bybit_server([bybit_market("BTCUSDT", rate=20)]) as server: ...
with running_process("tests.servers.bybit", "--symbols", "BTC,ETH") as server: ...
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote as quoted_for_url
from uuid import UUID

from tests.servers.live_faults import Fault
from tests.servers.live_market import (
    MINUTE_MS,
    Candle,
    Level,
    LiveMarket,
    LiveQuote,
    LiveTrade,
    MarketSpec,
    VenueClock,
    text,
)
from tests.servers.live_process import serve_until_told
from tests.servers.live_server import (
    Event,
    LiveServer,
    Options,
    Reply,
    RestRequest,
    Session,
    json_reply,
)

MAX_CANDLES = 1_000
MAX_RATES = 200
_BASE = "/v5/market/"
_CHANNELS = {"publicTrade": "trades", "orderbook.1": "bbo", "kline.1": "candle"}
_OTHER_TOPICS = {"orderbook.50", "orderbook.200", "orderbook.1000", "kline.5", "tickers"}
_CALLS_IN_5_S = 600
_TRADES_A_FRAME = 1_024
_LAG_MS = 3  # a frame's ts behind its trades' T, or its cts
_HOUR_MS = 3_600_000
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd: no two alike
_CONNECTION = "d6ki1eae0cl5msgggj7g-1uoz2"
# price, tick, size step
_KNOWN = {
    "BTCUSDT": ("84000", "0.1", "0.001"),
    "ETHUSDT": ("3000", "0.01", "0.01"),
    "SOLUSDT": ("150", "0.01", "0.1"),
    "DOGEUSDT": ("0.08", "0.00001", "1"),
}


@dataclass(slots=True)
class BybitOptions(Options):
    """What Bybit can be told to do otherwise.

    Args:
        timeout_s: Its patience with a connection without pings, 600 s.
        repeat_s: After how long without a change the same book comes again.
        stitched: Whether a bar opens at the close of the one before.
        instruments_a_page: The most rows of a page of instruments.
    """

    timeout_s: float = 600.0
    repeat_s: float = 3.0
    stitched: bool = True
    instruments_a_page: int = 1_000


@dataclass(slots=True)
class BybitWire:
    """Bybit's v5 protocol of linear contracts."""

    markets: Mapping[str, LiveMarket]
    clock: VenueClock
    options: BybitOptions
    _calls: deque[float] = field(default_factory=deque)
    _shown_s: dict[str, float] = field(default_factory=dict)  # a book's last push
    _unknowns: int = 0

    @property
    def ws_path(self) -> str:
        return "/v5/public/linear"

    @property
    def dials_per_minute(self) -> int | None:
        return 100

    def opened(self, session: Session) -> None:
        """Say nothing: Bybit does not greet."""

    def watch(self, session: Session, now_s: float) -> None:
        if now_s - session.last_ping_s > self.options.timeout_s:
            session.vanish("no ping")
            return
        for channel, symbol, _ in list(session.subscriptions.values()):
            shown_s = self._shown_s.get(symbol)
            if channel != "bbo" or shown_s is None or now_s - shown_s < self.options.repeat_s:
                continue
            if top := self.markets[symbol].top():
                for frame in self.frames(self.markets[symbol], "bbo", "", [top]):
                    session.send(frame)

    def received(self, session: Session, message: str) -> None:
        match _parsed(message):
            case {"op": "ping"}:
                session.last_ping_s = time.monotonic()
                if session.allows("pong"):
                    session.send(_answer("ping", "", "pong"))
            case {"op": "subscribe" | "unsubscribe" as op, "args": list(topics), **more}:
                self._change(session, op, [str(topic) for topic in topics], more.get("req_id", ""))
            case _:
                session.send(self.error("error:invalid op"))

    def frames(
        self, market: LiveMarket, channel: str, variant: str, events: Sequence[Event]
    ) -> list[str]:
        symbol = market.spec.native
        match channel:
            case "trades":
                trades = [event for event in events if isinstance(event, LiveTrade)]
                return [
                    _push_trades(market, trades[start : start + _TRADES_A_FRAME])
                    for start in range(0, len(trades), _TRADES_A_FRAME)
                ]
            case "bbo":
                self._shown_s[symbol] = time.monotonic()
                return [
                    _push_book(symbol, event) for event in events if isinstance(event, LiveQuote)
                ]
            case "candle":
                now_ms = self.clock.now_ms()
                return [
                    _push_candle(symbol, candle, now_ms)
                    for candle in market.candles(now_ms - MINUTE_MS)[-1:]
                ]
        return []

    def unknown(self) -> str:
        self._unknowns += 1
        topic = ("tickers.BTCUSDT", "insurance.USDT")[self._unknowns % 2]
        data = {"symbol": "BTCUSDT", "fundingRate": "0.0001"}
        return _message({"topic": topic, "type": "delta", "data": data, "ts": self.clock.now_ms()})

    def error(self, words: str) -> str:
        return _message({"success": False, "ret_msg": words, "conn_id": _CONNECTION})

    def refusal(self, fault: Fault) -> Reply:
        if fault.code is not None:
            return self._refused(fault.code, _WORDS.get(fault.code, "Refused"))
        return Reply(fault.status, f"<html>{fault.status}</html>".encode(), "text/html")

    def rest(self, request: RestRequest) -> Reply:
        call = request.path.removeprefix(_BASE)
        if not request.path.startswith(_BASE) or request.method != "GET":
            return Reply(404, b"", "text/plain")
        if self._is_too_often():
            return Reply(403, b"403, access too frequent", "text/plain")
        query = request.query
        if call == "time":
            now_ms = self.clock.now_ms()
            nanoseconds = now_ms * 1_000_000 + 123_456
            return self._done({"timeSecond": f"{now_ms // 1000}", "timeNano": f"{nanoseconds}"})
        if query.get("category") != "linear":
            return self._refused(10001, "Illegal category")
        symbol = query.get("symbol")
        if symbol is not None and symbol not in self.markets:
            return self._refused(10001, "params error: Symbol Invalid")
        try:
            match call:
                case "instruments-info":
                    return self._instruments(query)
                case "tickers":
                    return self._done(_rows([_ticker(m) for m in self.markets.values()]))
                case "kline" if symbol:
                    return self._done(_rows(self._candles(self.markets[symbol], query)))
                case "funding/history" if symbol:
                    return self._funding(self.markets[symbol], query)
                case "recent-trade" if symbol:
                    return self._recent(self.markets[symbol], query)
                case "orderbook" if symbol:
                    return self._done(_book(self.markets[symbol]))
        except ValueError:
            return self._refused(10001, "params error")
        return Reply(404, b"", "text/plain")

    def _change(self, session: Session, op: str, topics: Sequence[str], name: str) -> None:
        """Take all of the topics, or refuse all."""
        for topic in topics if op == "subscribe" else ():
            kind, _, symbol = topic.rpartition(".")
            if kind not in {*_CHANNELS, *_OTHER_TOPICS} or symbol not in self.markets:
                refused = f"error:handler not found,topic:{topic}"
                session.send(_answer(op, name, refused, success=False))
                return
            if topic in session.subscriptions:
                refused = f"error:already subscribed,topic:{topic}"
                session.send(_answer(op, name, refused, success=False))
                return
        if session.allows("ack"):
            session.send(_answer(op, name))
        for topic in topics:
            kind, _, symbol = topic.rpartition(".")
            if op == "unsubscribe":
                session.unsubscribe(topic)
                continue
            session.subscribe(topic, _CHANNELS.get(kind, "other"), symbol)
            if kind == "orderbook.1":
                market = self.markets[symbol]
                session.send_quote(market, "", market.top() or market.repeat_quote())

    def _is_too_often(self) -> bool:
        now_s = time.monotonic()
        while self._calls and self._calls[0] < now_s - 5:
            self._calls.popleft()
        self._calls.append(now_s)
        return self.options.limits and len(self._calls) > _CALLS_IN_5_S

    def _done(self, result: dict[str, Any], trades: Sequence[LiveTrade] = ()) -> Reply:
        envelope = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}}
        return json_reply({**envelope, "time": self.clock.now_ms()}, trades=trades)

    def _refused(self, code: int, words: str) -> Reply:
        envelope = {"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}}
        return json_reply({**envelope, "time": self.clock.now_ms()})

    def _instruments(self, query: Mapping[str, str]) -> Reply:
        """Return a page of the contracts that trade."""
        listed = [m for m in self.markets.values() if not m.spec.delisted]
        if "symbol" in query:
            listed = [m for m in listed if m.spec.native == query["symbol"]]
        first = 0
        if "cursor" in query:
            cursors = [_cursor(market) for market in listed]
            first = cursors.index(query["cursor"]) + 1
        size = min(int(query.get("limit", 500)), self.options.instruments_a_page)
        page = listed[first : first + size]
        cursor = _cursor(page[-1]) if first + size < len(listed) else ""
        rows = _rows([_instrument(market) for market in page])
        return self._done({**rows, "nextPageCursor": quoted_for_url(cursor, safe="")})

    def _candles(self, market: LiveMarket, query: Mapping[str, str]) -> list[list[str]]:
        """Return rows of 1m bars, the newest first; of more than a page those at the end asked."""
        if query["interval"] != "1":
            raise ValueError("other intervals: nobody here needs them")
        start_ms, end_ms = int(query.get("start", 0)), int(query.get("end", 2**62))
        now_ms, shown = self.clock.now_ms(), []
        close = None
        for candle in market.candles(flat=self.options.quiet_candles):
            opened = candle.open if close is None or not self.options.stitched else close
            close = candle.close
            if not start_ms - start_ms % MINUTE_MS <= candle.ts_ms <= end_ms:
                continue
            if not self.options.open_candle and candle.ts_ms + MINUTE_MS > now_ms:
                continue
            high, low = max(opened, candle.high), min(opened, candle.low)
            prices = (opened, high, low, candle.close, candle.volume, candle.amount)
            shown.append([str(candle.ts_ms), *map(text, prices)])
        limit = min(int(query.get("limit", 200)), MAX_CANDLES)
        from_start = "start" in query and "end" not in query
        return (shown[:limit] if from_start else shown[-limit:])[::-1]

    def _funding(self, market: LiveMarket, query: Mapping[str, str]) -> Reply:
        if "startTime" in query and "endTime" not in query:
            return self._refused(10001, "params error: endTime is required")
        start_ms, end_ms = int(query.get("startTime", 0)), int(query.get("endTime", 2**62))
        rows = [
            {
                "symbol": market.spec.native,
                "fundingRate": rate.rate,
                "fundingRateTimestamp": str(rate.time_ms - rate.time_ms % _HOUR_MS),
            }
            for rate in market.rates(hours=8)
            if start_ms <= rate.time_ms - rate.time_ms % _HOUR_MS <= end_ms
        ]
        limit = min(int(query.get("limit", MAX_RATES)), MAX_RATES)
        return self._done(_rows(rows[-limit:][::-1]))

    def _recent(self, market: LiveMarket, query: Mapping[str, str]) -> Reply:
        trades = market.last_trades(min(int(query.get("limit", 500)), 1_000))
        rows = [
            {
                "execId": market.write_id(trade.trade_id),
                "symbol": market.spec.native,
                "price": trade.price,
                "size": trade.size,
                "side": trade.side.capitalize(),
                "time": str(trade.ts_ms),
                "isBlockTrade": False,
                "isRPITrade": trade.seq % 7 == 6,
                "seq": str(_sequence(trade)),
            }
            for trade in trades[::-1]
        ]
        return self._done(_rows(rows), trades)


_WORDS = {
    10001: "params error",
    10006: "Too many visits!",
    10016: "Server error",
}


def bybit_market(symbol: str = "BTCUSDT", **changes: Any) -> MarketSpec:
    """Return a market of a contract like the venue's; `changes` are fields of MarketSpec."""
    price, tick, size_step = _KNOWN.get(symbol, ("20", "0.001", "0.1"))
    like = {"native": symbol, "price": price, "tick": tick, "size_step": size_step}
    return MarketSpec(**{**like, **changes})


def bybit_server(
    markets: Sequence[MarketSpec] = (),
    *,
    seed: int = 1,
    clock: VenueClock | None = None,
    options: BybitOptions | None = None,
    port: int = 0,
    control_port: int = 0,
) -> LiveServer:
    """Return a running server, with BTCUSDT if nothing else is asked for; for a `with`."""
    clock = clock or VenueClock()
    made = {
        spec.native: LiveMarket(spec, clock, seed=seed, hashed_ids=True, write_id=_uuid)
        for spec in markets or [bybit_market()]
    }
    wire = BybitWire(made, clock, options or BybitOptions())
    return LiveServer(wire, made, clock, port=port, control_port=control_port, seed=seed)


def _parsed(message: str) -> object:
    try:
        parsed: object = json.loads(message)
    except ValueError:
        return None
    return parsed


def _message(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _answer(op: str, name: str, words: str = "", *, success: bool = True) -> str:
    answer = {"success": success, "ret_msg": words, "conn_id": _CONNECTION}
    return _message({**answer, "req_id": name, "op": op})


def _rows(rows: Sequence[Any]) -> dict[str, Any]:
    return {"category": "linear", "list": rows}


def _uuid(trade_id: int) -> str:
    return str(UUID(int=trade_id * _SPREAD % 2**128, version=5))


def _sequence(trade: LiveTrade) -> int:
    """Return the number of a match, which all trades of a burst share."""
    return trade.ts_ms - 10**12


def _push_trades(market: LiveMarket, trades: Sequence[LiveTrade]) -> str:
    symbol = market.spec.native
    data = ",".join(
        f'{{"T":{trade.ts_ms},"s":"{symbol}","S":"{trade.side.capitalize()}",'
        f'"v":"{trade.size}","p":"{trade.price}",'
        f'"L":"{"PlusTick" if trade.side == "buy" else "MinusTick"}",'
        f'"i":"{market.write_id(trade.trade_id)}","BT":false,'
        f'"RPI":{"true" if trade.seq % 7 == 6 else "false"},"seq":{_sequence(trade)}}}'
        for trade in trades
    )
    ts_ms = max(trade.ts_ms for trade in trades) + _LAG_MS
    return f'{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":{ts_ms},"data":[{data}]}}'


def _push_book(symbol: str, quote: LiveQuote) -> str:
    data = (
        f'{{"s":"{symbol}","b":{_side(quote.bid)},"a":{_side(quote.ask)},'
        f'"u":{quote.version},"seq":{quote.version + 10**11}}}'
    )
    return (
        f'{{"topic":"orderbook.1.{symbol}","ts":{quote.ts_ms + _LAG_MS},"type":"snapshot",'
        f'"data":{data},"cts":{quote.ts_ms}}}'
    )


def _side(level: Level | None) -> str:
    return "[]" if level is None else f'[["{level[0]}","{level[1]}"]]'


def _push_candle(symbol: str, candle: Candle, now_ms: int) -> str:
    numbers = {
        name: text(getattr(candle, name)) for name in ("open", "close", "high", "low", "volume")
    }
    row = {
        "start": candle.ts_ms,
        "end": candle.ts_ms + MINUTE_MS - 1,
        "interval": "1",
        **numbers,
        "turnover": text(candle.amount),
        "confirm": candle.ts_ms + MINUTE_MS <= now_ms,
        "timestamp": now_ms,
    }
    return _message({"topic": f"kline.1.{symbol}", "data": [row], "ts": now_ms, "type": "snapshot"})


def _book(market: LiveMarket) -> dict[str, Any]:
    quote = market.top() or market.repeat_quote()
    return {
        "s": market.spec.native,
        "b": [quote.bid] if quote.bid else [],
        "a": [quote.ask] if quote.ask else [],
        "ts": quote.ts_ms + _LAG_MS,
        "u": quote.version,
        "seq": quote.version + 10**11,
        "cts": quote.ts_ms,
    }


def _ticker(market: LiveMarket) -> dict[str, Any]:
    trades = market.last_trades(1)
    price = trades[0].price if trades else market.spec.price
    return {
        "symbol": market.spec.native,
        "lastPrice": price,
        "indexPrice": price,
        "markPrice": price,
        "openInterest": "110000.5",
        "openInterestValue": "9240042000",
        "singleOpenInterest": "55000.25",
        "fundingRate": "0.0001",
        "nextFundingTime": "0",
        "predictedDeliveryPrice": "",
        "basis": "",
    }


def _cursor(last: LiveMarket) -> str:
    return f"first=&last={last.spec.native}"


def _instrument(market: LiveMarket) -> dict[str, Any]:
    spec = market.spec
    base = spec.native.removesuffix("USDT")
    return {
        "symbol": spec.native,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": base,
        "quoteCoin": "USDT",
        "launchTime": str(market.launched_ms),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(len(spec.tick.partition(".")[2])),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": spec.tick, "maxPrice": "1999999.80", "tickSize": spec.tick},
        "lotSizeFilter": {
            "maxOrderQty": "1190.000",
            "minOrderQty": spec.size_step,
            "qtyStep": spec.size_step,
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": "USDT",
    }


def _build(asked: argparse.Namespace, options: dict[str, Any]) -> LiveServer:
    return bybit_server(
        [
            bybit_market(
                name if name.endswith("USDT") else f"{name}USDT",
                rate=asked.rate,
                quote_rate=asked.quote_rate,
                history_minutes=asked.history_minutes,
            )
            for name in asked.symbols.split(",")
        ],
        seed=asked.seed,
        clock=VenueClock(start_ms=asked.start_ms, speed=asked.speed, skew_ms=asked.skew_ms),
        options=BybitOptions(**options),
        port=asked.port,
        control_port=asked.control_port,
    )


if __name__ == "__main__":
    serve_until_told("tests.servers.bybit", _build)
