"""A local MEXC futures: `/edge` and `/api/v1/contract`, as docs/venues/mexc.md has them.

    with mexc_server([mexc_market("BTC_USDT", rate=20)]) as server: ...
    with running_process("tests.servers.mexc", "--symbols", "BTC,ETH") as server: ...

Sizes on this wire, and in what a test pushes, are contracts; rows of a truth are base units.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

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

MAX_KLINES = 2_000
MAX_DEALS = 100
_BASE = "/api/v1/contract"
_INTERVALS = {
    "Min1", "Min5", "Min15", "Min30", "Min60", "Hour4", "Hour8", "Day1", "Week1", "Month1",
}  # fmt: skip
_METHODS = {"deal", "ticker", "depth.full", "depth", "kline", "funding.rate", "index.price"}
_CHANNELS = {"deal": "trades", "depth.full": "bbo", "kline": "candle"}
_CALLS_IN_2_S = {"detail": 10, "depth": 10}
_DEPTH_LAG_MS = 3  # a frame's ts behind its cts, as captured
# price, tick, contract size
_KNOWN = {
    "BTC_USDT": ("84000", "0.1", "0.0001"),
    "ETH_USDT": ("3000", "0.01", "0.01"),
    "SOL_USDT": ("150", "0.01", "0.1"),
    "DOGE_USDT": ("0.08", "0.00001", "100"),
    "RIF_USDT": ("0.05", "0.00001", "10"),
}


@dataclass(slots=True)
class MexcOptions(Options):
    """What MEXC can be told to do otherwise.

    Args:
        ids: How a trade's `i` is written, or that it and `cts` are not there.
        deals: `array` as of 2025-06, or `object` as before, one trade a frame.
        exponent_every: Every so many-th trade has its numbers with exponents; 0 for none.
        pongs: How many answer a ping; somebody saw two.
        detail_of_one: Whether `detail?symbol=` answers with one object or a list of it.
        keep_klines: Which end stays when a span has more than 2,000.
    """

    ids: Literal["string", "int", "absent"] = "string"
    deals: Literal["array", "object"] = "array"
    exponent_every: int = 10
    pongs: int = 1
    detail_of_one: Literal["object", "list"] = "object"
    keep_klines: Literal["newest", "oldest"] = "newest"


@dataclass(slots=True)
class MexcWire:
    """MEXC's futures protocol."""

    markets: Mapping[str, LiveMarket]
    clock: VenueClock
    options: MexcOptions
    _calls: dict[str, deque[float]] = field(default_factory=dict)

    @property
    def ws_path(self) -> str:
        return "/edge"

    @property
    def dials_per_minute(self) -> int | None:
        return None

    def opened(self, session: Session) -> None:
        """Say nothing: MEXC does not greet."""

    def watch(self, session: Session, now_s: float) -> None:
        if now_s - session.last_ping_s <= self.options.timeout_s:
            return
        if session.subscriptions:
            session.send(self.error("more than 60 seconds no response, close the channel"))
            session.close("no ping")
        else:
            session.vanish("no ping")

    def received(self, session: Session, message: str) -> None:
        try:
            asked = json.loads(message)
        except ValueError:
            return
        match asked:
            case {"method": "ping"}:
                session.last_ping_s = time.monotonic()
                now_ms = self.clock.now_ms()
                for _ in range(self.options.pongs if session.allows("pong") else 0):
                    session.send(f'{{"channel":"pong","data":{now_ms},"ts":{now_ms}}}')
            case {"method": str(method), "param": dict(param)}:
                verb, _, name = method.partition(".")
                if verb in ("sub", "unsub") and name in _METHODS:
                    self._change(session, verb, name, param)

    def frames(
        self, market: LiveMarket, channel: str, variant: str, events: Sequence[Event]
    ) -> list[str]:
        symbol = market.spec.native
        match channel:
            case "trades":
                trades = [event for event in events if isinstance(event, LiveTrade)]
                whole = variant == "merged" and self.options.deals == "array"
                groups = [trades] if whole else [[trade] for trade in trades]
                return [self._push_deal(symbol, group) for group in groups if group]
            case "bbo":
                quotes = [event for event in events if isinstance(event, LiveQuote)]
                return [_push_depth(market, quote, int(variant)) for quote in quotes]
            case "candle":
                candles = market.candles(self.clock.now_ms() - MINUTE_MS)
                return [self._push_kline(symbol, candle) for candle in candles[-1:]]
        return []

    def unknown(self) -> str:
        return f'{{"channel":"push.event.contract","data":[],"ts":{self.clock.now_ms()}}}'

    def error(self, words: str) -> str:
        return _message("rs.error", words, self.clock.now_ms())

    def refusal(self, fault: Fault) -> Reply:
        if fault.code is not None:
            return _refused(fault.code, _WORDS.get(fault.code, "Refused"))
        return Reply(fault.status, f"<html>{fault.status}</html>".encode(), "text/html")

    def rest(self, request: RestRequest) -> Reply:
        if request.path == "/api/v3/exchangeInfo":
            info = {"timezone": "CST", "serverTime": self.clock.now_ms()}
            return json_reply({**info, "rateLimits": [], "exchangeFilters": [], "symbols": []})
        call, _, symbol = request.path.removeprefix(_BASE + "/").partition("/")
        calls = {"ping", "detail", "kline", "deals", "depth", "funding_rate", "ticker"}
        if not request.path.startswith(_BASE) or call not in calls or request.method != "GET":
            return Reply(404, b'{"success":false,"code":404}')
        if self._is_too_often(call):
            return _refused(510, _WORDS[510])
        if call == "ping":
            return _done(self.clock.now_ms())
        if call == "detail":
            return self._detail(request.query.get("symbol"))
        if call == "ticker":
            return _done([self._ticker(market) for market in self.markets.values()])
        if (call, symbol) == ("funding_rate", "history"):
            return self._funding(request.query)
        market = self.markets.get(symbol)
        if market is None:
            return _refused(1001, _WORDS[1001])
        try:
            match call:
                case "kline":
                    return self._kline(market, request.query)
                case "deals":
                    limit = min(int(request.query.get("limit", MAX_DEALS)), MAX_DEALS)
                    trades = market.last_trades(limit)[::-1]
                    rows = ",".join(self._deal(trade) for trade in trades)
                    body = f'{{"success":true,"code":0,"data":[{rows}]}}'
                    return Reply(200, body.encode(), trades=trades)
        except ValueError:
            return _refused(600, _WORDS[600])
        return self._depth(market)

    def _ticker(self, market: LiveMarket) -> dict[str, Any]:
        trades = market.last_trades(1)
        price = float(trades[0].price if trades else market.spec.price)
        return {
            "symbol": market.spec.native,
            "lastPrice": price,
            "fairPrice": price,
            "indexPrice": price,
            "holdVol": 1_000_000,
            "timestamp": self.clock.now_ms(),
        }

    def _funding(self, query: Mapping[str, str]) -> Reply:
        """Return a page of what was paid, the newest first."""
        market = self.markets.get(query.get("symbol", ""))
        if market is None:
            return _refused(1001, _WORDS[1001])
        size, number = int(query.get("page_size", "20")), int(query.get("page_num", "1"))
        rates = market.rates(hours=8)[::-1]
        rows = [
            {
                "symbol": market.spec.native,
                "fundingRate": float(rate.rate),
                "settleTime": rate.time_ms - rate.time_ms % 3_600_000,
            }
            for rate in rates[(number - 1) * size : number * size]
        ]
        return _done(
            {
                "pageSize": size,
                "totalCount": len(rates),
                "totalPage": -(-len(rates) // size),
                "currentPage": number,
                "resultList": rows,
            }
        )

    def _change(self, session: Session, verb: str, name: str, param: dict[str, Any]) -> None:
        symbol = param.get("symbol")
        if not isinstance(symbol, str) or symbol not in self.markets:
            session.send(self.error(f"Contract [{symbol}] not exists"))
            return
        interval = param.get("interval")
        if verb == "sub" and name == "kline" and interval not in _INTERVALS:
            session.send('{"channel":"rs.error","data":"Not support interval"}')
            return
        if session.allows("ack"):
            session.send(_message(f"rs.{verb}.{name}", "success", self.clock.now_ms()))
        key = f"{name}:{symbol}"
        if verb == "unsub":
            session.unsubscribe(key)
            return
        channel = _CHANNELS.get(name, "other")
        variant = ""
        if channel == "trades":
            variant = "single" if param.get("compress") is False else "merged"
        elif channel == "bbo":
            variant = str(param.get("limit", 20))
        elif channel == "candle" and interval != "Min1":
            channel = "other"
        session.subscribe(key, channel, symbol, variant)

    def _push_deal(self, symbol: str, trades: Sequence[LiveTrade]) -> str:
        deals = ",".join(self._deal(trade) for trade in reversed(trades))
        data = deals if self.options.deals == "object" else f"[{deals}]"
        ts_ms = max(trade.ts_ms for trade in trades)
        return f'{{"symbol":"{symbol}","data":{data},"channel":"push.deal","ts":{ts_ms}}}'

    def _deal(self, trade: LiveTrade) -> str:
        every = self.options.exponent_every
        number = _exponent if every and trade.seq % every == every - 1 else str
        ids = ""
        if self.options.ids == "string":
            ids = f',"i":"{trade.trade_id}","cts":"{trade.ts_ms}"'
        elif self.options.ids == "int":
            ids = f',"i":{trade.trade_id},"cts":{trade.ts_ms}'
        return (
            f'{{"p":{number(trade.price)},"v":{number(trade.size)},'
            f'"T":{1 if trade.side == "buy" else 2},"O":3,"M":{1 + trade.seq % 2},'
            f'"t":{trade.ts_ms}{ids}}}'
        )

    def _push_kline(self, symbol: str, candle: Candle) -> str:
        o, h, low, c = (text(p) for p in (candle.open, candle.high, candle.low, candle.close))
        data = (
            f'{{"symbol":"{symbol}","interval":"Min1","t":{candle.ts_ms // 1000},'
            f'"o":{o},"c":{c},"h":{h},"l":{low},"a":{text(candle.amount)},'
            f'"q":{text(candle.volume)},"ro":{o},"rc":{c},"rh":{h},"rl":{low}}}'
        )
        now_ms = self.clock.now_ms()
        return f'{{"symbol":"{symbol}","data":{data},"channel":"push.kline","ts":{now_ms}}}'

    def _is_too_often(self, call: str) -> bool:
        calls, now_s = self._calls.setdefault(call, deque()), time.monotonic()
        while calls and calls[0] < now_s - 2:
            calls.popleft()
        calls.append(now_s)
        return self.options.limits and len(calls) > _CALLS_IN_2_S.get(call, 20)

    def _detail(self, symbol: str | None) -> Reply:
        if symbol is None:
            return _done([_contract(m.spec) for m in self.markets.values() if not m.spec.delisted])
        market = self.markets.get(symbol)
        if market is None or market.spec.delisted:
            return _refused(1001, _WORDS[1001])
        contract = _contract(market.spec)
        return _done(contract if self.options.detail_of_one == "object" else [contract])

    def _kline(self, market: LiveMarket, query: Mapping[str, str]) -> Reply:
        if query.get("interval", "Min1") != "Min1":
            return _refused(600, _WORDS[600])
        start_s = int(query["start"]) if "start" in query else None
        end_s = int(query["end"]) if "end" in query else None
        now_ms = self.clock.now_ms()
        candles = [
            candle
            for candle in market.candles(flat=self.options.quiet_candles)
            if (start_s is None or candle.ts_ms // 1000 >= start_s - start_s % 60)
            and (end_s is None or candle.ts_ms // 1000 <= end_s)
            and (self.options.open_candle or candle.ts_ms + MINUTE_MS <= now_ms)
        ]
        newest = start_s is None or self.options.keep_klines == "newest"
        candles = candles[-MAX_KLINES:] if newest else candles[:MAX_KLINES]
        columns: dict[str, list[Any]] = {"time": [c.ts_ms // 1000 for c in candles]}
        real = {
            n: [float(getattr(c, n)) for c in candles] for n in ("open", "close", "high", "low")
        }
        # As in captured frames: the first price shown is the last one of the minute before.
        columns["open"] = [*real["open"][:1], *real["close"][:-1]]
        columns["close"] = real["close"]
        columns["high"] = list(map(max, columns["open"], real["high"]))
        columns["low"] = list(map(min, columns["open"], real["low"]))
        columns["vol"] = [float(c.volume) for c in candles]
        columns["amount"] = [float(c.amount) for c in candles]
        for name, prices in real.items():
            columns[f"real{name.capitalize()}"] = prices
        return _done(columns)

    def _depth(self, market: LiveMarket) -> Reply:
        quote = market.top()
        if quote is None:
            return _done({"asks": [], "bids": [], "version": 0, "timestamp": 0})
        asks, bids = _levels(market, quote, 20)
        parts = f'"asks":{asks},"bids":{bids},"version":{quote.version}'
        body = f'{{"success":true,"code":0,"data":{{{parts},"timestamp":{quote.ts_ms}}}}}'
        return Reply(200, body.encode())


_WORDS = {
    500: "Internal error",
    510: "Requests are too frequent, please try again later",
    600: "Parameter error",
    1001: "Contract does not exist",
}


def mexc_market(symbol: str = "BTC_USDT", **changes: Any) -> MarketSpec:
    """Return a market of a contract like the venue's; `changes` are fields of MarketSpec."""
    price, tick, contract_size = _KNOWN.get(symbol, ("20", "0.001", "1"))
    like = {"native": symbol, "price": price, "tick": tick, "contract_size": contract_size}
    return MarketSpec(**{**like, "size_step": "1", "quote_rate": 3.5, "repeats": 0.4, **changes})


def mexc_server(
    markets: Sequence[MarketSpec] = (),
    *,
    seed: int = 1,
    clock: VenueClock | None = None,
    options: MexcOptions | None = None,
    port: int = 0,
    control_port: int = 0,
) -> LiveServer:
    """Return a running server, with BTC_USDT if nothing else is asked for; for a `with`."""
    clock = clock or VenueClock()
    specs = markets or [mexc_market()]
    made = {spec.native: LiveMarket(spec, clock, seed=seed) for spec in specs}
    wire = MexcWire(made, clock, options or MexcOptions())
    return LiveServer(wire, made, clock, port=port, control_port=control_port, seed=seed)


def _message(channel: str, data: object, ts_ms: int) -> str:
    return json.dumps({"channel": channel, "data": data, "ts": ts_ms}, separators=(",", ":"))


def _done(data: object) -> Reply:
    return json_reply({"success": True, "code": 0, "data": data})


def _refused(code: int, words: str) -> Reply:
    return json_reply({"success": False, "code": code, "message": words})


def _exponent(plain: str) -> str:
    value = Decimal(plain).normalize()
    digits = value.as_tuple().digits
    mantissa = "".join(map(str, digits))
    mantissa = mantissa if len(mantissa) == 1 else f"{mantissa[0]}.{mantissa[1:]}"
    return f"{mantissa}E{value.adjusted():+d}"


def _push_depth(market: LiveMarket, quote: LiveQuote, limit: int) -> str:
    asks, bids = _levels(market, quote, limit)
    data = f'{{"cts":{quote.ts_ms},"asks":{asks},"bids":{bids},"version":{quote.version}}}'
    symbol, ts_ms = market.spec.native, quote.ts_ms + _DEPTH_LAG_MS
    return f'{{"symbol":"{symbol}","data":{data},"channel":"push.depth.full","ts":{ts_ms}}}'


def _levels(market: LiveMarket, quote: LiveQuote, limit: int) -> tuple[str, str]:
    tick = Decimal(market.spec.tick)
    return (
        _side(quote.ask, tick, quote.version, limit),
        _side(quote.bid, -tick, quote.version, limit),
    )


def _side(top: Level | None, away: Decimal, version: int, limit: int) -> str:
    if top is None:
        return "[]"
    rows = [f"[{top[0]},{top[1]},{1 + version % 9}]"]
    price = Decimal(top[0])
    for depth in range(1, limit):
        price += away
        if price <= 0:
            break
        rows.append(f"[{text(price)},{1 + (version * depth) % 9973},{1 + depth % 4}]")
    return f"[{','.join(rows)}]"


def _contract(spec: MarketSpec) -> dict[str, Any]:
    base, _, quote = spec.native.partition("_")
    return {
        "symbol": spec.native,
        "displayName": f"{spec.native}永续",
        "displayNameEn": f"{spec.native} PERPETUAL",
        "positionOpenType": 3,
        "baseCoin": base,
        "quoteCoin": quote,
        "settleCoin": quote,
        "contractSize": float(spec.contract_size),
        "minLeverage": 1,
        "maxLeverage": 200,
        "priceScale": len(spec.tick.partition(".")[2]),
        "volScale": 0,
        "amountScale": 4,
        "priceUnit": float(spec.tick),
        "volUnit": int(spec.size_step),
        "minVol": 1,
        "maxVol": 1_000_000,
        "takerFeeRate": 0.0002,
        "makerFeeRate": 0,
        "state": 0,
        "isNew": False,
        "isHot": True,
        "isHidden": False,
        "apiAllowed": True,
    }


def _build(asked: argparse.Namespace, options: dict[str, Any]) -> LiveServer:
    return mexc_server(
        [
            mexc_market(
                name if "_" in name else f"{name}_USDT",
                rate=asked.rate,
                quote_rate=asked.quote_rate,
                history_minutes=asked.history_minutes,
            )
            for name in asked.symbols.split(",")
        ],
        seed=asked.seed,
        clock=VenueClock(start_ms=asked.start_ms, speed=asked.speed, skew_ms=asked.skew_ms),
        options=MexcOptions(**options),
        port=asked.port,
        control_port=asked.control_port,
    )


if __name__ == "__main__":
    serve_until_told("tests.servers.mexc", _build)
