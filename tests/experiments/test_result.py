"""What rows come to: the choice, its luck among all tries, the lines, the lists."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist, fmean, stdev, variance
from typing import Any

import numpy as np
import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from tbv8.config.records import Experiment, MonteCarlo, Objective
from tbv8.errors import DataError
from tbv8.experiments.folder import summary_json
from tbv8.experiments.keys import subject_of
from tbv8.experiments.listing import compare_experiment, list_trials, trial_lines, trials_table
from tbv8.experiments.montecarlo import to_paths
from tbv8.experiments.page import experiment_page
from tbv8.experiments.result import (
    METRIC_NAMES,
    Findings,
    SearchTrial,
    best_text,
    cautions,
    deflate,
    drawdown_text,
    efficiency_text,
    experiment_caution,
    gains_text,
    losses_text,
    metric_text,
    no_choice_text,
    read_findings,
    result_lines,
    return_text,
    sharpe_text,
    to_daily_returns,
    to_equity,
    trial_caution,
)
from tbv8.experiments.space_charts import value_of
from tbv8.experiments.stitching import StitchedAccount, StitchedWindow
from tbv8.experiments.survey import Survey
from tbv8.experiments.walkforward import WindowSpans
from tbv8.market import DAY_MS, ONE_MINUTE, Span
from tbv8.results.statistics import measure_curve
from tbv8.store.database import open_reader
from tbv8.store.trials import METRICS, Details, Trial, TrialStatus, open_trials
from tbv8.text import counted
from tests.backtest.builders import rules
from tests.builders import BTC, hold, write_manifest
from tests.experiments.builders import FIVE_MINUTES, axis, days, ema, experiment, tables
from tests.page.test_charts import data_of

DAYS = 100
SHARPE = Objective(metric="sharpe", maximize=True, min_trades=5)


@dataclass(frozen=True)
class Database:
    """A database with rows of trials that were made up, and the bars that their keys need."""

    path: Path

    def run(
        self, asked: Experiment, returns: Sequence[Sequence[float]], *, trades: Sequence[int] = ()
    ) -> None:
        """Write a row a point, with these daily returns and round trips, by default 9 of them."""
        with open_reader(self.path) as query:
            survey = Survey(asked, query)
        with open_trials(self.path) as store:
            store.write_listed(asked.experiment_id, survey.to_rows(survey.search))
            rows = zip(survey.search, returns, trades or [9] * len(returns), strict=True)
            for one, own, count in rows:
                equity = np.cumprod([1e12, *(1 + value for value in own)]).astype("<i8")
                trial = Trial(
                    key=one.key,
                    subject=subject_of(asked.strategy),
                    variant=survey.variant(one),
                    start_ms=one.span.counted.start_ms,
                    end_ms=one.span.counted.end_ms,
                    status="ok" if own else "failed",
                    sharpe=ratio(own) * math.sqrt(365) if own else None,
                    total_return=float(equity[-1] / equity[0] - 1) if own else None,
                    trades=count,
                    digest=equity.tobytes()[:32],
                )
                stats = {"sharpe": trial.sharpe} if own else {"error": "x.py:1: on purpose"}
                details = Details(
                    stats=json.dumps(stats).encode(), equity=equity.tobytes() if own else b""
                )
                store.write(trial, details)

    def draw(self, asked: Experiment, balances: Sequence[int], gains: Sequence[float]) -> None:
        """Write what the Monte Carlo of the chosen trial needs: round trips, markets' returns."""
        with open_reader(self.path) as query:
            survey = Survey(asked, query)
            by_trade, *markets = survey.monte_carlo_trials(survey.best_number(query))
        rows = [(by_trade, list(balances), 0.0)]
        rows += [(each, [100], gain) for each, gain in zip(markets, gains, strict=True)]
        with open_trials(self.path) as store:
            for each, equity, gain in rows:
                is_ok = not math.isnan(gain)
                trial = Trial(
                    key=each.key,
                    subject=survey.subject(each),
                    variant=survey.variant(each),
                    start_ms=each.span.counted.start_ms,
                    end_ms=each.span.counted.end_ms,
                    status="ok" if is_ok else "failed",
                    sharpe=40.0 if is_ok else None,
                    total_return=gain if is_ok else None,
                    max_drawdown=abs(gain) if is_ok else None,
                    trades=9,
                    digest=each.key,
                )
                raw = np.array(equity if is_ok else [], dtype="<i8").tobytes()
                store.write(trial, Details(stats=b"{}", equity=raw))

    def findings(self, asked: Experiment) -> Findings:
        with open_reader(self.path) as query:
            return read_findings(Survey(asked, query), query)


