"""An account's curves in USD, for several parts of the page."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from tbv8.market import DAY_MS, FEWEST_DAYS
from tbv8.results.accounting import Curve, to_money
from tbv8.results.read import Account
from tbv8.results.statistics import measure_curve, without_yearly
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints


def in_usd(values: Ints) -> Floats:
    """Return integers of 10^-8 as USD."""
    usd: Floats = values / 10.0**MONEY_DECIMALS
    return usd


def from_start(run: Account, equity: Ints) -> Ints:
    """Return a curve with the starting equity in front."""
    return np.concatenate([[to_money(run.stats.start_equity)], equity])


def position_value(curve: Curve, symbol: str) -> Floats:
    """Return the value of a position, negative if short; 0 before its symbol has a price."""
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
    gross = gross_value(curve)
    return float(np.mean(gross[has_equity] / equity[has_equity])) if has_equity.any() else None


def hold_at_exposure(run: Account) -> Ints | None:
    """Return the equity of buy and hold at the run's average position, rebalanced at no cost.

    In integers of 10^-8 USD, at the closes; None if the run had no equity.
    """
    share = average_position(run.curve)
    if share is None:
        return None
    hold = from_start(run, run.curve.buy_and_hold).astype(np.float64)
    growth = np.maximum(1 + share * (hold[1:] / hold[:-1] - 1), 0)
    equity: Ints = np.rint(hold[0] * np.cumprod(growth)).astype(np.int64)
    return equity


def hold_at_exposure_numbers(run: Account) -> dict[str, Any]:
    """Return the statistics of `hold_at_exposure`, named as in summary.json."""
    curve, equity = run.curve, hold_at_exposure(run)
    if equity is None:
        return {}
    start_ms, closes_ms = curve.start_ms, curve.closes_ms
    performance = measure_curve(closes_ms, equity, start_ms=start_ms, start=run.stats.start_equity)
    if int(closes_ms[-1]) - start_ms < FEWEST_DAYS * DAY_MS:
        performance = without_yearly(performance)
    numbers: dict[str, Any] = msgspec.to_builtins(performance)
    return numbers
