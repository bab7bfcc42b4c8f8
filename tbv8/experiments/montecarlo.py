"""Monte Carlo of the chosen trial: its days, round trips and markets drawn again.

Days and round trips are drawn here; markets are trials (markets.py) that are only summarised here.
The bytes are the same on every machine: balances are integers, sums are exact or in a fixed order.
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
"""The percentages of paths below the lines of a fan, and below the quantiles."""

_STEPS = 200  # points of a fan: more cannot be seen
_DECIMALS = 12  # for comparing a loss with a limit: as floats, 1 - 0.9 is not 0.1


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """The values that 5, 25, 50, 75 and 95 % of paths are below."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of many paths of an account.

    Attributes:
        rows: A row for each path: total return, largest drawdown, annual Sharpe ratio; NaN if a
            path has no ratio.
        steps: The numbers of the fan's points, from 0 on: days, or round trips.
        fan: The account at each step as a multiple of the start, a row for each of `SHARES`.
        total_return: The quantiles of the paths' returns.
        max_drawdown: The quantiles of the paths' largest drawdowns.
        loss: The share of paths that lose money.
        losses: For each configured loss, the share of paths that end with it or a larger loss.
        falls: For each configured loss, the share of paths whose largest drawdown reaches it.
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
    def tail(self) -> float:
        """The share of paths below `p5`, which is that of paths above `p95`; 0 for few paths."""
        return _rank(len(self.rows), 5) / len(self.rows)

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

    `p_value` is the probability that days like these with a mean of 0 bring such a mean by chance.
    """

    paths: Paths
    p_value: float


def draw_by_day(
    returns: Sequence[float], *, paths: int, block_days: int, seed: int, losses: Sequence[float]
) -> Bootstrap | None:
    """Return the outcomes of blocks of the same days in other orders; None if there are no days.

    Args:
        returns: Daily returns.
        paths: The number of paths.
        block_days: The mean length of a block.
        seed: The seed of the draws.
        losses: The losses whose probabilities are wanted, as fractions of the start.
    """
    daily = np.array(returns)
    if not len(daily):
        return None
    mean = math.fsum(returns) / len(daily)
    steps = _spread(len(daily) + 1)
    rows, curves = np.empty((paths, 3)), np.empty((paths, len(steps)))
    extreme = 0  # paths whose mean deviates at least as much as the real one
    for path in range(paths):
        drawn = daily[
            draw_days(len(daily), places=len(daily), block_days=block_days, seed=seed, path=path)
        ]
        curve = np.concatenate([[1.0], np.cumprod(1 + drawn)])
        curves[path] = curve[steps]
        rows[path] = curve[-1] - 1, largest_fall(curve), _yearly(drawn)
        extreme += math.fsum(drawn) / len(daily) - mean >= mean
    return Bootstrap(
        paths=to_paths(rows, curves, steps, losses), p_value=(extreme + 1) / (paths + 1)
    )


def draw_by_trade(
    balances: Ints, *, paths: int, seed: int, losses: Sequence[float], replace: bool
) -> Paths | None:
    """Return the outcomes of the same round trips in other draws; None if there are none.

    A round trip gains the same number of USD at any place: sizes do not grow with the balance. An
    account that has lost all its money stays at 0.

    Args:
        balances: The balances in 10^-8 USD, at the start and after each round trip.
        paths: The number of paths.
        seed: The seed of the draws.
        losses: As in `draw_by_day`.
        replace: If true, draw as many round trips as there are, each from all of them; otherwise
            each once, in another order, which changes only the drawdown.
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
    """Return the outcomes of trials on many markets; None if there are no trials.

    Args:
        rows: As in `Paths`.
        equities: The daily equity of each trial; if it ends early, its last value is repeated.
        losses: As in `draw_by_day`.
    """
    if not len(rows):
        return None
    longest = max(map(len, equities))
    steps = _spread(longest)
    curves = np.empty((len(rows), len(steps)))
    for at, equity in enumerate(equities):
        padded = np.concatenate([equity, np.repeat(equity[-1:], longest - len(equity))])
        curves[at] = (padded / padded[0])[steps]
    return to_paths(rows, curves, steps, losses)


def to_paths(rows: Floats, curves: Floats, steps: Ints, losses: Sequence[float]) -> Paths:
    """Return the summary of paths.

    Args:
        rows: As in `Paths`.
        curves: The account of each path at the steps, as a multiple of the start.
        steps: As in `Paths`.
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
    """Return the index of the sorted value that `share` percent of the values are below.

    As many values are below that of 5 % as above that of 95 %.
    """
    if share <= 50:
        return count * share // 100
    return count - 1 - _rank(count, 100 - share)
