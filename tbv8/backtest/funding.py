"""Read the funding payments of a backtest from the store."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tbv8.config.records import Strategy
from tbv8.market import Series, Span
from tbv8.store.bars import BarStore, read_checked, rows_within
from tbv8.store.funding import Stretch, read_payment_days, read_stretches
from tbv8.store.ledger import FUNDING
from tbv8.trading.funding import FundingPayments


def read_funding(
    store: BarStore, strategy: Strategy, span: Span | None = None
) -> dict[str, dict[str, FundingPayments]]:
    """Return the payments of each venue of a strategy, by symbol; none for a fixed rate.

    The caller owns the transaction, so that payments and fingerprints are of the same moment.

    Args:
        store: The store.
        strategy: The strategy.
        span: The time of the payments; None for that of the strategy's bars.

    Raises:
        DataError: A day's rows do not have the digest that the ledger has of them.
    """
    found: dict[str, dict[str, FundingPayments]] = {}
    for venue, symbol in strategy.funding_of:
        venues = strategy.funding_venues(venue)
        stretches = read_stretches(store.query, symbol, venues, span or strategy.bars_span)
        if stretches or strategy.funding == "history":
            found.setdefault(venue, {})[symbol] = _read(store, symbol, stretches)
    return found


def _read(store: BarStore, symbol: str, stretches: list[Stretch]) -> FundingPayments:
    charged = FundingPayments(times_ms=[], rates=[], hours=[], venues=[])
    for stretch in stretches:
        days = read_payment_days(store.query, symbol, stretch)
        rates = read_checked(store, Series(stretch.venue, symbol), FUNDING, days)
        rates = rows_within(rates, stretch.payments)
        charged.times_ms.extend(rates["ts_ms"].to_pylist())
        charged.rates.extend(Decimal(repr(rate)) for rate in rates["rate"].to_pylist())
        charged.hours.extend(rates["interval_hours"].to_pylist())
        charged.venues.extend([stretch.venue] * rates.num_rows)
    return charged


def funding_within(
    strategy: Strategy, funding: Mapping[str, Mapping[str, FundingPayments]]
) -> dict[str, dict[str, FundingPayments]]:
    """Cut the funding of a longer span to a strategy's own: the same as by `read_funding`."""
    found: dict[str, dict[str, FundingPayments]] = {}
    for venue, symbol in strategy.funding_of:
        charged = funding.get(venue, {}).get(symbol, FundingPayments()).within(strategy.bars_span)
        if charged.times_ms or strategy.funding == "history":
            found.setdefault(venue, {})[symbol] = charged
    return found
