"""One host, asked by several threads: tries again, waits when told to, stops when it cannot help.

Statuses and limits: docs/venues/binance.md. A ban (418) and a refusal of the place (451, 403) are
never asked again; after 429 no thread asks until the host's time is over.
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
from tbv8.venues.base import UNREADABLE, Log
from tbv8.venues.binance.product import Product
from tbv8.venues.http import MisledError, OutOfBoundsError, causes, failure_words

_WEIGHT_SHARE = 0.8
_SHORTEST_LOGGED_S = 3.0  # a shorter pause is over before it is read
_LONGEST_S = 366 * 86_400.0  # a longer time is told as this one
_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
_LIMIT_TEXT = re.compile(r"current limit is (\d{1,9}) request weight per 1 MINUTE")
_UNKNOWN_SYMBOL = (-1121, -1100)  # no such symbol; not the form of a symbol
_BAN_TEXT = re.compile(r"banned until (\d{12,14})")


def _ignore(_line: str) -> None:
    return None


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of retries with a host that fails.

    Args:
        tries: How often one thing is asked, all kinds of failure together.
        base_s: The first pause; each next one is twice as long, up to `cap_s`, less some jitter.
        longest_wait_s: A host that wants to be left alone for longer ends the run.
        connect_s: For a connection to come about.
        read_s: For the whole of a reply, beyond what a slow line needs for its bytes.
        ccxt_s: Both for ccxt, which has one number; Binance itself gives up after 10 s.
        clock: Seconds since the epoch; the minutes of the weight limit are counted on it.
        wait: Waits some seconds, or until the event is set.
        log: Prints a line for the user, about a long pause.
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


class FailureError(Exception):
    """One request that failed; `status` is None when no whole reply came."""

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
        """Binance's own number of the error, if the body has one."""
        try:
            return msgspec.json.decode(self.text, type=_ErrorBody).code
        except UNREADABLE:
            return None


def failure_of(e: BaseException) -> FailureError:
    """Translate an exception of requests, or one that was raised because of it (ccxt does)."""
    chain = list(causes(e))
    failed = next((cause for cause in chain if isinstance(cause, requests.RequestException)), None)
    if failed is None:
        return FailureError(str(e), is_final=True)
    if failed.response is not None:
        return failure_in(failed.response)
    if isinstance(failed, OutOfBoundsError | MisledError):
        return FailureError(str(failed), is_final=True)
    untrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain)
    return FailureError(
        failure_words(failed),
        is_final=untrusted or isinstance(failed, ValueError),  # that is, the URL is none
    )


def failure_in(response: requests.Response) -> FailureError:
    """Return the message of a reply with an error status."""
    status, reason = response.status_code, response.reason
    return FailureError(
        f"HTTP {status} {reason}" if reason else f"HTTP {status}",
        status=status,
        headers=response.headers,
        text=response.content.decode(errors="replace"),
    )


