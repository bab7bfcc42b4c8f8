"""Luck: against published examples, and against the definitions written out naively."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest

from tbv8.experiments.overfitting import (
    cross_validate,
    deflated_sharpe,
    effective_trials,
    expected_max_sharpe,
    variance_of,
)
from tbv8.results.statistics import daily_sharpe, probabilistic_sharpe, sharpe_above


def noise(seed: int, days: int = 365, trials: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (days, trials))


@pytest.mark.parametrize(("trials", "deflated"), [(100, 0.9004), (46, 0.9505)])
def test_the_example_of_the_deflated_sharpe_paper(trials: int, deflated: float) -> None:
    # Bailey and Lopez de Prado 2014, "A numerical example": a Sharpe ratio of 2.5 a year from five
    # years of 250 days, skewness -3, kurtosis 10, and a variance of 1/2 among the trials' ratios of
    # a year. With 100 trials SR0 is 0.1132 a day and the DSR 0.9004; with 46 trials it is 0.9505.
    benchmark = expected_max_sharpe(trials, 0.5 / 250)
    found = probabilistic_sharpe(
        2.5 / math.sqrt(250), count=1250, skewness=-3, kurtosis=10, benchmark=benchmark
    )

    assert found == pytest.approx(deflated, abs=5e-5)
    if trials == 100:
        assert benchmark == pytest.approx(0.1132, abs=5e-5)


def test_the_example_of_the_probabilistic_sharpe_paper() -> None:
    # Bailey and Lopez de Prado 2012: 24 months with a ratio of 0.458 a month are above 0 with a
    # probability of 98.2 % if returns are normal, 91.3 % with skewness -2.448, kurtosis 10.164.
    normal = probabilistic_sharpe(0.458, count=24, skewness=0, kurtosis=3)
    own = probabilistic_sharpe(0.458, count=24, skewness=-2.448, kurtosis=10.164)

    assert normal == pytest.approx(0.982, abs=5e-4)
    assert own == pytest.approx(0.913, abs=5e-4)


def test_the_expected_maximum_is_that_of_a_simulation() -> None:
    best = np.random.default_rng(1).normal(0, 0.1, (20_000, 40)).max(axis=1)

    assert expected_max_sharpe(40, 0.01) == pytest.approx(best.mean(), rel=0.02)
    assert expected_max_sharpe(1, 0.01) == expected_max_sharpe(40, 0.0) == 0.0


def test_deflating_by_one_trial_is_the_probabilistic_ratio() -> None:
    returns = noise(1)[:, 0].tolist()

    assert deflated_sharpe(returns, trials=1, variance=1.0) == sharpe_above(returns)
    assert deflated_sharpe([0.01] * 50, trials=9, variance=1.0) is None


def test_variance_and_effective_trials_are_those_of_numpy() -> None:
    returns = noise(3, 200, 12) + np.random.default_rng(9).normal(0, 0.02, (200, 1))
    ratios = [daily_sharpe(column.tolist()) or 0.0 for column in returns.T]
    matrix = np.corrcoef(returns.T)
    rho = (matrix.sum() - 12) / (12 * 11)

    assert variance_of(ratios) == pytest.approx(np.var(ratios, ddof=1))
    assert effective_trials(returns, 12) == pytest.approx(rho + (1 - rho) * 12)
    assert effective_trials(np.repeat(returns[:, :1], 5, axis=1), 5) == pytest.approx(1.0)


def naive_pbo(returns: np.ndarray, blocks: int) -> tuple[float, float]:
    """Return the probability and the share of losses, by the definition with logarithms."""
    days, trials = returns.shape
    parts = [returns[days * b // blocks : days * (b + 1) // blocks] for b in range(blocks)]
    logits, losses = [], 0
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.vstack([parts[b] for b in chosen])
        outside = np.vstack([parts[b] for b in range(blocks) if b not in chosen])

        def ratios(values: np.ndarray) -> list[float]:
            return [statistics.fmean(c) / statistics.pstdev(c) for c in values.T.tolist()]

        trained, tested = ratios(inside), ratios(outside)
        best = trained.index(max(trained))
        rank = sorted(tested).index(tested[best]) + 1
        share = rank / (trials + 1)
        logits.append(math.log(share / (1 - share)))
        losses += tested[best] < 0
    return sum(logit <= 0 for logit in logits) / len(logits), losses / len(logits)


@pytest.mark.parametrize(("seed", "trials"), [(1, 7), (2, 8), (3, 2)])
def test_cross_validation_is_the_naive_one(seed: int, trials: int) -> None:
    returns = noise(seed, 83, trials)

    found = cross_validate(returns, 8)

    assert found is not None
    assert (found.probability, found.loss) == naive_pbo(returns, 8)
    assert found.splits == sum(each.splits for each in found.ranks) == math.comb(8, 4)


@pytest.mark.parametrize("trials", [2, 9, 10, 47, 50])
def test_ranks_up_to_the_median_add_up_to_the_probability(trials: int) -> None:
    returns = noise(4, 83, trials)
    returns[:, 1] = returns[:, 0]  # equals share a rank between two

    found = cross_validate(returns, 8)

    assert found is not None
    below = [each for each in found.ranks if not each.is_above]
    assert sum(each.splits for each in below) / found.splits == found.probability
    assert below[-1].last == (trials + 1) // 2
    ranks = [rank for each in found.ranks for rank in range(each.first, each.last + 1)]
    assert ranks == list(range(1, trials + 1))
    if trials <= 20:
        assert len(found.ranks) == trials


def test_noise_is_overfitted_and_an_edge_is_not() -> None:
    """The bars of the reference: means over twelve seeds."""
    pbo, edge, psr, dsr = [], [], [], []
    for seed in range(12):
        returns = noise(seed)
        better = returns.copy()
        better[:, 0] += 0.0025
        for values, found in ((returns, pbo), (better, edge)):
            validated = cross_validate(values, 10)
            assert validated is not None
            found.append(validated.probability)
        ratios = [daily_sharpe(column.tolist()) or 0.0 for column in returns.T]
        best = returns[:, int(np.argmax(ratios))].tolist()
        psr.append(sharpe_above(best) or 0.0)
        dsr.append(deflated_sharpe(best, trials=50, variance=variance_of(ratios)) or 0.0)

    assert 0.3 < statistics.fmean(pbo) < 0.7
    assert statistics.fmean(edge) < 0.15
    assert statistics.fmean(psr) > 0.95
    assert statistics.fmean(dsr) < 0.8


def test_too_few_days_or_trials_say_nothing() -> None:
    assert cross_validate(noise(1, 79, 5), 16) is None
    assert cross_validate(noise(1, 80, 5), 16) is not None
    assert cross_validate(noise(1, 200, 1), 16) is None


def test_large_searches_are_cut_into_pieces_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returns = noise(5, 100, 30)
    whole = cross_validate(returns, 10)

    monkeypatch.setattr("tbv8.experiments.overfitting._CHUNK", 100)

    assert cross_validate(returns, 10) == whole