def ratio(returns: Sequence[float]) -> float:
    return fmean(returns) / stdev(returns)


@pytest.fixture
def database(db_path: Path) -> Database:
    bars = tables(2)
    hold(db_path, BTC, days(0, 2), bars["BTC/USDT", ONE_MINUTE])
    hold(db_path, BTC, days(0, 2), bars["BTC/USDT", FIVE_MINUTES], dataset="bars_5m")
    return Database(db_path)


def sweep(name: str, *fast: int, **changes: object) -> Experiment:
    return experiment(
        ema(days(0, DAYS)),
        axis("fast", *fast),
        **{"experiment_id": name, "objective": SHARPE, "blocks": 8, **changes},
    )


def noise(seed: int, count: int) -> list[list[float]]:
    return np.random.default_rng(seed).normal(0, 0.01, (count, DAYS)).tolist()


def test_luck_counts_all_tries_of_any_experiment(database: Database) -> None:
    first, second = sweep("first", 2, 3, 4, 5), sweep("second", 5, 6, 7)
    returns = noise(1, 6)
    database.run(first, returns[:4])
    alone = database.findings(first)

    database.run(second, returns[3:])  # shares one trial
    found = database.findings(first)

    assert alone.luck is not None
    assert found.luck is not None
    assert (alone.luck.tries, found.luck.tries) == (4, 6)
    assert found.chosen is not None
    best = max(range(4), key=lambda at: ratio(returns[at]))
    assert found.chosen.params == {"fast": first.search.axes[0].values[best]}
    # by the paper's formulas, written out
    rounded = [
        to_daily_returns((np.cumprod([1e12, *(1 + v for v in own)])).astype("<i8"))
        for own in returns
    ]
    own = rounded[best]
    assert own is not None
    spread = variance([ratio(one or []) for one in rounded])
    normal = NormalDist()
    gamma = 0.5772156649015329
    luck = math.sqrt(spread) * (
        (1 - gamma) * normal.inv_cdf(1 - 1 / 6) + gamma * normal.inv_cdf(1 - 1 / (6 * math.e))
    )
    mean = fmean(own)
    second_, third, fourth = (
        fmean((value - mean) ** power for value in own) for power in (2, 3, 4)
    )
    skewness, kurtosis, sr = third / second_**1.5, fourth / second_**2, ratio(own)
    deflated = normal.cdf(
        (sr - luck)
        * math.sqrt(DAYS - 1)
        / math.sqrt(1 - skewness * sr + (kurtosis - 1) / 4 * sr * sr)
    )
    assert found.luck.deflated == pytest.approx(deflated, abs=1e-9)
    assert found.luck.probabilistic is not None
    assert found.luck.deflated is not None
    assert found.luck.deflated < found.luck.probabilistic
    assert found.luck.overfitting is not None
    assert " of the splits it lost money in the other half." in experiment_page(found)


def test_a_comparison_counts_the_tries_that_came_after_the_result(
    database: Database, tmp_path: Path
) -> None:
    first, second = sweep("first", 2, 3, 4, 5), sweep("second", 5, 6, 7)
    returns = noise(1, 6)
    database.run(first, returns[:4])
    (tmp_path / "experiments/first").mkdir(parents=True)
    (tmp_path / "experiments/first/summary.json").write_text(
        json.dumps(summary_json(database.findings(first)), default=str)
    )
    write_manifest(tmp_path / "experiments/first")
    database.run(second, returns[3:])  # shares one trial

    with open_reader(database.path) as query:
        compared = compare_experiment(query, first, tmp_path)
    luck = database.findings(first).luck
    database.run(first, returns[1:5])  # the rows of the result are gone
    with open_reader(database.path) as query:
        replaced = compare_experiment(query, first, tmp_path)

    assert luck is not None
    assert luck.deflated is not None
    assert (compared.tries, compared.deflated_sharpe) == (6, luck.deflated)
    assert replaced.deflated_sharpe is None


