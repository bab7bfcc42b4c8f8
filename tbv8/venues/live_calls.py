"""REST calls to a venue with a wire protocol, one after another and within its rate limit.

They use the venue's parsers of `Live`, not ccxt, so that a backfill and the recorder's refill store
the same bars, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from tbv8.errors import VenueError
from tbv8.text import one_line
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import Endpoints, Listing, Live, Log, RefusedError, Request, Rules
from tbv8.venues.bounds import check_clock
from tbv8.venues.rate_limit import RateLimit

if TYPE_CHECKING:
    import requests

_TRIES_BEFORE_LOG = 3


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The number of tries, the pauses between them, and the timeout of each.

    Args:
        tries: The largest number of tries of one request.
        base_s: The first pause (see `tbv8.venues.backoff`).
        cap_s: The longest pause.
        reply_s: The timeout of a whole reply (see `tbv8.venues.http`).
        sleep: Waits a number of seconds.
    """

    tries: int = 6
    base_s: float = 1.0
    cap_s: float = 30.0
    reply_s: float = 20.0
    sleep: Callable[[float], None] = time.sleep


class Calls:
    """An open REST session with one venue; see `tbv8.venues.base.Connection`.

    Args:
        name: The venue's name.
        live: The venue's wire protocol.
        endpoints: The venue's configured addresses.
        log: Prints a line for the user about each repeated failure.
        retries: The number of tries and their pauses.
    """

    def __init__(
        self,
        name: str,
        live: Live,
        endpoints: Endpoints,
        *,
        log: Log | None = None,
        retries: RetryPolicy | None = None,
    ) -> None:
        self.name, self._live, self._log = name, live, log
        self._url = endpoints.rest_url or live.rest_url
        self._retries = retries or RetryPolicy()
        self._session = _open_session(endpoints.redirect_hosts)
        self._listings: dict[str, Listing] = {}
        self._limit = RateLimit(live.weight_per_s, live.weight_burst)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's spelling of a symbol, by the venue's rule."""
        return self._live.native_symbol(symbol)

    def clock_ms(self) -> int:
        """Return the venue's clock; only minutes before it are history."""
        clock_ms = self.fetch(self._live.clock_request())
        return check_clock(self.name, clock_ms, now_ms=int(time.time() * 1000))

    def listing(self, native: str) -> Listing:
        """Return the listing of a market; the venue's list is requested once.

        Raises:
            VenueError: The venue does not list it.
        """
        if not self._listings:
            self._listings = self.fetch(self._live.listings_request())
        return self._find(native, self._listings)

    def fetch_rules(self, symbols: Mapping[str, str | None]) -> dict[str, Rules]:
        """Return the rules of symbols that the venue publishes now.

        Raises:
            VenueError: The venue does not list one of them, refuses, or is out of reach.
        """
        contracts = self.fetch(self._live.contracts_request())
        return {
            symbol: self._find(native or self.native_symbol(symbol), contracts).rules_of(symbol)
            for symbol, native in symbols.items()
        }

    def fetch[T](self, request: Request[T]) -> T:
        """Return the value of a request with all its pages; temporary failures are retried.

        Raises:
            VenueError: The venue refuses, or fails too often.
        """
        value = self._fetch_page(request)
        while isinstance(value, Request):
            value = self._fetch_page(value)
        return value

    def _fetch_page[T](self, request: Request[T]) -> T | Request[T]:
        url = f"{self._url}{request.path}"
        for try_number in range(1, self._retries.tries + 1):
            if wait_s := self._limit.reserve(request.weight, time.monotonic()):
                self._retries.sleep(wait_s)
            try:
                return request.parse(self._send(request, url))
            except RefusedError as e:
                if not e.too_often:
                    raise VenueError(f"{url}: {e}") from e
                failure: VenueError = e
            except VenueError as e:
                failure = e
            pause_s = backoff_s(try_number, base_s=self._retries.base_s, cap_s=self._retries.cap_s)
            if try_number >= _TRIES_BEFORE_LOG and self._log is not None:
                self._log(f"{url}: {failure}, trying again in {pause_s:.0f} s")
            self._retries.sleep(pause_s)
        raise VenueError(
            f"{url}: {failure}, {self._retries.tries} times: run the same command again later"
        ) from failure

    def _find[T](self, native: str, listings: Mapping[str, T]) -> T:
        if native not in listings:
            raise VenueError(
                f"{self.name} does not know {native}: correct `symbols` in "
                f"config/venues/{self.name}.yaml"
            )
        return listings[native]

    def _send(self, request: Request[Any], url: str) -> bytes:
        import requests

        from tbv8.venues.http import ForbiddenRedirectError, OutOfBoundsError, failure_text

        try:
            reply = self._session.request(
                "GET" if request.body is None else "POST",
                url,
                params=dict(request.params),
                data=request.body,
                headers=None if request.body is None else {"Content-Type": "application/json"},
                timeout=self._retries.reply_s,
            )
        except (ForbiddenRedirectError, OutOfBoundsError, requests.TooManyRedirects) as e:
            raise RefusedError(str(e)) from e
        except requests.RequestException as e:
            raise VenueError(failure_text(e)) from e
        if reply.status_code == HTTPStatus.OK:
            return reply.content
        problem = (
            f"HTTP {reply.status_code} {one_line(reply.content[:200].decode(errors='replace'))}"
        )
        if reply.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise RefusedError(problem, too_often=True)
        raise (RefusedError if reply.status_code < 500 else VenueError)(problem)


def _open_session(redirect_hosts: Collection[str]) -> requests.Session:
    from tbv8.venues.http import BoundedSession  # nothing heavy is imported at the start of doit

    return BoundedSession(hosts=redirect_hosts)
