"""The result of an experiment: its trials, the chosen one, and the share of luck in it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from tbv8.config.experiments import ANNUAL_METRICS
from tbv8.config.records import Experiment
from tbv8.config.space import as_mapping, to_text
from tbv8.experiments.keys import subject_of
from tbv8.experiments.montecarlo import (
    Bootstrap,
    Paths,
    draw_by_day,
    draw_by_trade,
    markets_paths,
)
from tbv8.experiments.overfitting import (
    Overfitting,
    cross_validate,
    deflated_sharpe,
    effective_trials,
    variance_of,
)
from tbv8.experiments.stitching import StitchedAccount, WindowRun, stitch
from tbv8.experiments.survey import PlannedTrial, Survey
from tbv8.experiments.walkforward import choose_trial
from tbv8.market import DAY_MS, MIN_DAYS
from tbv8.page.words import number
from tbv8.results.rule_warnings import rate_warnings
from tbv8.results.statistics import YEAR_DAYS, sharpe_above
from tbv8.store.database import Query
from tbv8.store.trials import Trial, read_details, read_trials, read_variants
from tbv8.text import counted
from tbv8.trading.nautilus import Floats, Ints

_MAX_CORRELATED = 500
_MIN_DEFLATED = 0.95
_MAX_OVERFITTING = 0.5

METRIC_NAMES = {
    "sharpe": "Sharpe ratio",
    "sortino": "Sortino ratio",
    "calmar": "Calmar ratio",
    "return": "return",
    "profit_factor": "profit factor",
    "max_drawdown": "max drawdown",
}
"""The name of each metric in lines and pages."""

FRACTIONS = ("return", "max_drawdown")
"""The metrics that are fractions, and percentages for people."""


class SearchTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial of the search; `error` is the reason if it has no result, `returns` are daily."""

    number: int
    params: Mapping[str, Any]
    trial: Trial
    error: str | None = None
    returns: list[float] | None = None


class Luck(msgspec.Struct, frozen=True, kw_only=True):
    """The share of luck in the chosen trial.

    Attributes:
        tries: The number of variants of the strategy that the database has on the series, by all
            experiments.
        effective: The number of independent tries that would be as likely to be lucky.
        variance: The variance of their daily Sharpe ratios over this span.
        probabilistic: The probability that the true Sharpe ratio is above 0, were it the only try.
        deflated: The probability that it is above the ratio that luck alone brings the best of
            `tries`.
        deflated_effective: The same with `effective` tries.
        overfitting: The probability of overfitting; None for too few trials or days.
    """

    tries: int
    effective: float
    variance: float
    probabilistic: float | None
    deflated: float | None
    deflated_effective: float | None
    overfitting: Overfitting | None

    @property
    def probability(self) -> float | None:
        """The probability of overfitting."""
        return self.overfitting.probability if self.overfitting else None


