"""Limits on the size and the redirects of venues' replies, for every HTTP client and parser.

It imports neither requests nor aiohttp, so that both clients can use it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from urllib.parse import SplitResult, urljoin, urlsplit

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, iso
from tbv8.text import quoted

REPLY_BYTES = 8 * 2**20
"""The largest REST reply; MEXC's list of contracts, the largest of all, has 2 MB."""

FRAME_BYTES = 2**18
"""The largest frame of a socket, compressed and again when inflated; usual ones have some KB."""

REDIRECTS = 3
"""The largest number of redirects that one request follows."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_GZIP = 16 + zlib.MAX_WBITS


class BoundsError(ValueError):
    """A reply is larger than its limit, or its redirect is not allowed."""


def too_large_error(max_bytes: int) -> BoundsError:
    """Return the error for a reply of more than `max_bytes` bytes."""
    return BoundsError(f"it has more than {max_bytes:,} bytes")


def check_clock(venue: str, clock_ms: int, *, now_ms: int) -> int:
    """Return a venue's clock, unless it is far ahead of ours; both in milliseconds UTC.

    Raises:
        VenueError: It is more than a day ahead: bars of the future would count as history.
    """
    if clock_ms > now_ms + DAY_MS:
        raise VenueError(
            f"{venue}: its clock is more than a day ahead of this machine's, {iso(now_ms)}: "
            "correct this machine's clock, or wait until the venue corrects its own"
        )
    return clock_ms


def inflate(zipped: bytes, max_bytes: int) -> bytes:
    """Inflate gzipped bytes, but never to more than `max_bytes` bytes in memory.

    Raises:
        BoundsError: The bytes are no complete gzip, or have more content than `max_bytes`.
    """
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(zipped, max_bytes + 1)
    except zlib.error as e:
        raise BoundsError(f"it is no gzip ({e})") from e
    if len(plain) > max_bytes:
        raise too_large_error(max_bytes)
    if not inflater.eof:
        raise BoundsError("it is no complete gzip")
    return plain


def decode_body(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo the Content-Encoding of a body: gzip, or none.

    Raises:
        BoundsError: The result has more than `max_bytes` bytes, or the encoding is another one.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding == "gzip":
        return inflate(body, max_bytes)
    raise BoundsError(f"it has an encoding that was not requested, {quoted(encoding)}")


def redirect_target(url: str, location: str, hosts: Collection[str]) -> str:
    """Return the target of an allowed redirect: at the host of `url`, or at one of `hosts`.

    Raises:
        BoundsError: The target is at another host, leaves https, or is no address.
    """
    try:
        target = urljoin(url, location)
        source, destination = urlsplit(url), urlsplit(target)
        source_port, destination_port = _port(source), _port(destination)
    except ValueError as e:
        raise BoundsError(f"leads to {quoted(location)}, which is no address") from e
    if (
        destination.scheme not in _DEFAULT_PORTS
        or not destination.hostname
        or "@" in destination.netloc
    ):
        raise BoundsError(f"leads to {quoted(location)}, which is no address")
    if source.scheme == "https" and destination.scheme == "http":
        raise BoundsError(f"leads away from https, to {quoted(target)}")
    is_same_host = destination.hostname == source.hostname and (
        source_port == destination_port
        or (source.scheme, source_port, destination_port) == ("http", 80, 443)
    )
    if not is_same_host and destination.hostname not in hosts:
        raise BoundsError(
            f"leads to another host, {quoted(destination.netloc)}, that `redirect_hosts` does not "
            "name"
        )
    return target


def _port(url: SplitResult) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme)
