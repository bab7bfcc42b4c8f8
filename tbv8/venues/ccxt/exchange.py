"""An exchange as ccxt speaks to it: how it is asked, paced, and its failures are told apart."""

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
from tbv8.venues.http import Session, causes
from tbv8.venues.live_calls import RetryPolicy

_REPLY_BYTES = 64 * 2**20  # the largest list of markets has some 20 MB
_LONGEST_WAIT_S = 300.0
_TRIES_IN_SILENCE = 3
_PLACE_REFUSED = (HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS, HTTPStatus.FORBIDDEN, 418)
_TOO_SOON = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
_UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What ccxt raises of a reply that is not what it knows."""


class Exchange:
    """One request at a time, within ccxt's rate limit of the exchange.

    Args:
        name: ccxt's.
        endpoints: `rest_url` in place of the exchange's own hosts.
        log: Prints a line for the user, about a long wait.
        retries: How long to go on.

    `ccxt` is ccxt's own object; what sends a request is called by `ask`.
    """

    def __init__(
        self, name: str, endpoints: Endpoints, *, log: Log, retries: RetryPolicy | None = None
    ) -> None:
        self.name, self._log = name, log
        self._retries = retries or RetryPolicy()
        self._session = Session(most_bytes=_REPLY_BYTES, hosts=endpoints.redirect_hosts)
        self.ccxt: Any = self._open(endpoints.rest_url)
        self._free_at_s = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def native_symbol(self, symbol: str) -> str:
        """Return the symbol: ccxt's name of a spot market is the same."""
        return symbol

    def clock_ms(self) -> int:
        """Return the exchange's clock, or this machine's where it tells none."""
        now_ms = int(time.time() * 1000)
        if self.ccxt.has.get("fetchTime") is not True:
            return now_ms
        clock_ms = self.ask("its clock", lambda: int(self.ccxt.fetch_time()))
        return check_clock(self.name, clock_ms, now_ms=now_ms)

    def find_market(self, native: str) -> Mapping[str, Any]:
        """Return ccxt's record of a market.

        Raises:
            VenueError: The exchange has no such market, refuses, or is out of reach.
        """
        markets: Mapping[str, Mapping[str, Any]] = self.ask("its markets", self.ccxt.load_markets)
        if (market := markets.get(native)) is not None:
            return market
        base = native.partition("/")[0]
        near = [name for name in sorted(markets) if name.partition("/")[0] == base][:5]
        hint = f"it has {', '.join(near)}" if near else f"it has nothing of {base}"
        raise VenueError(
            f"{self.name} does not know {native}: {hint}: correct `symbols` of the venue's "
            f"file, such as {{{native}: {near[0] if near else 'BTC/USD'}}}"
        )

    def ask[T](self, what: str, call: Callable[[], T]) -> T:
        """Ask until it works; what cannot get better is not asked again.

        Raises:
            RefusedError: The exchange says no.
            VenueError: It fails too often.
        """
        for tried in range(1, self._retries.tries + 1):
            try:
                return call()
            except ccxt.BaseError as e:
                failure, retry_after_s = self._judge(what, e)
            except (*_UNREADABLE, msgspec.ValidationError) as e:
                failure, retry_after_s = (
                    f"its reply is not what ccxt knows ({type(e).__name__})",
                    0.0,
                )
            pause_s = max(
                retry_after_s,
                backoff_s(tried, base_s=self._retries.base_s, cap_s=self._retries.cap_s),
            )
            if tried >= _TRIES_IN_SILENCE or retry_after_s > 1:
                self._log(f"{self.name}: {what}: {failure}, trying again in {pause_s:.0f} s")
            self._retries.sleep(pause_s)
        raise VenueError(
            f"{self.name}: {what}: {failure}, {self._retries.tries} times: run the same command "
            "again later"
        )

    def _judge(self, what: str, e: ccxt.BaseError) -> tuple[str, float]:
        """Return a failure in words, and how long the exchange wants to be left alone.

        A status says more than ccxt's class: a host that is down with words in its reply is an
        ExchangeError as an unknown market is, and a place that is refused is a NetworkError.

        Raises:
            RefusedError: The exchange says no to this request.
            VenueError: It says no to all.
        """
        reply = next((found for cause in causes(e) if (found := _reply(cause)) is not None), None)
        status = 0 if reply is None else reply.status_code
        words = one_line(str(e), most=200)
        if reply is not None and status != HTTPStatus.OK:
            words = f"HTTP {status} {one_line(reply.text, most=100)}"
        if status in _PLACE_REFUSED or isinstance(e, ccxt.RestrictedLocation):
            raise VenueError(
                f"{self.name} refuses this place or network ({words}): run it from another one, "
                "or set `rest_url` to a host that answers here"
            ) from e
        passes = status >= 500 or status in _TOO_SOON or isinstance(e, ccxt.OperationFailed)
        if not passes:
            raise RefusedError(f"{self.name} refuses {what}: {words}") from e
        retry_after = reply.headers.get("Retry-After", "") if reply is not None else ""
        return words, _seconds(retry_after)

    def _throttle(self, cost: float | None = None) -> None:
        """Wait for the turn of a request, in place of ccxt's own sleep."""
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

        def parse_ohlcvs(rows: Any, market: Any = None, *options: Any, **named: Any) -> Any:
            # ccxt leaves out what it cannot read, and an answer without bars is a hole
            if any(
                exchange.safe_integer(exchange.parse_ohlcv(row, market), 0) is None
                for row in rows or ()
            ):
                raise ValueError("a row without a time")
            return parse(rows, market, *options, **named)

        exchange.parse_ohlcvs = parse_ohlcvs
        exchange.has["fetchCurrencies"] = False  # bars need none, and some want a key for it
        if rest_url:
            exchange.urls["api"] = _moved(exchange.urls["api"], rest_url)
        return exchange


def _seconds(retry_after: str) -> float:
    return min(float(retry_after), _LONGEST_WAIT_S) if retry_after.isdecimal() else 0.0


def _moved(urls: Any, rest_url: str) -> Any:
    """Return ccxt's addresses, a tree of them, at another host: their paths stay."""
    if isinstance(urls, Mapping):
        return {name: _moved(url, rest_url) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    there, here = urlsplit(rest_url), urlsplit(urls)
    path = f"{there.path.rstrip('/')}{here.path}"
    return urlunsplit((there.scheme, there.netloc, path, here.query, ""))


def _reply(e: BaseException) -> requests.Response | None:
    return e.response if isinstance(e, requests.RequestException) else None
