"""The action of an experiment: run the missing trials, then write its folder.

Bars and keys are read in one transaction, so that they match; after it only Python's own sqlite3
has the database open. Each outcome is written as soon as it arrives, so that a killed run loses
only the trials that were running.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pyarrow as pa

from tbv8.backtest.funding import read_funding
from tbv8.config.experiments import results_folder
from tbv8.config.records import Experiment
from tbv8.config.space import to_text
from tbv8.errors import DataError
from tbv8.experiments.folder import write_folder
from tbv8.experiments.jobs import Job
from tbv8.experiments.keys import code_digest, subject_of, to_trial
from tbv8.experiments.messages import Context
from tbv8.experiments.optimizer import tpe_points
from tbv8.experiments.pool import OnOutcome, Pool, ProcessDeath, shared_tables
from tbv8.experiments.result import (
    deflate,
    metric_text,
    to_daily_returns,
    to_equity,
    trial_numbers_text,
)
from tbv8.experiments.slots import count_cores
from tbv8.experiments.survey import PlannedTrial, Survey
from tbv8.experiments.trial import Outcome, TrialData
from tbv8.experiments.walkforward import score
from tbv8.experiments.warming import check_warm_up
from tbv8.freshness.reasons import changed_parts
from tbv8.manifest import read_manifest
from tbv8.market import Timeframe
from tbv8.page.plotly import has_plotly, write_plotly
from tbv8.page.words import number
from tbv8.progress import Advance, progress
from tbv8.results.folder import first_difference
from tbv8.store.bars import BarStore, open_bars, read_stored_bars
from tbv8.store.database import open_reader
from tbv8.store.trials import (
    Details,
    Trial,
    TrialStatus,
    TrialStore,
    open_trials,
    read_trials,
    read_variants,
)
from tbv8.text import counted
from tbv8.trading.funding import FundingPayments


def run_experiment(experiment: Experiment, *, db_path: Path, results_path: Path) -> list[str]:
    """Bring an experiment up to date, and return the lines that report it.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials, or its runs are warmed
            up for less time than their signals need.
        DataError: Bars are damaged, the code changes meanwhile, or workers cannot start.
    """
    strategy = to_trial(experiment.strategy)
    with open_bars(db_path) as store, store.transaction("DEFERRED"):
        check_warm_up(experiment, store.query, results_path=results_path)
        survey = Survey(experiment, store.query)
        missing = survey.missing(store.query, survey.fixed_trials)
        is_open = experiment.search.method == "tpe"
        if not missing:
            missing = survey.missing(store.query, survey.dependent_trials(store.query))
        tables = _read_tables(store, survey) if missing or is_open else {}
        funding, code = _read_funding(store, experiment), code_digest(strategy)
    with open_trials(db_path) as rows, _executor(experiment, tables, funding, code) as pool:
        runner = _Runner(survey, rows, pool, db_path)
        if is_open:
            runner.run_open()
        rows.write_listed(experiment.experiment_id, survey.to_rows(survey.fixed_trials))
        noun = "search and in-sample trial" if experiment.walk_forward else "trial"
        runner.run_missing(survey.fixed_trials, noun)
        with open_reader(db_path) as query:
            following = survey.dependent_trials(query)
        tested = [trial for trial in following if trial.is_try]
        runner.run_missing(tested, "out-of-sample trial")
        side_trials = [trial for trial in following if not trial.is_try]
        runner.run_missing(side_trials, "Monte Carlo trial")
        planned = [*survey.fixed_trials, *following]
        rows.write_listed(experiment.experiment_id, survey.to_rows(planned))
    if has_plotly(results_path):
        write_plotly(results_path)
    with open_reader(db_path) as query:
        return write_folder(
            survey,
            query,
            inputs=survey.inputs(query, planned, results_path=results_path),
            results_path=results_path,
            folder=results_folder(results_path, experiment.experiment_id),
        )


class _Executor(Protocol):
    """An executor of trials: a pool of processes here, or a cluster.

    `peak` is the most memory that one of its worker processes has used, in bytes.
    """

    peak: int

    def run(self, jobs: Iterable[tuple[int, Job]], on_outcome: OnOutcome) -> None:
        """Run jobs, and pass each outcome on as it arrives."""


@contextmanager
def _executor(
    experiment: Experiment,
    tables: dict[tuple[str, Timeframe], pa.Table],
    funding: dict[str, dict[str, FundingPayments]],
    code: str,
) -> Iterator[_Executor]:
    """Yield an executor with the bars and the funding; `tables` is empty afterwards for a pool."""
    strategy, cores = to_trial(experiment.strategy), count_cores()
    workers = experiment.workers or cores
    if experiment.on == "ray":
        from tbv8.experiments.cluster import Cluster

        data = TrialData(tables=tables, funding=funding)
        with Cluster(
            strategy,
            data,
            address=experiment.address,
            workers=workers,
            code_digest=code,
            limit_ms=experiment.trial_limit_ms,
        ) as cluster:
            yield cluster
        return
    with shared_tables(tables) as files:
        tables.clear()  # eight years of minutes are 200 MB, and the workers have them now
        context = Context(
            strategy=strategy,
            tables=files,
            cores=cores,
            funding=funding,
            limit_ms=experiment.trial_limit_ms,
        )
        with Pool(context, workers=workers, code_digest=code) as pool:
            yield pool


def _job(survey: Survey, planned: PlannedTrial) -> Job:
    strategy = survey.strategy(planned)
    return Job(strategy=strategy, market=planned.market, by_trade=planned.by_trade)


def reproduce_folder(experiment: Experiment, *, db_path: Path, results_path: Path) -> str:
    """Write the folder of an experiment's result again elsewhere, compare it, and return a line.

    Raises:
        DataError: A byte differs although no input has changed, or there is no result.
    """
    name = experiment.experiment_id
    folder = results_folder(results_path, name)
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: there is no result to reproduce: run `doit experiment:{name}`")
    with open_reader(db_path) as query:
        survey = Survey(experiment, query)
        planned = [*survey.fixed_trials, *survey.dependent_trials(query)]
        inputs = survey.inputs(query, planned, results_path=results_path)
        if changed := changed_parts(manifest.inputs, inputs):
            return (
                f"{' and '.join(changed)} changed since its folder was written, so its bytes are "
                f"not compared: run `doit experiment:{name}`"
            )
        with TemporaryDirectory(prefix="tbv8-") as temporary:
            rewritten = Path(temporary) / name
            write_folder(survey, query, inputs=inputs, results_path=results_path, folder=rewritten)
            if difference := first_difference(folder, rewritten):
                raise DataError(f"not reproduced: {difference}")
    return f"{counted(len(manifest.outputs), 'file')} with the same bytes"


def reproduce_trials(experiment: Experiment, *, db_path: Path, max_trials: int | None) -> int:
    """Run evenly spread trials of an experiment again, compare their digests, return their number.

    Args:
        experiment: The experiment.
        db_path: The database.
        max_trials: The largest number of trials; None for all.

    Raises:
        DataError: An outcome differs, or there are no trials.
    """
    name = experiment.experiment_id
    with open_bars(db_path) as store, store.transaction("DEFERRED"):
        survey = Survey(experiment, store.query)
        planned = survey.fixed_trials
        if not survey.missing(store.query, planned):
            planned += survey.dependent_trials(store.query)
        if survey.missing(store.query, planned):
            raise DataError(f"{name}: not all of its trials are run: run `doit experiment:{name}`")
        count = min(max_trials or len(planned), len(planned))
        planned = [planned[at * len(planned) // count] for at in range(count)]
        recorded = read_trials(store.query, [trial.key for trial in planned])
        tables, code = _read_tables(store, survey), code_digest(to_trial(experiment.strategy))
        funding = _read_funding(store, experiment)

    def on_outcome(number: int, outcome: Outcome | ProcessDeath) -> None:
        trial = planned[number]
        before = recorded[trial.key]
        is_same = (
            before.status == "died"
            if isinstance(outcome, ProcessDeath)
            else before.digest == outcome.digest
        )
        if not is_same:
            point = to_text(experiment.search.axes, trial.point)
            suffix = f" of {trial.part}" if trial.part else ""
            raise DataError(f"not reproduced: trial {trial.number}{suffix} ({point})")
        advance(1)

    with (
        _executor(experiment, tables, funding, code) as pool,
        progress(f"reproduce {name}", len(planned), "trial") as advance,
    ):
        pool.run([(at, _job(survey, trial)) for at, trial in enumerate(planned)], on_outcome)
    return len(planned)


def _read_funding(store: BarStore, experiment: Experiment) -> dict[str, dict[str, FundingPayments]]:
    """Return the funding of all trials."""
    strategy = to_trial(experiment.strategy)
    return read_funding(store, strategy, strategy.run_span)


def _read_tables(store: BarStore, survey: Survey) -> dict[tuple[str, Timeframe], pa.Table]:
    """Return the bars of all trials."""
    span = survey.experiment.strategy.run_span
    reads = {read: None for strategy in survey.shapes() for read in strategy.reads}
    return {
        (series.symbol, timeframe): read_stored_bars(
            store, series, timeframe, timeframe.whole(span)
        )
        for series, timeframe in reads
    }


class _Runner:
    """A runner of missing trials, which writes each outcome to the database."""

    def __init__(self, survey: Survey, rows: TrialStore, pool: _Executor, db_path: Path) -> None:
        self._survey, self._rows, self._pool, self._db_path = survey, rows, pool, db_path
        self._subject = subject_of(survey.experiment.strategy)
        self._failed = 0
        self._best: tuple[float, str, list[float] | None] | None = None
        with open_reader(db_path) as query:
            self._tries, self._ratios = read_variants(
                query, self._subject, start_ms=survey.span.start_ms, end_ms=survey.span.end_ms
            )

    def run_missing(self, planned: Sequence[PlannedTrial], noun: str, *, suffix: str = "") -> None:
        """Run the trials without a row.

        Raises:
            DataError: See `Pool.run`.
        """
        with open_reader(self._db_path) as query:
            missing = self._survey.missing(query, planned)
        if not missing:
            return
        label = f"{self._survey.experiment.experiment_id}{suffix}"
        if reused := len(planned) - len(missing):
            label += f" ({reused:,} already run)"
        with progress(label, len(missing), noun) as advance:
            jobs = [(at, _job(self._survey, trial)) for at, trial in enumerate(missing)]
            self._pool.run(jobs, self._on_outcome(missing, advance))

    def run_open(self) -> None:
        """Run a tpe search, whose points follow from results, from its seed on.

        Raises:
            ConfigError: The conditions leave too few points.
            DataError: See `Pool.run`.
        """
        survey, experiment = self._survey, self._survey.experiment
        survey.restart()
        batches = tpe_points(experiment.search)
        try:
            new = next(batches)
            while True:
                planned = survey.add_points(new)
                self._rows.write_listed(experiment.experiment_id, survey.to_rows(survey.search))
                numbers = trial_numbers_text(planned[0].number, planned[-1].number)
                self.run_missing(planned, "trial", suffix=f", {numbers}")
                with open_reader(self._db_path) as query:
                    trials = read_trials(query, [trial.key for trial in planned])
                new = batches.send(
                    [score(trials[trial.key], experiment.objective) for trial in planned]
                )
        except StopIteration:
            return
        except ValueError as e:
            raise experiment.error("search.where", str(e)) from e

    def _on_outcome(
        self, missing: Sequence[PlannedTrial], advance: Advance
    ) -> Callable[[int, Any], None]:
        def on_outcome(number: int, outcome: Any) -> None:
            planned = missing[number]
            trial, details = self._row(planned, outcome)
            self._rows.write(trial, details)
            self._update(planned, trial, details)
            advance(1, self._progress_note())

        return on_outcome

    def _row(self, planned: PlannedTrial, outcome: Outcome | ProcessDeath) -> tuple[Trial, Details]:
        if isinstance(outcome, ProcessDeath):
            details = Details(stats=json.dumps({"error": outcome.error}).encode(), equity=b"")
            status: TrialStatus = "died"
            digest, numbers, files = hashlib.sha256(details.stats).digest(), {}, {}
        else:
            details = Details(stats=outcome.stats, equity=outcome.equity)
            status, digest, numbers = outcome.status, outcome.digest, outcome.numbers
            files = outcome.files
        trial = Trial(
            key=planned.key,
            subject=self._survey.subject(planned),
            variant=self._survey.variant(planned),
            start_ms=planned.span.counted.start_ms,
            end_ms=planned.span.counted.end_ms,
            status=status,
            files=json.dumps(files, sort_keys=True) if files else "",
            digest=digest,
            **numbers,
        )
        return trial, details

    def _update(self, planned: PlannedTrial, trial: Trial, details: Details) -> None:
        """Update the numbers that the progress shows."""
        self._failed += trial.status != "ok"
        if planned.part:  # not of the search
            return
        if trial.sharpe is not None:
            self._ratios[trial.variant] = trial.sharpe
        value = score(trial, self._survey.experiment.objective)
        if value is not None and (self._best is None or value > self._best[0]):
            point = to_text(self._survey.experiment.search.axes, planned.point)
            self._best = value, point, to_daily_returns(to_equity(details.equity))

    def _progress_note(self) -> str:
        parts = []
        if self._best is not None:
            objective = self._survey.experiment.objective
            value, point, returns = self._best
            deflated = deflate(returns, self._ratios, max(self._tries, len(self._ratios)))
            parts.append(
                f"best {metric_text(objective.metric, value if objective.maximize else -value)} "
                f"(deflated Sharpe ratio {number(deflated, '.0%')}, {point})"
            )
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self._pool.peak:
            parts.append(f"{self._pool.peak // 10**6:,} MB per worker")
        return ", ".join(parts)