@pytest.mark.parametrize(
    ("tries", "known", "has_value"), [(1, 0, True), (6, 1, False), (6, 2, True)]
)
def test_luck_among_tries_over_other_days_is_unknown(
    tries: int, known: int, *, has_value: bool
) -> None:
    ratios = {bytes([at]): 1.0 + at for at in range(known)}

    found = deflate(noise(1, 1)[0], ratios, tries)

    assert (found is not None) == has_value


def test_every_line_with_a_sharpe_ratio_has_its_luck(database: Database) -> None:
    asked = sweep("first", 2, 3, 4, 5, monte_carlo=MonteCarlo(paths=20, block_days=5, seed=1))
    database.run(asked, [*noise(2, 3), []])
    database.draw(asked, [1000, 1100, 1050], [])

    said = result_lines(database.findings(asked))
    with open_reader(database.path) as query:
        listed = list_trials(query, asked, Path("none"), top=9, sort="sharpe")

    assert said[1] == "  1 more for the Monte Carlo, to list the best trial's round trips"
    assert said[3].startswith("  best of trials 0 to 3: trial ")
    assert said[2] == "  ! 1 trial failed: x.py:1: on purpose"
    (best,) = [line for line in said if "Sharpe " in line and "return" in line]
    assert "deflated Sharpe ratio (DSR) " in best
    assert best.endswith(" after 3 tries")
    (at,) = [at for at, line in enumerate(said) if line == best]
    assert said[at + 1].startswith("  probability of overfitting (PBO) of the search ")
    assert [one.status for one in listed.shown] == ["ok", "ok", "ok", "failed"]
    assert all(one.deflated_sharpe is not None for one in listed.shown[:3])
    text = trial_lines(listed)
    assert text[0] == (
        "first: 4 trials, 1 failed; 3 tries of ema_cross.EmaCross on sample:BTC/USDT by all "
        "experiments; probability of overfitting (PBO) of the search –"
    )
    assert re.fullmatch(r"! trial \d loses \d\.\d\d%", text[1])
    assert text[-5].split()[:4] == ["number", "fast", "Sharpe", "DSR"]
    assert text[-1].endswith("failed: x.py:1: on purpose")


def test_warnings_of_the_rules_and_of_the_best_trial_stand_at_the_top_of_the_page(
    database: Database,
) -> None:
    expensive = ema(days(0, DAYS), instrument=rules(tick_size="1", taker_fee="0.05"))
    asked = experiment(expensive, axis("fast", 2, 3))
    database.run(asked, noise(2, 2))

    found = database.findings(asked)
    page = html.unescape(experiment_page(found))

    assert found.chosen is not None
    fee, trial, *_ = warnings = cautions(found)
    assert fee == (
        "hyperliquid: the BTC/USDT taker_fee of 0.05 is 5 % of the notional: if you meant 0.05 %, "
        "write 0.0005"
    )
    assert f"trial {found.chosen.number} " in trial
    assert [line[4:] for line in result_lines(found) if line.startswith("  ! ")] == warnings
    header = page[page.index("<header>") : page.index("</header>")]
    assert re.findall(r'class="caution">(.*?)</p>', header) == warnings
    path = data_of(experiment_page(found), "path-chart")["columns"]
    assert path["x"][-1] == 1  # the last of the trials 0 and 1


def test_a_page_has_fractions_in_percent_and_a_name_for_each_metric(database: Database) -> None:
    by_return = Objective(metric="return", maximize=True, min_trades=5)
    asked = replace(sweep("first", 2, 3), objective=by_return)
    database.run(asked, noise(2, 2))

    found = database.findings(asked)

    row = found.rows[0]
    assert row.trial.total_return is not None
    assert value_of(found, row) == pytest.approx(100 * row.trial.total_return)
    page = experiment_page(found)
    assert "Each point by return, %" in page
    assert "Best so far by return, %, trial by trial" in page
    assert metric_text("return", row.trial.total_return) == f"return {row.trial.total_return:.2%}"
    assert metric_text("sharpe", -1.536) == "Sharpe ratio -1.54"
    assert tuple(METRIC_NAMES) == METRICS


@pytest.mark.parametrize(("metric", "even"), [("return", 0), ("profit_factor", 1)])
def test_colours_of_a_map_change_where_a_trial_breaks_even(
    database: Database, metric: str, even: int
) -> None:
    asked = experiment(ema(days(0, DAYS)), axis("fast", 2, 3), axis("slow", 50, 60))
    database.run(asked, noise(4, 4))
    objective = Objective(metric=metric, maximize=True, min_trades=5)

    found = database.findings(asked)
    rows = [replace(row, trial=replace(row.trial, profit_factor=0.8)) for row in found.rows]
    found = replace(found, rows=rows, experiment=replace(asked, objective=objective))

    assert f'"zmid":{even}' in experiment_page(found).replace(" ", "")


