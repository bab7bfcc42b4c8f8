"""A session with an exchange through ccxt; see `tbv8.venues.base.History`.

ccxt gives every exchange one face, and exchanges differ behind it: `since` may be the first bar of
a window or of all that follows, a page may be cut short, and some keep the newest bars only and
answer any older `since` with those. So each page is asked by its start and its length, asked on
from its last bar, and asked once more where it has holes; and before anything is fetched, the first
1m bar is compared with the first daily one. Volumes in contracts are refused: ccxt has them in
contracts of one exchange and in coins of another.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

import ccxt
import msgspec
import requests

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Bar, Span, iso, parse_time, parse_timeframe
from tbv8.text import one_line
from tbv8.venues.base import (
    MOST_UNUSABLE,
    Endpoints,
    Fetched,
    FromExchange,
    RefusedError,
    Say,
)
from tbv8.venues.bounds import check_clock
from tbv8.venues.http import Session
from tbv8.venues.live_calls import Patience
from tbv8.venues.live_history import fill, to_table

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_MS = parse_time("2009-01-03")  # Bitcoin's first block
_LONGEST_PAGE, _USUAL_PAGE = 5000, 300
_COARSE = ("1d", "12h", "6h", "4h", "1h")  # timeframes that tell when a market began
_LISTING_DAYS = 2  # within them a market's first 1m bar follows its first daily one
_REPLY_BYTES = 64 * 2**20  # the largest list of markets has some 20 MB
_LONGEST_WAIT_S = 300.0
_TRIES_IN_SILENCE = 3
_PLACE_REFUSED = (HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS, HTTPStatus.FORBIDDEN, 418)
_TOO_SOON = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
_UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What ccxt raises of a reply that is not what it knows."""

type _Row = tuple[int, float | None, float | None, float | None, float | None, float | None]


class _Reach(msgspec.Struct, frozen=True):
    """How far back 1m bars go; `rolls` where older ones were there once. `asked_s` is monotonic."""

    first_ms: int
    rolls: bool
    asked_s: float


