"""`/metrics` for Prometheus and `/healthz`, which is 503 as long as a stream is stale.

A server of its own, small enough to bound: so many connections at once, so long for each, one
request for each. Whatever comes beyond that is closed without a word and without a line of log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tbv8.errors import ConfigError
from tbv8.recorder.status import Status

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_AT_ONCE = 16
_HEAD_BYTES = 2**13
_LASTS_S = 5.0  # a connection, from its first byte to its last

type _Page = tuple[HTTPStatus, str, bytes]


@asynccontextmanager
async def serve_metrics(
    port: int,
    read_status: Callable[[], Status],
    *,
    host: str = "127.0.0.1",
    lasts_s: float = _LASTS_S,
) -> AsyncIterator[int]:
    """Serve both; yields the port, which the system chooses for 0.

    Args:
        port: Where to listen.
        read_status: What there is to say.
        host: The address to listen at.
        lasts_s: How long a connection may take, all of it.

    Raises:
        ConfigError: The port is taken.
    """
    pages = _Pages(read_status)
    open_now: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            if len(open_now) <= _AT_ONCE:
                with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
                    async with asyncio.timeout(lasts_s):
                        writer.write(pages.reply(await reader.readuntil(b"\r\n\r\n")))
                        await writer.drain()
                        writer.write_eof()
                        await reader.read(_HEAD_BYTES)  # its end: a reset would take our reply
        finally:
            open_now.discard(task)
            writer.transport.abort()

    try:
        server = await asyncio.start_server(answer, host, port, limit=_HEAD_BYTES)
    except (OSError, OverflowError) as e:
        reason = e.strerror if isinstance(e, OSError) else "beyond 65535"
        problem = f"port {port} cannot be opened ({reason}): name a free one"
        raise ConfigError(problem, key="--metrics-port") from e
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


class _Pages:
    """The pages of the metrics server."""

    def __init__(self, read_status: Callable[[], Status]) -> None:
        self._read_status = read_status
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(read_status))

    def reply(self, head: bytes) -> bytes:
        """Return the whole reply to a request's head."""
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        status, kind, body = self._page(method, path)
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        header = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
        return header if method == "HEAD" else header + body

    def _page(self, method: str, path: str) -> _Page:
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET only\n"
        if path == "/metrics":
            return HTTPStatus.OK, _METRICS, generate_latest(self._registry)
        if path == "/healthz":
            stale = self._read_status().stale
            text = f"stale: {', '.join(stale)}\n" if stale else "ok\n"
            status = HTTPStatus.SERVICE_UNAVAILABLE if stale else HTTPStatus.OK
            return status, _TEXT, text.encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"there is /metrics and /healthz\n"


class _Collector(Collector):
    """Reads the status when it is scraped, so that nothing is counted twice."""

    def __init__(self, read_status: Callable[[], Status]) -> None:
        self._read_status = read_status

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        status = self._read_status()
        yield from self._of_streams(status)
        yield from self._of_venues(status)
        yield _counter("trades_written", "Trades in the database", status.trades)
        yield _counter("bbo_written", "Quotes in the database", status.bbo)
        yield _counter("minutes_written", "1m bars in the database", status.minutes)
        yield _counter("commits", "Transactions", status.commits)
        yield _counter("dropped", "Events dropped since the buffer was full", status.dropped)
        yield _gauge("waiting_rows", "Rows that wait to be written", status.waiting)
        yield _gauge("stuck_seconds", "For how long the database refuses", status.stuck_s)

    def _of_streams(self, status: Status) -> Iterator[Metric]:
        labels = ["venue", "symbol", "channel"]
        up = GaugeMetricFamily("tbv8_stream_up", "1 unless something is missed", labels=labels)
        silent = GaugeMetricFamily("tbv8_stream_silent_seconds", "Since its proof", labels=labels)
        lag = GaugeMetricFamily("tbv8_stream_lag_seconds", "Behind the venue", labels=labels)
        events = CounterMetricFamily("tbv8_stream_events", "Events received", labels=labels)
        twice = CounterMetricFamily("tbv8_stream_duplicates", "Events left out", labels=labels)
        gaps = CounterMetricFamily("tbv8_stream_gaps", "Gaps begun", labels=labels)
        waiting = GaugeMetricFamily("tbv8_minutes_waiting", "Minutes to refill", labels=labels)
        for stream in status.streams:
            names = [stream.series.venue, stream.series.symbol, stream.channel]
            up.add_metric(names, 0 if stream.is_stale else 1)
            silent.add_metric(names, stream.silent_s)
            if stream.lag_ms is not None:
                lag.add_metric(names, stream.lag_ms / 1000)
            events.add_metric(names, stream.events)
            twice.add_metric(names, stream.duplicates)
            gaps.add_metric(names, stream.gaps)
            if stream.channel == "trades":
                waiting.add_metric(names, stream.minutes_waiting)
        yield from (up, silent, lag, events, twice, gaps, waiting)

    def _of_venues(self, status: Status) -> Iterator[Metric]:
        frames = CounterMetricFamily("tbv8_frames", "Frames received", labels=["venue"])
        redials = CounterMetricFamily("tbv8_reconnects", "Reconnects", labels=["venue"])
        unreadable = CounterMetricFamily("tbv8_unreadable", "Unreadable frames", labels=["venue"])
        failed = CounterMetricFamily("tbv8_rest_failed", "REST calls that failed", labels=["venue"])
        offset = GaugeMetricFamily("tbv8_clock_offset_seconds", "Ours ahead", labels=["venue"])
        for venue in status.venues:
            frames.add_metric([venue.venue], venue.frames)
            redials.add_metric([venue.venue], venue.reconnects)
            unreadable.add_metric([venue.venue], venue.unreadable)
            failed.add_metric([venue.venue], venue.failed)
            offset.add_metric([venue.venue], venue.offset_ms / 1000)
        yield from (frames, redials, unreadable, failed, offset)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(f"tbv8_{name}", what, value=value)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tbv8_{name}", what, value=value)
