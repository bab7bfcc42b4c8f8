"""Trials as `doit trials` and `doit compare` list them, and as Parquet.

A Sharpe ratio never stands without the share of luck in it: DSR is the deflated Sharpe ratio among
all tries in the database, PBO the probability of overfitting of the experiment's last result.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tbv8.config.document import plain
from tbv8.config.experiments import results_folder
from tbv8.config.records import Experiment, Strategy
from tbv8.errors import DataError
from tbv8.experiments.keys import subject_of, subject_text
from tbv8.experiments.result import (
    deflate,
    experiment_caution,
    to_daily_returns,
    to_equity,
    trial_caution,
)
from tbv8.files import replacing
from tbv8.manifest import Manifest, read_intact, read_summary_json
from tbv8.market import Span, parse_time, parse_timeframe
from tbv8.page.words import number
from tbv8.results.statistics import daily_returns
from tbv8.store.database import Query
from tbv8.store.trials import (
    METRICS,
    Details,
    ListedTrial,
    Trial,
    count_listed,
    read_best,
    read_details,
    read_listed,
    read_trials,
    read_variants,
)
from tbv8.text import counted
from tbv8.trading.nautilus import MONEY_DECIMALS, fixed_point

_BACKTEST = "backtest"
_REASONS = 2  # for which a result is stale, shown
_ASCENDING = ("number", "max_drawdown")


class TrialRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a list; `error` is the reason if there is no result."""

    number: int
    params: Mapping[str, Any]
    status: str
    sharpe: float | None
    deflated_sharpe: float | None
    total_return: float | None = msgspec.field(name="return")
    max_drawdown: float | None
    profit_factor: float | None
    trades: int
    digest: str
    error: str | None


class TrialList(msgspec.Struct, frozen=True, kw_only=True):
    """Some of an experiment's trials, and the numbers above their list.

    `tries` is the number of variants of `subject` with a result, by all experiments; `subject` is
    the class and the series of the trials, whatever the strategy's file has now. `min_trades` is
    that of the objective. `stale` are the reasons for which the experiment would run.
    """

    experiment_id: str
    subject: str
    trials: int
    missing: int
    failed: int
    tries: int
    min_trades: int
    overfitting: float | None = msgspec.field(name="probability_of_overfitting")
    out_of_sample_return: float | None
    shown: list[TrialRow]
    stale: tuple[str, ...] = ()


def list_trials(
    query: Query, experiment: Experiment, results_path: Path, *, top: int, sort: str
) -> TrialList:
    """Return the first trials of a search in an order; those without a result come last.

    By the objective, those come before them that have too few round trips to be chosen.

    Raises:
        DataError: The experiment was not run yet.
    """
    name = experiment.experiment_id
    count, present, failed = count_listed(query, name)
    if not count:
        raise DataError(f"{name}: there are no trials yet: run `doit experiment:{name}`")
    objective = experiment.objective
    best = read_best(
        query,
        name,
        sort=sort,
        ascending=sort in _ASCENDING,
        most=top,
        min_trades=objective.min_trades if sort == objective.metric else 0,
    )
    trials = read_trials(query, [row.key for row in best])
    subject, span = subject_of(experiment.strategy), experiment.strategy.span
    for trial in trials.values():  # all trials of a search have one subject and one span
        subject, span = trial.subject, Span(trial.start_ms, trial.end_ms)
    tries, ratios = read_variants(query, subject, start_ms=span.start_ms, end_ms=span.end_ms)
    details = dict(read_details(query, trials))

    def deflated(row: ListedTrial) -> float | None:
        returns = to_daily_returns(to_equity(details[row.key].equity))
        return None if trials[row.key].sharpe is None else deflate(returns, ratios, tries)

    shown = [_row(row, trials[row.key], details[row.key], deflated(row)) for row in best]
    summary = read_summary_json(results_folder(results_path, name)) or {}
    return TrialList(
        experiment_id=name,
        subject=subject,
        trials=count,
        missing=count - present,
        failed=failed,
        tries=tries,
        min_trades=objective.min_trades,
        overfitting=(summary.get("overfitting") or {}).get("probability"),
        out_of_sample_return=(summary.get("walk_forward") or {}).get("return"),
        shown=shown,
    )