class CcxtHistory:
    """A session; one request at a time, within ccxt's rate limit of the exchange.

    Args:
        origin: Which exchange.
        endpoints: `rest_url` in place of the exchange's own hosts.
        say: Told for what it waits when it waits for long.
        patience: How long to go on.
    """

    def __init__(
        self,
        origin: FromExchange,
        endpoints: Endpoints,
        *,
        say: Say,
        patience: Patience | None = None,
    ) -> None:
        self._name, self._say = origin.exchange, say
        self._patience = patience or Patience()
        self._session = Session(most_bytes=_REPLY_BYTES, hosts=endpoints.redirect_hosts)
        self._exchange: Any = self._open(endpoints.rest_url)
        self._reaches: dict[str, _Reach] = {}
        self._free_at_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._session.close()

    def native_symbol(self, symbol: str) -> str:
        """Return the symbol: ccxt's name of a spot market is the same."""
        return symbol

    def clock_ms(self) -> int:
        """Return the exchange's clock, or this machine's where it tells none."""
        now_ms = int(time.time() * 1000)
        if self._exchange.has.get("fetchTime") is not True:
            return now_ms
        clock_ms = self._ask("its clock", lambda: int(self._exchange.fetch_time()))
        return check_clock(self._name, clock_ms, now_ms=now_ms)

    def listed_ms(self, native: str) -> int:
        """Return the open of the first 1m bar; 0 where the exchange keeps the newest ones only.

        Raises:
            VenueError: The exchange does not know the symbol, or has no 1m bars of it.
        """
        reach = self._reach(native)
        return 0 if reach.rolls else reach.first_ms

    def reach(self, native: str) -> str:
        """Return how far back 1m bars go, in words."""
        reach = self._reach(native)
        kept = "keeps the newest 1m bars only" if reach.rolls else "has 1m bars"
        return f"{self._name} {kept} of {native}, from {iso(reach.first_ms)} on"

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield all that fills `gaps`, by time, as `tbv8.venues.live_history.fill`.

        Raises:
            VenueError: The exchange refuses, is out of reach, or no longer keeps it.
        """
        now_ms = self.clock_ms()
        for gap in gaps:
            self._refuse_gone(native, gap)
        look = partial(self._look_twice, native)
        yield from fill(gaps, look, page_minutes=self._page(native), now_ms=now_ms)

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the bars that the exchange has in `span`; what is absent was asked for twice."""
        bars = self._look_twice(native, span)
        return to_table(bar for bar in bars.values() if bar.is_possible)

    # What is asked.

    def _look_twice(self, native: str, part: Span) -> dict[int, Bar]:
        """Return the bars of a page by their opens, asked for again if one lacks or cannot be."""
        self._refuse_gone(native, part)
        bars: dict[int, Bar] = {}
        for _ in range(2):
            if sum(bar.is_possible for bar in bars.values()) < part.minutes:
                bars |= {bar.ts_ms: bar for bar in self._look(native, part)}
        unusable = sum(not bar.is_possible for bar in bars.values())
        if unusable > MOST_UNUSABLE:
            raise VenueError(
                f"{self._name}: {unusable} of its bars of {native} in {part} cannot be (a high "
                "below the open, or a price of 0): run the same command again later"
            )
        return bars

    def _look(self, native: str, part: Span) -> Iterator[Bar]:
        """Yield the bars of a page, asked on from the last one of each answer."""
        start_ms = part.start_ms
        while start_ms < part.end_ms:
            limit = Span(start_ms, part.end_ms).minutes
            rows = self._ohlcv(native, "1m", start_ms, min(limit, self._page(native)))
            inside = [bar for bar in rows if start_ms <= bar.ts_ms < part.end_ms]
            if not inside:
                return
            yield from inside
            start_ms = inside[-1].ts_ms + MINUTE_MS

    def _ohlcv(self, native: str, timeframe: str, since_ms: int, limit: int) -> list[Bar]:
        """Return the bars of one answer that open at `since_ms` or later, by time."""

        def call() -> list[Bar]:
            rows = self._exchange.fetch_ohlcv(native, timeframe, since_ms, limit)
            found = {row[0]: Bar(*map(_number, row)) for row in msgspec.convert(rows, list[_Row])}
            step_ms = parse_timeframe(timeframe).fixed_ms or MINUTE_MS
            return [
                found[ts_ms] for ts_ms in sorted(found) if ts_ms >= since_ms and not ts_ms % step_ms
            ]

        return self._ask(f"{timeframe} bars of {native}", call)

    def _reach(self, native: str) -> _Reach:
        """Return how far back 1m bars go; each symbol is asked for once.

        Raises:
            VenueError: The exchange does not know the symbol, or has no 1m bars of it.
        """
        if native not in self._reaches:
            self._check_market(native)
            now_ms = self.clock_ms()
            coarse = next((text for text in _COARSE if text in self._exchange.timeframes), "1m")
            early_ms = self._first_ms(native, coarse, Span(_FIRST_MS, now_ms))
            listing = Span(early_ms or _FIRST_MS, now_ms)
            first_ms = self._first_ms(native, "1m", listing, ahead_days=_LISTING_DAYS)
            if first_ms is None:
                raise VenueError(
                    f"{self._name}: no 1m bar of {native} yet: take it out of `symbols`"
                )
            late = early_ms is None or first_ms >= early_ms + _LISTING_DAYS * DAY_MS
            rolls = late or coarse == "1m"  # then nobody knows, and nothing may be called missing
            self._reaches[native] = _Reach(first_ms, rolls, time.monotonic())
        return self._reaches[native]

    def _first_ms(
        self, native: str, timeframe: str, within: Span, *, ahead_days: int = 0
    ) -> int | None:
        """Return the open of the first bar, None where there is none.

        The first pages are asked one by one, as far as `ahead_days`; then, as a market that has
        bars goes on having them, the first page with some is found by halving.
        """
        length = parse_timeframe(timeframe).fixed_ms or MINUTE_MS
        limit = self._page(native)
        step_ms = limit * length
        start_ms = within.start_ms // length * length
        pages = -(-(within.end_ms - start_ms) // step_ms)
        absent, present, first_ms = -1, pages, None
        ahead = 1 + ahead_days * DAY_MS // step_ms
        while present - absent > 1:
            page = absent + 1 if absent + 1 < ahead else (absent + present) // 2
            try:
                bars = self._ohlcv(native, timeframe, start_ms + page * step_ms, limit)
            except RefusedError as e:  # some refuse a time that is too long ago
                if page == pages - 1:
                    raise VenueError(str(e)) from e
                bars = []
            if bars:
                present, first_ms = page, bars[0].ts_ms
            else:
                absent = page
        return first_ms

    def _refuse_gone(self, native: str, part: Span) -> None:
        reach = self._reach(native)
        kept_ms = reach.first_ms
        if reach.rolls:
            kept_ms += int((time.monotonic() - reach.asked_s) * 1000)
        if reach.rolls and part.start_ms < kept_ms:
            raise VenueError(
                f"{self.reach(native)}, not from {iso(part.start_ms)}: write a later start_date, "
                "or another exchange that keeps all"
            )

    def _check_market(self, native: str) -> None:
        """Refuse what cannot be fetched, before it is.

        Raises:
            VenueError: There is no such market, or no 1m bars, or volumes are in contracts.
        """
        has_bars = self._exchange.has.get("fetchOHLCV") is True  # not made of its newest trades
        if not has_bars or "1m" not in (self._exchange.timeframes or {}):
            raise VenueError(f"{self._name} has no 1m bars: choose another exchange")
        markets: Mapping[str, Mapping[str, Any]] = self._ask(
            "its markets", self._exchange.load_markets
        )
        market = markets.get(native)
        if market is None:
            base = native.partition("/")[0]
            near = [name for name in sorted(markets) if name.partition("/")[0] == base][:5]
            hint = f"it has {', '.join(near)}" if near else f"it has nothing of {base}"
            raise VenueError(
                f"{self._name} does not know {native}: {hint}: correct `symbols` of the venue's "
                f"file, such as {{{native}: {near[0] if near else 'BTC/USD'}}}"
            )
        if market.get("contract") and (market.get("inverse") or market.get("contractSize") != 1):
            raise VenueError(
                f"{self._name}: {native} trades contracts of {market.get('contractSize')}, and "
                "whether its volumes are in contracts or in coins ccxt does not tell: choose a "
                "spot market, or contracts of 1"
            )

    def _page(self, native: str) -> int:
        """Return how many bars one answer has at most."""
        limit = self._exchange.feature_value(native, "fetchOHLCV", "limit", _USUAL_PAGE)
        return min(int(limit or _USUAL_PAGE), _LONGEST_PAGE)

    # How it is asked.

    def _ask[T](self, what: str, call: Callable[[], T]) -> T:
        """Ask until it works; what cannot get better is not asked again.

        Raises:
            RefusedError: The exchange says no.
            VenueError: It fails too often.
        """
        for tried in range(1, self._patience.tries + 1):
            try:
                return call()
            except ccxt.BaseError as e:
                failure, retry_after_s = self._judge(what, e)
            except (*_UNREADABLE, msgspec.ValidationError) as e:
                failure, retry_after_s = (
                    f"its reply is not what ccxt knows ({type(e).__name__})",
                    0.0,
                )
            backoff_s = min(self._patience.cap_s, self._patience.base_s * 2.0 ** (tried - 1))
            pause_s = max(retry_after_s, backoff_s * random.uniform(0.5, 1.0))
            if tried >= _TRIES_IN_SILENCE or retry_after_s > 1:
                self._say(f"{self._name}: {what}: {failure}, trying again in {pause_s:.0f} s")
            self._patience.sleep(pause_s)
        raise VenueError(
            f"{self._name}: {what}: {failure}, {self._patience.tries} times: run the same command "
            "again later, what was fetched is kept"
        )

    def _judge(self, what: str, e: ccxt.BaseError) -> tuple[str, float]:
        """Return a failure in words, and how long the exchange wants to be left alone.

        A status says more than ccxt's class: a host that is down with words in its reply is an
        ExchangeError as an unknown market is, and a place that is refused is a NetworkError.

        Raises:
            RefusedError: The exchange says no to this request.
            VenueError: It says no to all.
        """
        reply = next((found for cause in _causes(e) if (found := _reply(cause)) is not None), None)
        status = 0 if reply is None else reply.status_code
        words = one_line(str(e), most=200)
        if reply is not None and status != HTTPStatus.OK:
            words = f"HTTP {status} {one_line(reply.text, most=100)}"
        if status in _PLACE_REFUSED or isinstance(e, ccxt.RestrictedLocation):
            raise VenueError(
                f"{self._name} refuses this place or network ({words}): run it from another one, "
                "or set `rest_url` to a host that answers here"
            ) from e
        passes = status >= 500 or status in _TOO_SOON or isinstance(e, ccxt.OperationFailed)
        if not passes:
            raise RefusedError(f"{self._name} refuses {what}: {words}") from e
        retry_after = reply.headers.get("Retry-After", "") if reply is not None else ""
        return words, _seconds(retry_after)

    def _throttle(self, cost: float | None = None) -> None:
        """Wait for the turn of a request, in place of ccxt's own sleep."""
        now_s = time.monotonic()
        wait_s = max(0.0, self._free_at_s - now_s)
        if wait_s:
            self._patience.sleep(wait_s)
        limit_s = self._exchange.rateLimit * (1 if cost is None else cost) / 1000
        self._free_at_s = now_s + wait_s + limit_s

    def _open(self, rest_url: str | None) -> Any:
        kind = getattr(ccxt, self._name, None)
        if kind is None:
            raise VenueError(f"ccxt has no exchange {self._name!r}: correct `exchange`")
        exchange = kind(
            {
                "enableRateLimit": True,
                "requests_trust_env": True,  # proxies of the environment, as requests does
                "timeout": int(self._patience.reply_s * 1000),
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


def _number(value: float | None) -> Any:
    return float("nan") if value is None else value


def _moved(urls: Any, rest_url: str) -> Any:
    """Return ccxt's addresses, a tree of them, at another host: their paths stay."""
    if isinstance(urls, Mapping):
        return {name: _moved(url, rest_url) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    there, here = urlsplit(rest_url), urlsplit(urls)
    path = f"{there.path.rstrip('/')}{here.path}"
    return urlunsplit((there.scheme, there.netloc, path, here.query, ""))


def _causes(e: BaseException | None) -> Iterator[BaseException]:
    while e is not None:
        yield e
        e = e.__cause__ or e.__context__


def _reply(e: BaseException) -> requests.Response | None:
    return e.response if isinstance(e, requests.RequestException) else None
