"""The REST calls of a venue that is recorded, sent one after another and within its limits.

By requests and the venue's own parsers rather than ccxt: bars must be the same ones, to the last
bit, that the recorder refills its gaps with.
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

if TYPE_CHECKING:
    import requests

_TRIES_IN_SILENCE = 3


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of retries with a venue that fails.

    Args:
        tries: How often one thing is asked.
        base_s: The first pause; each next one is twice as long, up to `cap_s`, less some jitter.
        reply_s: For a whole reply, beyond what a slow line needs for its bytes.
        sleep: Waits some seconds.
    """

    tries: int = 6
    base_s: float = 1.0
    cap_s: float = 30.0
    reply_s: float = 20.0
    sleep: Callable[[float], None] = time.sleep


class Calls:
    """An open session with one venue.

    Args:
        name: The venue's.
        live: How to speak to it.
        endpoints: Where.
        log: Prints a line for the user, about a long wait.
        retries: How long to go on.
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
        self._free_at_s = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's own spelling, by its own rule."""
        return self._live.native_symbol(symbol)

    def clock_ms(self) -> int:
        """Return the venue's clock: a minute that it has not passed is not history."""
        clock_ms = self.fetch(self._live.clock_request())
        return check_clock(self.name, clock_ms, now_ms=int(time.time() * 1000))

    def listing(self, native: str) -> Listing:
        """Return a market that the venue lists; the venue is asked once.

        Raises:
            VenueError: It does not know it.
        """
        if not self._listings:
            self._listings = self.fetch(self._live.listings_request())
        return self._listed(native, self._listings)

    def fetch_rules(self, symbols: Mapping[str, str | None]) -> dict[str, Rules]:
        """Return the rules of symbols, as the venue publishes them now.

        Raises:
            VenueError: The venue does not know one of them, refuses, or is out of reach.
        """
        contracts = self.fetch(self._live.contracts_request())
        return {
            symbol: self._listed(native or self.native_symbol(symbol), contracts).rules_of(symbol)
            for symbol, native in symbols.items()
        }

    def fetch[T](self, request: Request[T]) -> T:
        """Ask until it works, page by page; what cannot get better is not asked again.

        Raises:
            VenueError: The venue refuses, or fails too often.
        """
        found = self._fetch_page(request)
        while isinstance(found, Request):
            found = self._fetch_page(found)
        return found

    def _fetch_page[T](self, request: Request[T]) -> T | Request[T]:
        where = f"{self._url}{request.path}"
        for tried in range(1, self._retries.tries + 1):
            self._await_turn(request.weight)
            try:
                return request.parse(self._send(request, where))
            except RefusedError as e:
                if not e.too_often:
                    raise VenueError(f"{where}: {e}") from e
                failure: VenueError = e
            except VenueError as e:
                failure = e
            pause_s = backoff_s(tried, base_s=self._retries.base_s, cap_s=self._retries.cap_s)
            if tried >= _TRIES_IN_SILENCE and self._log is not None:
                self._log(f"{where}: {failure}, trying again in {pause_s:.0f} s")
            self._retries.sleep(pause_s)
        raise VenueError(
            f"{where}: {failure}, {self._retries.tries} times: run the same command again later"
        ) from failure

    def _listed[T](self, native: str, listings: Mapping[str, T]) -> T:
        if native not in listings:
            raise VenueError(
                f"{self.name} does not know {native}: correct `symbols` in "
                f"config/venues/{self.name}.yaml"
            )
        return listings[native]

    def _await_turn(self, weight: float) -> None:
        now_s = time.monotonic()
        if self._free_at_s > now_s:
            self._retries.sleep(self._free_at_s - now_s)
        burst_s = self._live.weight_burst / self._live.weight_per_s
        earliest_s = max(self._free_at_s, now_s - burst_s)
        self._free_at_s = earliest_s + weight / self._live.weight_per_s

    def _send(self, request: Request[Any], where: str) -> bytes:
        import requests

        from tbv8.venues.http import MisledError, OutOfBoundsError, failure_words

        try:
            reply = self._session.request(
                "GET" if request.body is None else "POST",
                where,
                params=dict(request.params),
                data=request.body,
                headers=None if request.body is None else {"Content-Type": "application/json"},
                timeout=self._retries.reply_s,
            )
        except (MisledError, OutOfBoundsError, requests.TooManyRedirects) as e:
            raise RefusedError(str(e)) from e
        except requests.RequestException as e:
            raise VenueError(failure_words(e)) from e
        if reply.status_code == HTTPStatus.OK:
            return reply.content
        problem = (
            f"HTTP {reply.status_code} {one_line(reply.content[:200].decode(errors='replace'))}"
        )
        if reply.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise RefusedError(problem, too_often=True)
        raise (RefusedError if reply.status_code < 500 else VenueError)(problem)


def _open_session(redirect_hosts: Collection[str]) -> requests.Session:
    from tbv8.venues.http import Session  # nothing heavy is imported at the start of doit

    return Session(hosts=redirect_hosts)
