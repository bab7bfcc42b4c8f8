"""The REST API: bars (`GET <api>/klines`, by ccxt's raw call), the clock, the listing, the funding.

Wire facts: docs/venues/binance.md. Both bounds of a call are open times and inclusive. ccxt's own
rate limiter and retries are off, since `Host` does both. ccxt's exceptions lack the HTTP status
(451, 429 and 418 are all NetworkErrors); their cause, an exception of requests, has it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Span
from tbv8.venues.base import Endpoints, Moment, Payment
from tbv8.venues.binance.host import (
    Host,
    HostOptions,
    ItemPool,
    RequestFailedError,
    failure_of,
    fetch_json,
    translated_symbol_errors,
)
from tbv8.venues.binance.minutes import MinuteBars, clean_rows, join, missing_runs, within_span
from tbv8.venues.binance.product import Product
from tbv8.venues.bounds import check_clock
from tbv8.venues.http import BoundedSession

MAX_CONCURRENT = 3
"""The concurrent calls: at 0.1 s each, 30 a second use 3600 of Spot's 6000 weight a minute."""

_TIME_WEIGHT = 1
_PAYMENTS_PER_PAGE = 1000
_NO_END_MS = 10**14
_MAX_BYTES = 2**20  # a page has 0.2 MB; as Python objects, JSON is up to 50 times as large


_Row = tuple[int, str, str, str, str, str, int, str, int, str, str, Any]


class _FundingRate(msgspec.Struct):
    fundingTime: Moment
    fundingRate: float


class _Time(msgspec.Struct):
    serverTime: Moment


def rest_host(product: Product, endpoints: Endpoints, options: HostOptions) -> Host:
    """Return the host of a product's REST API."""
    return Host(
        product,
        endpoints.rest_url or product.rest_url,
        option="rest_url",
        cure=product.rest_cure,
        max_concurrent=MAX_CONCURRENT,
        options=options,
    )


def open_rest(product: Product, endpoints: Endpoints, options: HostOptions) -> Rest:
    """Open a product's REST API."""
    return Rest(product, rest_host(product, endpoints, options), endpoints.redirect_hosts)


