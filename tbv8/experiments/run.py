"""The action of an experiment: run the missing trials, then write its folder.

Bars and keys are read in one transaction, so that they fit together; after it only Python's own
sqlite3 has the database open. Each outcome is written as soon as it arrives, so that whatever ends
this process loses only the trials that were running.
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
from tbv8.experiments.keys import made_by, subject_of, to_trial
from tbv8.experiments.messages import Context
from tbv8.experiments.optimizer import tpe_points
from tbv8.experiments.pool import Died, OnOutcome, Pool, shared_tables
from tbv8.experiments.result import daily_of, deflate, metric_text, to_equity, trials_text
from tbv8.experiments.slots import count_cores
from tbv8.experiments.survey import PlannedTrial, Survey
from tbv8.experiments.trial import Outcome, TrialData
from tbv8.experiments.walkforward import score
from tbv8.experiments.warming import check_warm_up
from tbv8.freshness.result import to_parts
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
            missing = survey.missing(store.query, survey.following(store.query))
        tables = _read_tables(store, survey) if missing or is_open else {}
        funding, code = _read_funding(store, experiment), made_by(strategy)
    with open_trials(db_path) as rows, _executor(experiment, tables, funding, code) as pool:
        runner = _Runner(survey, rows, pool, db_path)
        if is_open:
            runner.run_open()
        rows.write_listed(experiment.experiment_id, survey.listed(survey.fixed_trials))
        unit = "search and in-sample trials" if experiment.walk_forward else "trials"
        runner.run_missing(survey.fixed_trials, unit)
        with open_reader(db_path) as query:
            following = survey.following(query)
        tested = [each for each in following if each.is_try]
        runner.run_missing(tested, "out-of-sample trials")
        drawn = [each for each in following if not each.is_try]
        runner.run_missing(drawn, "Monte Carlo trials")
        planned = [*survey.fixed_trials, *following]
        rows.write_listed(experiment.experiment_id, survey.listed(planned))
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
        """Run jobs, and pass on each outcome as it comes."""


@contextmanager
def _executor(
    experiment: Experiment,
    tables: dict[tuple[str, Timeframe], pa.Table],
    funding: dict[str, dict[str, FundingPayments]],
    code: str,
) -> Iterator[_Executor]:
    """Yield workers that have the bars and the funding; a pool takes them out of `tables`."""
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
            made_by=code,
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
        with Pool(context, workers=workers, made_by=code) as pool:
            yield pool


def _job(survey: Survey, planned: PlannedTrial) -> Job:
    strategy = survey.strategy(planned)
    return Job(strategy=strategy, market=planned.market, by_trade=planned.by_trade)


def reproduce_folder(experiment: Experiment, *, db_path: Path, results_path: Path) -> str:
    """Write the folder of an experiment's result again elsewhere, and return what was compared.

    Raises:
        DataError: A byte differs though no input has changed.
    """
    name = experiment.experiment_id
    folder = results_folder(results_path, name)
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: there is no result to reproduce: run `doit experiment:{name}`")
    with open_reader(db_path) as query:
        survey = Survey(experiment, query)
        planned = [*survey.fixed_trials, *survey.following(query)]
        inputs = survey.inputs(query, planned, results_path=results_path)
        parts = to_parts(inputs, manifest.inputs)
        if changed := [part.name for part in parts if part.current != part.recorded]:
            return (
                f"{' and '.join(changed)} changed since its folder was written, so that its bytes "
                f"are not compared: run `doit experiment:{name}`"
            )
        with TemporaryDirectory(prefix="tbv8-") as temporary:
            rewritten = Path(temporary) / name
            write_folder(survey, query, inputs=inputs, results_path=results_path, folder=rewritten)
            if difference := first_difference(folder, rewritten):
                raise DataError(f"not reproduced: {difference}")
    return f"{counted(len(manifest.outputs), 'file')} with the same bytes"


def reproduce_trials(experiment: Experiment, *, db_path: Path, most: int | None) -> int:
    """Run trials of an experiment again, evenly spread, and return how many had the same outcome.

    Args:
        experiment: The experiment.
        db_path: The database.
        most: The largest number of trials; None for all.

    Raises:
        DataError: An outcome differs, or there are no trials.
    """
    name = experiment.experiment_id
    with open_bars(db_path) as store, store.transaction("DEFERRED"):
        survey = Survey(experiment, store.query)
        planned = survey.fixed_trials
        if not survey.missing(store.query, planned):
            planned += survey.following(store.query)
        if survey.missing(store.query, planned):
            raise DataError(f"{name}: not all of its trials are run: run `doit experiment:{name}`")
        count = min(most or len(planned), len(planned))
        planned = [planned[at * len(planned) // count] for at in range(count)]
        recorded = read_trials(store.query, [each.key for each in planned])
        tables, code = _read_tables(store, survey), made_by(to_trial(experiment.strategy))
        funding = _read_funding(store, experiment)

    def on_outcome(number: int, outcome: Outcome | Died) -> None:
        each = planned[number]
        before = recorded[each.key]
        is_same = (
            before.status == "died"
            if isinstance(outcome, Died)
            else before.digest == outcome.digest
        )
        if not is_same:
            point = to_text(experiment.search.axes, each.point)
            suffix = f" of {each.part}" if each.part else ""
            raise DataError(f"not reproduced: trial {each.number}{suffix} ({point})")
        advance(1)

    with (
        _executor(experiment, tables, funding, code) as pool,
        progress(f"reproduce {name}", len(planned), "trials") as advance,
    ):
        pool.run([(at, _job(survey, each)) for at, each in enumerate(planned)], on_outcome)
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
    """Runs those of some trials that are missing, and writes each outcome."""

    def __init__(self, survey: Survey, rows: TrialStore, pool: _Executor, db_path: Path) -> None:
        self._survey, self._rows, self._pool, self._db_path = survey, rows, pool, db_path
        self._subject = subject_of(survey.experiment.strategy)
        self._failed = 0
        self._best: tuple[float, str, list[float] | None] | None = None
        with open_reader(db_path) as query:
            self._tries, self._ratios = read_variants(
                query, self._subject, start_ms=survey.span.start_ms, end_ms=survey.span.end_ms
            )

    def run_missing(self, planned: Sequence[PlannedTrial], unit: str, *, suffix: str = "") -> None:
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
        with progress(label, len(missing), unit) as advance:
            jobs = [(at, _job(self._survey, each)) for at, each in enumerate(missing)]
            self._pool.run(jobs, self._on_outcome(missing, advance))

    def run_open(self) -> None:
        """Run a search whose points follow from results, from its seed on.

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
                planned = survey.add(new)
                self._rows.write_listed(experiment.experiment_id, survey.listed(survey.search))
                numbers = trials_text(planned[0].number, planned[-1].number)
                self.run_missing(planned, "trials", suffix=f", {numbers}")
                with open_reader(self._db_path) as query:
                    trials = read_trials(query, [each.key for each in planned])
                new = batches.send(
                    [score(trials[each.key], experiment.objective) for each in planned]
                )
        except StopIteration:
            return
        except ValueError as e:
            raise experiment.error("search.where", str(e)) from e

    def _on_outcome(
        self, missing: Sequence[PlannedTrial], advance: Advance
    ) -> Callable[[int, Any], None]:
        def on_outcome(number: int, outcome: Any) -> None:
            each = missing[number]
            trial, details = self._row(each, outcome)
            self._rows.write(trial, details)
            self._note(each, trial, details)
            advance(1, self._note_text())

        return on_outcome

    def _row(self, each: PlannedTrial, outcome: Outcome | Died) -> tuple[Trial, Details]:
        if isinstance(outcome, Died):
            details = Details(stats=json.dumps({"error": outcome.line}).encode(), equity=b"")
            status: TrialStatus = "died"
            digest, numbers, files = hashlib.sha256(details.stats).digest(), {}, {}
        else:
            details = Details(stats=outcome.stats, equity=outcome.equity)
            status, digest, numbers = outcome.status, outcome.digest, outcome.numbers
            files = outcome.files
        trial = Trial(
            key=each.key,
            subject=self._survey.subject(each),
            variant=self._survey.variant(each),
            start_ms=each.window.span.start_ms,
            end_ms=each.window.span.end_ms,
            status=status,
            files=json.dumps(files, sort_keys=True) if files else "",
            digest=digest,
            **numbers,
        )
        return trial, details

    def _note(self, each: PlannedTrial, trial: Trial, details: Details) -> None:
        """Update the numbers that the progress shows."""
        self._failed += trial.status != "ok"
        if each.part == "" and trial.sharpe is not None:
            self._ratios[trial.variant] = trial.sharpe
        value = score(trial, self._survey.experiment.objective)
        if each.part == "" and value is not None and (self._best is None or value > self._best[0]):
            point = to_text(self._survey.experiment.search.axes, each.point)
            self._best = value, point, daily_of(to_equity(details.equity))

    def _note_text(self) -> str:
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
