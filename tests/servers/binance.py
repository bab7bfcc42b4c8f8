"""A local Binance, archive and REST: it tells the truth that it was given, and misbehaves.

It is Spot (`/api/v3`) and the USD-M perpetuals (`/fapi/v1`) alike, of the same markets.

    with BinanceServer({"BTCUSDT": market}, now_ms=now_ms) as server:
        server.faults.add(Fault(match="2024-01.zip", kind="truncate", times=2))
        ...server.url...
        assert server.count("monthly") == 3

`python -m tests.servers.binance --help` runs it as a process; other processes steer it by
`POST /_control` and read `GET /_control/log` (`send_control`, `read_log`).

Two clocks: `now_ms` is the market's (a number that a test moves), and the weight meter's is the
wall clock, which `weight.advance` moves forward. The wire follows docs/venues/binance.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args
from urllib.parse import parse_qsl, urlsplit
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

from tests.servers.binance_archive import (
    ArchiveFile,
    Override,
    in_archive_unit,
    make_zip,
    parse_archive_path,
)
from tests.servers.binance_faults import (
    Fault,
    Faults,
    Reply,
    banned,
    json_reply,
    meant_to_be_sent,
    no_such_key,
    reason,
    struck,
    too_many,
)
from tests.servers.binance_market import (
    MICROSECONDS_FROM,
    MINUTE_MS,
    TINY_COIN,
    Market,
    Row,
    market_from_archive,
    open_ms_of,
    parse_row,
    synthetic_market,
    synthetic_rates,
)

_SPOT, _PERP = "/api/v3/", "/fapi/v1/"
_WEIGHTS = {"/api/v3/klines": 2, "/api/v3/exchangeInfo": 20}
_PERP_KLINES_WEIGHTS = ((99, 1), (499, 2), (1000, 5), (10**9, 10))
_RATES_PARAMETERS = {"symbol", "startTime", "endTime", "limit"}
_KLINES_PARAMETERS = {"symbol", "interval", "startTime", "endTime", "timeZone", "limit"}
_INFO_PARAMETERS = {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}
_SYMBOL, _NUMBER = "^[A-Z0-9-_.]{1,20}$", "^[0-9]{1,20}$"
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s
_REPOSITORY = Path(__file__).resolve().parents[2]

type Side = Literal["archive", "rest"]

SIDES: tuple[Side, ...] = get_args(Side.__value__)


@dataclass(frozen=True, slots=True)
class Hidden:
    """Minutes `[start_ms, end_ms)` that one side lacks: all archive files, or REST."""

    symbol: str
    side: Side
    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ValueError(f"{self.side!r} is no side")


@dataclass(frozen=True, slots=True)
class Logged:
    """One request, logged before its reply is sent.

    Args:
        status: 0 when no status line was meant to be sent.
        sent: Bytes of the body that were meant to be sent.
        fault: The kind of the fault that struck, or "".
    """

    method: str
    path: str
    query: dict[str, str]
    status: int
    sent: int
    fault: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a reply depends on."""

    method: str
    target: str
    path: str
    query: tuple[tuple[str, str], ...]
    microseconds: bool


