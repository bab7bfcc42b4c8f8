"""Downloads of archive files by several threads, verified by their checksums."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http import HTTPStatus

import requests

from tbv8.venues.base import Endpoints
from tbv8.venues.binance.archive import MAX_BYTES, UnusableError, digest, parse_checksum
from tbv8.venues.binance.host import (
    Host,
    HostOptions,
    ItemPool,
    failure_in,
    failure_of,
    fetch_reply,
)
from tbv8.venues.binance.product import Product
from tbv8.venues.http import BoundedSession, OutOfBoundsError

THREADS = 4

_ARCHIVE_URL = "https://data.binance.vision"


type OpenFiles = Callable[[threading.Event], Files]
"""Opens an archive; its downloads end when the event is set."""


def archive_opener(product: Product, endpoints: Endpoints, options: HostOptions) -> OpenFiles:
    """Return the function that opens a product's archive; all calls share the host's limits."""
    host = Host(
        product,
        endpoints.archive_url or _ARCHIVE_URL,
        option="archive_url",
        cure=f"a mirror of {_ARCHIVE_URL} that answers here",
        max_concurrent=THREADS,
        options=options,
    )
    return partial(Files, host, endpoints.redirect_hosts)


class Files:
    """An open archive, for several threads.

    Args:
        host: The archive's host.
        redirect_hosts: Further hosts that a reply may redirect to.
        closing: Ends all downloads when it is set.
    """

    def __init__(
        self, host: Host, redirect_hosts: Collection[str], closing: threading.Event
    ) -> None:
        self._host, self._closing = host, closing
        self._sessions = ItemPool(
            lambda: BoundedSession(
                max_bytes=MAX_BYTES, hosts=redirect_hosts, is_closing=closing.is_set
            )
        )

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.items:
            session.close()

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Return a zip and its sha256; None if the archive has no such file.

        Raises:
            UnusableError: The sha256 differs from the CHECKSUM file after two downloads.
            VenueError: The host refuses, or fails too often.
        """
        name = path.rpartition("/")[2]
        for _ in range(2):
            zipped = self._download(path)
            if zipped is None:
                return None
            line = self._download(f"{path}.CHECKSUM")
            sha256 = digest(zipped)
            if line is not None and parse_checksum(line, name) == sha256:
                return zipped, sha256
        problem = "is missing" if line is None else "differs from its sha256 after two downloads"
        raise UnusableError(f"its CHECKSUM {problem}")

    def _download(self, path: str) -> bytes | None:
        """Return the bytes of a file; None if the archive has no such file."""

        def call() -> tuple[bytes | None, Mapping[str, str]]:
            with self._sessions.borrow() as session:
                try:
                    reply = fetch_reply(session, self._host, path)
                except OutOfBoundsError as e:
                    raise UnusableError(str(e)) from e
                except requests.RequestException as e:
                    raise failure_of(e) from e
            if reply.status_code == HTTPStatus.OK:
                return reply.content, reply.headers
            if reply.status_code == HTTPStatus.NOT_FOUND:
                return None, reply.headers
            raise failure_in(reply)

        return self._host.retry(path, call, self._closing)
