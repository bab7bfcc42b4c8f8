"""What the rows of an experiment come to, and the folder of its result, which is of rows alone."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tbv8.config.document import plain
from tbv8.config.records import Experiment
from tbv8.config.space import as_mapping, to_text
from tbv8.experiments.keys import subject_of
from tbv8.experiments.overfitting import (
    Bootstrap,
    Overfitting,
    bootstrap,
    cross_validate,
    deflated_sharpe,
    effective_trials,
    variance_of,
)
from tbv8.experiments.stitching import OutOfSample, Stitched, stitch
from tbv8.experiments.survey import Asked, Survey
from tbv8.experiments.walkforward import choose
from tbv8.manifest import Input
from tbv8.market import iso, iso_day
from tbv8.page.words import counted, number
from tbv8.results.folder import write_json, write_result
from tbv8.results.statistics import YEAR_DAYS, rounded, sharpe_above
from tbv8.store.database import Query
from tbv8.store.trials import METRICS, Trial, read_details, read_trials, read_tries
from tbv8.trading.nautilus import Floats, Ints

_MOST_CORRELATED = 500
_HEADLINE = (*METRICS, "trades", "fills")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One trial of the search; `line` is why it has no result, `returns` are daily."""

    number: int
    params: Mapping[str, Any]
    trial: Trial
    line: str | None = None
    returns: list[float] | None = None