class Host:
    """A base URL, and what its replies said about asking it; used by several threads.

    Args:
        product: Whose it is.
        url: Without a slash at the end.
        option: The key of the venue's file that sets it.
        cure: What to set it to where the host is refused.
        at_once: How many requests may be under way.
        options: How long to go on.
    """

    def __init__(
        self,
        product: Product,
        url: str,
        *,
        option: str,
        cure: str,
        at_once: int,
        options: HostOptions,
    ) -> None:
        self._venue, self._config, self.url = product.venue, product.config, url
        self.options = options
        self._option, self._cure = option, cure
        self._slots = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._silent_until_s = self._logged_until_s = 0.0
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
        """Return the value of `call`, that gives its reply's headers too; repeat what may help.

        Raises:
            VenueError: The host refuses, or fails too often.
            CancelledError: `closing` was set.
        """
        url = f"{self._venue}: {self.url}{path}"
        for tried in count(1):
            with self._slots:
                self._await_turn(weight, closing)
                try:
                    value, headers = call()
                except FailureError as e:
                    failure = e
                    self._note_used(e.headers)
                    pause_s = self._pause_s(url, e, tried)
                else:
                    self._note_used(headers)
                    return value
            if tried >= self.options.tries:
                raise _too_many_failures(url, str(failure), tried) from failure
            if pause_s:
                self._log_pause(f"{failure} for {path}, next try in", pause_s)
                self._wait(pause_s, closing)
        raise AssertionError  # count does not end

    def back_off(self, path: str, problem: str, tried: int, closing: threading.Event) -> None:
        """Pause before the next try of something that `retry` cannot see failing.

        Raises:
            VenueError: There was a last try already.
        """
        if tried >= self.options.tries:
            raise _too_many_failures(f"{self._venue}: {self.url}{path}", problem, tried)
        pause_s = self._backoff_s(tried)
        self._log_pause(f"{problem} for {path}, next try in", pause_s)
        self._wait(pause_s, closing)

    def _await_turn(self, weight: int, closing: threading.Event) -> None:
        while wait := self._reserve(weight):
            self._log_pause(*wait)
            self._wait(wait[1], closing)
        if closing.is_set():
            raise CancelledError

    def _reserve(self, weight: int) -> tuple[str, float] | None:
        """Take weight out of this minute's; return why and how long to wait if there is none."""
        with self._lock:
            now_s = self.options.clock()
            if now_s < self._silent_until_s:
                return "asks to be left alone (HTTP 429) for", self._silent_until_s - now_s
            if int(now_s // 60) != self._minute:
                self._minute, self._used = int(now_s // 60), 0
            if weight and self._used and self._used + weight > self._limit * _WEIGHT_SHARE:
                # The host's minute may turn a little later than ours.
                used = f"{self._used} of the {self._limit} request weight of this minute"
                return f"has {used} used, going on in", 60.5 - now_s % 60
            self._used += weight
            return None

    def _note_used(self, headers: Mapping[str, str]) -> None:
        used = headers.get(_WEIGHT_HEADER, "")
        if used.isdecimal() and len(used) < 10:
            with self._lock:
                self._used = max(self._used, int(used))

    def _log_pause(self, reason: str, seconds: float) -> None:
        """Tell of a pause, once though several threads make it."""
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

    def _stop_if_final(self, url: str, failure: FailureError) -> None:
        if failure.status == 418:
            raise VenueError(
                f"{self._venue}: {self.url} bans this address until {self._ban_end(failure)} (HTTP "
                "418), since too much was asked from it: run the same command again after that"
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

    def _pause_s(self, url: str, failure: FailureError, tried: int) -> float:
        """Return the seconds before the next try; after a 429 they hold for all threads.

        Raises:
            VenueError: There is no sense in another try.
        """
        self._stop_if_final(url, failure)
        retry_after_s = self._retry_after_s(failure)
        if retry_after_s is not None and retry_after_s > self.options.longest_wait_s:
            raise VenueError(
                f"{self._venue}: {self.url} is not to be asked until {self._moment(retry_after_s)} "
                f"({failure}): run the same command again after that"
            )
        if failure.status == HTTPStatus.TOO_MANY_REQUESTS:
            now_s = self.options.clock()
            wait_s = 60 - now_s % 60 if retry_after_s is None else retry_after_s
            with self._lock:
                self._silent_until_s = max(self._silent_until_s, now_s + wait_s)
                if limit := _LIMIT_TEXT.search(failure.text):
                    self._limit = int(limit[1])
            return 0.0  # the turn waits
        return max(self._backoff_s(tried), retry_after_s or 0.0)

    def _backoff_s(self, tried: int) -> float:
        return backoff_s(tried, base_s=self.options.base_s, cap_s=self.options.cap_s)

    def _retry_after_s(self, failure: FailureError) -> float | None:
        header = failure.headers.get("Retry-After", "").strip()
        if header.isdecimal():
            return min(float(header), _LONGEST_S)
        try:
            until_s: float = parsedate_to_datetime(header[:100]).timestamp()
        except (ValueError, OverflowError):
            return None
        return min(max(0.0, until_s - self.options.clock()), _LONGEST_S)

    def _moment(self, wait_s: float) -> str:
        return iso(int(self.options.clock() + wait_s) * 1000)

    def _ban_end(self, failure: FailureError) -> str:
        if match := _BAN_TEXT.search(failure.text):
            return iso(int(match[1]) // 1000 * 1000)
        wait_s = self._retry_after_s(failure)
        if wait_s is None:
            return "a time that it does not tell (2 minutes to 3 days)"
        return self._moment(wait_s)


class Pool[T]:
    """Things that only one thread may use at a time, made when none is free."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._free: SimpleQueue[T] = SimpleQueue()
        self.items: list[T] = []

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Lend one."""
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
    """Ask once; a reply with any status is returned.

    Raises:
        requests.RequestException: There was no reply, or one that is refused.
    """
    timeout = (host.options.connect_s, host.options.read_s)
    return session.get(f"{host.url}{path}", params=params, timeout=timeout)


def fetch_json[T](
    session: requests.Session, host: Host, path: str, params: Mapping[str, Any], kind: type[T]
) -> tuple[T, Mapping[str, str]]:
    """Return a reply's body and its headers.

    Raises:
        FailureError: There was none, or its status is an error, or it is not of this kind.
    """
    try:
        reply = fetch_reply(session, host, path, params=params)
    except requests.RequestException as e:
        raise failure_of(e) from e
    if reply.status_code != HTTPStatus.OK:
        raise failure_in(reply)
    try:
        return msgspec.json.decode(reply.content, type=kind, strict=False), reply.headers
    except UNREADABLE as e:
        problem = f"the reply is not what the venue documents ({e})"
        raise FailureError(problem, headers=reply.headers) from e


@contextmanager
def naming_symbol(product: Product, native: str) -> Iterator[None]:
    """Raise the refusal for a user where the venue fails a request since it has no such symbol."""
    try:
        yield
    except FailureError as e:
        if e.code in _UNKNOWN_SYMBOL:
            raise unknown_symbol(product, native) from e
        raise


def unknown_symbol(product: Product, native: str) -> VenueError:
    """Return the refusal of a symbol that the venue does not list."""
    return VenueError(
        f"{product.venue} does not know {native}: its symbols look like BTCUSDT, correct `symbols` "
        f"in {product.config}"
    )


def _too_many_failures(url: str, problem: str, tried: int) -> VenueError:
    return VenueError(f"{url}: {problem}, {tried} times: run the same command again later")


def _reply_text(failure: FailureError) -> str:
    return f" {quoted(failure.text)}" if failure.text else ""
