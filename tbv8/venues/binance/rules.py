"""The trading rules of Binance's markets: `GET <api>/exchangeInfo`.

Wire facts: docs/venues/binance.md. A rule of 0 means no rule. Fees and the largest leverage need an
API key, so they are not fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from tbv8.errors import VenueError
from tbv8.venues.base import Contract, Endpoints, Rules
from tbv8.venues.binance.host import (
    Host,
    HostOptions,
    fetch_json,
    translated_symbol_errors,
    unknown_symbol_error,
)
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.rest import rest_host
from tbv8.venues.http import BoundedSession

_MAX_BYTES = 8 * 2**20  # all perpetuals take some 1 MB


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal | None = None
    stepSize: Decimal | None = None
    minNotional: Decimal | None = None  # Spot
    notional: Decimal | None = None  # perpetuals


class _Symbol(msgspec.Struct):
    symbol: str
    baseAsset: str
    filters: list[_Filter]


class _Info(msgspec.Struct):
    symbols: list[_Symbol]


def fetch_rules(
    product: Product,
    endpoints: Endpoints,
    symbols: Mapping[str, str | None],
    *,
    options: HostOptions | None = None,
) -> dict[str, Rules]:
    """Return the rules of symbols that the venue publishes now.

    Raises:
        VenueError: The venue does not list one of them, refuses, or is out of reach.
    """
    host, rules = rest_host(product, endpoints, options or HostOptions()), dict[str, Rules]()
    listed: dict[str, _Symbol] = {}
    with BoundedSession(max_bytes=_MAX_BYTES, hosts=endpoints.redirect_hosts) as session:
        for symbol, native in symbols.items():
            name = native or product.native_symbol(symbol)
            if name not in listed:
                listed |= _fetch_listed(product, host, session, name)
            if name not in listed:
                raise unknown_symbol_error(product, name)
            contract = _contract(listed[name])
            if not contract.rules.are_possible:
                raise VenueError(f"{product.venue}: the trading rules of {name} are impossible")
            rules[symbol] = contract.rules_of(symbol)
    return rules


def _fetch_listed(
    product: Product, host: Host, session: BoundedSession, native: str
) -> dict[str, _Symbol]:
    """Return one or all symbols of the venue, with `native` if the venue lists it."""
    path = f"{product.api}/exchangeInfo"
    params = {"symbol": native} if product.info_takes_symbol else {}

    def call() -> tuple[_Info, Mapping[str, str]]:
        with translated_symbol_errors(product, native):
            return fetch_json(session, host, path, params, _Info)

    info = host.retry(path, call, threading.Event(), weight=product.info_weight)
    return {symbol.symbol: symbol for symbol in info.symbols}


def _contract(symbol: _Symbol) -> Contract:
    by_type = {rule.filterType: rule for rule in symbol.filters}
    price, lot = by_type.get("PRICE_FILTER"), by_type.get("LOT_SIZE")
    notional = by_type.get("NOTIONAL") or by_type.get("MIN_NOTIONAL")
    return Contract(
        base=symbol.baseAsset,
        rules=Rules(
            tick_size=(price and price.tickSize) or None,
            lot_size=(lot and lot.stepSize) or None,
            min_notional_usd=(notional and (notional.minNotional or notional.notional)) or None,
        ),
    )
