"""Other draws of days and round trips: hand-worked paths, theory, and the same bytes anywhere."""

from __future__ import annotations

import math
import statistics
from statistics import NormalDist

import numpy as np
import pytest

from tbv8.experiments.draws import draw_days
from tbv8.experiments.montecarlo import (
    Paths,
    draw_by_day,
    draw_by_trade,
    markets_paths,
    to_paths,
)

LOSSES = (0.05, 0.1, 0.2)


def noise(seed: int, days: int) -> list[float]:
    return np.random.default_rng(seed).normal(0, 0.01, days).tolist()


def by_trade(
    *balances: int,
    replace: bool,
    paths: int = 2000,
    seed: int = 1,
    losses: tuple[float, ...] = LOSSES,
) -> Paths:
    own = np.array(balances, dtype=np.int64)
    found = draw_by_trade(own, paths=paths, seed=seed, losses=losses, replace=replace)
    assert found is not None
    return found


def shares(paths: Paths) -> dict[tuple[float, float], float]:
    """Return how often each return and drawdown come together."""
    pairs = [(round(gain, 6), round(fall, 6)) for gain, fall, _ in paths.rows.tolist()]
    return {pair: pairs.count(pair) / len(pairs) for pair in sorted(set(pairs))}


def test_the_draws_of_a_seed_are_these_on_every_machine() -> None:
    drawn = [
        draw_days(7, places=9, block_days=3, seed=5, path=path, stream=stream).tolist()
        for path, stream in ((0, "days"), (1, "days"), (0, "markets"))
    ]

    assert drawn == [
        [1, 2, 3, 4, 6, 1, 2, 3, 0],
        [6, 0, 0, 1, 2, 5, 6, 0, 1],
        [6, 6, 0, 2, 0, 1, 2, 3, 4],
    ]


def test_the_round_trips_of_a_seed_are_drawn_so_on_every_machine() -> None:
    gains = 1, 20, 300, 4000
    balances = [1000 + sum(gains[:count]) for count in range(5)]
    once = by_trade(*balances, replace=False, paths=1)
    again = by_trade(*balances, replace=True, paths=3)

    assert np.rint(once.fan[2] * 1000).tolist() == [1000, 5000, 5020, 5021, 5321]
    assert np.rint(again.rows[:, 0] * 1000).tolist() == [4340, 8301, 640]


def test_a_path_is_made_of_blocks_of_the_mean_length() -> None:
    lengths = []
    for path in range(400):
        days = draw_days(250, places=250, block_days=10, seed=7, path=path)
        assert days.min() >= 0
        assert days.max() < 250
        lengths.append(250 / (1 + np.count_nonzero((days[1:] - days[:-1]) % 250 != 1)))

    assert statistics.fmean(lengths) == pytest.approx(10, rel=0.1)
    assert draw_days(3, places=8, block_days=10**6, seed=1, path=0).tolist() == [
        (draw_days(3, places=1, block_days=10**6, seed=1, path=0)[0] + at) % 3 for at in range(8)
    ]


def test_days_in_other_orders_agree_with_theory() -> None:
    # With blocks of one day the paths are independent draws: the mean of a path has the standard
    # error of the sample, and the p-value is that of a z-test.
    returns = [value + 0.001 for value in noise(11, 365)]
    found = draw_by_day(returns, paths=2000, block_days=1, seed=3, losses=LOSSES)
    assert found is not None

    mean, error = statistics.fmean(returns), statistics.pstdev(returns) / math.sqrt(365)
    assert found.p_value == pytest.approx(1 - NormalDist().cdf(mean / error), abs=0.02)
    growth = [math.log1p(value) for value in returns]
    center, spread = 365 * statistics.fmean(growth), math.sqrt(365) * statistics.pstdev(growth)
    gains = found.paths.total_return
    for share, value in ((0.05, gains.p5), (0.95, gains.p95)):
        expected = math.expm1(center + spread * NormalDist().inv_cdf(share))
        assert value == pytest.approx(expected, abs=0.03)
    likely = NormalDist(center, spread).cdf(math.log(0.9))
    assert found.paths.losses[1] == pytest.approx(likely, abs=0.02)
    assert found.paths.fan[2][-1] - 1 == gains.p50
    assert found.paths.rows[:, 1].min() >= 0


def test_two_days_bring_three_ends() -> None:
    # +10 % and -50 % on 1: twice the first 1.21; once each 0.55, fallen by 50 % whichever came
    # first; twice the second 0.25. Blocks of 10**9 days never end, so with them only 0.55.
    single = draw_by_day([0.1, -0.5], paths=2000, block_days=1, seed=1, losses=(0.45, 0.75))
    never = draw_by_day([0.1, -0.5], paths=50, block_days=10**9, seed=1, losses=())
    assert single is not None
    assert never is not None

    found = shares(single.paths)
    assert list(found) == [(-0.75, 0.75), (-0.45, 0.5), (0.21, 0.0)]
    assert list(found.values()) == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert single.paths.losses == (1 - found[0.21, 0.0], found[-0.75, 0.75])
    # a day less the mean of -0.2 brings 0.3 or -0.3: as much as -0.2 unless it is twice the second
    assert single.p_value == pytest.approx((2000 * (1 - found[-0.75, 0.75]) + 1) / 2001)
    assert list(shares(never.paths)) == [(-0.45, 0.5)]


