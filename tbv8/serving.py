"""`/metrics` for Prometheus and `/healthz`, which is 503 as long as anything is stale.

A server of its own, small enough to bound: so many connections at once, so long for each, one
request for each. Whatever comes beyond that is closed without a word and without a line of log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from tbv8.errors import ConfigError

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_AT_ONCE = 16
_HEAD_BYTES = 2**13
LASTS_S = 5.0  # a connection, from its first byte to its last

type _Page = tuple[HTTPStatus, str, bytes]


@asynccontextmanager
async def serve_pages(
    port: int,
    collector: Collector,
    read_stale: Callable[[], Sequence[str]],
    *,
    host: str = "127.0.0.1",
    lasts_s: float = LASTS_S,
) -> AsyncIterator[int]:
    """Serve both; yields the port, which the system chooses for 0.

    Args:
        port: Where to listen.
        collector: What `/metrics` shows.
        read_stale: Returns what is stale, for `/healthz`.
        host: The address to listen at.
        lasts_s: How long a connection may take, all of it.

    Raises:
        ConfigError: The port is taken.
    """
    pages = _Pages(collector, read_stale)
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
    """The pages `/metrics` and `/healthz`."""

    def __init__(self, collector: Collector, read_stale: Callable[[], Sequence[str]]) -> None:
        self._read_stale = read_stale
        self._registry = CollectorRegistry()
        self._registry.register(collector)

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
        said = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
        return said if method == "HEAD" else said + body

    def _page(self, method: str, path: str) -> _Page:
        if method not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET only\n"
        if path == "/metrics":
            return HTTPStatus.OK, _METRICS, generate_latest(self._registry)
        if path == "/healthz":
            stale = self._read_stale()
            text = f"stale: {', '.join(stale)}\n" if stale else "ok\n"
            status = HTTPStatus.SERVICE_UNAVAILABLE if stale else HTTPStatus.OK
            return status, _TEXT, text.encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"there is /metrics and /healthz\n"
