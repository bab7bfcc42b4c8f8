"""Limits on the bytes and the redirects of a venue's replies, for every client.

It imports little: parsers of frames use it, and the recorder, which does without requests.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from urllib.parse import SplitResult, urljoin, urlsplit

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, iso
from tbv8.text import quoted

REPLY_BYTES = 8 * 2**20
"""The limit of a REST reply; the largest one, MEXC's list of contracts, has 2 MB."""

FRAME_BYTES = 2**18
"""The limit of a socket's message, as sent and again when inflated; they have some KB."""

REDIRECTS = 3

_DEFAULT_PORTS = {"http": 80, "https": 443}
_GZIP = 16 + zlib.MAX_WBITS


class BoundsError(ValueError):
    """A reply is larger than its limit, or redirects to where it may not."""


def too_large_error(most_bytes: int) -> BoundsError:
    """Return the error for a reply that has too many bytes."""
    return BoundsError(f"it has more than {most_bytes:,} bytes")


def check_clock(venue: str, clock_ms: int, *, now_ms: int) -> int:
    """Return a venue's clock; `now_ms` is this machine's.

    Raises:
        VenueError: It is more than a day ahead, so that its past is not over yet.
    """
    if clock_ms > now_ms + DAY_MS:
        raise VenueError(
            f"{venue}: its clock is more than a day ahead of this machine's, {iso(now_ms)}: set "
            "the wrong one"
        )
    return clock_ms


def inflate(zipped: bytes, most_bytes: int) -> bytes:
    """Return the content of gzipped bytes, of which it never inflates more than `most_bytes`.

    Raises:
        BoundsError: It is no whole gzip, or has more than `most_bytes` bytes.
    """
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(zipped, most_bytes + 1)
    except zlib.error as e:
        raise BoundsError(f"it is no gzip ({e})") from e
    if len(plain) > most_bytes:
        raise too_large_error(most_bytes)
    if not inflater.eof:
        raise BoundsError("it is no whole gzip")
    return plain


def decode_body(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """Return a body without its Content-Encoding; requests accept gzip only.

    Raises:
        BoundsError: It has more than `most_bytes` bytes, or is in another encoding.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding == "gzip":
        return inflate(body, most_bytes)
    raise BoundsError(f"it has an encoding that was not requested, {quoted(encoding)}")


def redirect_target(url: str, location: str, hosts: Collection[str]) -> str:
    """Return the target of a redirect from `url`: at its own host, or at one of `hosts`.

    Raises:
        BoundsError: It leads to another host, to no encryption, or is no address.
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