class MonteCarloResult(msgspec.Struct, frozen=True, kw_only=True):
    """The Monte Carlo of the chosen trial; None for a method without anything to draw.

    Attributes:
        losses: Fractions of the starting balance, whose probabilities `Paths` have.
        days: Its days in other orders.
        trades: As many of its round trips, each drawn from all.
        order: Its round trips in other orders.
        markets: The trial on the re-chained markets that gave a result.
        numbers: The numbers of those markets.
        failed: The number of markets without a result.
        beaten: The share of markets on which the trial gained less than on the real one.
    """

    losses: tuple[float, ...]
    days: Bootstrap | None
    trades: Paths | None
    order: Paths | None
    markets: Paths | None
    numbers: Sequence[int]
    failed: int
    beaten: float | None

    @property
    def methods(self) -> list[tuple[str, Sequence[int], Paths]]:
        """The name, the numbers of the paths and the paths of each method that has any."""
        days = self.days and self.days.paths
        named = {"days": days, "trades": self.trades, "order": self.order}
        methods = [(name, range(len(paths.rows)), paths) for name, paths in named.items() if paths]
        markets = [("markets", self.numbers, self.markets)] if self.markets else []
        return [*methods, *markets]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a result's files and page.

    `chosen` is None where every trial failed or traded too little.
    """

    experiment: Experiment
    rows: Sequence[SearchTrial]
    chosen: SearchTrial | None
    stats: Mapping[str, Any]
    luck: Luck | None
    monte_carlo: MonteCarloResult | None
    walk: StitchedAccount | None

    @property
    def failed(self) -> list[SearchTrial]:
        """The trials without a result."""
        return [row for row in self.rows if row.trial.status != "ok"]


def read_findings(survey: Survey, query: Query) -> Findings:
    """Return the result of an experiment; each of its trials must have a row."""
    experiment = survey.experiment
    rows, stats = _rows(survey, query)
    best = choose_trial([row.trial for row in rows], experiment.objective)
    chosen = None if best is None else rows[best]
    return Findings(
        experiment=experiment,
        rows=rows,
        chosen=chosen,
        stats=stats[best] if best is not None else {},
        luck=measure_luck(survey, query, rows, chosen) if chosen else None,
        monte_carlo=_monte_carlo(survey, query, chosen) if chosen else None,
        walk=_walk(survey, query) if survey.windows else None,
    )


def _monte_carlo(survey: Survey, query: Query, chosen: SearchTrial) -> MonteCarloResult | None:
    if (settings := survey.experiment.monte_carlo) is None:
        return None
    by_trade, *planned = survey.monte_carlo_trials(chosen.number)
    keys = [trial.key for trial in planned]
    trials = read_trials(query, [by_trade.key, *keys])
    details = dict(read_details(query, trials))
    by_round_trip = partial(
        draw_by_trade,
        to_equity(details[by_trade.key].equity),
        paths=settings.paths,
        seed=settings.seed,
        losses=settings.losses,
    )
    numbers = [at for at, key in enumerate(keys) if trials[key].status == "ok"]
    finished = [trials[keys[at]] for at in numbers]
    gained = [trial.total_return or 0.0 for trial in finished]
    markets = [
        [gain, trial.max_drawdown or 0.0, math.nan if trial.sharpe is None else trial.sharpe]
        for gain, trial in zip(gained, finished, strict=True)
    ]
    real_return = chosen.trial.total_return
    return MonteCarloResult(
        losses=settings.losses,
        days=draw_by_day(
            chosen.returns or [],
            paths=settings.paths,
            block_days=settings.block_days,
            seed=settings.seed,
            losses=settings.losses,
        ),
        trades=by_round_trip(replace=True),
        order=by_round_trip(replace=False),
        markets=markets_paths(
            np.array(markets),
            [to_equity(details[keys[at]].equity) for at in numbers],
            settings.losses,
        ),
        numbers=numbers,
        failed=len(keys) - len(numbers),
        beaten=sum(gain < real_return for gain in gained) / len(gained)
        if gained and real_return is not None
        else None,
    )


def read_rows(survey: Survey, query: Query) -> list[SearchTrial]:
    """Return the trials of a search, by number; each of them must have a row."""
    return _rows(survey, query)[0]


def _rows(survey: Survey, query: Query) -> tuple[list[SearchTrial], list[Mapping[str, Any]]]:
    keys = [trial.key for trial in survey.search]
    trials, details = read_trials(query, keys), dict(read_details(query, keys))
    rows, stats = [], []
    for trial in survey.search:
        stats_of_trial = json.loads(details[trial.key].stats)
        rows.append(
            SearchTrial(
                number=trial.number,
                params=as_mapping(survey.experiment.search.axes, trial.point),
                trial=trials[trial.key],
                error=stats_of_trial.get("error"),
                returns=to_daily_returns(to_equity(details[trial.key].equity)),
            )
        )
        stats.append(stats_of_trial)
    return rows, stats


def to_equity(raw: bytes) -> Ints:
    """Return the equity of a row, in 10^-8 USD."""
    return np.frombuffer(raw, dtype="<i8").astype(np.int64)


def to_daily_returns(equity: Ints) -> list[float] | None:
    """Return daily returns; None where there are none, or an account was lost."""
    if len(equity) < 2 or (equity[:-1] <= 0).any():
        return None
    returns: list[float] = ((equity[1:] - equity[:-1]) / equity[:-1]).tolist()
    return returns


def measure_luck(
    survey: Survey, query: Query, rows: Sequence[SearchTrial], chosen: SearchTrial
) -> Luck | None:
    """Return the share of luck in a chosen trial; None if its account was lost."""
    if chosen.returns is None:
        return None
    tries, ratios = read_variants(
        query,
        subject_of(survey.experiment.strategy),
        start_ms=survey.span.start_ms,
        end_ms=survey.span.end_ms,
    )
    variance = daily_variance(ratios)
    matrix, is_short = returns_matrix(rows), len(chosen.returns) < MIN_DAYS
    effective = effective_trials(matrix[:, :_MAX_CORRELATED], tries)
    return Luck(
        tries=tries,
        effective=effective,
        variance=variance,
        probabilistic=None if is_short else sharpe_above(chosen.returns),
        deflated=deflate(chosen.returns, ratios, tries),
        deflated_effective=deflate(chosen.returns, ratios, effective),
        overfitting=cross_validate(matrix, survey.experiment.blocks),
    )


def daily_variance(ratios: Mapping[bytes, float]) -> float:
    """Return the variance of daily Sharpe ratios, from annual ones."""
    return variance_of([ratios[name] / math.sqrt(YEAR_DAYS) for name in sorted(ratios)])


def deflate(
    returns: list[float] | None, ratios: Mapping[bytes, float], tries: float
) -> float | None:
    """Return the deflated Sharpe ratio of a trial among tries with these annual ratios.

    Returns None for too few days, and if the spread of several tries is unknown: the ratios are
    those over the trial's own days.
    """
    if returns is None or len(returns) < MIN_DAYS or (tries > 1 and len(ratios) < 2):
        return None
    return deflated_sharpe(returns, trials=tries, variance=daily_variance(ratios))


def returns_matrix(rows: Sequence[SearchTrial]) -> Floats:
    """Return daily returns, a row a day and a column a trial, of trials with equally many days."""
    columns = [row.returns for row in rows if row.returns is not None]
    if not columns:
        return np.empty((0, 0))
    ((days, _),) = Counter(map(len, columns)).most_common(1)
    return np.array([returns for returns in columns if len(returns) == days]).T


def _walk(survey: Survey, query: Query) -> StitchedAccount:
    choices = survey.choices(query)
    training = {
        at: read_trials(query, [part[number].key])[part[number].key]
        for at, (part, number) in enumerate(zip(survey.training, choices, strict=True))
        if number is not None
    }
    tested: dict[int, PlannedTrial] = {
        int(trial.part.partition(":")[2]): trial for trial in survey.test_trials(choices)
    }
    trials = read_trials(query, [trial.key for trial in tested.values()])
    details = dict(read_details(query, [trial.key for trial in tested.values()]))
    windows = []
    for at, spans in enumerate(survey.windows):
        trial = tested.get(at)
        found = details[trial.key] if trial else None
        windows.append(
            WindowRun(
                spans=spans,
                number=trial.number if trial else None,
                params=as_mapping(survey.experiment.search.axes, trial.point) if trial else {},
                trained=training.get(at),
                tested=trials[trial.key] if trial else None,
                stats=json.loads(found.stats) if found else {},
                equity=to_equity(found.equity) if found else np.empty(0, dtype=np.int64),
            )
        )
    return stitch(windows, survey.experiment.strategy)


# Lines for people.


def result_lines(findings: Findings) -> list[str]:
    """Return the lines that report a result: each Sharpe ratio comes with its share of luck."""
    experiment, failed = findings.experiment, findings.failed
    lines = [
        f"{experiment.experiment_id}: {counted(len(findings.rows), 'trial')} of "
        f"{subject_of(experiment.strategy)}"
        f"{' (simulated)' if experiment.strategy.simulated else ''}"
    ]
    lines += [f"  {text}" for text in _further_trials(findings)]
    if failed:
        deaths = sum(row.trial.status == "died" for row in failed)
        note = f" (in {deaths:,} the process died)" if deaths else ""
        lines.append(f"  ! {counted(len(failed), 'trial')} failed{note}: {failed[0].error}")
    warnings = [f"  ! {text}" for text in cautions(findings)]
    if findings.chosen is None:
        lines += warnings
        lines.append(f"  ! {no_choice_text(experiment, [row.trial for row in findings.rows])}")
        return lines
    lines.append(f"  {best_text(findings, findings.chosen)}")
    lines.append(f"  {headline(findings.chosen.trial, findings.luck)}")
    if findings.luck:
        lines.append(f"  {overfitting_text(findings.luck)}")
    lines += warnings
    if findings.monte_carlo:
        lines += [f"  {line}" for line in _monte_carlo_lines(findings.monte_carlo)]
    if findings.walk:
        walk = findings.walk
        lines.append(
            f"  walk-forward: {gains_text(walk)}; out of sample "
            f"{walk.performance.total_return:+.2%}, {sharpe_text(walk)}, {efficiency_text(walk)}"
        )
    return lines


def best_text(findings: Findings, chosen: SearchTrial) -> str:
    """Return the number and the values of the chosen trial."""
    point = to_text(findings.experiment.search.axes, tuple(chosen.params.values()))
    last = len(findings.rows) - 1
    rank = f"best of {trial_numbers_text(0, last)}: " if last else ""
    return f"{rank}trial {chosen.number}, {point}"


def no_choice_text(experiment: Experiment, trials: Sequence[Trial]) -> str:
    """Return the reason why no trial can be chosen, with the cure."""
    objective, span = experiment.objective, experiment.strategy.span
    least, metric = counted(objective.min_trades, "round trip"), METRIC_NAMES[objective.metric]
    done = [trial for trial in trials if trial.status == "ok"]
    if not done:
        return "no trial has a result"
    max_trades = max(trial.trades for trial in done)
    if max_trades < objective.min_trades:
        return (
            f"no trial has {least} or more, the most is {max_trades:,}: lower objective.min_trades"
        )
    days = (span.end_ms - span.start_ms) // DAY_MS
    if objective.metric in ANNUAL_METRICS and days < MIN_DAYS:
        return (
            f"the {metric} has no value over {counted(days, 'day')}, at least {MIN_DAYS} are "
            "needed: widen start_date and end_date, or write objective: {maximize: return}"
        )
    of = "any trial" if not objective.min_trades else f"any trial with at least {least}"
    return f"the {metric} has no value in {of}: write objective: {{maximize: return}}"


def trial_numbers_text(first: int, last: int) -> str:
    """Return the range of the numbers of some trials: `trials 0 to 11`, `trial 3`."""
    return f"trial {first:,}" if first == last else f"trials {first:,} to {last:,}"


def _further_trials(findings: Findings) -> Iterator[str]:
    """Yield a line about the trials of the walk-forward, and one about the Monte Carlo's."""
    if walk := findings.walk:
        windows, trials = len(walk.windows), len(findings.rows)
        tested = sum(window.tested is not None for window in walk.windows)
        trained = windows * trials
        yield (
            f"{trained + tested:,} more for the walk-forward: {trained:,} in sample ({trials:,} "
            f"for each of {counted(windows, 'window')}), {tested or 'none'} out of sample"
        )
    if monte_carlo := findings.monte_carlo:
        markets = len(monte_carlo.numbers) + monte_carlo.failed
        on_markets = f": {counted(markets, 'market')}, and 1" if markets else ","
        yield (
            f"{1 + markets:,} more for the Monte Carlo{on_markets} to list the best trial's round "
            "trips"
        )