def test_the_only_trial_is_the_best_of_no_others(database: Database) -> None:
    asked = sweep("first", 2)
    database.run(asked, noise(1, 1))

    found = database.findings(asked)

    assert found.chosen is not None
    assert best_text(found, found.chosen) == "trial 0, fast=2"
    assert "probability of overfitting (PBO) of the search – (too few days or trials)" in (
        "\n".join(result_lines(found))
    )


def test_trials_keep_their_numbers_when_the_strategy_gets_another_span(database: Database) -> None:
    asked = sweep("first", 2, 3)
    database.run(asked, noise(2, 2))
    span = Span(asked.strategy.span.start_ms - DAY_MS, asked.strategy.span.end_ms)
    later = replace(asked, strategy=replace(asked.strategy, span=span))

    with open_reader(database.path) as query:
        before, after = (
            list_trials(query, one, Path("none"), top=9, sort="number") for one in (asked, later)
        )

    assert None not in [row.deflated_sharpe for row in before.shown]
    assert after == before


def test_lists_and_exports_have_the_names_of_a_results_statistics(database: Database) -> None:
    asked = sweep("first", 2, 3)
    database.run(asked, noise(2, 2))
    with open_reader(database.path) as query:
        listed = list_trials(query, asked, Path("none"), top=9, sort="return")
        columns = trials_table(query, "first").column_names

    shown = to_builtins(listed)["shown"]

    assert to_builtins(listed)["probability_of_overfitting"] is None
    assert [row["error"] for row in shown] == [None, None]
    returns = [row["return"] for row in shown]
    assert returns == sorted(returns, reverse=True)
    assert {*METRICS, "params.fast", "trades", "fills", "stats"} <= set(columns)
    assert not any("total_return" in names for names in (columns, *shown))


def test_the_first_trial_of_a_list_is_the_chosen_one(database: Database) -> None:
    asked = sweep("first", 2, 3, 4)
    returns = sorted(noise(4, 3), key=ratio)
    database.run(asked, returns, trades=[5, 6, 4])
    with open_reader(database.path) as query:
        listed = list_trials(query, asked, Path("none"), top=9, sort="sharpe")
        by_return = list_trials(query, asked, Path("none"), top=9, sort="return")

    chosen = database.findings(asked).chosen

    assert chosen is not None
    assert [row.number for row in listed.shown] == [chosen.number, 0, 2] == [1, 0, 2]
    assert trial_lines(listed)[-1].endswith(" 4 (below min_trades)")
    assert [row.number for row in by_return.shown] == [2, 1, 0]


def test_markets_are_no_tries_and_the_lines_tell_what_they_came_to(database: Database) -> None:
    settings = MonteCarlo(paths=40, block_days=5, seed=1, losses=(0.1, 0.3), markets=5)
    asked = sweep("first", 2, 3, monte_carlo=settings)
    database.run(asked, [[0.01] * 99 + [0.011], [0.0] * 99 + [0.001]])
    before = database.findings(replace(asked, monte_carlo=None))

    # two round trips, of -10 % and of nothing: resampled, both are the first in a quarter
    database.draw(asked, [1000, 900, 900], [0.2, -0.2, math.nan, -0.4, 9.0])

    found = database.findings(asked)
    assert found.luck == before.luck
    drawn = found.monte_carlo
    assert drawn is not None
    assert drawn.markets is not None
    assert (drawn.numbers, drawn.failed) == ([0, 1, 3, 4], 1)
    assert found.chosen is not None
    assert found.chosen.trial.total_return == pytest.approx(1.01**99 * 1.011 - 1)
    assert drawn.beaten == 0.75  # all but the one of 900 %
    assert (drawn.markets.loss, drawn.markets.losses) == (0.5, (0.5, 0.25))
    assert drawn.trades is not None
    assert drawn.trades.losses[1] == 0.0
    assert drawn.trades.losses[0] == pytest.approx(0.75, abs=0.2)
    head, origins, _best, _gained, _search, warning, *said = result_lines(found)
    assert head.startswith("first: 2 trials of ")
    assert origins == (
        "  6 more for the Monte Carlo: 5 markets, and 1 to list the best trial's round trips"
    )
    assert warning == "  ! the deflated Sharpe ratio of trial 0 is 90%, below 95%: it may be luck"
    assert said[0].startswith("  the best trial's days resampled, 40 paths: return +17")
    assert said[0].endswith(
        "; drawdown at most 0.00% in 95% of paths, at worst 0.00%; none loses money"
    )
    assert said[2] == (
        "  the best trial's round trips shuffled, 40 paths: drawdown at most 10.00% in 95% of "
        "paths, at worst 10.00%"
    )
    assert said[3] == (
        "  markets made of resampled days, 4 markets: return -40.00% to +900.00%; drawdown at most "
        "900.00%; 50.0% lose money, 50.0% lose 10% or more, 25.0% lose 30% or more; 1 market failed"
    )


