"""The action of an experiment: run the trials that are missing, then write its folder.

Bars and keys are read in one transaction, so that they are of one moment; after it only Python's
own sqlite3 has the database open. Each trial is a row as soon as it is done, so that whatever ends
this process loses only the trials that were running.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tbv8.config.experiments import results_folder
from tbv8.config.records import Experiment
from tbv8.config.space import to_text
from tbv8.errors import DataError
from tbv8.experiments.folder import write_folder
from tbv8.experiments.keys import made_by, subject_of, to_trial
from tbv8.experiments.messages import Context
from tbv8.experiments.pool import Died, Pool, write_tables
from tbv8.experiments.result import daily_of, deflate, to_equity
from tbv8.experiments.slots import count_cores
from tbv8.experiments.survey import Asked, Survey
from tbv8.experiments.trial import Outcome, Tables
from tbv8.experiments.walkforward import score
from tbv8.page.words import number
from tbv8.progress import Advance, progress
from tbv8.store.bars import BarStore, open_bars, read_held_span
from tbv8.store.database import open_reader
from tbv8.store.trials import (
    Details,
    Status,
    Trial,
    TrialStore,
    open_trials,
    read_trials,
    read_tries,
)

_DIED = hashlib.sha256(b"died").digest()  # whatever its last words were


def run_experiment(experiment: Experiment, *, db_path: Path, results_path: Path) -> list[str]:
    """Bring an experiment up to date, and return the lines that tell of it.

    Raises:
        ConfigError: The conditions leave fewer points than there are trials.
        DataError: Bars are damaged, the code changes meanwhile, or workers cannot start.
    """
    strategy = to_trial(experiment.strategy)
    with open_bars(db_path) as store, store.transaction("DEFERRED"):
        survey = Survey(experiment, store.query)
        missing = survey.missing(store.query, survey.known)
        if not missing:
            tested = survey.tested(survey.choices(store.query))
            missing = survey.missing(store.query, tested)
        tables = _read_tables(store, survey) if missing else {}
        code = made_by(strategy)
    with open_trials(db_path) as rows, _pool(experiment, tables, code) as pool:
        del tables
        runner = _Runner(survey, rows, pool, db_path)
        rows.write_listed(experiment.experiment_id, survey.listed(survey.known))
        runner.run_missing(survey.known, "trials")
        with open_reader(db_path) as query:
            choices = survey.choices(query)
        tested = survey.tested(choices)
        runner.run_missing(tested, "out-of-sample trials")
        asked = [*survey.known, *tested]
        rows.write_listed(experiment.experiment_id, survey.listed(asked))
    with open_reader(db_path) as query:
        inputs = survey.inputs(query, asked)
        return write_folder(
            survey,
            query,
            choices,
            inputs=inputs,
            folder=results_folder(results_path, experiment.experiment_id),
        )


@contextmanager
def _pool(experiment: Experiment, tables: Tables, code: str) -> Iterator[Pool]:
    """Yield workers that have the bars."""
    with TemporaryDirectory(prefix="tbv8-") as folder:
        context = Context(
            strategy=to_trial(experiment.strategy),
            tables=write_tables(tables, Path(folder)),
            cores=count_cores(),
        )
        workers = experiment.workers or context.cores
        with Pool(context, workers=workers, made_by=code) as pool:
            yield pool


def reproduce_trials(experiment: Experiment, *, db_path: Path, most: int) -> int:
    """Run trials of an experiment again, evenly spread, and return how many gave the same answer.

    Raises:
        DataError: One did not, or there are none.
    """
    name = experiment.experiment_id
    with open_bars(db_path) as store, store.transaction("DEFERRED"):
        survey = Survey(experiment, store.query)
        asked = survey.known
        if survey.missing(store.query, asked):
            raise DataError(f"{name}: not all of its trials are run: run `doit experiment:{name}`")
        asked += survey.tested(survey.choices(store.query))
        step = -(-len(asked) // most)
        asked = asked[::step]
        held = read_trials(store.query, [one.key for one in asked])
        tables, code = _read_tables(store, survey), made_by(to_trial(experiment.strategy))

    def take(number: int, answer: Outcome | Died) -> None:
        one = asked[number]
        digest = _DIED if isinstance(answer, Died) else answer.digest
        if digest != held[one.key].digest:
            point = to_text(experiment.search.axes, one.point)
            where = f" of window {one.part}" if one.part else ""
            raise DataError(f"not reproduced: trial {one.number}{where} ({point})")
        advance(1)

    with (
        _pool(experiment, tables, code) as pool,
        progress(f"reproduce {name}", len(asked), "trials") as advance,
    ):
        pool.run([(at, survey.strategy(one)) for at, one in enumerate(asked)], take)
    return len(asked)


def _read_tables(store: BarStore, survey: Survey) -> Tables:
    """Return all bars that any trial reads."""
    span = survey.experiment.strategy.run_span
    reads = {read: None for strategy in survey.shapes() for read in strategy.reads}
    return {
        (series.symbol, timeframe): read_held_span(store, series, timeframe, timeframe.whole(span))
        for series, timeframe in reads
    }


class _Runner:
    """Runs what is missing of some trials, and writes each answer down."""

    def __init__(self, survey: Survey, rows: TrialStore, pool: Pool, db_path: Path) -> None:
        self._survey, self._rows, self._pool, self._db_path = survey, rows, pool, db_path
        self._subject = subject_of(survey.experiment.strategy)
        self._failed = 0
        self._best: tuple[float, str, list[float] | None] | None = None
        with open_reader(db_path) as query:
            self._tries, self._ratios = read_tries(
                query, self._subject, start_ms=survey.span.start_ms, end_ms=survey.span.end_ms
            )

    def run_missing(self, asked: Sequence[Asked], unit: str) -> None:
        """Run those without a row.

        Raises:
            DataError: As of `Pool.run`.
        """
        with open_reader(self._db_path) as query:
            missing = self._survey.missing(query, asked)
        if not missing:
            return
        label = self._survey.experiment.experiment_id
        if fresh := len(asked) - len(missing):
            label += f" ({fresh:,} fresh)"
        with progress(label, len(missing), unit) as advance:
            jobs = [(number, self._survey.strategy(one)) for number, one in enumerate(missing)]
            self._pool.run(jobs, self._taker(missing, advance))

    def _taker(self, missing: Sequence[Asked], advance: Advance) -> Callable[[int, Any], None]:
        def take(number: int, answer: Any) -> None:
            one = missing[number]
            trial, details = self._row(one, answer)
            self._rows.write(trial, details)
            self._note(one, trial, details)
            advance(1, self._note_text())

        return take

    def _row(self, one: Asked, answer: Outcome | Died) -> tuple[Trial, Details]:
        if isinstance(answer, Died):
            details = Details(stats=json.dumps({"error": answer.line}).encode(), equity=b"")
            status: Status = "died"
            digest, numbers, files = _DIED, {}, {}
        else:
            details = Details(stats=answer.stats, equity=answer.equity)
            status, digest, numbers = answer.status, answer.digest, answer.numbers
            files = answer.files
        trial = Trial(
            key=one.key,
            subject=self._subject,
            variant=self._survey.variant(one),
            start_ms=one.window.span.start_ms,
            end_ms=one.window.span.end_ms,
            status=status,
            files=json.dumps(files, sort_keys=True) if files else "",
            digest=digest,
            **numbers,
        )
        return trial, details

    def _note(self, one: Asked, trial: Trial, details: Details) -> None:
        """Keep what the progress tells of."""
        self._failed += trial.status != "ok"
        if one.part == "" and trial.sharpe is not None:
            self._ratios[trial.variant] = trial.sharpe
        found = score(trial, self._survey.experiment.objective)
        if one.part == "" and found is not None and (self._best is None or found > self._best[0]):
            point = to_text(self._survey.experiment.search.axes, one.point)
            self._best = found, point, daily_of(to_equity(details.equity))

    def _note_text(self) -> str:
        words = []
        if self._best is not None:
            objective = self._survey.experiment.objective
            value, point, returns = self._best
            deflated = deflate(returns, self._ratios, max(self._tries, len(self._ratios)))
            words.append(
                f"best {objective.metric} {value if objective.maximize else -value:.4g} "
                f"(DSR {number(deflated, '.0%')}, {point})"
            )
        if self._failed:
            words.append(f"{self._failed:,} failed")
        return ", ".join(words)
