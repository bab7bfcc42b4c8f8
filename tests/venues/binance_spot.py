"""What the tests of Binance Spot share: a clock that waiting moves, a session, and the truth."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tbv8.market import Span, iso_day, parse_time
from tbv8.venues.base import Endpoints, FetchedSpan, History
from tbv8.venues.binance.history import open_history
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.binance.product import Product
from tbv8.venues.binance_spot import PRODUCT as SPOT
from tests.servers.binance import BinanceServer, WeightMeter
from tests.servers.binance_market import Market

BTC = "BTCUSDT"
KLINES = "/api/v3/klines"

REAL = Path(__file__).resolve().parents[3] / "shared/data"


class VirtualTime:
    """A wall clock for the server's weight meter and the session alike: who waits, moves it."""

    def __init__(self, now: str = "2024-03-10T12:00:20Z") -> None:
        self._lock = threading.Lock()
        self._now_s = parse_time(now) / 1000
        self.waits_s: list[float] = []

    def now_s(self) -> float:
        with self._lock:
            return self._now_s

    def wait(self, closing: threading.Event, seconds: float) -> None:
        with self._lock:
            self.waits_s.append(seconds)
            self._now_s += seconds


def span(start: str, end: str) -> Span:
    """Return a span of two ISO times; without a zone they are UTC."""
    return Span(*(parse_time(text if len(text) == 10 else f"{text}Z") for text in (start, end)))


def served(market: Market, now: str, *, time: VirtualTime | None = None) -> BinanceServer:
    """Return a server of one market, whose clock stands at `now`."""
    meter = WeightMeter(clock=time.now_s) if time else None
    return BinanceServer({market.symbol: market}, now_ms=span(now, now).start_ms, weight=meter)


def opened(
    server: BinanceServer,
    *,
    time: VirtualTime | None = None,
    product: Product = SPOT,
    **options: Any,
) -> History:
    """Return a session with the server, that never really waits."""
    time = time or VirtualTime()
    return open_history(
        product,
        Endpoints(rest_url=server.url, archive_url=server.url),
        HostOptions(**{"clock": time.now_s, "wait": time.wait} | options),
    )


def fetched(server: BinanceServer, gaps: Sequence[Span], **options: Any) -> list[FetchedSpan]:
    """Return all that fills `gaps`."""
    [symbol] = server.markets
    with opened(server, **options) as history:
        return list(history.fetch(symbol, gaps))


def bars_of(pieces: Iterable[FetchedSpan]) -> list[tuple[Any, ...]]:
    """Return the bars of all pieces in the order of their yielding."""
    return [
        row
        for piece in pieces
        for row in zip(*(column.to_pylist() for column in piece.bars.columns), strict=True)
    ]


def truth(market: Market, gaps: Iterable[Span]) -> list[tuple[Any, ...]]:
    """Return the bars that the market has in `gaps`, as they stand on its wire."""
    return [
        (int(open_ms), *map(float, values))
        for gap in gaps
        for line in market.lines(gap.start_ms, gap.end_ms)
        for open_ms, *values in (line.split(",", 6)[:6],)
    ]


def joined(pieces: Sequence[FetchedSpan]) -> list[Span]:
    """Return the spans of pieces with touching ones joined; they must come by time."""
    spans: list[Span] = []
    for piece in pieces:
        if spans and spans[-1].end_ms == piece.span.start_ms:
            spans[-1] = Span(spans[-1].start_ms, piece.span.end_ms)
        else:
            spans.append(piece.span)
    assert all(before.end_ms < after.start_ms for before, after in pairwise(spans))
    return spans


def sources(pieces: Iterable[FetchedSpan]) -> list[str]:
    """Return where each piece is from, without the hashes: `2024-01`, `2024-01-31`, `rest`."""
    named = []
    for piece in pieces:
        parts = [part.split(" sha256:")[0] for part in piece.source.split("; ")]
        named.append("; ".join(p.removeprefix(f"{BTC}-1m-").removesuffix(".zip") for p in parts))
    return named


def notes(pieces: Iterable[FetchedSpan]) -> list[str]:
    """Return all notes."""
    return [note for piece in pieces for note in piece.notes]


def day_stem(day: Span) -> str:
    """Return the name of a day's archive file without `.zip`."""
    return f"{BTC}-1m-{iso_day(day.start_ms)}"


def requested(server: BinanceServer) -> list[str]:
    """Return the archive files that were asked for, without CHECKSUMs, in order of first asking."""
    paths = [logged.path for logged in server.requests_of(".zip")]
    names = [path.rpartition("/")[2] for path in paths if path.endswith(".zip")]
    return [name.removeprefix(f"{BTC}-1m-").removesuffix(".zip") for name in dict.fromkeys(names)]
