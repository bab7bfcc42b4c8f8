"""Requests to an exchange through ccxt: retries, the rate limit, and the kinds of failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ccxt
import msgspec
import requests

from tbv8.errors import VenueError
from tbv8.text import one_line
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import Endpoints, Log, RefusedError
from tbv8.venues.bounds import check_clock
from tbv8.venues.http import BoundedSession, causes
from tbv8.venues.live_calls import RetryPolicy

_REPLY_BYTES = 64 * 2**20  # the largest list of markets has some 20 MB
_LONGEST_WAIT_S = 300.0
_TRIES_BEFORE_LOG = 3
_PLACE_STATUSES = (HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS, HTTPStatus.FORBIDDEN, 418)
_TOO_OFTEN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
_READ_ERRORS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""The exceptions that ccxt raises for a reply of an unexpected shape."""


class Exchange:
    """A session with an exchange: one request at a time, within ccxt's rate limit.

    The attribute `ccxt` is ccxt's own exchange object. Its calls that send requests go through
    `retry`.

    Args:
        name: The name of the exchange in ccxt.
        endpoints: The configured addresses; `rest_url` replaces the exchange's own hosts.
        log: Prints a line for the user about each repeated failure.
        retries: The number of tries and their pauses.
    """

    def __init__(
        self, name: str, endpoints: Endpoints, *, log: Log, retries: RetryPolicy | None = None
    ) -> None:
        self.name, self._log = name, log
        self._retries = retries or RetryPolicy()
        self._session = BoundedSession(max_bytes=_REPLY_BYTES, hosts=endpoints.redirect_hosts)
        self.ccxt: Any = self._open(endpoints.rest_url)
        self._free_at_s = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def native_symbol(self, symbol: str) -> str:
        """Return the symbol itself: ccxt's names of spot markets are symbols."""
        return symbol

    def clock_ms(self) -> int:
        """Return the exchange's clock, or this machine's if the exchange publishes none."""
        now_ms = int(time.time() * 1000)
        if self.ccxt.has.get("fetchTime") is not True:
            return now_ms
        clock_ms = self.retry("its clock", lambda: int(self.ccxt.fetch_time()))
        return check_clock(self.name, clock_ms, now_ms=now_ms)

    def find_market(self, native: str) -> Mapping[str, Any]:
        """Return ccxt's record of a market.

        Raises:
            VenueError: The exchange has no such market, refuses, or is out of reach.
        """
        markets: Mapping[str, Mapping[str, Any]] = self.retry("its markets", self.ccxt.load_markets)
        if (market := markets.get(native)) is not None:
            return market
        base = native.partition("/")[0]
        similar = [name for name in sorted(markets) if name.partition("/")[0] == base][:5]
        hint = f"it has {', '.join(similar)}" if similar else f"it has no market of {base}"
        raise VenueError(
            f"{self.name} does not know {native}: {hint}: correct `symbols` of the venue's "
            f"file, such as {{{native}: {similar[0] if similar else 'BTC/USD'}}}"
        )

    def retry[T](self, subject: str, call: Callable[[], T]) -> T:
        """Return the value of `call`, which is repeated after temporary failures.

        Args:
            subject: The requested data, for messages.
            call: Sends the request and returns its value.

        Raises:
            RefusedError: The exchange refuses the request.
            VenueError: It fails too often.
        """
        for try_number in range(1, self._retries.tries + 1):
            try:
                return call()
            except ccxt.BaseError as e:
                failure, retry_after_s = self._check_failure(subject, e)
            except (*_READ_ERRORS, msgspec.ValidationError) as e:
                failure, retry_after_s = (
                    f"ccxt cannot read its reply ({type(e).__name__})",
                    0.0,
                )
            pause_s = max(
                retry_after_s,
                backoff_s(try_number, base_s=self._retries.base_s, cap_s=self._retries.cap_s),
            )
            if try_number >= _TRIES_BEFORE_LOG or retry_after_s > 1:
                self._log(f"{self.name}: {subject}: {failure}, trying again in {pause_s:.0f} s")
            self._retries.sleep(pause_s)
        raise VenueError(
            f"{self.name}: {subject}: {failure}, {self._retries.tries} times: run the same command "
            "again later"
        )

    def _check_failure(self, subject: str, e: ccxt.BaseError) -> tuple[str, float]:
        """Return the reason of a temporary failure, and the reply's `Retry-After` in seconds.

        The HTTP status is more exact than ccxt's exception class: for a host that is down ccxt may
        raise the same ExchangeError as for an unknown market, and for a geo block a NetworkError.

        Raises:
            RefusedError: The exchange refuses this request.
            VenueError: It refuses all requests.
        """
        reply = next(
            (response for cause in causes(e) if (response := _reply(cause)) is not None), None
        )
        status = 0 if reply is None else reply.status_code
        reason = one_line(str(e), max_length=200)
        if reply is not None and status != HTTPStatus.OK:
            reason = f"HTTP {status} {one_line(reply.text, max_length=100)}"
        if status in _PLACE_STATUSES or isinstance(e, ccxt.RestrictedLocation):
            raise VenueError(
                f"{self.name} refuses this place or network ({reason}): run tbv8 elsewhere, "
                "or set `rest_url` to a host that answers here"
            ) from e
        is_temporary = status >= 500 or status in _TOO_OFTEN or isinstance(e, ccxt.OperationFailed)
        if not is_temporary:
            raise RefusedError(f"{self.name} refuses {subject}: {reason}") from e
        retry_after = reply.headers.get("Retry-After", "") if reply is not None else ""
        return reason, _seconds(retry_after)

    def _throttle(self, cost: float | None = None) -> None:
        """Wait until the rate limit allows a request, in place of ccxt's own sleep."""
        now_s = time.monotonic()
        wait_s = max(0.0, self._free_at_s - now_s)
        if wait_s:
            self._retries.sleep(wait_s)
        limit_s = self.ccxt.rateLimit * (1 if cost is None else cost) / 1000
        self._free_at_s = now_s + wait_s + limit_s

    def _open(self, rest_url: str | None) -> Any:
        kind = getattr(ccxt, self.name, None)
        if kind is None:
            raise VenueError(f"ccxt has no exchange {self.name!r}: correct `exchange`")
        exchange = kind(
            {
                "enableRateLimit": True,
                "requests_trust_env": True,  # proxies of the environment, as requests does
                "timeout": int(self._retries.reply_s * 1000),
                "session": self._session,
                "userAgent": "tbv8",
            }
        )
        exchange.throttle = self._throttle
        parse = exchange.parse_ohlcvs

        def parse_ohlcvs(rows: Any, market: Any = None, *options: Any, **keywords: Any) -> Any:
            # ccxt skips rows that it cannot read; they would look like missing bars
            if any(
                exchange.safe_integer(exchange.parse_ohlcv(row, market), 0) is None
                for row in rows or ()
            ):
                raise ValueError("a row without a time")
            return parse(rows, market, *options, **keywords)

        exchange.parse_ohlcvs = parse_ohlcvs
        exchange.has["fetchCurrencies"] = False  # not needed, and some exchanges require a key
        if rest_url:
            exchange.urls["api"] = _at_host(exchange.urls["api"], rest_url)
        return exchange


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isdecimal() else 0.0


def _at_host(urls: Any, rest_url: str) -> Any:
    """Return ccxt's tree of URLs with another host and the same paths."""
    if isinstance(urls, Mapping):
        return {name: _at_host(url, rest_url) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    base, parts = urlsplit(rest_url), urlsplit(urls)
    path = f"{base.path.rstrip('/')}{parts.path}"
    return urlunsplit((base.scheme, base.netloc, path, parts.query, ""))


def _reply(e: BaseException) -> requests.Response | None:
    return e.response if isinstance(e, requests.RequestException) else None
