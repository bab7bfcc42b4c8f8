"""A local Hyperliquid: `/ws` and `POST /info`, as docs/venues/hyperliquid.md has them.

    with hyperliquid_server([hyperliquid_market("BTC", rate=20)]) as server: ...
    with running_process("tests.servers.hyperliquid", "--symbols", "BTC,ETH") as server: ...

What the venue's documents leave open is an option (`HyperliquidOptions`), or marked as a guess.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.servers.live_faults import Fault
from tests.servers.live_market import (
    MINUTE_MS,
    Candle,
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

MAX_RATES = 500
MAX_CANDLES = 5_000
_INTERVALS = {"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1w", "1M"}
_WITH_COIN = {"trades", "bbo", "candle", "l2Book", "activeAssetCtx"}
_CHANNELS = {"trades": "trades", "bbo": "bbo", "candle": "candle", "l2Book": "book"}
_NO_HASH = "0x" + "0" * 64
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95  # odd: no two alike
_USERS = ["0x" + "a1" * 20, "0x" + "b2" * 20]
_WEIGHT_A_MINUTE = 1_200
_LIGHT = {"l2Book", "allMids", "exchangeStatus"}
# price, tick, size step: five significant figures, and at most 6 - szDecimals places
_KNOWN = {
    "BTC": ("84000", "1", "0.00001"),
    "ETH": ("3000", "0.1", "0.0001"),
    "SOL": ("150", "0.01", "0.01"),
    "DOGE": ("0.08", "0.00001", "1"),
}
_LEVERAGES = {"BTC": 40, "ETH": 25}  # those of config/venues/hyperliquid.yaml
_OTHER_LEVERAGE = 10


@dataclass(slots=True)
class HyperliquidOptions(Options):
    """What Hyperliquid can be told to do otherwise.

    Args:
        replay: How many old trades the first frame after a subscribe holds; None for 2 to 10.
        recent_trades: Rows of recentTrades, ten when measured.
        candles_a_reply: 500 if the sources that say so are right; the oldest are kept.
        first_bbo: Whether a bbo comes right after its subscribe, with the time of then.
        greeting: Whether a line that is no JSON comes first.
        users: Whether trades bear the two addresses.
        max_subscriptions: Of one socket.
    """

    replay: int | None = None
    recent_trades: int = 10
    candles_a_reply: int = MAX_CANDLES
    first_bbo: bool = True
    greeting: bool = False
    users: bool = True
    max_subscriptions: int = 1_000


@dataclass(slots=True)
class HyperliquidWire:
    """Hyperliquid's protocol."""

    markets: Mapping[str, LiveMarket]
    clock: VenueClock
    options: HyperliquidOptions
    random: random.Random
    _weight: tuple[float, float] = (float("-inf"), 0.0)  # since when, how much
    _unknowns: int = 0

    @property
    def ws_path(self) -> str:
        return "/ws"

    @property
    def dials_per_minute(self) -> int | None:
        return 30

    def opened(self, session: Session) -> None:
        if self.options.greeting:
            session.send("Websocket connection established.")

    def watch(self, session: Session, now_s: float) -> None:
        if now_s - session.last_sent_s > self.options.timeout_s:
            session.vanish("idle")

    def received(self, session: Session, message: str) -> None:
        now_s = time.monotonic()
        session.messages_s.append(now_s)
        while session.messages_s[0] < now_s - 60:
            session.messages_s.popleft()
        if self.options.limits and len(session.messages_s) > 2_000:
            session.send(self.error("Cannot send more than 2000 messages per minute."))
            return
        match _parsed(message):
            case {"method": "ping"}:
                if session.allows("pong"):
                    session.send('{"channel":"pong"}')
            case {"method": "subscribe" | "unsubscribe" as method, "subscription": dict(wanted)}:
                if not _is_subscription(wanted):
                    session.send(_not_understood(message))
                elif not self._is_possible(wanted):
                    session.vanish("unknown coin")
                elif method == "subscribe":
                    self._subscribe(session, wanted)
                else:
                    self._unsubscribe(session, wanted)
            case _:
                session.send(_not_understood(message))

    def frames(
        self, market: LiveMarket, channel: str, variant: str, events: Sequence[Event]
    ) -> list[str]:
        coin = market.spec.native
        match channel:
            case "trades":
                trades = [self._trade(coin, e) for e in events if isinstance(e, LiveTrade)]
                return [f'{{"channel":"trades","data":[{",".join(trades)}]}}']
            case "bbo":
                return [_bbo(coin, event) for event in events if isinstance(event, LiveQuote)]
            case "candle":
                candles = market.candles(self.clock.now_ms() - MINUTE_MS)
                return [_message("candle", _candle(coin, candle)) for candle in candles[-1:]]
            case "book":
                quotes = [event for event in events if isinstance(event, LiveQuote)]
                fast = {"fast": True} if variant == "fast" else {}
                return [_message("l2Book", _book(coin, quote) | fast) for quote in quotes[-1:]]
        return []

    def unknown(self) -> str:
        self._unknowns += 1
        news = {"seq": self._unknowns, "items": [None, {"coin": "BTC", "time": 0}]}
        return _message(("outcomeNews", "blockNews")[self._unknowns % 2], news)

    def error(self, words: str) -> str:
        return _message("error", words)

    def refusal(self, fault: Fault) -> Reply:
        body = {429: b"", 500: b"null"}.get(fault.status, f"{fault.status}".encode())
        content_type = "application/json" if fault.status == 500 else "text/plain"
        return Reply(fault.status, body, content_type)

    def rest(self, request: RestRequest) -> Reply:
        if request.path != "/info":
            return Reply(404, b"", "text/plain")
        if request.method != "POST":
            return Reply(405, b"", "text/plain")
        if not request.content_type.startswith("application/json"):
            words = b"Expected request with `Content-Type: application/json`"
            return Reply(415, words, "text/plain")
        try:
            asked = json.loads(request.body)
        except ValueError:
            return Reply(400, b"Failed to parse the request body as JSON", "text/plain")
        if not isinstance(asked, dict):
            return _unfit()
        if self._is_spent(asked.get("type")):
            return Reply(429, b"", "text/plain")
        return self._answer(asked)

    def _answer(self, asked: dict[str, Any]) -> Reply:
        if asked.get("dex"):
            return Reply(500, b"null")
        match asked:
            case {"type": "meta"}:
                return json_reply(self._meta())
            case {"type": "metaAndAssetCtxs"}:
                contexts = [_context(market) for market in self.markets.values()]
                return json_reply([self._meta(), contexts])
            case {"type": "spotMeta"}:
                return json_reply(_SPOT_META)
            case {"type": "spotMetaAndAssetCtxs"}:
                return json_reply([_SPOT_META, []])
            case {"type": "perpDexs"}:
                return json_reply([None])
            case {"type": "exchangeStatus"}:
                return json_reply({"specialStatuses": None, "time": self.clock.now_ms()})
            case {"type": "allMids"}:
                return json_reply(
                    {coin: _context(market)["midPx"] for coin, market in self.markets.items()}
                )
            case {"type": "l2Book", "coin": str(coin)}:
                market = self.markets.get(coin)
                quote = market.top() if market else None
                return json_reply(_book(coin, quote) if quote else None)
            case {"type": "recentTrades", "coin": str(coin)}:
                return self._recent_trades(coin)
            case {"type": "fundingHistory", "coin": str(coin), "startTime": int(start_ms)}:
                return self._funding(coin, start_ms, asked.get("endTime"))
            case {"type": "candleSnapshot", "req": dict(wanted)}:
                return self._candle_snapshot(wanted)
        return _unfit()

    def _funding(self, coin: str, start_ms: int, end_ms: int | None) -> Reply:
        """Return the oldest 500 payments from `start_ms` on."""
        if coin not in self.markets:
            return Reply(500, b"null")
        now_ms = self.clock.now_ms()
        last_ms = now_ms if end_ms is None else min(end_ms, now_ms)
        rows = [
            {"coin": coin, "fundingRate": rate.rate, "premium": "0.0001", "time": rate.time_ms}
            for rate in self.markets[coin].rates(hours=1)
            if start_ms <= rate.time_ms <= last_ms
        ]
        return json_reply(rows[:MAX_RATES])

    def _recent_trades(self, coin: str) -> Reply:
        if coin not in self.markets:
            return Reply(500, b"null")  # a guess: what fundingHistory does
        trades = self.markets[coin].last_trades(self.options.recent_trades)[::-1]
        self._charge(len(trades) / 20)
        body = f"[{','.join(self._trade(coin, trade) for trade in trades)}]"
        return Reply(200, body.encode(), trades=trades)

    def _candle_snapshot(self, wanted: dict[str, Any]) -> Reply:
        match wanted:
            case {"coin": str(coin), "interval": "1m", "startTime": int(start_ms)}:
                end_ms = wanted.get("endTime")
            case _:
                return _unfit()  # other intervals too: nobody here needs them
        if coin not in self.markets:
            return Reply(500, b"null")  # a guess
        now_ms = self.clock.now_ms()
        candles = self.markets[coin].candles(flat=self.options.quiet_candles)
        if not self.options.open_candle:
            candles = [candle for candle in candles if candle.ts_ms + MINUTE_MS <= now_ms]
        first_ms = start_ms - start_ms % MINUTE_MS
        rows = [
            _candle(coin, candle)
            for candle in candles[-MAX_CANDLES:]
            if first_ms <= candle.ts_ms and (end_ms is None or candle.ts_ms <= end_ms)
        ][: self.options.candles_a_reply]
        self._charge(len(rows) / 60)
        return json_reply(rows)

    def _is_spent(self, kind: object) -> bool:
        now_s = time.monotonic()
        if now_s - self._weight[0] >= 60:
            self._weight = (now_s, 0.0)
        self._charge(2 if kind in _LIGHT else 20)
        return self.options.limits and self._weight[1] > _WEIGHT_A_MINUTE

    def _charge(self, weight: float) -> None:
        self._weight = (self._weight[0], self._weight[1] + weight)

    def _meta(self) -> dict[str, Any]:
        universe = []
        for coin, market in self.markets.items():
            places = len(market.spec.size_step.partition(".")[2])
            leverage = _LEVERAGES.get(coin, _OTHER_LEVERAGE)
            asset: dict[str, Any] = {
                "szDecimals": places,
                "name": coin,
                "maxLeverage": leverage,
                "marginTableId": leverage,
            }
            if market.spec.delisted:
                asset["isDelisted"] = True
            universe.append(asset)
        tables = [
            [most, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": most}]}]
            for most in sorted({asset["maxLeverage"] for asset in universe})
        ]
        return {"universe": universe, "marginTables": tables, "collateralToken": 0}

    def _is_possible(self, wanted: dict[str, Any]) -> bool:
        if wanted["type"] == "l2Book":
            figures, mantissa = wanted.get("nSigFigs"), wanted.get("mantissa")
            if figures not in (None, 2, 3, 4, 5) or mantissa not in (None, 1, 2, 5):
                return False
            if mantissa is not None and figures != 5:
                return False
        return wanted["type"] not in _WITH_COIN or wanted["coin"] in self.markets

    def _subscribe(self, session: Session, wanted: dict[str, Any]) -> None:
        echo = _echo(wanted)
        key = json.dumps(echo, separators=(",", ":"))
        if key in session.subscriptions:
            session.send(self.error(f"Already subscribed: {key}"))
            return
        most = self.options.max_subscriptions
        if self.options.limits and len(session.subscriptions) >= most:
            session.send(self.error(f"Cannot subscribe to more than {most} channels."))
            return
        self._acknowledge(session, "subscribe", echo)
        channel = _CHANNELS.get(wanted["type"], "other")
        if channel == "candle" and wanted["interval"] != "1m":
            channel = "other"
        market = self.markets.get(wanted.get("coin", ""))
        variant = "fast" if wanted.get("fast") else ""
        session.subscribe(key, channel, wanted.get("coin", ""), variant)
        if market is None:
            return
        if channel == "trades":
            count = self.options.replay
            count = self.random.randint(2, 10) if count is None else count
            if trades := market.last_trades(count):
                session.send_trades(market, "", trades)
        elif channel == "bbo" and self.options.first_bbo:
            session.send_quote(market, "", market.repeat_quote())

    def _unsubscribe(self, session: Session, wanted: dict[str, Any]) -> None:
        echo = _echo(wanted)
        key = json.dumps(echo, separators=(",", ":"))
        if key in session.subscriptions:
            session.unsubscribe(key)
            self._acknowledge(session, "unsubscribe", echo)
        else:
            session.send(self.error(f"Already unsubscribed: {key}"))

    def _acknowledge(self, session: Session, method: str, echo: dict[str, Any]) -> None:
        if session.allows("ack"):
            response = {"method": method, "subscription": echo}
            session.send(_message("subscriptionResponse", response))

    def _trade(self, coin: str, trade: LiveTrade) -> str:
        # Every third has a zero hash, as system and TWAP trades do: no key.
        digest = _NO_HASH if trade.seq % 3 == 0 else f"0x{trade.trade_id * _SPREAD % 2**256:064x}"
        users = f',"users":["{_USERS[0]}","{_USERS[1]}"]' if self.options.users else ""
        side = "B" if trade.side == "buy" else "A"
        return (
            f'{{"coin":"{coin}","side":"{side}","px":"{_number(trade.price)}",'
            f'"sz":"{_number(trade.size)}","time":{trade.ts_ms},"hash":"{digest}",'
            f'"tid":{trade.trade_id}{users}}}'
        )


def hyperliquid_market(coin: str = "BTC", **changes: Any) -> MarketSpec:
    """Return a market of a coin that is like the venue's; `changes` are fields of MarketSpec."""
    price, tick, size_step = _KNOWN.get(coin, ("20", "0.001", "0.1"))
    return MarketSpec(
        **{"native": coin, "price": price, "tick": tick, "size_step": size_step, **changes}
    )


def hyperliquid_server(
    markets: Sequence[MarketSpec] = (),
    *,
    seed: int = 1,
    clock: VenueClock | None = None,
    options: HyperliquidOptions | None = None,
    port: int = 0,
    control_port: int = 0,
) -> LiveServer:
    """Return a running server, with BTC if nothing else is asked for; to be used in a `with`."""
    clock = clock or VenueClock()
    specs = markets or [hyperliquid_market()]
    made = {spec.native: LiveMarket(spec, clock, seed=seed, hashed_ids=True) for spec in specs}
    wire = HyperliquidWire(made, clock, options or HyperliquidOptions(), random.Random(seed))
    return LiveServer(wire, made, clock, port=port, control_port=control_port, seed=seed)


def _parsed(message: str) -> object:
    try:
        parsed: object = json.loads(message)
    except ValueError:
        return None
    return parsed


def _is_subscription(wanted: dict[str, Any]) -> bool:
    kind = wanted.get("type")
    if kind == "allMids":
        return True
    if kind == "candle" and wanted.get("interval") not in _INTERVALS:
        return False
    return kind in _WITH_COIN and isinstance(wanted.get("coin"), str)


def _echo(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["type"] != "l2Book":
        return {name: wanted[name] for name in ("type", "coin", "interval") if name in wanted}
    defaults = {"nSigFigs": None, "mantissa": None, "fast": False}
    return {"type": "l2Book", "coin": wanted["coin"], **defaults, **wanted}


def _not_understood(message: str) -> str:
    return _message("error", f"Error parsing JSON into valid websocket request: {message}")


def _message(channel: str, data: object) -> str:
    return json.dumps({"channel": channel, "data": data}, separators=(",", ":"))


def _unfit() -> Reply:
    words = b"Failed to deserialize the JSON body into the target type"
    return Reply(422, words, "text/plain")


def _number(plain: str) -> str:
    return plain if "." in plain else f"{plain}.0"


def _bbo(coin: str, quote: LiveQuote) -> str:
    sides = []
    for level in (quote.bid, quote.ask):
        if level is None:
            sides.append("null")
        else:
            px, sz, orders = _number(level[0]), _number(level[1]), 1 + quote.version % 40
            sides.append(f'{{"px":"{px}","sz":"{sz}","n":{orders}}}')
    data = f'{{"coin":"{coin}","time":{quote.ts_ms},"bbo":[{sides[0]},{sides[1]}]}}'
    return f'{{"channel":"bbo","data":{data}}}'


def _book(coin: str, quote: LiveQuote) -> dict[str, Any]:
    levels = [
        [{"px": _number(level[0]), "sz": _number(level[1]), "n": 1}] if level else []
        for level in (quote.bid, quote.ask)
    ]
    return {"coin": coin, "time": quote.ts_ms, "levels": levels}


def _candle(coin: str, candle: Candle) -> dict[str, Any]:
    prices = {
        name: _number(text(price))
        for name, price in (
            ("o", candle.open), ("c", candle.close), ("h", candle.high), ("l", candle.low),
        )
    }  # fmt: skip
    return {
        "t": candle.ts_ms, "T": candle.ts_ms + MINUTE_MS - 1, "s": coin, "i": "1m", **prices,
        "v": _number(text(candle.volume)), "n": candle.trades,
    }  # fmt: skip


def _context(market: LiveMarket) -> dict[str, Any]:
    trades = market.last_trades(1)
    price = _number(trades[0].price if trades else market.spec.price)
    return {
        "funding": "0.0000125",
        "openInterest": "30000.0",
        "prevDayPx": price,
        "dayNtlVlm": "1000000.0",
        "premium": "0.0001",
        "oraclePx": price,
        "markPx": price,
        "midPx": price,
        "impactPxs": [price, price],
        "dayBaseVlm": "1000.0",
    }


_SPOT_META: dict[str, Any] = {
    "universe": [],
    "tokens": [
        {
            "name": "USDC",
            "szDecimals": 8,
            "weiDecimals": 8,
            "index": 0,
            "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
            "isCanonical": True,
            "evmContract": None,
            "fullName": None,
        }
    ],
}


def _build(asked: argparse.Namespace, options: dict[str, Any]) -> LiveServer:
    return hyperliquid_server(
        [
            hyperliquid_market(
                coin,
                rate=asked.rate,
                quote_rate=asked.quote_rate,
                history_minutes=asked.history_minutes,
            )
            for coin in asked.symbols.split(",")
        ],
        seed=asked.seed,
        clock=VenueClock(start_ms=asked.start_ms, speed=asked.speed, skew_ms=asked.skew_ms),
        options=HyperliquidOptions(**options),
        port=asked.port,
        control_port=asked.control_port,
    )


if __name__ == "__main__":
    serve_until_told("tests.servers.hyperliquid", _build)