def gains_text(walk: StitchedAccount) -> str:
    """Return the number of windows with a gain, and of all."""
    gained = sum(window.gain > 0 for window in walk.windows)
    return f"{gained or 'none'} of {counted(len(walk.windows), 'window')} gained"


def sharpe_text(walk: StitchedAccount) -> str:
    """Return the Sharpe ratio out of sample, or the reason why there is none."""
    ratio = walk.performance.sharpe
    if ratio is not None:
        return f"Sharpe {ratio:.2f}"
    days = (int(walk.times_ms[-1]) - int(walk.times_ms[0])) // DAY_MS
    reason = f"{counted(days, 'day')}, at least {MIN_DAYS} needed" if days < MIN_DAYS else "flat"
    return f"no Sharpe ratio ({reason})"


def efficiency_text(walk: StitchedAccount) -> str:
    """Return the efficiency, or the reason why there is none."""
    trained, count = walk.trained_sharpe, len(walk.trained_sharpes)
    if walk.efficiency is not None:
        of = "" if count == len(walk.windows) else f", of {count} of {len(walk.windows)} windows"
        return f"efficiency {walk.efficiency:.2f} (mean Sharpe ratio in sample {trained:.2f}{of})"
    if trained is None:
        why = f"no window has a Sharpe ratio in sample, which needs {MIN_DAYS} days"
    elif trained <= 0:
        why = f"the mean Sharpe ratio in sample is {trained:.2f}, not above 0"
    elif walk.performance.sharpe is None:
        why = "there is no Sharpe ratio out of sample"
    else:
        why = "the Sharpe ratio out of sample is not above 0"
    return f"no efficiency ({why})"