def _row(listed: ListedTrial, trial: Trial, details: Details, deflated: float | None) -> TrialRow:
    return TrialRow(
        number=listed.number,
        params=listed.params,
        status=trial.status,
        sharpe=trial.sharpe,
        deflated_sharpe=deflated,
        total_return=trial.total_return,
        max_drawdown=trial.max_drawdown,
        profit_factor=trial.profit_factor,
        trades=trial.trades,
        digest=trial.digest.hex(),
        error=json.loads(details.stats).get("error"),
    )


def trial_lines(listed: TrialList) -> list[str]:
    """Return a list as text."""
    missing = f", {listed.missing:,} not run yet" if listed.missing else ""
    failed = f", {listed.failed:,} failed" if listed.failed else ""
    head = (
        f"{listed.experiment_id}: {counted(listed.trials, 'trial')}{missing}{failed}; "
        f"{counted(listed.tries, 'try')} of {listed.subject} by all experiments; "
        f"probability of overfitting (PBO) of the search {number(listed.overfitting, '.0%')}"
    )
    promotion = f"`doit promote {listed.experiment_id} --number N --as STRATEGY_ID`"
    legend = f"{promotion} writes trial N as a strategy. DSR is the deflated Sharpe ratio."
    stale = _stale_line(listed.experiment_id, "experiment", listed.stale)
    intro = [head, *stale, *_cautions(listed), legend]
    names = list(listed.shown[0].params) if listed.shown else []
    heads = ["number", *names, "Sharpe", "DSR", "return", "drawdown", "profit factor", "trades"]
    rows = [
        [
            str(row.number),
            *(str(plain(row.params[name])) for name in names),
            number(row.sharpe, ".2f"),
            number(row.deflated_sharpe, ".0%"),
            number(row.total_return, "+.2%"),
            number(row.max_drawdown, ".2%"),
            number(row.profit_factor, ".2f"),
            _trades(row, listed.min_trades),
        ]
        for row in listed.shown
    ]
    return [*intro, *in_columns(heads, rows)]


def _trades(row: TrialRow, min_trades: int) -> str:
    if row.status != "ok":
        return f"{row.status}: {row.error}"
    return f"{row.trades:,}{' (below min_trades)' if row.trades < min_trades else ''}"


def _cautions(listed: TrialList) -> list[str]:
    """Return a line that warns of the first trial, and one that warns of the experiment."""
    texts = [
        trial_caution(row.number, total_return=row.total_return, deflated=row.deflated_sharpe)
        for row in listed.shown[:1]
    ]
    texts.append(
        experiment_caution(
            overfitting=listed.overfitting, out_of_sample=listed.out_of_sample_return
        )
    )
    return [f"! {text}" for text in texts if text]


