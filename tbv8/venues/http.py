"""A `requests` session with limits on the size and the duration of a whole reply.

requests has neither limit: its timeout applies to each read, so a reply of one byte a second never
ends, and it reads and inflates bodies of any length. Here the read timeout applies to the whole
reply, from its first line on, plus the time that a slow connection needs for the bytes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError
from functools import cache, partial
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from tbv8.text import one_line
from tbv8.venues.bounds import (
    REDIRECTS,
    REPLY_BYTES,
    BoundsError,
    decode_body,
    redirect_target,
    too_large_error,
)

_CHUNK_BYTES = 2**18
_SLOWEST_BYTES_PER_S = 2**15  # a month's file of 2 MB may take a minute longer than the timeout
_HEAD_BYTES = 2**20  # the limit of a reply's head, and again of the framing of its chunks


class OutOfBoundsError(requests.RequestException):
    """A reply is larger than its limit; another try would not help."""


class ForbiddenRedirectError(requests.RequestException):
    """A reply redirects to an address that is not allowed."""


def failure_text(e: BaseException) -> str:
    """Return the reason of a failed request as a few words, from the exception and its causes."""
    chain = list(causes(e))
    if isinstance(e, requests.Timeout):
        return "no complete reply in time"
    if isinstance(e, requests.exceptions.ChunkedEncodingError):
        return "the reply broke off"
    words = [cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror]
    return words[-1] if words else one_line(str(e), max_length=200)


def causes(e: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes, the innermost last."""
    while e is not None:
        yield e
        e = e.__cause__ or e.__context__


class BoundedSession(requests.Session):
    """A keep-alive session with limits, for one thread at a time; its user agent is `tbv8`.

    Args:
        max_bytes: The limit of a body, compressed and again when inflated.
        hosts: Other hosts that a reply may redirect to.
        is_closing: Called between two chunks of a body; if it returns True, the request ends with a
            CancelledError.
    """

    def __init__(
        self,
        *,
        max_bytes: int = REPLY_BYTES,
        hosts: Collection[str] = (),
        is_closing: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._hosts = hosts
        self.headers.update({"User-Agent": "tbv8", "Accept-Encoding": "gzip"})
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.max_redirects = REDIRECTS
        adapter = _Adapter(max_bytes, is_closing)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return the target of a redirect; None if the reply is no redirect.

        Raises:
            ForbiddenRedirectError: The target is not allowed.
        """
        if not resp.is_redirect:
            return None
        try:
            return redirect_target(resp.url, resp.headers["location"], self._hosts)
        except BoundsError as e:
            raise ForbiddenRedirectError(f"HTTP {resp.status_code} {e}") from e


class _Adapter(HTTPAdapter):
    def __init__(self, max_bytes: int, is_closing: Callable[[], bool]) -> None:
        self._max_bytes, self._is_closing = max_bytes, is_closing
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return the connection pool of a request, after limits are set for its new connections."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _bounded_class(pool.ConnectionCls, self._max_bytes)
        return pool

    def send(  # type: ignore[override]  # the stubs name what is passed on here
        self, request: requests.PreparedRequest, stream: bool = False, **options: Any
    ) -> requests.Response:
        """Send a request and read its whole reply, whatever `stream` is."""
        try:
            reply = super().send(request, stream=True, **options)
            with reply.raw as raw:
                body = self._read(raw)
        except urllib3.exceptions.ReadTimeoutError as e:
            raise requests.ReadTimeout(e, request=request) from e
        except urllib3.exceptions.ProtocolError as e:
            raise requests.exceptions.ChunkedEncodingError(e, request=request) from e
        except urllib3.exceptions.HTTPError as e:
            raise requests.ConnectionError(e, request=request) from e
        except BoundsError as e:
            raise OutOfBoundsError(str(e), request=request) from e
        except requests.RequestException:
            raise
        except ValueError as e:  # of http.client: a chunk of a negative size
            raise requests.exceptions.ChunkedEncodingError(e, request=request) from e
        reply.raw = io.BytesIO(body)
        return reply

    def _read(self, raw: Any) -> bytes:
        body = bytearray()
        for chunk in raw.stream(_CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > self._max_bytes:
                raw.close()
                raise too_large_error(self._max_bytes)
            if self._is_closing():
                raw.close()
                raise CancelledError
        return decode_body(bytes(body), raw.headers.get("Content-Encoding", ""), self._max_bytes)


@cache
def _bounded_class(kind: type[Any], max_bytes: int) -> type[Any]:
    """Return a subclass of a connection class that makes replies with limits."""
    if issubclass(kind, _Bounded):
        return kind
    # http.client, which urllib3 is built on, makes replies with `response_class`.
    attributes = {"response_class": partial(_Reply, max_bytes)}
    return type(f"Bounded{kind.__name__}", (_Bounded, kind), attributes)


class _Bounded:
    """The mark of connection classes with limits."""


class _Reply(HTTPResponse):
    """A reply that reads its head and its body through a `_Reader`."""

    def __init__(self, max_bytes: int, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._max_bytes = max_bytes
        self._reader = _Reader(self.fp.detach(), sock, _HEAD_BYTES)
        self.fp: Any = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Read the head, then raise the limit by the size of the body."""
        super().begin()
        self._reader.max_bytes += self._max_bytes + _HEAD_BYTES


class _Reader(io.RawIOBase):
    """A socket's bytes, up to a limit of bytes and of time."""

    def __init__(self, raw: io.RawIOBase, sock: Any, max_bytes: int) -> None:
        self._raw, self._sock, self.max_bytes = raw, sock, max_bytes
        timeout_s = sock.gettimeout()
        self._until_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._until_s + self._received / _SLOWEST_BYTES_PER_S - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the time for the whole reply is over")
        if left_s != float("inf"):
            self._sock.settimeout(left_s)
        count: int | None = self._raw.readinto(buffer)
        self._received += count or 0
        if self._received > self.max_bytes:
            raise too_large_error(self.max_bytes)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
