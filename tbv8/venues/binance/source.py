"""The fields of a Binance market's record; light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tbv8.market import Span
from tbv8.venues.base import Cost, Endpoints, FetchRules, History, HistorySource, Log, Rules
from tbv8.venues.binance import plan
from tbv8.venues.binance.product import Product


def history_source(product: Product) -> HistorySource:
    """Return the source of a product's 1m bars."""

    def span(now_ms: int) -> Span:
        return Span(product.opened_ms, max(product.opened_ms, now_ms))

    def cost(gaps: Sequence[Span], now_ms: int) -> Cost:
        return plan.cost(product, plan.pieces(gaps, now_ms=now_ms, listed_ms=product.opened_ms))

    def open_session(endpoints: Endpoints, log: Log) -> History:
        from tbv8.venues.binance.history import open_history
        from tbv8.venues.binance.host import HostOptions

        return open_history(product, endpoints, HostOptions(log=log))

    return HistorySource(span=span, cost=cost, open=open_session)


def funding_source(product: Product) -> HistorySource:
    """Return the source of a product's funding."""

    def span(now_ms: int) -> Span:
        return Span(product.opened_ms, max(product.opened_ms, now_ms))

    def cost(gaps: Sequence[Span], now_ms: int) -> Cost:
        pieces = plan.rate_pieces(gaps, now_ms=now_ms, listed_ms=product.opened_ms)
        return plan.rates_cost(pieces)

    def open_session(endpoints: Endpoints, log: Log) -> History:
        from tbv8.venues.binance.funding import open_funding
        from tbv8.venues.binance.host import HostOptions

        return open_funding(product, endpoints, HostOptions(log=log))

    return HistorySource(span=span, cost=cost, open=open_session)


def rules_source(product: Product) -> FetchRules:
    """Return the function that requests the trading rules of a product's symbols."""

    def fetch(
        endpoints: Endpoints, log: Log, symbols: Mapping[str, str | None]
    ) -> dict[str, Rules]:
        from tbv8.venues.binance.host import HostOptions
        from tbv8.venues.binance.rules import fetch_rules

        return fetch_rules(product, endpoints, symbols, options=HostOptions(log=log))

    return fetch
