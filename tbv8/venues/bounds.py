"""Limits on the bytes and the redirects of a venue, for every client of one.

Light on purpose: parsers of frames and the recorder import it, whose HTTP is not requests'.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from urllib.parse import SplitResult, urljoin, urlsplit

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, iso
from tbv8.text import quoted

REPLY_BYTES = 8 * 2**20
"""Of a REST reply of the recorded venues; the largest, MEXC's list of contracts, has 2 MB."""

FRAME_BYTES = 2**18
"""Of one message of a socket, as sent and once more when inflated; they have some KB."""

REDIRECTS = 3

_DEFAULT_PORTS = {"http": 80, "https": 443}
_GZIP = 16 + zlib.MAX_WBITS


class BoundsError(ValueError):
    """Something is larger, or leads elsewhere, than was known before to be right."""


def too_large(most: int) -> BoundsError:
    """Return the refusal of something that has more bytes than it may."""
    return BoundsError(f"it has more than {most:,} bytes")


def check_clock(venue: str, clock_ms: int, *, now_ms: int) -> int:
    """Return a venue's clock; `now_ms` is this machine's.

    Raises:
        VenueError: It is more than a day ahead: what it calls past is not.
    """
    if clock_ms > now_ms + DAY_MS:
        raise VenueError(
            f"{venue}: its clock is more than a day ahead of this machine's, which says "
            f"{iso(now_ms)}: set the one that is wrong"
        )
    return clock_ms


def inflate(zipped: bytes, most: int) -> bytes:
    """Return the content of gzipped bytes, and never hold more than `most` bytes of it.

    Raises:
        BoundsError: It is no whole gzip, or has more than `most` bytes.
    """
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(zipped, most + 1)
    except zlib.error as e:
        raise BoundsError(f"it is no gzip ({e})") from e
    if len(plain) > most:
        raise too_large(most)
    if not inflater.eof:
        raise BoundsError("it is no whole gzip")
    return plain


def decoded(body: bytes, encoding: str, most: int) -> bytes:
    """Return a body without its Content-Encoding, of which gzip alone is ever asked for.

    Raises:
        BoundsError: It has more than `most` bytes, or is in another encoding.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding == "gzip":
        return inflate(body, most)
    raise BoundsError(f"it is in an encoding that was not asked for, {quoted(encoding)}")


def redirect_target(url: str, location: str, hosts: Collection[str]) -> str:
    """Return the target of a redirected reply to `url`: at its own host, or at one of `hosts`.

    Raises:
        BoundsError: It leads to another host, to no encryption, or is no address.
    """
    try:
        target = urljoin(url, location)
        here, there = urlsplit(url), urlsplit(target)
        own, other = _port(here), _port(there)
    except ValueError as e:
        raise BoundsError(f"leads to {quoted(location)}, which is no address") from e
    if there.scheme not in _DEFAULT_PORTS or not there.hostname or "@" in there.netloc:
        raise BoundsError(f"leads to {quoted(location)}, which is no address")
    if here.scheme == "https" and there.scheme == "http":
        raise BoundsError(f"leads away from https, to {quoted(target)}")
    is_own = there.hostname == here.hostname and (
        own == other or (here.scheme, own, other) == ("http", 80, 443)
    )
    if not is_own and there.hostname not in hosts:
        raise BoundsError(
            f"leads to another host, {quoted(there.netloc)}, that `redirect_hosts` does not name"
        )
    return target


def _port(url: SplitResult) -> int | None:
    return url.port or _DEFAULT_PORTS.get(url.scheme)