def trial_caution(number: int, *, total_return: float | None, deflated: float | None) -> str:
    """Return the reason against trading a trial; empty if there is none."""
    if total_return is not None and total_return < 0:
        return f"trial {number} loses {-total_return:.2%}"
    if deflated is not None and deflated < _MIN_DEFLATED:
        return (
            f"the deflated Sharpe ratio of trial {number} is {deflated:.0%}, below "
            f"{_MIN_DEFLATED:.0%}: it may be luck"
        )
    return ""


def experiment_caution(*, overfitting: float | None, out_of_sample: float | None) -> str:
    """Return the reasons against trusting the choice of an experiment; empty if there are none."""
    reasons = []
    if overfitting is not None and overfitting > _MAX_OVERFITTING:
        reasons.append(
            f"the search has a probability of overfitting of {overfitting:.0%}, above "
            f"{_MAX_OVERFITTING:.0%}: the trial with the highest Sharpe ratio on half of the days "
            "is mostly no better than the median on the others"
        )
    if out_of_sample is not None and out_of_sample < 0:
        reasons.append(f"the walk-forward of the experiment loses {-out_of_sample:.2%}")
    return "; ".join(reasons)


def cautions(findings: Findings) -> list[str]:
    """Return the warnings that belong above the numbers of a result."""
    strategy, luck, walk = findings.experiment.strategy, findings.luck, findings.walk
    texts = [*rate_warnings(strategy, [strategy.routing.primary])]
    if chosen := findings.chosen:
        texts += [
            trial_caution(
                chosen.number,
                total_return=chosen.trial.total_return,
                deflated=luck.deflated if luck else None,
            ),
            experiment_caution(
                overfitting=luck.probability if luck else None,
                out_of_sample=walk.performance.total_return if walk else None,
            ),
        ]
    return [text for text in texts if text]