class WeightMeter:
    """Request weight of the current minute, and the ban of a client that does not stop.

    Args:
        limit: The weight that a minute allows; the request that exceeds it gets 429.
        ban_after: How many 429 a minute gives before it gives 418.
        ban_s: How long a ban lasts.
        clock: Seconds; its minutes are the meter's.
    """

    def __init__(
        self,
        limit: int = 6_000,
        *,
        ban_after: int = 3,
        ban_s: int = 120,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limit, self.ban_after, self.ban_s = limit, ban_after, ban_s
        self._clock = clock
        self._lock = threading.Lock()
        self._skew_s = 0.0
        self._minute = self._used = self._refusals = 0
        self._banned_until_s = 0.0

    def advance(self, seconds: float) -> None:
        """Let it believe that time passed: a new minute, or the end of a ban."""
        with self._lock:
            self._skew_s += seconds

    def charge(self, weight: int) -> tuple[int, Reply | None]:
        """Count a request; return the weight used and, when it is refused, its reply."""
        with self._lock:
            now_s = self._clock() + self._skew_s
            if int(now_s // 60) != self._minute:
                self._minute, self._used, self._refusals = int(now_s // 60), 0, 0
            self._used += weight
            if now_s >= self._banned_until_s:
                if self._used <= self.limit:
                    return self._used, None
                self._refusals += 1
                if self._refusals <= self.ban_after:
                    return self._used, too_many(self.limit, math.ceil(60 - now_s % 60))
                self._banned_until_s = now_s + self.ban_s
            wait_s = math.ceil(self._banned_until_s - now_s)
            return self._used, banned(int(self._banned_until_s * 1000), wait_s)


class BinanceServer:
    """The server, listening on 127.0.0.1 from its making until `close`; a context manager.

    Args:
        markets: The truth by native symbol; a test may replace a market while it serves.
        now_ms: The market's clock. The minute that holds it is open; later ones do not exist.
        weight: What REST requests cost, and what happens to those who spend too much.
        daily_delay_ms: How long after its day's end a daily file appears.
        monthly_delay_ms: How long after the first Monday of the next month a monthly file does.
        port: 0 for any.
        cached_mb: Archive files that are kept, so that a benchmark need not pay for their making
            twice.
    """

    def __init__(
        self,
        markets: Mapping[str, Market],
        *,
        now_ms: int,
        weight: WeightMeter | None = None,
        daily_delay_ms: int = 0,
        monthly_delay_ms: int = 0,
        port: int = 0,
        cached_mb: int = 512,
    ) -> None:
        self.markets = dict(markets)
        self.now_ms = now_ms
        self.daily_delay_ms, self.monthly_delay_ms = daily_delay_ms, monthly_delay_ms
        self.faults = Faults()
        self.weight = weight or WeightMeter()
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._log: list[Logged] = []
        self._overrides: list[Override] = []
        self._hidden: list[Hidden] = []
        self._zips = _Zips(cached_mb * 2**20)
        self._open_row_served = 0
        self._http = _HttpServer(self, port)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._accept, name=self.url, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, drop every connection and end every thread; may be repeated."""
        self.closing.set()
        if self._thread.is_alive():
            socket.create_connection(("127.0.0.1", self._http.server_port)).close()  # wakes it
            self._thread.join()
        self._http.server_close()
        self._http.drop_connections()

    @property
    def log(self) -> list[Logged]:
        """Every request so far, in order, those to `/_control` left out."""
        with self._lock:
            return list(self._log)

    def requests_of(self, part: str = "", *, status: int | None = None) -> list[Logged]:
        """Return the requests whose path holds `part`, in order; of one status, if given."""
        return [
            logged for logged in self.log if part in logged.path and status in (None, logged.status)
        ]

    def count(self, part: str = "", *, status: int | None = None) -> int:
        """Return how many requests had `part` in their path; of one status, if given."""
        return len(self.requests_of(part, status=status))

    def reset_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._log.clear()

    def override(self, *overrides: Override) -> None:
        """Serve archive files otherwise from now on; those of one file apply in order."""
        with self._lock:
            self._overrides += overrides

    def hide(self, *hidden: Hidden) -> None:
        """Take minutes away from the archive or from REST from now on."""
        with self._lock:
            self._hidden += hidden

    def behave(self) -> None:
        """Forget overrides, hidden minutes and faults."""
        with self._lock:
            self._overrides.clear()
            self._hidden.clear()
        self.faults.clear()

    def control(self, message: Mapping[str, Any]) -> None:
        """Do what `POST /_control` asks, all of it or nothing.

        Keys, in the order of their doing: behave, reset_log, faults, overrides, hidden (lists
        of objects with the fields of the records), now_ms, daily_delay_ms, monthly_delay_ms,
        weight_limit, advance_weight_s.

        Raises:
            TypeError: A key, or a field of a record, is unknown.
            ValueError: A kind or a side is unknown, or a number is none.
        """
        known = {"behave", "reset_log", "faults", "overrides", "hidden", "now_ms"}
        known |= {"daily_delay_ms", "monthly_delay_ms", "weight_limit", "advance_weight_s"}
        if unknown := message.keys() - known:
            raise TypeError(f"unknown keys {sorted(unknown)}, expected some of {sorted(known)}")
        faults = [Fault(**fields) for fields in message.get("faults", ())]
        overrides = [Override(**fields) for fields in message.get("overrides", ())]
        hidden = [Hidden(**fields) for fields in message.get("hidden", ())]
        clocks = ("now_ms", "daily_delay_ms", "monthly_delay_ms")
        times = {name: int(message[name]) for name in clocks if name in message}
        weight_limit = int(message.get("weight_limit", self.weight.limit))
        advance_s = float(message.get("advance_weight_s", 0.0))
        if message.get("behave"):
            self.behave()
        if message.get("reset_log"):
            self.reset_log()
        self.faults.add(*faults)
        self.override(*overrides)
        self.hide(*hidden)
        for name, ms in times.items():
            setattr(self, name, ms)
        self.weight.limit = weight_limit
        self.weight.advance(advance_s)

    def reply_to(self, request: Request) -> tuple[Reply, Fault | None]:
        """Return the reply and the fault that strikes it, and log both."""
        is_rest = request.path.startswith((_SPOT, _PERP))
        reply = self._rest(request) if is_rest else self._archive(request.path)
        fault = self.faults.take(request.target, request.path, reply.status)
        if fault is not None:
            reply = struck(reply, fault, request.path)
        status, sent = meant_to_be_sent(reply, fault)
        sent = 0 if request.method == "HEAD" else sent
        kind = fault.kind if fault else ""
        logged = Logged(request.method, request.path, dict(request.query), status, sent, kind)
        with self._lock:
            self._log.append(logged)
        return reply, fault

    def _accept(self) -> None:
        while not self.closing.is_set():
            self._http.handle_request()

    def _archive(self, path: str) -> Reply:
        file = parse_archive_path(path)
        zipped = self._zip(file) if file else None
        if file is None or zipped is None:
            return no_such_key(path)
        if not file.is_checksum:
            return Reply(200, zipped, "application/zip")
        line = f"{hashlib.sha256(zipped).hexdigest()}  {file.stem}.zip\n"
        return Reply(200, line.encode(), "binary/octet-stream")

    def _zip(self, file: ArchiveFile) -> bytes | None:
        """Return one archive file; None when it is not there, or not yet."""
        market = self.markets.get(file.symbol)
        delay_ms = self.monthly_delay_ms if file.monthly else self.daily_delay_ms
        if market is None or self.now_ms < file.published_ms + delay_ms:
            return None
        with self._lock:
            overrides = [o for o in self._overrides if o.file == file.stem]
        if any(o.kind == "not_published" for o in overrides):
            return None
        if next(_file_lines(market, file), None) is None:
            return None
        hidden = self._hidden_from("archive", file.symbol)

        def make() -> bytes:
            lines = [
                in_archive_unit(line) if file.is_spot else line
                for line in _file_lines(market, file)
                if not hidden or not _is_hidden(open_ms_of(line), hidden)
            ]
            return make_zip(file, lines, overrides)

        key = (file.stem, file.is_spot, market, tuple(overrides), tuple(hidden))
        return self._zips.of(key, make)

    def _hidden_from(self, side: Side, symbol: str) -> list[Hidden]:
        with self._lock:
            return [h for h in self._hidden if (h.side, h.symbol) == (side, symbol)]

    def _rest(self, request: Request) -> Reply:
        used, refusal = self.weight.charge(_weight(request))
        reply = refusal or self._rest_answer(request)
        used_headers = (("X-MBX-USED-WEIGHT", f"{used}"), ("X-MBX-USED-WEIGHT-1M", f"{used}"))
        return replace(reply, headers=(*reply.headers, *used_headers))

    def _rest_answer(self, request: Request) -> Reply:
        try:
            match request.path:
                case "/fapi/v1/fundingRate":
                    return json_reply(self._rates(_parameters(request, _RATES_PARAMETERS)))
                case "/fapi/v1/fundingInfo":
                    _parameters(request, set())
                    return json_reply(self._funding_info())
                case "/api/v3/ping" | "/fapi/v1/ping":
                    _parameters(request, set())
                    return json_reply({})
                case "/api/v3/time" | "/fapi/v1/time":
                    _parameters(request, set())
                    scale = 1000 if request.microseconds else 1
                    return json_reply({"serverTime": self.now_ms * scale})
                case "/api/v3/exchangeInfo":
                    return json_reply(self._exchange_info(_parameters(request, _INFO_PARAMETERS)))
                case "/fapi/v1/exchangeInfo":
                    _parameters(request, set())
                    return json_reply(self._perp_info())
                case "/api/v3/klines" | "/fapi/v1/klines":
                    most = 1000 if request.path.startswith(_SPOT) else 1500
                    rows = self._klines(_parameters(request, _KLINES_PARAMETERS), most)
                    return json_reply(
                        [*map(_in_microseconds, rows)] if request.microseconds else rows
                    )
        except _RefusedError as refused:
            return json_reply({"code": refused.code, "msg": refused.msg}, 400)
        return Reply(404, b"<html><body><h2>404 Not found</h2></body></html>", "text/html")

    def _rates(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the oldest rates from startTime on; the newest ones without it."""
        symbol = _mandatory(query, "symbol")
        market = self._listed(_legal("symbol", symbol, _SYMBOL))
        limit = min(int(_legal("limit", query.get("limit", "100"), _NUMBER)), 1000)
        start_ms = _time_ms("startTime", query.get("startTime", "0"), round_up=True)
        end_ms = _time_ms("endTime", query.get("endTime", str(self.now_ms)), round_up=False)
        hidden = self._hidden_from("rest", symbol)
        rows = [
            {"symbol": symbol, "fundingTime": ts, "fundingRate": rate, "markPrice": "100.00000000"}
            for ts, _, rate in market.rates_in(start_ms, min(end_ms, self.now_ms) + 1)
            if not _is_hidden(ts, hidden)
        ]
        return rows[:limit] if "startTime" in query else rows[-limit:]

    def _funding_info(self) -> list[dict[str, Any]]:
        """Return the symbols whose interval is not 8 hours now."""
        newest = {
            name: rows[-1]
            for name, market in self.markets.items()
            if (rows := market.rates_in(0, self.now_ms + 1))
        }
        return [
            {
                "symbol": name,
                "adjustedFundingRateCap": "0.02500000",
                "adjustedFundingRateFloor": "-0.02500000",
                "fundingIntervalHours": hours,
                "disclaimer": False,
            }
            for name, (_, hours, _) in newest.items()
            if hours != 8
        ]

    def _klines(self, query: Mapping[str, str], most: int) -> list[Row]:
        symbol, interval = _mandatory(query, "symbol"), _mandatory(query, "interval")
        market = self._listed(_legal("symbol", symbol, _SYMBOL))
        if interval != "1m":
            raise _RefusedError(-1120, "Invalid interval.")
        limit = min(int(_legal("limit", query.get("limit", "500"), _NUMBER)), most)
        if limit < 1:
            raise _RefusedError(-1130, "Data sent for parameter 'limit' is not valid.")
        now_ms = self.now_ms
        start_ms = _time_ms("startTime", query.get("startTime", "0"), round_up=True)
        end_ms = _time_ms("endTime", query.get("endTime", str(now_ms)), round_up=False)
        end_ms = min(end_ms, now_ms) + 1
        newest = "startTime" not in query
        lines = (market.newest_lines if newest else market.lines)(start_ms, end_ms)
        hidden = self._hidden_from("rest", symbol)
        shown = (line for line in lines if not _is_hidden(open_ms_of(line), hidden))
        rows = [parse_row(line) for line in islice(shown, limit)]
        return [
            row if row[6] < now_ms else self._unfinished(row, now_ms, market)
            for row in (reversed(rows) if newest else rows)
        ]

    def _unfinished(self, row: Row, now_ms: int, market: Market) -> Row:
        """Return what a minute shows before its close: it has grown each time that one looks."""
        with self._lock:
            self._open_row_served += 1
            looked = self._open_row_served
        past_ms = min(now_ms - row[0] + looked, MINUTE_MS - 1)
        part, tick = Decimal(past_ms) / MINUTE_MS, Decimal(market.tick_size)
        first, high, low, last = map(Decimal, row[1:5])
        close = first + ((last - first) * part / tick).to_integral_value(ROUND_DOWN) * tick

        def grown(amount: str) -> str:
            whole = Decimal(amount)
            return f"{(whole * part).quantize(whole, ROUND_DOWN):f}"

        def price(value: Decimal) -> str:
            return f"{value.quantize(Decimal(row[1])):f}"

        return (
            row[0],
            row[1],
            price(max(first, close, first + (high - first) * (part >= Decimal("0.5")))),
            price(min(first, close, first + (low - first) * (part >= Decimal("0.5")))),
            price(close),
            grown(row[5]),
            row[6],
            grown(row[7]),
            int(row[8] * part),
            grown(row[9]),
            grown(row[10]),
            row[11],
        )

    def _listed(self, symbol: str) -> Market:
        market = self.markets.get(symbol)
        if market is None or self.now_ms < market.listed_ms:
            raise _RefusedError(-1121, "Invalid symbol.")
        return market

    def _exchange_info(self, query: Mapping[str, str]) -> dict[str, Any]:
        if "symbol" in query:
            markets = [self._listed(_legal("symbol", query["symbol"], _SYMBOL))]
        elif "symbols" in query:
            pattern = r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$'
            markets = [*map(self._listed, json.loads(_legal("symbols", query["symbols"], pattern)))]
        else:
            markets = [m for m in self.markets.values() if m.listed_ms <= self.now_ms]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return {
            "timezone": "UTC",
            "serverTime": self.now_ms,
            "rateLimits": [{**limit, "limit": self.weight.limit}],
            "exchangeFilters": [],
            "symbols": [_symbol_info(market) for market in markets],
        }

    def _perp_info(self) -> dict[str, Any]:
        """Return the rules of all perpetuals: the call takes no symbol."""
        info = self._exchange_info({})
        for symbol in info["symbols"]:
            symbol |= {"pair": symbol["symbol"], "contractType": "PERPETUAL", "marginAsset": "USDT"}
            symbol["filters"] = [
                rule for rule in symbol["filters"] if rule["filterType"] != "NOTIONAL"
            ]
            symbol["filters"].append({"filterType": "MIN_NOTIONAL", "notional": "100"})
        return info


def send_control(url: str, **message: Any) -> None:
    """Steer a server in another process; the keys are those of `BinanceServer.control`.

    Raises:
        HTTPError: It did not understand; the body says what.
    """
    body = json.dumps(message, default=asdict).encode()
    with urlopen(UrlRequest(f"{url}/_control", data=body, method="POST"), timeout=5):
        pass


def read_log(url: str) -> list[Logged]:
    """Return the requests that a server in another process has had."""
    with urlopen(f"{url}/_control/log", timeout=5) as reply:
        return [Logged(**fields) for fields in json.load(reply)]


@contextmanager
def running_process(*options: str) -> Iterator[str]:
    """Run the server as a process with these command line options; give its URL."""
    command = [sys.executable, "-m", "tests.servers.binance", "--until-stdin-closes", *options]
    with subprocess.Popen(
        command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, f"{command} ended without a URL"
            yield url
        finally:
            process.terminate()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal comes, printing the base URL as the first line."""
    options = _parse_options(arguments)
    outages: dict[str, list[tuple[int, int]]] = {}
    for symbol, start, end in options.outage:
        outages.setdefault(symbol, []).append((_parse_time(start), _parse_time(end)))
    markets = {}
    for coin, made_up in ((None, options.synthetic), (TINY_COIN, options.tiny)):
        for symbol, start, end, seed in made_up:
            made = synthetic_market(
                symbol,
                _parse_time(start),
                _parse_time(end),
                int(seed),
                outages=outages.get(symbol, ()),
                coin=coin,
            )
            rates = synthetic_rates(made.listed_ms, made.end_ms, int(seed))
            markets[symbol] = replace(made, rates=rates)
    for paths in _by_symbol(options.archive).values():
        market = market_from_archive(paths)
        markets[market.symbol] = market
    now_ms = _parse_time(options.now) if options.now else max(m.end_ms for m in markets.values())

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with BinanceServer(
        markets,
        now_ms=now_ms,
        weight=WeightMeter(options.weight_limit),
        daily_delay_ms=int(options.daily_delay_s * 1000),
        monthly_delay_ms=int(options.monthly_delay_s * 1000),
        port=options.port,
        cached_mb=options.cached_mb,
    ) as server:
        print(server.url, flush=True)
        with suppress(KeyboardInterrupt):
            if options.until_stdin_closes:
                sys.stdin.read()
            else:
                server.closing.wait()


def _parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers.binance",
        description="A local Binance Spot; times are ISO, UTC, such as 2024-01-31.",
    )
    market = ("SYMBOL", "START", "END", "SEED")
    add = parser.add_argument
    add("--port", type=int, default=0)
    add("--now", help="the market's clock; by default the end of the last market")
    add("--synthetic", nargs=4, action="append", default=[], metavar=market)
    add("--tiny", nargs=4, action="append", default=[], metavar=market, help="a tiny price")
    add("--outage", nargs=3, action="append", default=[], metavar=("SYMBOL", "START", "END"))
    add("--archive", nargs="+", type=Path, default=[], help="folders, or daily zips of Binance")
    add("--weight-limit", type=int, default=6_000)
    add("--daily-delay-s", type=float, default=0.0)
    add("--monthly-delay-s", type=float, default=0.0)
    add("--cached-mb", type=int, default=512)
    add("--until-stdin-closes", action="store_true", help="so as not to outlive the parent")
    options = parser.parse_args(arguments)
    if not (options.synthetic or options.tiny or options.archive):
        parser.error("nothing to serve: add --synthetic, --tiny or --archive")
    return options


def _by_symbol(paths: Sequence[Path]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in paths:
        for file in sorted(path.glob("*-1m-*.zip")) if path.is_dir() else [path]:
            files.setdefault(file.name.partition("-")[0], []).append(file)
    return files


def _parse_time(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


class _HttpServer(ThreadingHTTPServer):
    """Knows its connections and their threads, to end them."""

    request_queue_size = 128

    def __init__(self, owner: BinanceServer, port: int) -> None:
        self.owner = owner
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the host's name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._connections_lock:
            self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.owner.closing.is_set():
                self.shutdown_request(request)
            else:
                super().process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                del self._connections[threading.current_thread()]

    def shutdown_request(self, request: Any) -> None:
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RST_ON_CLOSE))
        if linger == _RST_ON_CLOSE:
            self.close_request(request)  # without the FIN that a shutdown would send first
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def drop_connections(self) -> None:
        with self._connections_lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the server has its own log."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path in ("/_control", "/_control/log"):
            self._deliver(self._control(url.path, body), None)
            return
        request = Request(
            self.command,
            self.path,
            url.path,
            tuple(parse_qsl(url.query, keep_blank_values=True)),
            self.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND",
        )
        self._deliver(*self.server.owner.reply_to(request))

    def _control(self, path: str, body: bytes) -> Reply:
        owner = self.server.owner
        if self.command == "GET":
            return json_reply(
                [asdict(logged) for logged in owner.log] if path.endswith("log") else {}
            )
        try:
            owner.control(json.loads(body))
        except (TypeError, ValueError) as problem:
            return Reply(400, f"{problem}\n".encode(), "text/plain")
        return json_reply({})

    def _deliver(self, reply: Reply, fault: Fault | None) -> None:
        closing, send = self.server.owner.closing, self.connection.sendall
        head = _head(reply)
        body = b"" if self.command == "HEAD" else reply.body
        if fault is None:
            send(head + body)
            return
        match fault.kind:
            case "reset":
                if fault.fraction is not None:
                    send(head + body[: int(len(body) * fault.fraction)])
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
                self.close_connection = True
            case "truncate":
                send(head + body[: int(len(body) * fault.part)])
                self.close_connection = True
            case "stall":
                closing.wait(fault.seconds)
                self.close_connection = True
            case "slow":
                closing.wait(fault.seconds)
                send(head + body)
            case "raw":
                assert fault.raw is not None
                self.close_connection = True
                for part in fault.raw.parts():
                    send(part)
                    if closing.wait(fault.raw.pause_s) if fault.raw.pause_s else closing.is_set():
                        return
            case "drip":
                whole = head + body
                size = math.ceil(len(whole) / fault.pieces)
                for at in range(0, len(whole), size):
                    send(whole[at : at + size])
                    closing.wait(fault.seconds / fault.pieces)
            case _:
                send(head + body)


class _Zips:
    """Archive files once made, the least recently used dropped first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._files: OrderedDict[Hashable, bytes] = OrderedDict()

    def of(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key not in self._files:
                self._files[key] = make()
            self._files.move_to_end(key)
            made = self._files[key]
            while len(self._files) > 1 and sum(map(len, self._files.values())) > self._max_bytes:
                self._files.popitem(last=False)
        return made


class _RefusedError(Exception):
    def __init__(self, code: int, msg: str) -> None:
        super().__init__(code, msg)
        self.code, self.msg = code, msg


def _parameters(request: Request, known: set[str]) -> dict[str, str]:
    query = dict(request.query)
    if len(query) < len(request.query):
        raise _RefusedError(-1101, "Duplicate values for a parameter detected.")
    for name, value in query.items():
        if not value:
            raise _RefusedError(-1105, f"Parameter '{name}' was empty.")
    if unread := query.keys() - known:
        read, sent = len(query) - len(unread), len(query)
        raise _RefusedError(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.",
        )
    return query


def _mandatory(query: Mapping[str, str], name: str) -> str:
    if name not in query:
        raise _RefusedError(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return query[name]


def _legal(name: str, value: str, pattern: str) -> str:
    if not re.fullmatch(pattern, value):
        raise _RefusedError(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
        )
    return value


def _time_ms(name: str, value: str, *, round_up: bool) -> int:
    ts = int(_legal(name, value, _NUMBER))
    if ts < MICROSECONDS_FROM:
        return ts
    return -(-ts // 1000) if round_up else ts // 1000


def _symbol_info(market: Market) -> dict[str, Any]:
    lots = {"minQty": market.lot_size, "maxQty": "9000000000.00000000"}
    return {
        "symbol": market.symbol,
        "status": market.status,
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": market.tick_size,
                "maxPrice": "1000000.00000000",
                "tickSize": market.tick_size,
            },
            {"filterType": "LOT_SIZE", **lots, "stepSize": market.lot_size},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", **lots, "stepSize": "0.00000000"},
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
        ],
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
    }


def _weight(request: Request) -> int:
    if request.path != "/fapi/v1/klines":
        return _WEIGHTS.get(request.path, 1)
    limit = dict(request.query).get("limit", "500")
    rows = int(limit) if limit.isdecimal() else 500
    return next(weight for most, weight in _PERP_KLINES_WEIGHTS if rows <= most)


def _file_lines(market: Market, file: ArchiveFile) -> Iterator[str]:
    """Yield the rows that belong into a file of the archive, times in milliseconds."""
    if not file.has_rates:
        return market.lines(file.start_ms, file.end_ms)
    rates = market.rates_in(file.start_ms, file.end_ms)
    return (f"{ts_ms},{hours},{rate}" for ts_ms, hours, rate in rates)


def _in_microseconds(row: Row) -> Row:
    return (row[0] * 1000, *row[1:6], row[6] * 1000 + 999, *row[7:])


def _is_hidden(open_ms: int, hidden: Sequence[Hidden]) -> bool:
    return any(h.start_ms <= open_ms < h.end_ms for h in hidden)


def _head(reply: Reply) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {reason(reply.status)}",
        "Server: nginx",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


if __name__ == "__main__":
    main()
