"""Monte Carlo of the chosen trial: its days, round trips and markets drawn anew.

Days and round trips are drawn here; markets are trials (markets.py), and only summed up here. The
same bytes come out everywhere: balances are integers, sums are exact or in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from tbv8.experiments.draws import draw_days, generator
from tbv8.results.statistics import YEAR_DAYS, daily_sharpe
from tbv8.trading.nautilus import Floats, Ints

SHARES = (5, 25, 50, 75, 95)
"""The percents of paths that a fan and its quantiles tell of."""

_STEPS = 200  # of a fan: more cannot be seen
_DECIMALS = 12  # at which a loss is held against a limit: 1 - 0.9 is not 0.1


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """The values below which 5, 25, 50, 75 and 95 % of paths stay."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of many paths of an account.

    Attributes:
        rows: A row a path: total return, largest drawdown, Sharpe ratio a year; the last is NaN
            where a path has no ratio.
        steps: The numbers of the points that the fan has, from 0 on: days, or round trips.
        fan: The account at each of them as a multiple of the start, a row for each of `SHARES`.
        total_return: Over the paths.
        max_drawdown: Over the paths.
        loss: The share of paths that lose money.
        losses: The shares of paths that end with each of the losses asked for, or a larger one.
        falls: The shares whose largest drawdown is each of them, or a larger one.
    """

    rows: Floats
    steps: Ints
    fan: Floats
    total_return: Quantiles
    max_drawdown: Quantiles
    loss: float
    losses: tuple[float, ...]
    falls: tuple[float, ...]

    @property
    def worst_return(self) -> float:
        """The lowest return of any path."""
        return float(self.rows[:, 0].min())

    @property
    def worst_drawdown(self) -> float:
        """The largest drawdown of any path."""
        return float(self.rows[:, 1].max())


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of the same days in other orders.

    `p_value` is how often a market with the same days and a mean of 0 brings such a mean.
    """

    paths: Paths
    p_value: float


def draw_by_day(
    returns: Sequence[float], *, paths: int, block_days: int, seed: int, losses: Sequence[float]
) -> Bootstrap | None:
    """Return the outcomes of blocks of the same days in other orders; None of no days.

    Args:
        returns: Daily ones.
        paths: How many.
        block_days: The mean length of a block.
        seed: Of the draws.
        losses: As of `Paths`.
    """
    own = np.array(returns)
    if not len(own):
        return None
    mean = math.fsum(returns) / len(own)
    steps = _spread(len(own) + 1)
    rows, curves = np.empty((paths, 3)), np.empty((paths, len(steps)))
    beyond = 0
    for path in range(paths):
        drawn = own[
            draw_days(len(own), places=len(own), block_days=block_days, seed=seed, path=path)
        ]
        curve = np.concatenate([[1.0], np.cumprod(1 + drawn)])
        curves[path] = curve[steps]
        rows[path] = curve[-1] - 1, largest_fall(curve), _yearly(drawn)
        beyond += math.fsum(drawn) / len(own) - mean >= mean
    return Bootstrap(
        paths=to_paths(rows, curves, steps, losses), p_value=(beyond + 1) / (paths + 1)
    )


def draw_by_trade(
    balances: Ints, *, paths: int, seed: int, losses: Sequence[float], replace: bool
) -> Paths | None:
    """Return the outcomes of the same round trips in other draws; None of no round trip.

    A round trip gains so many USD wherever it stands: sizes do not grow with the balance. An
    account without money stays so.

    Args:
        balances: In 10^-8 USD, at the start and after each round trip.
        paths: How many.
        seed: Of the draws.
        losses: As of `Paths`.
        replace: Draw as many round trips as there are, each from all of them; otherwise each once,
            in another order, which changes the drawdown alone.
    """
    gains = np.diff(balances)
    if not len(gains) or balances[0] <= 0:
        return None
    steps = _spread(len(balances))
    rows, curves = np.full((paths, 3), math.nan), np.empty((paths, len(steps)))
    for path in range(paths):
        draw = generator("trades" if replace else "order", seed=seed, path=path)
        count = len(gains)
        drawn = draw.integers(0, count, count) if replace else draw.permutation(count)
        account = np.concatenate([balances[:1], balances[0] + np.cumsum(gains[drawn])])
        account = np.where(np.minimum.accumulate(account) <= 0, 0, account)
        curve = account / balances[0]
        curves[path] = curve[steps]
        rows[path, :2] = curve[-1] - 1, largest_fall(curve)
    return to_paths(rows, curves, steps, losses)


def markets_paths(rows: Floats, equities: Sequence[Ints], losses: Sequence[float]) -> Paths | None:
    """Return the outcomes of trials on many markets; None of no trial.

    Args:
        rows: As of `Paths`.
        equities: Of each trial, by day; one that ends early keeps its last value.
        losses: As of `Paths`.
    """
    if not len(rows):
        return None
    longest = max(map(len, equities))
    steps = _spread(longest)
    curves = np.empty((len(rows), len(steps)))
    for at, equity in enumerate(equities):
        own = np.concatenate([equity, np.repeat(equity[-1:], longest - len(equity))])
        curves[at] = (own / own[0])[steps]
    return to_paths(rows, curves, steps, losses)


def to_paths(rows: Floats, curves: Floats, steps: Ints, losses: Sequence[float]) -> Paths:
    """Return the summary of paths.

    Args:
        rows: As of `Paths`.
        curves: The account of each path at the steps, as a multiple of the start.
        steps: As of `Paths`.
        losses: Fractions of the start, above 0.
    """
    count = len(rows)
    returns, falls = (np.round(rows[:, at], _DECIMALS) for at in (0, 1))
    return Paths(
        rows=rows,
        steps=steps,
        fan=np.sort(curves, axis=0)[[_rank(count, share) for share in SHARES]],
        total_return=quantiles(rows[:, 0]),
        max_drawdown=quantiles(rows[:, 1]),
        loss=int((rows[:, 0] < 0).sum()) / count,
        losses=tuple(int((returns <= -loss).sum()) / count for loss in losses),
        falls=tuple(int((falls >= loss).sum()) / count for loss in losses),
    )


def largest_fall(curve: Floats) -> float:
    """Return the largest drawdown, as a fraction of the peak before it."""
    peaks = np.maximum.accumulate(curve)
    return float(((peaks - curve) / peaks).max())


def quantiles(values: Floats) -> Quantiles:
    """Return the quantiles of values."""
    ordered = np.sort(values).tolist()
    return Quantiles(**{f"p{share}": ordered[_rank(len(ordered), share)] for share in SHARES})


def _yearly(returns: Floats) -> float:
    ratio = daily_sharpe(returns.tolist())
    return math.nan if ratio is None else ratio * math.sqrt(YEAR_DAYS)


def _spread(points: int) -> Ints:
    """Return the points to keep of a curve: the first, the last, and others evenly between."""
    return np.unique(np.arange(_STEPS + 1) * (points - 1) // _STEPS)


def _rank(count: int, share: int) -> int:
    """Return the index of what `share` percent of sorted values stay below."""
    return min(count - 1, count * share // 100)
