"""The trading rules of an exchange, from ccxt's list of its markets.

A precision is a step or a number of digits, depending on the exchange. Fees come from the
exchange's list, else from the fee schedule in ccxt's release.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from typing import Any

import ccxt

from tbv8.errors import VenueError
from tbv8.venues.base import Contract, Endpoints, ExchangeOrigin, Log, Rules
from tbv8.venues.ccxt.exchange import Exchange
from tbv8.venues.live_calls import RetryPolicy

_DOLLARS = ("USD", "USDT", "USDC")


def fetch_rules(
    origin: ExchangeOrigin,
    endpoints: Endpoints,
    symbols: Mapping[str, str | None],
    *,
    log: Log,
    retries: RetryPolicy | None = None,
) -> dict[str, Rules]:
    """Return the rules of symbols that the exchange publishes now.

    Raises:
        VenueError: The exchange does not know one of them, refuses, or is out of reach.
    """
    with closing(Exchange(origin.exchange, endpoints, log=log, retries=retries)) as exchange:
        rules_by_symbol = {}
        for symbol, native in symbols.items():
            market = exchange.find_market(native or exchange.native_symbol(symbol))
            rules = parse_rules(market, exchange.ccxt.precisionMode)
            if not rules.are_possible:
                raise VenueError(f"{exchange.name}: the trading rules of {symbol} are impossible")
            rules_by_symbol[symbol] = Contract(base=market["base"], rules=rules).rules_of(symbol)
    return rules_by_symbol


def parse_rules(market: Mapping[str, Any], mode: int) -> Rules:
    """Return the rules of a market from ccxt's record; `mode` is the exchange's `precisionMode`."""
    steps, limits = market["precision"], market["limits"]
    contract_size = _number(market.get("contractSize")) or Decimal(1)
    lot = _step(steps.get("amount"), mode)
    min_cost = _number(limits["cost"].get("min"))
    return Rules(
        tick_size=_step(steps.get("price"), mode),
        lot_size=None if lot is None else lot * contract_size,
        min_notional_usd=(min_cost or None) if market["quote"] in _DOLLARS else None,
        max_leverage=_number(limits["leverage"].get("max")) if market["contract"] else None,
        maker_fee=_number(market.get("maker")),
        taker_fee=_number(market.get("taker")),
    )


def _step(precision: Any, mode: int) -> Decimal | None:
    """Return the step of a price or an amount; None for a number of significant digits."""
    number = _number(precision)
    if number is None or mode == ccxt.SIGNIFICANT_DIGITS:
        return None
    return number if mode == ccxt.TICK_SIZE else Decimal(1).scaleb(-int(number))


def _number(value: Any) -> Decimal | None:
    """Return a number as a decimal, from a float's shortest text."""
    return None if value is None else Decimal(str(value))
