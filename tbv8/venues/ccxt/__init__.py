"""The history of any exchange that ccxt supports: 1m bars by its `fetch_ohlcv`.

    exchange    the requests to an exchange
    history     its 1m bars
    rules       its trading rules

A user gives a venue of any name this history by `history: ccxt` and `exchange: kraken` in its YAML.
Importing ccxt takes two seconds, so the first session imports it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tbv8.market import Span
from tbv8.venues.base import Cost, Endpoints, ExchangeOrigin, History, HistorySource, Log, Rules

_PAGE_MINUTES = 500  # of most exchanges, for the cost; a session uses the exchange's own number


def exchanges() -> list[str]:
    """Return the names of ccxt's exchanges, sorted; read from its files without importing it."""
    spec = find_spec("ccxt")
    assert spec is not None
    assert spec.origin is not None
    files = (Path(spec.origin).parent / "abstract").glob("[!_]*.py")
    return sorted(path.stem for path in files)


def exchange_source(origin: ExchangeOrigin) -> HistorySource:
    """Return the history of a configured exchange."""
    return HistorySource(
        span=_span,
        cost=_cost,
        open=partial(_open_session, origin),
        reach=True,
        rules=partial(_fetch_rules, origin),
    )


def _open_session(origin: ExchangeOrigin, endpoints: Endpoints, log: Log) -> History:
    from tbv8.venues.ccxt.history import open_history

    return open_history(origin, endpoints, log=log)


def _fetch_rules(
    origin: ExchangeOrigin, endpoints: Endpoints, log: Log, symbols: Mapping[str, str | None]
) -> dict[str, Rules]:
    from tbv8.venues.ccxt.rules import fetch_rules

    return fetch_rules(origin, endpoints, symbols, log=log)


def _span(now_ms: int) -> Span:
    """Return all time until now: only a request shows how far back an exchange goes."""
    return Span(0, now_ms)


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return the rough cost of filling `gaps`."""
    from tbv8.venues.live_history import page_cost

    return page_cost(gaps, _PAGE_MINUTES)