def test_days_without_a_return_have_no_paths() -> None:
    assert draw_by_day([], paths=9, block_days=1, seed=1, losses=LOSSES) is None


def test_a_path_does_not_depend_on_how_many_there_are() -> None:
    few, many = (
        draw_by_day(noise(2, 90), paths=count, block_days=5, seed=1, losses=LOSSES)
        for count in (10, 30)
    )
    own, more = (by_trade(100, 120, 90, 95, replace=True, paths=count) for count in (10, 30))

    assert few is not None
    assert many is not None
    assert (many.paths.rows[:10] == few.paths.rows).all()
    assert np.array_equal(more.rows[:10], own.rows, equal_nan=True)
    other = by_trade(100, 120, 90, 95, replace=True, paths=10, seed=2)
    assert not np.array_equal(other.rows, own.rows, equal_nan=True)


def test_round_trips_in_other_orders_end_alike_and_fall_by_what_came_before() -> None:
    # +100, -50, +100 on 1,000: the loss comes first (950 of 1,000), second (1,050 of 1,100) or
    # last (1,150 of 1,200), each a third of the time.
    found = shares(by_trade(1000, 1100, 1050, 1150, replace=False))

    falls = [round(50 / peak, 6) for peak in (1200, 1100, 1000)]
    assert list(found) == [(0.15, fall) for fall in falls]
    assert list(found.values()) == pytest.approx([1 / 3] * 3, abs=0.03)


def test_round_trips_drawn_again_bring_each_sum_as_often_as_it_can_come_about() -> None:
    # +100 and -100 on 1,000, drawn twice: 1,200; 1,000 by way of 1,100 or of 900; 800.
    paths = by_trade(1000, 1100, 1000, replace=True)
    found = shares(paths)

    ends = [(-0.2, 0.2), (0.0, round(100 / 1100, 6)), (0.0, 0.1), (0.2, 0.0)]
    assert list(found) == ends
    assert list(found.values()) == pytest.approx([0.25] * 4, abs=0.03)
    assert paths.losses == (found[-0.2, 0.2],) * 3
    assert paths.loss == found[-0.2, 0.2]
    falls = 1 - found[0.2, 0.0], found[-0.2, 0.2] + found[0.0, 0.1], paths.loss
    assert paths.falls == pytest.approx(falls)


def test_an_account_that_is_lost_stays_lost() -> None:
    # -100 and +300 on 100: nothing is left to trade with if the loss comes first.
    found = shares(by_trade(100, 0, 300, replace=False))

    assert list(found) == [(-1.0, 1.0), (2.0, 0.25)]


def test_a_loss_of_exactly_the_limit_counts() -> None:
    # 1,000 to 900: in float64 900 / 1000 - 1 is above -0.1, and 1 - 0.9 is not 0.1.
    paths = by_trade(1000, 900, replace=True, paths=1, losses=(0.1, 0.1000001))

    assert (paths.losses, paths.falls) == ((1.0, 0.0), (1.0, 0.0))


def test_without_round_trips_or_money_there_is_nothing_to_draw() -> None:
    for balances in ([], [1000], [0, 10]):
        own = np.array(balances, dtype=np.int64)
        assert draw_by_trade(own, paths=5, seed=1, losses=(), replace=True) is None


def test_markets_are_summed_up_by_day_and_one_that_ends_early_keeps_its_end() -> None:
    rows = np.array([[0.21, 0.0, 2.0], [-0.1, 0.1, math.nan]])
    equities = [np.array(own, dtype=np.int64) for own in ([100, 110, 121], [200, 180])]

    found = markets_paths(rows, equities, LOSSES)

    assert found is not None
    assert found.steps.tolist() == [0, 1, 2]
    assert found.fan.tolist() == [
        *[[1.0, 0.9, 0.9]] * 2,
        *[[1.0, 1.1, 1.21]] * 3,
    ]
    assert (found.loss, found.losses, found.falls) == (0.5, (0.5, 0.5, 0.0), (0.5, 0.5, 0.0))
    assert markets_paths(np.array([]), [], LOSSES) is None


def test_a_fan_has_two_hundred_steps_and_the_quantiles_of_its_paths() -> None:
    paths = by_trade(*range(1000, 1401), replace=True, paths=20)
    values = np.arange(200.0).reshape(-1, 1)
    hundred = to_paths(np.hstack([values, values, values]), values, np.array([0]), ())

    assert paths.steps.tolist() == list(range(0, 401, 2))
    assert paths.fan.shape == (5, 201)
    gains = hundred.total_return
    assert (gains.p5, gains.p25, gains.p50, gains.p75, gains.p95) == (10, 50, 100, 149, 189)
    assert hundred.fan[:, 0].tolist() == [10, 50, 100, 149, 189]
