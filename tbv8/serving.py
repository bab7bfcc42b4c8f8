"""A small HTTP server for `/metrics` (Prometheus) and `/healthz` (200, or 503 while data is stale).

It limits the number of connections and the duration of each, and answers one request per
connection. A connection beyond these limits is closed without a reply or a log line.
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
_MAX_CONNECTIONS = 16
_HEAD_BYTES = 2**13
CONNECTION_S = 5.0
"""The longest duration of a connection."""

type _Page = tuple[HTTPStatus, str, bytes]


@asynccontextmanager
async def serve_pages(
    port: int,
    collector: Collector,
    read_problems: Callable[[], Sequence[str]],
    *,
    host: str = "127.0.0.1",
    connection_s: float = CONNECTION_S,
) -> AsyncIterator[int]:
    """Serve `/metrics` and `/healthz` during the block; yield the port.

    Args:
        port: The port; 0 for any free one.
        collector: The metrics.
        read_problems: Returns the names of stale parts, for `/healthz`; empty if all is well.
        host: The address to listen at.
        connection_s: The longest duration of a connection.

    Raises:
        ConfigError: The port is taken.
    """
    pages = _Pages(collector, read_problems)
    open_now: set[asyncio.Task[None]] = set()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            if len(open_now) <= _MAX_CONNECTIONS:
                with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
                    async with asyncio.timeout(connection_s):
                        writer.write(pages.reply(await reader.readuntil(b"\r\n\r\n")))
                        await writer.drain()
                        writer.write_eof()
                        await reader.read(_HEAD_BYTES)  # until its end: a reset drops our reply
        finally:
            open_now.discard(task)
            writer.transport.abort()

    try:
        server = await asyncio.start_server(serve_connection, host, port, limit=_HEAD_BYTES)
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

    def __init__(self, collector: Collector, read_problems: Callable[[], Sequence[str]]) -> None:
        self._read_stale = read_problems
        self._registry = CollectorRegistry()
        self._registry.register(collector)

    def reply(self, head: bytes) -> bytes:
        """Return the complete reply to the head of a request."""
        method, _, remainder = head.decode("latin-1").partition(" ")
        path = remainder.partition(" ")[0].partition("?")[0]
        status, kind, body = self._page(method, path)
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        head_bytes = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
        return head_bytes if method == "HEAD" else head_bytes + body

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
        return HTTPStatus.NOT_FOUND, _TEXT, b"known paths: /metrics, /healthz\n"
