"""Overfitting of the best trial: deflated Sharpe ratio, probability of overfitting.

Both are computed from the daily returns of trials. The bytes are the same on every machine: sums
are exact or in a fixed order, and ranks replace logarithms; NumPy's sums depend on the processor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from tbv8.results.statistics import sharpe_above

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

MIN_BLOCK_DAYS = 5
_EULER = 0.5772156649015329
_NORMAL = NormalDist()
_CHUNK = 1_000_000  # numbers of a matrix of splits x trials at a time
_BINS = 10  # bars of ranks on each side of the median


class Ranks(msgspec.Struct, frozen=True, kw_only=True):
    """Neighbouring ranks (1 is the worst trial), and how often the best of one half had them.

    `is_above` is true if they are above the median rank.
    """

    first: int
    last: int
    is_above: bool
    splits: int


class Overfitting(msgspec.Struct, frozen=True, kw_only=True):
    """The result of combinatorially symmetric cross-validation of a search.

    Attributes:
        probability: The share of splits in which the best of one half is no better than the median
            of the other half.
        loss: The share of splits in which it loses money there.
        splits: The number of ways to halve the blocks.
        ranks: The ranks in the other half, from worst to best; the splits of those that are not
            above the median sum to `probability`.
    """

    probability: float
    loss: float
    splits: int
    ranks: tuple[Ranks, ...]


def expected_max_sharpe(trials: float, variance: float) -> float:
    """Return the Sharpe ratio to expect of the best of many trials without skill.

    D. H. Bailey and M. Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management
    40 (2014), equation 1 and appendix 1.

    Args:
        trials: The number of independent trials.
        variance: The variance of their Sharpe ratios.
    """
    if trials <= 1 or variance <= 0:
        return 0.0
    low, high = (_NORMAL.inv_cdf(1 - 1 / (trials * factor)) for factor in (1, math.e))
    return math.sqrt(variance) * ((1 - _EULER) * low + _EULER * high)


def deflated_sharpe(returns: Sequence[float], *, trials: float, variance: float) -> float | None:
    """Return the probability that a chosen trial's true Sharpe ratio is above that of luck.

    The paper is that of `expected_max_sharpe`; ratios and variance are of one day.

    Args:
        returns: The daily returns of the chosen trial.
        trials: The number of trials that it was chosen from.
        variance: The variance of their Sharpe ratios.
    """
    return sharpe_above(returns, expected_max_sharpe(trials, variance))


def variance_of(values: Sequence[float]) -> float:
    """Return the sample variance; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def effective_trials(returns: Floats, trials: int) -> float:
    """Return the number of independent trials that equals a number of correlated ones.

    `rho + (1 - rho) * n` with the mean correlation rho, appendix 3 of the same paper.

    Args:
        returns: The returns that the correlation is measured on: a row a day, a column a trial.
        trials: The number of trials.
    """
    total, count = np.zeros(len(returns)), 0
    for column in returns.T:
        mean = math.fsum(column) / len(column)
        deviations = column - mean
        length = math.sqrt(math.fsum(deviations * deviations))
        if length > 0:
            total, count = total + deviations / length, count + 1
    if count < 2:
        return 1.0
    rho = (math.fsum(total * total) - count) / (count * (count - 1))
    rho = min(max(rho, 0.0), 1.0)
    return rho + (1 - rho) * trials


def cross_validate(returns: Floats, blocks: int) -> Overfitting | None:
    """Return the probability of backtest overfitting; None for too few days or trials.

    D. H. Bailey, J. M. Borwein, M. Lopez de Prado and Q. J. Zhu, The Probability of Backtest
    Overfitting, Journal of Computational Finance 20 (2017): the days are cut into blocks, and each
    way to take half of them is a training whose best trial is ranked in the other half.

    Args:
        returns: A row a day, a column a trial.
        blocks: The number of blocks, even.
    """
    days, trials = returns.shape
    if trials < 2 or days < blocks * MIN_BLOCK_DAYS:
        return None
    edges = [days * at // blocks for at in range(blocks + 1)]
    sums, squares = (_block_sums(values, edges) for values in (returns, returns * returns))
    lengths = np.diff(edges)
    below = losses = count = 0
    ranks = np.zeros(
        2 * trials + 1, dtype=np.int64
    )  # by doubled rank: equal trials share a half rank
    for halves in _chunks(blocks, max(1, _CHUNK // trials)):
        inside = _ratios(halves, sums, squares, lengths)
        outside = _ratios(~halves, sums, squares, lengths)
        at = np.arange(len(halves)), inside.argmax(axis=1)  # the first of equal ones
        chosen = outside[at][:, None]
        doubled = 2 * (outside < chosen).sum(axis=1) + (outside == chosen).sum(axis=1) + 1
        below += int((doubled <= trials + 1).sum())
        losses += int((chosen < 0).sum())
        count += len(halves)
        ranks += np.bincount(doubled, minlength=len(ranks))
    return Overfitting(
        probability=below / count,
        loss=losses / count,
        splits=count,
        ranks=tuple(_binned(ranks, trials)),
    )


def _binned(counts: Ints, trials: int) -> Iterator[Ranks]:
    """Yield equally many ranks at a time, up to the median and then above it.

    Args:
        counts: The numbers of splits, by doubled rank.
        trials: The number of ranks.
    """
    median = (trials + 1) // 2
    for first, last in ((1, median), (median + 1, trials)):
        is_above = first > median
        width = -(-(last - first + 1) // _BINS)
        for at in range(first, last + 1, width):
            end = min(at + width - 1, last)
            low, high = (2 * rank - is_above for rank in (at, end + 1))
            if is_above:
                low = max(low, trials + 2)
            else:
                high = min(high, trials + 2)
            splits = int(counts[low:high].sum())
            yield Ranks(first=at, last=end, is_above=is_above, splits=splits)


def _block_sums(values: Floats, edges: Sequence[int]) -> Floats:
    rows = [
        [math.fsum(column) for column in values[first:end].T.tolist()]
        for first, end in itertools.pairwise(edges)
    ]
    return np.array(rows)


def _chunks(blocks: int, max_rows: int) -> Iterator[NDArray[np.bool_]]:
    """Yield every way to take half of the blocks, at most `max_rows` at a time."""
    ways = itertools.combinations(range(blocks), blocks // 2)
    while picked := list(itertools.islice(ways, max_rows)):
        halves = np.zeros((len(picked), blocks), dtype=np.bool_)
        halves[np.arange(len(picked))[:, None], np.array(picked)] = True
        yield halves


def _ratios(halves: NDArray[np.bool_], sums: Floats, squares: Floats, lengths: Ints) -> Floats:
    """Return the Sharpe ratio of each trial in each half; 0 if its returns are all equal."""
    first = np.zeros((len(halves), sums.shape[1]))
    second = first.copy()
    for block in range(len(sums)):  # in a fixed order: sums of floats depend on it
        picked = halves[:, block : block + 1]
        first += np.where(picked, sums[block], 0.0)
        second += np.where(picked, squares[block], 0.0)
    days = (halves * lengths).sum(axis=1)[:, None]
    mean = first / days
    spread = second / days - mean * mean
    moved = spread > 1e-18
    return np.where(moved, mean / np.sqrt(np.where(moved, spread, 1.0)), 0.0)
