"""The folder of an experiment's result: files and a page, made from rows of the database alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tbv8.config.document import plain
from tbv8.config.records import Experiment
from tbv8.experiments.keys import subject_of
from tbv8.experiments.montecarlo import Paths
from tbv8.experiments.overfitting import Overfitting
from tbv8.experiments.page import experiment_page
from tbv8.experiments.result import (
    METRIC_NAMES,
    Findings,
    MonteCarloResult,
    read_findings,
    result_lines,
)
from tbv8.experiments.stitching import StitchedAccount
from tbv8.experiments.survey import Survey
from tbv8.manifest import Input
from tbv8.market import iso, iso_day
from tbv8.page.plotly import PLOTLY_FILE, has_plotly
from tbv8.results.folder import write_json, write_result
from tbv8.results.statistics import rounded
from tbv8.store.database import Query
from tbv8.store.trials import METRICS
from tbv8.text import counted


def write_folder(
    survey: Survey,
    query: Query,
    *,
    inputs: Mapping[str, Input],
    results_path: Path,
    folder: Path,
) -> list[str]:
    """Write the folder of a result, and return the lines that report it.

    Args:
        survey: The trials; each of them has a row.
        query: The database.
        inputs: The inputs for the manifest.
        results_path: The folder of all results, whose plotly.min.js the page may share.
        folder: The folder to write.

    Raises:
        DataError: The folder exists and is no result of tbv8.
    """
    findings = read_findings(survey, query)
    plotly_path = f"../../{PLOTLY_FILE}" if has_plotly(results_path) else None

    def write(new: Path) -> None:
        write_json(new / "summary.json", summary_json(findings))
        _write_trials(new / "trials.csv", findings)
        if findings.walk:
            _write_walk(new, findings.walk, findings.experiment)
        if findings.monte_carlo:
            _write_paths(new / "montecarlo.csv", findings.monte_carlo)
        page = experiment_page(findings, plotly_path=plotly_path)
        (new / "index.html").write_text(page, encoding="utf-8")

    write_result(folder, write, inputs=inputs)
    return result_lines(findings)


def summary_json(findings: Findings) -> dict[str, Any]:
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
            "why": _choice_text(findings),
            "stats": findings.stats,
        }
        if chosen
        else None,
        "tries": luck.tries if luck else None,
        "effective_tries": rounded(luck.effective) if luck else None,
        "probabilistic_sharpe": _optional_rounded(luck.probabilistic if luck else None),
        "deflated_sharpe": _optional_rounded(luck.deflated if luck else None),
        "deflated_sharpe_effective": _optional_rounded(luck.deflated_effective if luck else None),
        "overfitting": _overfitting_json(luck.overfitting if luck else None),
        "monte_carlo": _monte_carlo_json(findings.monte_carlo) if findings.monte_carlo else None,
        "walk_forward": _walk_json(walk) if walk else None,
    }


def _choice_text(findings: Findings) -> str:
    objective = findings.experiment.objective
    best, metric = "highest" if objective.maximize else "lowest", METRIC_NAMES[objective.metric]
    return (
        f"the {best} {metric} of {counted(len(findings.rows), 'trial')} with at least "
        f"{counted(objective.min_trades, 'round trip')}"
    )


def _overfitting_json(overfitting: Overfitting | None) -> dict[str, Any] | None:
    if overfitting is None:
        return None
    return {
        "probability": rounded(overfitting.probability),
        "probability_of_loss": rounded(overfitting.loss),
        "splits": overfitting.splits,
        "ranks": msgspec.to_builtins(overfitting.ranks),
    }


def _monte_carlo_json(monte_carlo: MonteCarloResult) -> dict[str, Any]:
    days, markets = monte_carlo.days, monte_carlo.markets
    beaten = _optional_rounded(monte_carlo.beaten)
    return {
        "losses": list(monte_carlo.losses),
        "days": _paths_json(days.paths, p_value=rounded(days.p_value)) if days else None,
        "trades": _paths_json(monte_carlo.trades),
        "order": _paths_json(monte_carlo.order),
        "markets": _paths_json(markets, failed=monte_carlo.failed, beaten=beaten),
    }


def _paths_json(paths: Paths | None, **further: Any) -> dict[str, Any] | None:
    if paths is None:
        return None
    return {
        "paths": len(paths.rows),
        "return": {k: rounded(v) for k, v in msgspec.to_builtins(paths.total_return).items()},
        "max_drawdown": {k: rounded(v) for k, v in msgspec.to_builtins(paths.max_drawdown).items()},
        "worst_return": rounded(paths.worst_return),
        "worst_drawdown": rounded(paths.worst_drawdown),
        "probability_of_loss": rounded(paths.loss),
        "probability_of_losses": [rounded(share) for share in paths.losses],
        "probability_of_drawdowns": [rounded(share) for share in paths.falls],
        **further,
    }


def _walk_json(walk: StitchedAccount) -> dict[str, Any]:
    performance = msgspec.to_builtins(walk.performance)
    return {
        "windows": len(walk.windows),
        "flat": sum(window.tested is None for window in walk.windows),
        "gained": sum(window.gain > 0 for window in walk.windows),
        "efficiency": _optional_rounded(walk.efficiency),
        "train_sharpe": _optional_rounded(walk.trained_sharpe),
        "switch_cost": float(sum((window.switch_cost for window in walk.windows), Decimal(0))),
        **performance,
    }


def _optional_rounded(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def _write_trials(path: Path, findings: Findings) -> None:
    names = [axis.name for axis in findings.experiment.search.axes]
    _write(
        path,
        ["number", *names, "status", *METRICS, "trades", "fills", "digest", "error"],
        (
            [
                row.number,
                *(plain(row.params[name]) for name in names),
                row.trial.status,
                *map(row.trial.metric, METRICS),
                row.trial.trades,
                row.trial.fills,
                row.trial.digest.hex(),
                row.error,
            ]
            for row in findings.rows
        ),
    )


def _write_walk(folder: Path, walk: StitchedAccount, experiment: Experiment) -> None:
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
                    for span in (window.spans.train, window.spans.test)
                    for ms in (span.start_ms, span.end_ms)
                ),
                window.number,
                *(plain(window.params.get(name)) for name in names),
                window.trained.sharpe if window.trained else None,
                window.tested.sharpe if window.tested else None,
                window.trained.total_return if window.trained else None,
                window.tested.total_return if window.tested else None,
                window.tested.trades if window.tested else 0,
                f"{window.gain:.8f}",
                f"{window.switch_cost:.8f}",
                window.efficiency,
                " ".join(f"{position:f}" for position in window.carried.values()) or "0",
                window.tested.status if window.tested else "flat",
            ]
            for at, window in enumerate(walk.windows)
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


def _write_paths(path: Path, monte_carlo: MonteCarloResult) -> None:
    _write(
        path,
        ["method", "path", "return", "max_drawdown", "sharpe"],
        (
            [name, number, *(None if math.isnan(value) else rounded(value) for value in row)]
            for name, numbers, paths in monte_carlo.methods
            for number, row in zip(numbers, paths.rows.tolist(), strict=True)
        ),
    )


def _write(path: Path, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
