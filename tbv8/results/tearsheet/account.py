"""An account's curves in USD, as several parts of the page draw them."""

from __future__ import annotations

import numpy as np

from tbv8.results.accounting import Curve, to_money
from tbv8.results.read import Account
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints


def in_usd(values: Ints) -> Floats:
    """Return integers of 10^-8 as USD."""
    usd: Floats = values / 10.0**MONEY_DECIMALS
    return usd


def from_start(run: Account, equity: Ints) -> Ints:
    """Return a curve with what it began with before its first bar."""
    return np.concatenate([[to_money(run.stats.start_equity)], equity])


def position_value(curve: Curve, symbol: str) -> Floats:
    """Return the value of a position, below 0 short; 0 before its symbol has a price."""
    worth: Floats = np.nan_to_num(curve.positions[symbol] * curve.prices[symbol])
    return worth


def gross_value(curve: Curve) -> Floats:
    """Return the value of all positions, long and short added up, in USD."""
    total = np.zeros(len(curve.closes_ms))
    for symbol in curve.prices:
        total += np.abs(position_value(curve, symbol))
    return total


def average_position(curve: Curve) -> float | None:
    """Return the mean value of the positions, long and short added, as a share of the equity.

    Bars without equity are left out.
    """
    equity = in_usd(curve.equity)
    has_equity = equity > 0
    held = gross_value(curve)
    return float(np.mean(held[has_equity] / equity[has_equity])) if has_equity.any() else None