class Rest:
    """An open session with a product's REST API, for several threads."""

    def __init__(self, product: Product, host: Host, redirect_hosts: Collection[str] = ()) -> None:
        self._product, self._host, self._redirect_hosts = product, host, redirect_hosts
        self._klines_path, self._time_path = f"{product.api}/klines", f"{product.api}/time"
        self._exchanges: ItemPool[Any] = ItemPool(self._open_exchange)
        self._session = self._open_session()
        self._end_ms = _NO_END_MS  # no bar opens later
        self._never_closing = threading.Event()  # for calls outside of `fetch`

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        for exchange in self._exchanges.items:
            exchange.session.close()

    def native_symbol(self, symbol: str) -> str:
        """Return `BTCUSDT` for `BTC/USDT`."""
        return self._product.native_symbol(symbol)

    def clock_ms(self) -> int:
        """Return the venue's clock; only minutes before it are history."""

        def call() -> tuple[int, Mapping[str, str]]:
            reply, headers = fetch_json(self._session, self._host, self._time_path, {}, _Time)
            now_ms = int(time.time() * 1000)
            return check_clock(self._product.venue, reply.serverTime, now_ms=now_ms), headers

        clock_ms = self._host.retry(self._time_path, call, self._never_closing, weight=_TIME_WEIGHT)
        self._end_ms = clock_ms + DAY_MS  # a session is over within the day
        return clock_ms

    def fetch_listed_ms(self, native: str) -> int:
        """Return the open of the symbol's first bar.

        The call avoids ccxt, so that a backfill from the archive alone need not import it.

        Raises:
            VenueError: The symbol is unknown, or has no bar.
        """
        params = {"symbol": native, "interval": "1m", "startTime": 0, "limit": 1}

        def call() -> tuple[int, Mapping[str, str]]:
            with translated_symbol_errors(self._product, native):
                rows, headers = fetch_json(
                    self._session, self._host, self._klines_path, params, list[_Row]
                )
            first = _parse_klines(rows, Span(0, self._end_ms), headers)
            opens = [*first.ts_ms[:1].tolist(), *first.unusable[:1]]
            if not opens:
                raise RequestFailedError(f"it has no bar of {native} yet", headers=headers)
            return min(opens), headers

        return self._host.retry(
            self._klines_path, call, self._never_closing, weight=self._product.page_weight(1)
        )

    def fetch(
        self, native: str, span: Span, closing: threading.Event, *, settled_ms: int
    ) -> tuple[MinuteBars, int]:
        """Return the bars of `span`, and the time up to which they are complete.

        The span must be past and not empty. Missing bars are requested twice (see `fetch_missing`,
        also for `closing` and `settled_ms`).
        """
        most = self._product.page_rows
        step_ms = most * MINUTE_MS
        pages = [
            Span(start_ms, min(start_ms + step_ms, span.end_ms))
            for start_ms in range(span.start_ms, span.end_ms, step_ms)
        ]
        minutes = join([self._klines(native, page, most, closing) for page in pages])
        if not (runs := missing_runs(minutes, span)):
            return minutes, span.end_ms
        refetched, known_ms = self.fetch_missing(native, runs, closing, settled_ms=settled_ms)
        if known_ms == runs[-1].end_ms:
            known_ms = span.end_ms
        return within_span(join([minutes, refetched]), Span(span.start_ms, known_ms)), known_ms

    def fetch_missing(
        self, native: str, runs: Sequence[Span], closing: threading.Event, *, settled_ms: int
    ) -> tuple[MinuteBars, int]:
        """Request missing bars again; return them, and the time up to which bars are complete.

        A minute without a bar counts as missing at the venue if the reply has a later bar. An empty
        reply counts only if the venue's newest bar is older too, and only for minutes before
        `settled_ms`: the venue may still publish later ones. The returned time is at most the end
        of `runs`.

        Args:
            native: The native symbol.
            runs: The spans without bars, at least one, by time.
            closing: Ends the requests when it is set.
            settled_ms: The time up to which the venue publishes no more bars.

        Raises:
            VenueError: The venue keeps sending empty replies for bars that it has.
        """
        parts: list[MinuteBars] = []
        empty_replies = 0
        last_ms = runs[-1].end_ms
        while runs:
            start_ms = runs[0].start_ms
            page = Span(start_ms, start_ms + (self._product.page_rows - 1) * MINUTE_MS)
            end_ms = max([run.end_ms for run in runs if page.contains(run)], default=page.end_ms)
            rows = Span(start_ms, end_ms).minutes + 1  # plus one later bar
            reply = self._klines(native, Span(start_ms, _NO_END_MS), rows, closing)
            parts += [within_span(reply, run) for run in runs]
            if reply.newest_ms is not None:
                known_ms = reply.newest_ms + MINUTE_MS
            elif self._has_ended(native, start_ms, closing):
                return join(parts), max(start_ms, min(last_ms, settled_ms))
            else:
                empty_replies += 1
                problem = "an empty reply for known bars"
                self._host.back_off(self._klines_path, problem, empty_replies, closing)
                known_ms = start_ms
            runs = [Span(max(run.start_ms, known_ms), run.end_ms) for run in runs]
            runs = [run for run in runs if run]
        return join(parts), last_ms

    def fetch_payments(self, native: str, span: Span, closing: threading.Event) -> list[Payment]:
        """Return the funding payments of `span`, by time.

        Raises:
            VenueError: The venue refuses, does not know the symbol, or is out of reach.
        """
        path = f"{self._product.api}/fundingRate"
        payments: list[Payment] = []
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            page = self._payments_page(path, native, Span(start_ms, span.end_ms), closing)
            payments += page
            if len(page) < _PAYMENTS_PER_PAGE:
                break
            start_ms = page[-1].time_ms + 1
        return payments

    def fetch_first_payment(self, native: str) -> Payment:
        """Return the symbol's first funding payment.

        Raises:
            VenueError: The symbol is unknown, or it has no payment yet.
        """
        path = f"{self._product.api}/fundingRate"
        page = self._payments_page(path, native, Span(0, self._end_ms), self._never_closing, most=1)
        if not page:
            raise VenueError(f"{self._product.venue}: no funding of {native} was paid yet")
        return page[0]

    def _payments_page(
        self,
        path: str,
        native: str,
        span: Span,
        closing: threading.Event,
        *,
        most: int = _PAYMENTS_PER_PAGE,
    ) -> list[Payment]:
        """Return the oldest payments of a span, at most `most`, by time."""
        params = {
            "symbol": native,
            "startTime": span.start_ms,
            "endTime": span.end_ms - 1,
            "limit": most,
        }

        def call() -> tuple[list[Payment], Mapping[str, str]]:
            with translated_symbol_errors(self._product, native):
                rows, headers = fetch_json(
                    self._session, self._host, path, params, list[_FundingRate]
                )
            times = [row.fundingTime for row in rows]
            if times != sorted(times) or any(not span.start_ms <= t < span.end_ms for t in times):
                problem = "the reply has other payments than the requested ones"
                raise RequestFailedError(problem, headers=headers)
            return [Payment(row.fundingTime, row.fundingRate) for row in rows], headers

        return self._host.retry(path, call, closing, weight=1)

    def _has_ended(self, native: str, ts_ms: int, closing: threading.Event) -> bool:
        """Return True if the newest bar opened before `ts_ms`."""
        newest_ms = self._klines(native, Span(0, _NO_END_MS), 1, closing).newest_ms
        return newest_ms is not None and newest_ms < ts_ms

    def _klines(self, native: str, span: Span, limit: int, closing: threading.Event) -> MinuteBars:
        """Return the oldest bars of `span`, at most `limit`; of all time, the newest bars."""
        params = {"symbol": native, "interval": "1m", "limit": limit}
        if span.start_ms > 0:
            params["startTime"] = span.start_ms
        if span.end_ms < _NO_END_MS:
            params["endTime"] = span.end_ms - 1

        def call() -> tuple[MinuteBars, Mapping[str, str]]:
            import ccxt

            with (
                translated_symbol_errors(self._product, native),
                self._exchanges.borrow() as exchange,
            ):
                try:
                    rows = getattr(exchange, self._product.ccxt_klines)(params)
                except ccxt.BaseError as e:
                    raise failure_of(e) from e
                except (RecursionError, UnicodeDecodeError) as e:
                    raise RequestFailedError(f"the reply is not bars ({type(e).__name__})") from e
                headers = exchange.last_response_headers
            within = Span(span.start_ms, min(span.end_ms, self._end_ms))
            return _parse_klines(rows, within, headers), headers

        return self._host.retry(
            self._klines_path, call, closing, weight=self._product.page_weight(limit)
        )

    def _open_session(self) -> BoundedSession:
        return BoundedSession(max_bytes=_MAX_BYTES, hosts=self._redirect_hosts)

    def _open_exchange(self) -> Any:
        import ccxt  # takes 2 s, so only when bars are requested

        return ccxt.binance(
            {
                "urls": {"api": {self._product.ccxt_api: f"{self._host.url}{self._product.api}"}},
                "enableRateLimit": False,
                "requests_trust_env": True,  # proxies of the environment, as requests does
                "timeout": int(self._host.options.ccxt_s * 1000),
                "session": self._open_session(),
                "userAgent": "tbv8",
            }
        )


def _parse_klines(rows: Any, within: Span, headers: Mapping[str, str]) -> MinuteBars:
    """Return the bars of a reply, which must open in `within`.

    Raises:
        RequestFailedError: The rows are no bars of `within`.
    """
    try:
        parsed = msgspec.convert(rows, list[_Row])
        columns = list(zip(*parsed, strict=True)) or [()] * 6
        opens = np.array(columns[0], dtype=np.int64)
        values = [np.array(column, dtype=np.float64) for column in columns[1:6]]
        return clean_rows(opens, values, within)
    except (msgspec.ValidationError, ValueError, OverflowError) as e:
        raise RequestFailedError(f"the reply is not bars ({e})", headers=headers) from e
