"""Requests to one host by several threads: retries, back-off, the weight limit, final refusals.

Statuses and limits: docs/venues/binance.md. A ban (418) or a refusal of the place (451, 403) ends
the run. After a 429 no thread sends a request until the time of its `Retry-After` is over.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
import requests

from tbv8.errors import VenueError
from tbv8.market import iso
from tbv8.text import one_line, quoted
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import DECODE_ERRORS, Log
from tbv8.venues.binance.product import Product
from tbv8.venues.http import ForbiddenRedirectError, OutOfBoundsError, causes, failure_text

_WEIGHT_SHARE = 0.8
_SHORTEST_LOGGED_S = 3.0  # a shorter pause is over before a user could read the line
_LONGEST_S = 366 * 86_400.0  # the upper bound of a `Retry-After`
_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
_LIMIT_TEXT = re.compile(r"current limit is (\d{1,9}) request weight per 1 MINUTE")
_UNKNOWN_SYMBOL = (-1121, -1100)  # an unknown symbol; a text that cannot be one
_BAN_TEXT = re.compile(r"banned until (\d{12,14})")


def _ignore(_line: str) -> None:
    return None


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The number of tries, the pauses between them, and the timeouts.

    Args:
        tries: The largest number of tries of one request, whatever the failures.
        base_s: The first pause (see `tbv8.venues.backoff`).
        cap_s: The longest pause.
        longest_wait_s: The longest accepted `Retry-After`; a longer one ends the run.
        connect_s: The timeout of a connection.
        read_s: The timeout of a whole reply (see `tbv8.venues.http`).
        ccxt_s: The timeout of a request through ccxt; Binance itself gives up after 10 s.
        clock: Returns the seconds since the epoch, for the minutes of the weight limit.
        wait: Waits until an event is set, at most a number of seconds.
        log: Prints a line for the user about a long pause.
    """

    tries: int = 6
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_wait_s: float = 300.0
    connect_s: float = 10.0
    read_s: float = 60.0
    ccxt_s: float = 20.0
    clock: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], object] = threading.Event.wait
    log: Log = _ignore


class _ErrorBody(msgspec.Struct):
    code: int | None = None


class RequestFailedError(Exception):
    """A request failed.

    Args:
        problem: The reason.
        status: The HTTP status; None without a complete reply.
        headers: The headers of the reply.
        text: The body of the reply.
        is_final: If true, another try cannot help, whatever the status.
    """

    def __init__(
        self,
        problem: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        text: str = "",
        is_final: bool = False,
    ) -> None:
        super().__init__(one_line(problem))
        self.status, self.headers, self.text = status, headers or {}, text
        self.is_final = is_final

    @property
    def code(self) -> int | None:
        """Binance's error code in the body; None if there is none."""
        try:
            return msgspec.json.decode(self.text, type=_ErrorBody).code
        except DECODE_ERRORS:
            return None


def failure_of(e: BaseException) -> RequestFailedError:
    """Return the failure for an exception of requests, or of ccxt with one of requests as cause."""
    chain = list(causes(e))
    failed = next((cause for cause in chain if isinstance(cause, requests.RequestException)), None)
    if failed is None:
        return RequestFailedError(str(e), is_final=True)
    if failed.response is not None:
        return failure_in(failed.response)
    if isinstance(failed, OutOfBoundsError | ForbiddenRedirectError):
        return RequestFailedError(str(failed), is_final=True)
    untrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain)
    return RequestFailedError(
        failure_text(failed),
        is_final=untrusted or isinstance(failed, ValueError),  # requests' classes for a wrong URL
    )


def failure_in(response: requests.Response) -> RequestFailedError:
    """Return the failure for a reply with an error status."""
    status, reason = response.status_code, response.reason
    return RequestFailedError(
        f"HTTP {status} {reason}" if reason else f"HTTP {status}",
        status=status,
        headers=response.headers,
        text=response.content.decode(errors="replace"),
    )