def in_columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of text in columns; the last column is not padded."""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads) - 1)]

    def text(row: Sequence[str]) -> str:
        padded = [value.rjust(width) for value, width in zip(row[:-1], widths, strict=True)]
        return "  ".join([*padded, row[-1]])

    return [text(row) for row in (heads, *rows)]


# Strategies and experiments beside each other.


class ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """One result.

    `subject`, `simulated`, `start` and `end` are those of the result, whatever its config has now.
    `tries` is how many variants of the same strategy and series the database knows now, and
    `deflated_sharpe` is of these. `stale` are the reasons for which the result itself is stale.
    """

    name: str
    kind: str
    subject: str
    simulated: bool
    start: str
    end: str
    total_return: float | None = msgspec.field(name="return")
    sharpe: float | None
    deflated_sharpe: float | None
    overfitting: float | None = msgspec.field(name="probability_of_overfitting")
    max_drawdown: float | None
    trades: int | None
    tries: int
    out_of_sample_return: float | None
    efficiency: float | None
    stale: tuple[str, ...] = ()


def compare_strategy(query: Query, strategy: Strategy, results_path: Path) -> ResultRow:
    """Return the numbers of a backtest's result.

    Raises:
        DataError: There is none.
    """
    name = strategy.strategy_id
    folder = results_path / name
    manifest, summary = _read_result(folder, f"backtest:{name}")
    stats = summary["primary"]
    config, timeframe = manifest.inputs["config"].value, parse_timeframe(summary["timeframe"])
    span = _span(summary)
    if timeframe.whole(strategy.span) == span:
        span = strategy.span  # that of its trials, whose ends need not be whole bars
    subject = subject_text(
        config["module"], config["class_name"], summary["market_data_venue"], summary["symbols"]
    )
    tries, ratios = read_variants(query, subject, start_ms=span.start_ms, end_ms=span.end_ms)
    returns = _returns(folder, stats["start_equity"], _span(summary).start_ms)
    return ResultRow(
        name=name,
        kind=_BACKTEST,
        subject=subject,
        simulated=summary["simulated"],
        **summary["span"],
        total_return=stats["return"],
        sharpe=stats["sharpe"],
        deflated_sharpe=None if stats["sharpe"] is None else deflate(returns, ratios, tries),
        overfitting=None,
        max_drawdown=stats["max_drawdown"],
        trades=stats["trades"],
        tries=tries,
        out_of_sample_return=None,
        efficiency=None,
    )


def _read_result(folder: Path, task: str) -> tuple[Manifest, dict[str, Any]]:
    """Return the manifest and the summary.json of a result, written by a task."""
    cure = f"run `doit {task}`"
    manifest, summary = read_intact(folder, cure=cure), read_summary_json(folder)
    if manifest is None or summary is None:
        raise DataError(f"{folder}: there is no result to compare: {cure}")
    return manifest, summary


def _span(summary: Mapping[str, Any]) -> Span:
    """Return the span of a result."""
    return Span(*(parse_time(summary["span"][name]) for name in ("start", "end")))


def _returns(folder: Path, start: float, start_ms: int) -> list[float] | None:
    """Return the daily returns of a result."""
    rows = pyarrow.csv.read_csv(folder / "equity.csv")
    closes_ms = rows["ts_ms"].to_numpy()
    equity = fixed_point(rows["equity"].to_numpy(), MONEY_DECIMALS)
    start_equity = fixed_point(np.array([start]), MONEY_DECIMALS)
    times_ms = np.concatenate([[start_ms], closes_ms])
    _, returns = daily_returns(times_ms, np.concatenate([start_equity, equity]))
    daily: list[float] = returns.tolist()
    return daily or None


def compare_experiment(query: Query, experiment: Experiment, results_path: Path) -> ResultRow:
    """Return the numbers of an experiment's result.

    Raises:
        DataError: There is none.
    """
    name = experiment.experiment_id
    folder = results_folder(results_path, name)
    _, summary = _read_result(folder, f"experiment:{name}")
    chosen = summary["chosen"] or {}
    stats, walk = chosen.get("stats", {}), summary["walk_forward"] or {}
    subject, span = summary["subject"], _span(summary)
    tries, ratios = read_variants(query, subject, start_ms=span.start_ms, end_ms=span.end_ms)
    returns = _returns_of_trial(query, name, chosen.get("number"), stats)
    return ResultRow(
        name=name,
        kind=f"best of {summary['trials']:,}",
        subject=subject,
        simulated=summary["simulated"],
        **summary["span"],
        total_return=stats.get("return"),
        sharpe=stats.get("sharpe"),
        deflated_sharpe=None if stats.get("sharpe") is None else deflate(returns, ratios, tries),
        overfitting=(summary["overfitting"] or {}).get("probability"),
        max_drawdown=stats.get("max_drawdown"),
        trades=stats.get("trades"),
        tries=tries,
        out_of_sample_return=walk.get("return"),
        efficiency=walk.get("efficiency"),
    )


def _returns_of_trial(
    query: Query, name: str, number: int | None, stats: Mapping[str, Any]
) -> list[float] | None:
    """Return the daily returns of a chosen trial; None if the database has another by now."""
    for listed in read_listed(query, name, ""):
        if listed.number == number:
            for _, details in read_details(query, [listed.key]):
                is_same = json.loads(details.stats) == stats
                return to_daily_returns(to_equity(details.equity)) if is_same else None
    return None


def comparison_lines(compared: Sequence[ResultRow]) -> list[str]:
    """Return results beside each other as text."""
    heads = ["name", "kind", "return", "Sharpe", "DSR", "tries", "PBO", "drawdown", "trades"]
    rows = [
        [
            row.name,
            row.kind,
            number(row.total_return, "+.2%"),
            number(row.sharpe, ".2f"),
            number(row.deflated_sharpe, ".0%"),
            f"{row.tries:,}",
            number(row.overfitting, ".0%"),
            number(row.max_drawdown, ".2%"),
            number(row.trades, ","),
            number(row.out_of_sample_return, "+.2%"),
            number(row.efficiency, ".2f"),
        ]
        for row in compared
    ]
    stale = [line for row in compared for line in _stale_line(row.name, _task(row), row.stale)]
    lines = [*in_columns([*heads, "out of sample", "efficiency"], rows), *_subject_lines(compared)]
    return [*lines, *stale]


def _subject_lines(compared: Sequence[ResultRow]) -> list[str]:
    """Return a line about what was traded and when: one for all results if they are alike."""
    texts = {row.name: _subject(row) for row in compared}
    if len({*texts.values()}) == 1:
        return [next(iter(texts.values()))]
    spans = {(row.start, row.end) for row in compared}
    note = ["! the spans differ: compare with care"] if len(spans) > 1 else []
    return [*(f"{name}: {text}" for name, text in texts.items()), *note]


def _subject(row: ResultRow) -> str:
    simulated = " (simulated)" if row.simulated else ""
    start, end = (time.removesuffix("T00:00:00Z") for time in (row.start, row.end))
    return f"{row.subject}{simulated}, {start} .. {end}"


def _task(row: ResultRow) -> str:
    return "backtest" if row.kind == _BACKTEST else "experiment"


def _stale_line(name: str, task: str, stale: Sequence[str]) -> list[str]:
    """Return the line about a stale result, none if it is fresh.

    It has the first reasons and the command that renews the result.
    """
    if not stale:
        return []
    reasons = "; ".join(stale[:_REASONS])
    hidden = len(stale) - _REASONS
    hidden_text = f" and {hidden:,} more" if hidden > 0 else ""
    return [f"! {name} is stale: {reasons}{hidden_text}: run `doit {task}:{name}`"]


# Parquet.


def trials_table(query: Query, experiment_id: str) -> pa.Table:
    """Return all trials of an experiment: the search's, and those of its windows.

    Each axis is a column `params.<name>`; `stats` is JSON, `equity` a list of 1e-8 USD by day.

    Raises:
        DataError: It was not run yet.
    """
    listed = read_listed(query, experiment_id)
    if not listed:
        raise DataError(
            f"{experiment_id}: there are no trials yet: run `doit experiment:{experiment_id}`"
        )
    keys = [row.key for row in listed]
    trials, details = read_trials(query, keys), dict(read_details(query, keys))
    listed = [row for row in listed if row.key in trials]
    names = list(dict.fromkeys(name for row in listed for name in row.params))
    columns: dict[str, pa.Array] = {
        "part": pa.array([row.part for row in listed]),
        "number": pa.array([row.number for row in listed], pa.int64()),
        **{f"params.{name}": _column([row.params.get(name) for row in listed]) for name in names},
        "key": pa.array([row.key.hex() for row in listed]),
    }
    rows = [trials[row.key] for row in listed]
    for name in ("status", "start_ms", "end_ms"):
        columns[name] = pa.array([getattr(row, name) for row in rows])
    for name in METRICS:
        columns[name] = pa.array([row.metric(name) for row in rows], pa.float64())
    for name in ("trades", "fills"):
        columns[name] = pa.array([getattr(row, name) for row in rows])
    columns["digest"] = pa.array([row.digest.hex() for row in rows])
    columns["stats"] = pa.array([details[row.key].stats.decode() for row in listed])
    columns["equity"] = pa.array(
        [to_equity(details[row.key].equity).tolist() for row in listed], pa.list_(pa.int64())
    )
    return pa.table(columns)


def export_trials(query: Query, experiment_id: str, folder: Path) -> tuple[Path, int]:
    """Write all trials of an experiment to `<folder>/trials/<id>.parquet`; return it and the rows.

    Raises:
        DataError: It was not run yet.
    """
    table = trials_table(query, experiment_id)
    path = folder / "trials" / f"{experiment_id}.parquet"
    with replacing(path) as new:
        pyarrow.parquet.write_table(table, new, compression="zstd")
    return path, table.num_rows


def _column(values: Sequence[Any]) -> pa.Array:
    """Return values of an axis; as text if they have several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        return pa.array([None if value is None else str(plain(value)) for value in values])
    if kinds == {int, float}:
        return pa.array(values, pa.float64())
    return pa.array(values)