def test_lines_of_paths_have_the_share_that_stays_within_and_the_worst() -> None:
    # of 100 paths the returns are -50 % to +49 %, the drawdowns 0 to 99 %
    rows = np.array([[(at - 50) / 100, at / 100, math.nan] for at in range(100)])
    paths = to_paths(rows, np.ones((100, 2)), np.arange(2), losses=(0.1, 0.6, 0.7))

    assert return_text(paths, "path") == (
        "return -45.00% to +44.00% in 90% of paths, at worst -50.00%"
    )
    assert drawdown_text(paths, "path") == (
        "drawdown at most 94.00% in 95% of paths, at worst 99.00%"
    )
    assert losses_text((0.1, 0.6, 0.7), paths) == (
        "50.0% lose money, 41.0% lose 10% or more, none loses 60% or more"
    )


@pytest.mark.parametrize(
    ("count", "shares"),
    [(20, ["90%", "95%"]), (39, ["95%", "97%"]), (1000, ["90%", "95%"])],
)
def test_the_share_in_a_line_is_that_of_the_paths_within_its_limits(
    count: int, shares: list[str]
) -> None:
    values = np.arange(count) / 1000  # all differ
    rows = np.column_stack([values, values, values])
    paths = to_paths(rows, np.ones((count, 2)), np.arange(2), losses=())

    within = (values >= paths.total_return.p5) & (values <= paths.total_return.p95)
    below = values <= paths.max_drawdown.p95
    texts = (return_text(paths, "path"), drawdown_text(paths, "path"))

    assert [f"{kept.mean():.0%}" for kept in (within, below)] == shares
    assert [text.partition(" in ")[2].partition(" ")[0] for text in texts] == shares


def test_without_a_trial_that_may_be_chosen_the_lines_say_so(database: Database) -> None:
    asked = sweep("first", 2, 3)
    database.run(asked, noise(3, 2), trades=[4, 4])

    found = database.findings(asked)

    assert (found.chosen, found.luck) == (None, None)
    assert result_lines(found)[-1] == (
        "  ! no trial has 5 round trips or more, the most is 4: lower objective.min_trades"
    )


@pytest.mark.parametrize(
    ("count", "metric", "status", "reason"),
    [
        (2, "sharpe", "ok", "the Sharpe ratio has no value over 2 days, at least 30 are needed: "
         "widen start_date and end_date, or write objective: {maximize: return}"),
        (90, "profit_factor", "ok", "the profit factor has no value in any trial with at least "
         "5 round trips: write objective: {maximize: return}"),
        (90, "sharpe", "failed", "no trial has a result"),
    ],
)  # fmt: skip
def test_the_reason_for_no_choice_is_the_true_one(
    database: Database, count: int, metric: str, status: TrialStatus, reason: str
) -> None:
    objective = Objective(metric=metric, maximize=True, min_trades=5)
    asked = experiment(ema(days(0, count)), axis("fast", 2, 3), objective=objective)
    trials = [replace(_trial(None), status=status, trades=15 if status == "ok" else 0)] * 2

    assert no_choice_text(asked, trials) == reason
    rows = [
        SearchTrial(number=at, params={"fast": at}, trial=each) for at, each in enumerate(trials)
    ]
    found = Findings(
        experiment=asked, rows=rows, chosen=None, stats={}, luck=None, monte_carlo=None, walk=None
    )
    assert result_lines(found)[-1] == f"  ! {reason}"
    assert f"No best trial: {reason}" in html.unescape(experiment_page(found))


