"""A venue's REST API: an aiohttp session, and requests within the venue's rate limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from tbv8.errors import VenueError
from tbv8.recorder.pace import Pace
from tbv8.text import one_line
from tbv8.venues.base import Live, RefusedError, Request
from tbv8.venues.bounds import (
    REDIRECTS,
    REPLY_BYTES,
    BoundsError,
    decode_body,
    redirect_target,
    too_large_error,
)
from tbv8.venues.rate_limit import RateLimit

_REDIRECT_STATUSES = (301, 302, 303, 307, 308)


def open_session() -> aiohttp.ClientSession:
    """Open a session for all venues, without cookies and without automatic decompression."""
    return aiohttp.ClientSession(
        trust_env=True,
        headers={"User-Agent": "tbv8", "Accept-Encoding": "gzip"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # `RestClient` limits the whole reply
    )


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """Return the body of a reply, decoded.

    Raises:
        BoundsError: It has more than `REPLY_BYTES`, or an encoding that was not requested.
    """
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > REPLY_BYTES:
            raise too_large_error(REPLY_BYTES)
    return decode_body(bytes(body), reply.headers.get("Content-Encoding", ""), REPLY_BYTES)


class RestClient:
    """A client of a venue's REST API; it sends each request once, without retries.

    Args:
        live: The venue's wire protocol, with its rate limit.
        url: The base URL.
        session: A session from `open_session`.
        pace: The time limit for a whole reply.
        redirect_hosts: Further hosts that a reply may redirect to.
    """

    def __init__(
        self,
        live: Live,
        url: str,
        session: aiohttp.ClientSession,
        pace: Pace,
        redirect_hosts: Collection[str] = (),
    ) -> None:
        self._url, self._session, self._redirect_hosts = url, session, redirect_hosts
        self._reply_s = pace.rest_s
        self._limit = RateLimit(live.weight_per_s, live.weight_burst)
        self._turn = asyncio.Lock()

    async def await_turn(self, weight: float) -> None:
        """Wait until the rate limit allows a request of this weight, and spend the weight."""
        async with self._turn:
            await asyncio.sleep(self._limit.reserve(weight, time.monotonic()))

    async def fetch[T](self, request: Request[T]) -> T:
        """Return the value of a request with all its pages; call `await_turn` for the first one.

        Raises:
            RefusedError: The venue refuses the request.
            VenueError: The venue is out of reach, or its reply is undocumented.
        """
        reply = await self._fetch_page(request)
        while isinstance(reply, Request):
            await self.await_turn(reply.weight)
            reply = await self._fetch_page(reply)
        return reply

    async def _fetch_page[T](self, request: Request[T]) -> T | Request[T]:
        url = f"{self._url}{request.path}"
        try:
            async with asyncio.timeout(self._reply_s):
                status, body = await self._send(request, url)
        except (aiohttp.ClientError, BoundsError, OSError, TimeoutError) as e:
            raise VenueError(f"{url}: {str(e) or type(e).__name__}") from e
        if status != HTTPStatus.OK:
            problem = f"{url}: HTTP {status} {one_line(body[:200].decode(errors='replace'))}"
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                self._limit.exhaust(time.monotonic())
                raise RefusedError(problem, too_often=True)
            raise (RefusedError if status < 500 else VenueError)(problem)
        try:
            return request.parse(body)
        except RefusedError as e:
            if e.too_often:
                self._limit.exhaust(time.monotonic())
            raise

    async def _send(self, request: Request[Any], url: str) -> tuple[int, bytes]:
        """Return the status and the body of a reply, after allowed redirects.

        Raises:
            BoundsError: The reply is too large, or its redirect is not allowed.
        """
        params: Mapping[str, str | int] | None = request.params
        for _ in range(1 + REDIRECTS):
            async with self._session.request(
                "GET" if request.body is None else "POST",
                url,
                params=params,
                data=request.body,
                headers=None if request.body is None else {"Content-Type": "application/json"},
                allow_redirects=False,
            ) as reply:
                location = reply.headers.get("Location")
                if location is None or reply.status not in _REDIRECT_STATUSES:
                    return reply.status, await _read(reply)
                try:
                    url = redirect_target(str(reply.url), location, self._redirect_hosts)
                except BoundsError as e:
                    raise BoundsError(f"HTTP {reply.status} {e}") from e
                params = None  # the target has its own
        raise BoundsError(f"redirects more than {REDIRECTS} times")