class Luck(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the chosen trial is luck.

    Attributes:
        tries: How many variants of the strategy the database knows to have been tried on the
            series, by whichever experiment.
        effective: How many independent ones they are worth.
        variance: Of their daily Sharpe ratios over this span.
        probabilistic: The probability that the true Sharpe ratio is above 0, were it the only try.
        deflated: That it is above what luck alone brings the best of `tries`.
        deflated_effective: The same for the effective number.
        overfitting: None for too few trials or days.
    """

    tries: int
    effective: float
    variance: float
    probabilistic: float | None
    deflated: float | None
    deflated_effective: float | None
    overfitting: Overfitting | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a result's files and page show.

    `chosen` is None where every trial failed or traded too little.
    """

    experiment: Experiment
    rows: Sequence[Row]
    chosen: Row | None
    stats: Mapping[str, Any]
    luck: Luck | None
    bootstrap: Bootstrap | None
    walk: Stitched | None

    @property
    def failed(self) -> list[Row]:
        """The trials without a result."""
        return [row for row in self.rows if row.trial.status != "ok"]


def read_findings(survey: Survey, query: Query, choices: Sequence[int | None]) -> Findings:
    """Return what the rows of an experiment come to; each of them must be there."""
    experiment = survey.experiment
    rows, stats = _rows(survey, query)
    best = choose([row.trial for row in rows], experiment.objective)
    chosen = None if best is None else rows[best]
    returns = chosen.returns if chosen else None
    monte_carlo = experiment.monte_carlo
    return Findings(
        experiment=experiment,
        rows=rows,
        chosen=chosen,
        stats=stats[best] if best is not None else {},
        luck=measure_luck(survey, query, rows, chosen) if chosen else None,
        bootstrap=bootstrap(
            returns,
            paths=monte_carlo.paths,
            block_days=monte_carlo.block_days,
            seed=monte_carlo.seed,
        )
        if monte_carlo and returns
        else None,
        walk=_walk(survey, query, choices) if survey.folds else None,
    )


def read_rows(survey: Survey, query: Query) -> list[Row]:
    """Return the trials of a search, by number; each of them must be there."""
    return _rows(survey, query)[0]


def _rows(survey: Survey, query: Query) -> tuple[list[Row], list[Mapping[str, Any]]]:
    keys = [one.key for one in survey.search]
    trials, details = read_trials(query, keys), dict(read_details(query, keys))
    rows, stats = [], []
    for one in survey.search:
        own = json.loads(details[one.key].stats)
        rows.append(
            Row(
                number=one.number,
                params=as_mapping(survey.experiment.search.axes, one.point),
                trial=trials[one.key],
                line=own.get("error"),
                returns=daily_of(to_equity(details[one.key].equity)),
            )
        )
        stats.append(own)
    return rows, stats


def to_equity(raw: bytes) -> Ints:
    """Return the equity of a row, in 10^-8 USD."""
    return np.frombuffer(raw, dtype="<i8").astype(np.int64)


def daily_of(equity: Ints) -> list[float] | None:
    """Return daily returns; None where there are none, or an account was lost."""
    if len(equity) < 2 or (equity[:-1] <= 0).any():
        return None
    found: list[float] = ((equity[1:] - equity[:-1]) / equity[:-1]).tolist()
    return found


def measure_luck(survey: Survey, query: Query, rows: Sequence[Row], chosen: Row) -> Luck | None:
    """Return how much of a chosen trial is luck; None where it has no Sharpe ratio."""
    if chosen.returns is None or chosen.trial.sharpe is None:
        return None
    tries, ratios = read_tries(
        query,
        subject_of(survey.experiment.strategy),
        start_ms=survey.span.start_ms,
        end_ms=survey.span.end_ms,
    )
    variance = daily_variance(ratios)
    matrix = returns_matrix(rows)
    effective = effective_trials(matrix[:, :_MOST_CORRELATED], tries)
    return Luck(
        tries=tries,
        effective=effective,
        variance=variance,
        probabilistic=sharpe_above(chosen.returns),
        deflated=deflated_sharpe(chosen.returns, trials=tries, variance=variance),
        deflated_effective=deflated_sharpe(chosen.returns, trials=effective, variance=variance),
        overfitting=cross_validate(matrix, survey.experiment.blocks),
    )


def daily_variance(ratios: Mapping[bytes, float]) -> float:
    """Return the variance of a day's Sharpe ratios, of a year's."""
    return variance_of([ratios[name] / math.sqrt(YEAR_DAYS) for name in sorted(ratios)])


def deflate(returns: list[float] | None, ratios: Mapping[bytes, float], tries: int) -> float | None:
    """Return the deflated Sharpe ratio of a trial among tries with these ratios a year."""
    if returns is None:
        return None
    return deflated_sharpe(returns, trials=tries, variance=daily_variance(ratios))


def returns_matrix(rows: Sequence[Row]) -> Floats:
    """Return daily returns, a row a day and a column a trial; of equally many days each."""
    found = [row.returns for row in rows if row.returns is not None]
    if not found:
        return np.empty((0, 0))
    ((days, _),) = Counter(map(len, found)).most_common(1)
    return np.array([returns for returns in found if len(returns) == days]).T


def _walk(survey: Survey, query: Query, choices: Sequence[int | None]) -> Stitched:
    training = {
        at: read_trials(query, [part[number].key])[part[number].key]
        for at, (part, number) in enumerate(zip(survey.training, choices, strict=True))
        if number is not None
    }
    tested: dict[int, Asked] = {
        int(one.part.partition(":")[2]): one for one in survey.tested(choices)
    }
    trials = read_trials(query, [one.key for one in tested.values()])
    details = dict(read_details(query, [one.key for one in tested.values()]))
    windows = []
    for at, fold in enumerate(survey.folds):
        one = tested.get(at)
        own = details[one.key] if one else None
        windows.append(
            OutOfSample(
                fold=fold,
                number=one.number if one else None,
                params=as_mapping(survey.experiment.search.axes, one.point) if one else {},
                trained=training.get(at),
                tested=trials[one.key] if one else None,
                stats=json.loads(own.stats) if own else {},
                equity=to_equity(own.equity) if own else np.empty(0, dtype=np.int64),
            )
        )
    return stitch(windows, survey.experiment.strategy)


# The folder.


def write_folder(
    survey: Survey,
    query: Query,
    choices: Sequence[int | None],
    *,
    inputs: Mapping[str, Input],
    folder: Path,
) -> list[str]:
    """Write the folder of a result, and return the lines that tell of it.

    Raises:
        DataError: What stands there is not a result of tbv8.
    """
    from tbv8.experiments.page import experiment_page

    findings = read_findings(survey, query, choices)

    def write(new: Path) -> None:
        write_json(new / "summary.json", to_json(findings))
        _write_trials(new / "trials.csv", findings)
        if findings.walk:
            _write_walk(new, findings.walk, findings.experiment)
        if findings.bootstrap:
            _write_paths(new / "montecarlo.csv", findings.bootstrap)
        (new / "index.html").write_text(experiment_page(findings), encoding="utf-8")

    write_result(folder, write, inputs=inputs)
    return lines(findings)


def to_json(findings: Findings) -> dict[str, Any]:
    """Return summary.json."""
    experiment, chosen, luck, walk = (
        findings.experiment,
        findings.chosen,
        findings.luck,
        findings.walk,
    )
    span = experiment.strategy.span
    return {
        "experiment_id": experiment.experiment_id,
        "strategy_id": experiment.strategy.strategy_id,
        "subject": subject_of(experiment.strategy),
        "simulated": experiment.strategy.simulated,
        "span": {"start": iso(span.start_ms), "end": iso(span.end_ms)},
        "objective": msgspec.to_builtins(experiment.objective),
        "trials": len(findings.rows),
        "failed": len(findings.failed),
        "distinct": len({row.trial.digest for row in findings.rows}),
        "chosen": {
            "number": chosen.number,
            "params": plain(dict(chosen.params)),
            "why": _why(findings),
            "stats": findings.stats,
        }
        if chosen
        else None,
        "tries": luck.tries if luck else None,
        "effective_tries": rounded(luck.effective) if luck else None,
        "probabilistic_sharpe": _shown(luck.probabilistic if luck else None),
        "deflated_sharpe": _shown(luck.deflated if luck else None),
        "deflated_sharpe_effective": _shown(luck.deflated_effective if luck else None),
        "overfitting": _overfitting_json(luck.overfitting if luck else None),
        "monte_carlo": _bootstrap_json(findings),
        "walk_forward": _walk_json(walk) if walk else None,
    }


def _why(findings: Findings) -> str:
    objective = findings.experiment.objective
    best = "highest" if objective.maximize else "lowest"
    return (
        f"the {best} {objective.metric} of {len(findings.rows):,} trials with at least "
        f"{counted(objective.min_trades, 'round trip')}"
    )


def _overfitting_json(found: Overfitting | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "probability": rounded(found.probability),
        "probability_of_loss": rounded(found.loss),
        "splits": found.splits,
        "ranks": list(found.ranks),
    }


def _bootstrap_json(findings: Findings) -> dict[str, Any] | None:
    found = findings.bootstrap
    if found is None:
        return None
    return {
        "paths": len(found.paths),
        "return": {k: rounded(v) for k, v in msgspec.to_builtins(found.total_return).items()},
        "max_drawdown": {k: rounded(v) for k, v in msgspec.to_builtins(found.max_drawdown).items()},
        "probability_of_loss": rounded(found.loss),
        "p_value": rounded(found.p_value),
    }


def _walk_json(walk: Stitched) -> dict[str, Any]:
    performance = msgspec.to_builtins(walk.performance)
    return {
        "windows": len(walk.windows),
        "flat": sum(one.tested is None for one in walk.windows),
        "gained": sum(one.gain > 0 for one in walk.windows),
        "efficiency": _shown(walk.efficiency),
        "switch_cost": float(sum((one.switch_cost for one in walk.windows), Decimal(0))),
        **performance,
    }


def _shown(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def _write_trials(path: Path, findings: Findings) -> None:
    names = [axis.name for axis in findings.experiment.search.axes]
    _write(
        path,
        ["number", *names, "status", *_HEADLINE, "digest", "error"],
        (
            [
                row.number,
                *(plain(row.params[name]) for name in names),
                row.trial.status,
                *(getattr(row.trial, name) for name in _HEADLINE),
                row.trial.digest.hex(),
                row.line,
            ]
            for row in findings.rows
        ),
    )


def _write_walk(folder: Path, walk: Stitched, experiment: Experiment) -> None:
    names = [axis.name for axis in experiment.search.axes]
    heads = ["train_start", "train_end", "test_start", "test_end", "number"]
    numbers = [
        "train_sharpe",
        "test_sharpe",
        "train_return",
        "test_return",
        "trades",
        "gain_usd",
        "switch_cost_usd",
        "efficiency",
        "position",
        "status",
    ]
    _write(
        folder / "walkforward.csv",
        ["window", *heads, *names, *numbers],
        (
            [
                at,
                *(
                    iso_day(ms)
                    for span in (one.fold.train, one.fold.test)
                    for ms in (span.start_ms, span.end_ms)
                ),
                one.number,
                *(plain(one.params.get(name)) for name in names),
                one.trained.sharpe if one.trained else None,
                one.tested.sharpe if one.tested else None,
                one.trained.total_return if one.trained else None,
                one.tested.total_return if one.tested else None,
                one.tested.trades if one.tested else 0,
                f"{one.gain:.8f}",
                f"{one.switch_cost:.8f}",
                one.efficiency,
                " ".join(f"{position:f}" for position in one.carried.values()) or "0",
                one.tested.status if one.tested else "flat",
            ]
            for at, one in enumerate(walk.windows)
        ),
    )
    _write(
        folder / "oos_equity.csv",
        ["ts_ms", "equity", "window"],
        (
            [int(ts_ms), f"{Decimal(int(equity)).scaleb(-8):.8f}", int(window)]
            for ts_ms, equity, window in zip(
                walk.times_ms, walk.equity, walk.window_of, strict=True
            )
        ),
    )


def _write_paths(path: Path, found: Bootstrap) -> None:
    _write(
        path,
        ["path", "return", "max_drawdown", "sharpe"],
        (
            [at, *(None if math.isnan(value) else rounded(value) for value in row)]
            for at, row in enumerate(found.paths.tolist())
        ),
    )


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)


# Words.


def lines(findings: Findings) -> list[str]:
    """Return what to print when an experiment has ended: never a Sharpe ratio without its luck."""
    experiment, failed = findings.experiment, findings.failed
    shown = [
        f"{experiment.experiment_id}: {counted(len(findings.rows), 'trial')} of "
        f"{subject_of(experiment.strategy)}"
        f"{' (simulated)' if experiment.strategy.simulated else ''}"
    ]
    if failed:
        died = sum(row.trial.status == "died" for row in failed)
        more = f", of {died:,} the process died" if died else ""
        shown.append(f"  ! {counted(len(failed), 'trial')} failed{more}: {failed[0].line}")
    if findings.chosen is None:
        shown.append(
            "  ! no trial has a result with enough round trips: lower objective.min_trades"
        )
        return shown
    point = to_text(experiment.search.axes, tuple(findings.chosen.params.values()))
    shown.append(f"  best of {len(findings.rows):,}: number {findings.chosen.number}, {point}")
    shown.append(f"  {headline(findings.chosen.trial, findings.luck)}")
    if findings.bootstrap:
        found = findings.bootstrap
        shown.append(
            f"  bootstrap: return {found.total_return.p5:+.2%} .. {found.total_return.p95:+.2%}, "
            f"drawdown up to {found.max_drawdown.p95:.2%}, loss in {found.loss:.0%} of "
            f"{len(found.paths):,} paths"
        )
    if findings.walk:
        walk = findings.walk
        ratio = walk.performance.sharpe
        shown.append(
            f"  walk-forward: {counted(len(walk.windows), 'window')}, out of sample "
            f"{walk.performance.total_return:+.2%}"
            + (f", Sharpe {ratio:.2f}" if ratio is not None else "")
            + (f", efficiency {walk.efficiency:.2f}" if walk.efficiency is not None else "")
        )
    return shown


def headline(trial: Trial, luck: Luck | None) -> str:
    """Return a trial's return and Sharpe ratio, and what of it is luck, in one line."""
    gain = "return unknown" if trial.total_return is None else f"return {trial.total_return:+.2%}"
    if trial.sharpe is None or luck is None:
        return f"{gain}, too short or too still for a Sharpe ratio, {trial.trades:,} round trips"
    return (
        f"{gain}, Sharpe {trial.sharpe:.2f} ({chances(luck)}), "
        f"{counted(trial.trades, 'round trip')}"
    )


def chances(luck: Luck) -> str:
    """Return what stands beside every Sharpe ratio of a chosen trial."""
    deflated = number(luck.deflated, ".0%")
    overfitting = number(luck.overfitting.probability if luck.overfitting else None, ".0%")
    return f"DSR {deflated} of {luck.tries:,} tries, PBO {overfitting}"