METHODS = {
    "days": "the best trial's days resampled",
    "trades": "the best trial's round trips resampled",
    "order": "the best trial's round trips shuffled",
    "markets": "markets made of resampled days",
}
"""A description of each method of Monte Carlo, for lines and pages."""


def _monte_carlo_lines(monte_carlo: MonteCarloResult) -> Iterator[str]:
    """Yield the outcome of each method, and the probabilities of the configured losses."""
    for name, _, paths in monte_carlo.methods:
        unit = "market" if name == "markets" else "path"
        texts = [drawdown_text(paths, unit)]
        if name != "order":  # in any order the end is the same
            texts = [return_text(paths, unit), *texts, losses_text(monte_carlo.losses, paths)]
        if name == "markets" and monte_carlo.failed:
            texts.append(f"{counted(monte_carlo.failed, 'market')} failed")
        yield f"{METHODS[name]}, {counted(len(paths.rows), unit)}: {'; '.join(texts)}"
    if monte_carlo.failed and not monte_carlo.markets:
        yield f"! {METHODS['markets']}: all {monte_carlo.failed:,} failed"


def return_text(paths: Paths, unit: str) -> str:
    """Return the range of returns without the lowest and the highest 5 %, and the lowest one."""
    change = paths.total_return
    text = f"return {change.p5:+.2%} to {change.p95:+.2%}"
    if not paths.tail:
        return text
    return f"{text} in {1 - 2 * paths.tail:.0%} of {unit}s, at worst {paths.worst_return:+.2%}"


def drawdown_text(paths: Paths, unit: str) -> str:
    """Return the drawdown that 95 % of paths do not exceed, and the largest one."""
    p95, worst = paths.max_drawdown.p95, paths.worst_drawdown
    if not paths.tail:
        return f"drawdown at most {worst:.2%}"
    return f"drawdown at most {p95:.2%} in {1 - paths.tail:.0%} of {unit}s, at worst {worst:.2%}"


def losses_text(losses: Sequence[float], paths: Paths) -> str:
    """Return the shares of paths that lose money, and so much of it, up to the first share of 0."""
    if not paths.loss:
        return "none loses money"
    texts = [f"{paths.loss:.1%} lose money"]
    for loss, share in zip(losses, paths.losses, strict=True):
        limit = f"{loss:.0%} or more"
        texts.append(f"{share:.1%} lose {limit}" if share else f"none loses {limit}")
        if not share:
            break
    return ", ".join(texts)


def headline(trial: Trial, luck: Luck | None) -> str:
    """Return a trial's return and Sharpe ratio, and the share of luck in it, in one line."""
    gain = "return unknown" if trial.total_return is None else f"return {trial.total_return:+.2%}"
    if trial.sharpe is None or luck is None:
        return f"{gain}, no Sharpe ratio, {counted(trial.trades, 'round trip')}"
    trips = counted(trial.trades, "round trip")
    return f"{gain}, Sharpe {trial.sharpe:.2f}, {trips}; {luck_text(luck)}"


def luck_text(luck: Luck) -> str:
    """Return the text that accompanies every Sharpe ratio of a trial."""
    deflated = number(luck.deflated, ".0%")
    return f"deflated Sharpe ratio (DSR) {deflated} after {counted(luck.tries, 'try')}"


def overfitting_text(luck: Luck) -> str:
    """Return the text about the search as a whole."""
    why = " (too few days or trials)" if luck.probability is None else ", by Sharpe ratio"
    return f"probability of overfitting (PBO) of the search {number(luck.probability, '.0%')}{why}"


def metric_text(name: str, value: float) -> str:
    """Return a metric with its name: `Sharpe ratio -1.54`, `return -0.94%`."""
    return f"{METRIC_NAMES[name]} {value:{'.2%' if name in FRACTIONS else '.2f'}}"