def test_an_account_that_was_lost_has_no_daily_returns() -> None:
    lost = np.array([10, 0, 5], dtype="<i8")

    assert to_daily_returns(to_equity(lost.tobytes())) is None
    assert to_daily_returns(np.array([10, 11, 22])) == [0.1, 1.0]
    assert to_daily_returns(np.array([10])) is None


def test_trials_of_an_experiment_that_never_ran_are_refused(database: Database) -> None:
    with open_reader(database.path) as query, pytest.raises(DataError, match="doit experiment:no"):
        list_trials(query, sweep("no", 1), Path("none"), top=1, sort="number")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"total_return": -0.012}, "trial 4 loses 1.20%"),
        ({"total_return": -0.012, "deflated": 0.01}, "trial 4 loses 1.20%"),
        (
            {"deflated": 0.13},
            "the deflated Sharpe ratio of trial 4 is 13%, below 95%: it may be luck",
        ),
        ({"deflated": 0.95}, ""),
    ],
)
def test_the_reason_against_a_trial_names_it(changes: dict[str, float], expected: str) -> None:
    good = {"total_return": 0.1, "deflated": 0.99}

    assert trial_caution(4, **(good | changes)) == expected


def test_reasons_against_an_experiment_name_the_search_and_the_walk_forward() -> None:
    assert experiment_caution(overfitting=0.5, out_of_sample=0.0) == ""
    assert experiment_caution(overfitting=0.62, out_of_sample=-0.1018) == (
        "the search has a probability of overfitting of 62%, above 50%: the trial with the highest "
        "Sharpe ratio on half of the days is mostly no better than the median on the others; the "
        "walk-forward of the experiment loses 10.18%"
    )


NO_PROFIT = "the Sharpe ratio out of sample is not above 0"
EFFICIENCIES: dict[str, Any] = {
    # the ratios in sample, that of all days out of sample, what is said
    "pooled": ([2.0, 6.0], 1.0, "efficiency 0.25 (mean Sharpe ratio in sample 4.00)"),
    "a window without": (
        [2.0, None],
        1.0,
        "efficiency 0.50 (mean Sharpe ratio in sample 2.00, of 1 of 2 windows)",
    ),
    "a loss later": ([2.0], -1.0, f"no efficiency ({NO_PROFIT})"),
    "nothing later": ([2.0], 0.0, f"no efficiency ({NO_PROFIT})"),
    "a loss before": (
        [-3.0, 1.0],
        1.0,
        "no efficiency (the mean Sharpe ratio in sample is -1.00, not above 0)",
    ),
    "short training": (
        [None, None],
        1.0,
        "no efficiency (no window has a Sharpe ratio in sample, which needs 30 days)",
    ),
    "short testing": ([2.0], None, "no efficiency (there is no Sharpe ratio out of sample)"),
}


@pytest.mark.parametrize("case", EFFICIENCIES)
def test_the_efficiency_is_of_all_days_out_of_sample(case: str) -> None:
    trained, tested, expected = EFFICIENCIES[case]
    # the windows' own ratios out of sample play no part: short ones have none
    windows = [
        StitchedWindow(
            spans=WindowSpans(days(0, 9), days(9, 18)),
            number=0,
            params={},
            trained=_trial(ratio),
            tested=_trial(None),
            gain=Decimal(0),
            switch_cost=Decimal(0),
            carried={},
            efficiency=None,
        )
        for ratio in trained
    ]
    times_ms, equity = np.array([0, 9 * DAY_MS]), np.array([10**12, 10**12])
    walk = StitchedAccount(
        windows=windows,
        times_ms=times_ms,
        equity=equity,
        window_of=np.zeros(2, dtype=np.int64),
        performance=replace(measure_curve(times_ms, equity, days=9), sharpe=tested),
    )

    assert efficiency_text(walk) == expected
    assert (walk.efficiency is None) == expected.startswith("no ")
    assert gains_text(walk) == f"none of {counted(len(trained), 'window')} gained"
    if tested is None:
        assert sharpe_text(walk) == "no Sharpe ratio (9 days, at least 30 needed)"


def _trial(sharpe: float | None) -> Trial:
    return Trial(
        key=b"",
        subject="",
        variant=b"",
        start_ms=0,
        end_ms=1,
        status="ok",
        sharpe=sharpe,
        trades=9,
        digest=b"",
    )