class Host:
    """A base URL, and the state of its limits; shared by several threads.

    Args:
        product: The product.
        url: The URL, without a slash at the end.
        option: The key in the venue's file that sets the URL, for messages.
        cure: A better value of that key if the host refuses us, in words.
        max_concurrent: The largest number of concurrent requests.
        options: The number of tries, the pauses and the timeouts.
    """

    def __init__(
        self,
        product: Product,
        url: str,
        *,
        option: str,
        cure: str,
        max_concurrent: int,
        options: HostOptions,
    ) -> None:
        self._venue, self._config, self.url = product.venue, product.config, url
        self.options = options
        self._option, self._cure = option, cure
        self._slots = threading.BoundedSemaphore(max_concurrent)
        self._lock = threading.Lock()
        self._limited_until_s = self._logged_until_s = 0.0
        self._minute = self._used = 0
        self._limit = product.weight_limit

    def retry[T](
        self,
        path: str,
        call: Callable[[], tuple[T, Mapping[str, str]]],
        closing: threading.Event,
        *,
        weight: int = 0,
    ) -> T:
        """Return the value of `call`, which is repeated after temporary failures.

        Args:
            path: The path of the request, for messages.
            call: Sends the request; returns its value and the headers of the reply.
            closing: Ends all waits when it is set.
            weight: The request weight, as the venue counts it.

        Raises:
            VenueError: The host refuses, or fails too often.
            CancelledError: `closing` was set.
        """
        url = f"{self._venue}: {self.url}{path}"
        for try_number in count(1):
            with self._slots:
                self._await_turn(weight, closing)
                try:
                    value, headers = call()
                except RequestFailedError as e:
                    failure = e
                    self._update_used(e.headers)
                    pause_s = self._pause_s(url, e, try_number)
                else:
                    self._update_used(headers)
                    return value
            if try_number >= self.options.tries:
                raise _too_many_failures(url, str(failure), try_number) from failure
            if pause_s:
                self._log_pause(f"{failure} for {path}, next try in", pause_s)
                self._wait(pause_s, closing)
        raise AssertionError  # count does not end

    def back_off(self, path: str, problem: str, try_number: int, closing: threading.Event) -> None:
        """Pause before the next try, after a reply that only the caller can recognise as wrong.

        Raises:
            VenueError: This was the last try.
        """
        if try_number >= self.options.tries:
            raise _too_many_failures(f"{self._venue}: {self.url}{path}", problem, try_number)
        pause_s = self._backoff_s(try_number)
        self._log_pause(f"{problem} for {path}, next try in", pause_s)
        self._wait(pause_s, closing)

    def _await_turn(self, weight: int, closing: threading.Event) -> None:
        while wait := self._reserve(weight):
            self._log_pause(*wait)
            self._wait(wait[1], closing)
        if closing.is_set():
            raise CancelledError

    def _reserve(self, weight: int) -> tuple[str, float] | None:
        """Reserve weight of this minute; if too little is left, return the reason and the wait."""
        with self._lock:
            now_s = self.options.clock()
            if now_s < self._limited_until_s:
                return "limits requests (HTTP 429), continuing in", self._limited_until_s - now_s
            if int(now_s // 60) != self._minute:
                self._minute, self._used = int(now_s // 60), 0
            if weight and self._used and self._used + weight > self._limit * _WEIGHT_SHARE:
                # The host's minute may begin a little later than ours.
                used = f"{self._used} of the {self._limit} request weight of this minute"
                return f"has {used} used, continuing in", 60.5 - now_s % 60
            self._used += weight
            return None

    def _update_used(self, headers: Mapping[str, str]) -> None:
        used = headers.get(_WEIGHT_HEADER, "")
        if used.isdecimal() and len(used) < 10:
            with self._lock:
                self._used = max(self._used, int(used))

    def _log_pause(self, reason: str, seconds: float) -> None:
        """Log a long pause, only once if several threads make it."""
        until_s = self.options.clock() + seconds
        with self._lock:
            if seconds < _SHORTEST_LOGGED_S or until_s < self._logged_until_s + 1:
                return
            self._logged_until_s = until_s
        self.options.log(f"{self.url} {reason} {seconds:.0f} s")

    def _wait(self, seconds: float, closing: threading.Event) -> None:
        self.options.wait(closing, seconds)
        if closing.is_set():
            raise CancelledError

    def _stop_if_final(self, url: str, failure: RequestFailedError) -> None:
        if failure.status == 418:
            raise VenueError(
                f"{self._venue}: {self.url} bans this address until {self._ban_end(failure)} (HTTP "
                "418) after too many requests: run the same command again after that"
            )
        if failure.status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS):
            raise VenueError(
                f"{self._venue}: {self.url} refuses this place or network ({failure}): set "
                f"`{self._option}` in {self._config} to {self._cure}"
            )
        if failure.is_final or (
            failure.status is not None and failure.status < 500 and failure.status not in (408, 429)
        ):
            raise VenueError(
                f"{url}: {failure}{_reply_text(failure)}: correct `{self._option}` in "
                f"{self._config}"
            )

    def _pause_s(self, url: str, failure: RequestFailedError, try_number: int) -> float:
        """Return the seconds before the next try; after a 429, all threads wait.

        Raises:
            VenueError: Another try cannot help.
        """
        self._stop_if_final(url, failure)
        retry_after_s = self._retry_after_s(failure)
        if retry_after_s is not None and retry_after_s > self.options.longest_wait_s:
            raise VenueError(
                f"{self._venue}: {self.url} accepts no requests until "
                f"{self._time_in(retry_after_s)} ({failure}): run the same command again after that"
            )
        if failure.status == HTTPStatus.TOO_MANY_REQUESTS:
            now_s = self.options.clock()
            wait_s = 60 - now_s % 60 if retry_after_s is None else retry_after_s
            with self._lock:
                self._limited_until_s = max(self._limited_until_s, now_s + wait_s)
                if limit := _LIMIT_TEXT.search(failure.text):
                    self._limit = int(limit[1])
            return 0.0  # `_await_turn` waits
        return max(self._backoff_s(try_number), retry_after_s or 0.0)

    def _backoff_s(self, try_number: int) -> float:
        return backoff_s(try_number, base_s=self.options.base_s, cap_s=self.options.cap_s)

    def _retry_after_s(self, failure: RequestFailedError) -> float | None:
        header = failure.headers.get("Retry-After", "").strip()
        if header.isdecimal():
            return min(float(header), _LONGEST_S)
        try:
            until_s: float = parsedate_to_datetime(header[:100]).timestamp()
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, until_s - self.options.clock()), _LONGEST_S)

    def _time_in(self, wait_s: float) -> str:
        return iso(int(self.options.clock() + wait_s) * 1000)

    def _ban_end(self, failure: RequestFailedError) -> str:
        if match := _BAN_TEXT.search(failure.text):
            return iso(int(match[1]) // 1000 * 1000)
        wait_s = self._retry_after_s(failure)
        if wait_s is None:
            return "an unknown time (2 minutes to 3 days)"
        return self._time_in(wait_s)


class ItemPool[T]:
    """A pool of items that one thread at a time may use; it grows when none is free."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: SimpleQueue[T] = SimpleQueue()
        self.items: list[T] = []

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Yield an item for the use of this thread alone."""
        try:
            item = self._free.get_nowait()
        except Empty:
            item = self._make()
            self.items.append(item)
        try:
            yield item
        finally:
            self._free.put(item)


def fetch_reply(
    session: requests.Session, host: Host, path: str, *, params: Any = None
) -> requests.Response:
    """Return the reply of one request, whatever its status.

    Raises:
        requests.RequestException: There was no reply, or it is out of bounds.
    """
    timeout = (host.options.connect_s, host.options.read_s)
    return session.get(f"{host.url}{path}", params=params, timeout=timeout)


def fetch_json[T](
    session: requests.Session, host: Host, path: str, params: Mapping[str, Any], kind: type[T]
) -> tuple[T, Mapping[str, str]]:
    """Return a reply's body, decoded as `kind`, and its headers.

    Raises:
        RequestFailedError: There was no reply, its status is an error, or its body is no `kind`.
    """
    try:
        reply = fetch_reply(session, host, path, params=params)
    except requests.RequestException as e:
        raise failure_of(e) from e
    if reply.status_code != HTTPStatus.OK:
        raise failure_in(reply)
    try:
        return msgspec.json.decode(reply.content, type=kind, strict=False), reply.headers
    except DECODE_ERRORS as e:
        problem = f"the reply is undocumented ({e})"
        raise RequestFailedError(problem, headers=reply.headers) from e


@contextmanager
def translated_symbol_errors(product: Product, native: str) -> Iterator[None]:
    """Turn a failure about an unknown symbol into an error that names the cure."""
    try:
        yield
    except RequestFailedError as e:
        if e.code in _UNKNOWN_SYMBOL:
            raise unknown_symbol_error(product, native) from e
        raise


def unknown_symbol_error(product: Product, native: str) -> VenueError:
    """Return the error for a symbol that the venue does not list."""
    return VenueError(
        f"{product.venue} does not know {native}: its symbols look like BTCUSDT, correct `symbols` "
        f"in {product.config}"
    )


def _too_many_failures(url: str, problem: str, try_number: int) -> VenueError:
    return VenueError(f"{url}: {problem}, {try_number} times: run the same command again later")


def _reply_text(failure: RequestFailedError) -> str:
    return f" {quoted(failure.text)}" if failure.text else ""
