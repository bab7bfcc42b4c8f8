"""A local server that speaks the REST of three exchanges to ccxt's own clients, and misbehaves.

    with ExchangeServer(market) as server:
        server.faults.append(Fault("status", 429, retry_after=2))
        ...server.url...

Bitstamp keeps all and answers a window; Coinbase Exchange too, newest first, without the minutes in
which nothing traded; Kraken answers any `since` with the newest 720 bars.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from tests.builders import Row, at

MINUTE_MS, DAY_MS = 60_000, 86_400_000
KRAKEN_KEEPS, COINBASE_PAGE = 720, 300
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What the next request of bars gets in place of its reply, or with it.

    `status` with `retry_after` in seconds; `garbage`: JSON of another shape; `drop`: RST;
    `short`: the first rows of the page only.
    """

    kind: Literal["status", "garbage", "drop", "short"]
    status: int = 500
    retry_after: int | None = None


@dataclass
class ExchangeMarket:
    """The truth: 1m bars by time; `now_ms` is the exchange's clock, the minute of it is open."""

    bars: list[Row]
    now_ms: int
    older_days: int = 0  # of daily bars before the first of `bars`
    _by_day: dict[int, Row] = field(default_factory=dict)

    def rows(self, step_ms: int, start_ms: int, end_ms: int) -> list[Row]:
        """Return the bars of a length of a minute or a day that open in the span."""
        rows = self.bars
        if step_ms != MINUTE_MS:
            by_day = {row[0] // DAY_MS * DAY_MS: row for row in self.bars}
            first = min(by_day)
            older = [first - n * DAY_MS for n in range(self.older_days, 0, -1)]
            rows = [(ts, 1.0, 1.0, 1.0, 1.0, 1.0) for ts in older]
            rows += [(ts, *row[1:]) for ts, row in by_day.items()]
        return [row for row in rows if start_ms <= row[0] < min(end_ms, self.now_ms)]


class ExchangeServer:
    """The server, listening on 127.0.0.1 until `close`."""

    def __init__(self, market: ExchangeMarket) -> None:
        self.market = market
        self.faults: list[Fault] = []
        self.log: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def asked(self, step: str = "60") -> list[dict[str, str]]:
        """Return the queries for bars of a length, as the exchange names it."""
        return [query for _, query in self.log if step in query.values()]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        self.log.append((parts.path, query))
        is_minutes = query.get("step") == "60" or query.get("granularity") == "60"
        is_minutes = is_minutes or query.get("interval") == "1"
        fault = self.faults.pop(0) if is_minutes and self.faults else None
        body: Any = self._body(parts.path, query, short=fault is not None and fault.kind == "short")
        status, headers = 200 if body is not None else 404, {}
        if fault is not None and fault.kind == "drop":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            handler.connection.close()
            handler.close_connection = True
            return
        if fault is not None and fault.kind == "status":
            status, body = fault.status, {"error": "no"}
            if fault.retry_after is not None:
                headers["Retry-After"] = str(fault.retry_after)
        if fault is not None and fault.kind == "garbage":
            body = {"data": {"ohlc": [["?", None]]}, "result": {"XXBTZUSD": [["?"]]}}
        text = json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def _body(self, path: str, query: dict[str, str], *, short: bool) -> Any:
        def cut(rows: list[Row]) -> list[Row]:
            return rows[: max(1, len(rows) // 3)] if short else rows

        match path.strip("/").split("/"):
            case ["api", "v2", "markets"]:
                return [_bitstamp_market("BTC/USD", "SPOT"), _bitstamp_market("ETH/USD", "SPOT")]
            case ["api", "v2", "ohlc", "btcusd"]:
                step_ms = int(query["step"]) * 1000
                start_ms, end_ms = int(query["start"]) * 1000, int(query["end"]) * 1000 + 1
                rows = self.market.rows(step_ms, start_ms, end_ms)[: int(query["limit"])]
                return {"data": {"pair": "BTC/USD", "ohlc": [_named(row) for row in cut(rows)]}}
            case ["0", "public", "AssetPairs"]:
                return {"error": [], "result": {"XXBTZUSD": _KRAKEN_PAIR}}
            case ["0", "public", "Time"]:
                return {"error": [], "result": {"unixtime": self.market.now_ms // 1000}}
            case ["0", "public", "OHLC"]:
                step_ms = int(query["interval"]) * MINUTE_MS
                rows = self.market.rows(step_ms, int(query["since"]) * 1000 + 1, 2**60)
                rows = cut(rows[-KRAKEN_KEEPS:])
                return {"error": [], "result": {"XXBTZUSD": [_kraken(row) for row in rows]}}
            case ["products"]:
                return [_COINBASE_PRODUCT]
            case ["time"]:
                return {"epoch": self.market.now_ms / 1000, "iso": ""}
            case ["products", "BTC-USD", "candles"]:
                step_ms = int(query["granularity"]) * 1000
                start_ms, end_ms = (at(query[name].rstrip("Z")) for name in ("start", "end"))
                rows = cut(self.market.rows(step_ms, start_ms, end_ms + 1)[:COINBASE_PAGE])
                order = (0, 3, 2, 1, 4, 5)
                traded = [row for row in rows if row[5] or step_ms > MINUTE_MS]
                return [[row[0] // 1000, *(row[i] for i in order[1:])] for row in traded[::-1]]
        return None


def _named(row: Row) -> dict[str, str]:
    names = ("timestamp", "open", "high", "low", "close", "volume")
    return dict(zip(names, (str(row[0] // 1000), *map(str, row[1:])), strict=True))


def _kraken(row: Row) -> list[Any]:
    first, high, low, last, volume = map(str, row[1:])
    return [row[0] // 1000, first, high, low, last, "1", volume, 3]


def _bitstamp_market(name: str, kind: str) -> dict[str, str]:
    base, quote = name.split("/")
    return {
        "name": name,
        "market_symbol": name.replace("/", "").lower(),
        "base_currency": base,
        "base_decimals": "8",
        "counter_currency": quote,
        "counter_decimals": "0",
        "minimum_order_value": "10",
        "trading": "Enabled",
        "market_type": kind,
    }


_KRAKEN_PAIR: dict[str, Any] = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "base": "XXBT",
    "quote": "ZUSD",
    "pair_decimals": 1,
    "lot_decimals": 8,
    "leverage_buy": [2, 3],
    "fees": [[0, 0.4]],
    "fees_maker": [[0, 0.25]],
    "ordermin": "0.0001",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}
_COINBASE_PRODUCT = {
    "id": "BTC-USD",
    "base_currency": "BTC",
    "quote_currency": "USD",
    "quote_increment": "0.01",
    "base_increment": "0.00000001",
    "min_market_funds": "1",
    "status": "online",
    "trading_disabled": False,
}


def rows_at(bars: Iterable[Row], start_ms: int, end_ms: int) -> list[Row]:
    """Return the truth of a span."""
    return [row for row in bars if start_ms <= row[0] < end_ms]
