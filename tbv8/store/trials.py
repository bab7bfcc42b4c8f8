"""The trials of experiments, keyed by their inputs and shared between experiments.

`trials` has the metrics for sorting; `trial_details` has all statistics and the equity at each UTC
midnight, compressed. `experiment_trials` lists the trials of an experiment by part: `""` is its
search; `is:3` and `oos:3` belong to window 3 of its walk-forward; `trades` is its chosen trial with
the balance after each round trip in place of the equity; `mc:3` is that trial on market 3 of its
Monte Carlo simulation.

The only writer is the experiment's doit process, with one transaction per trial. It must not open
the file by ADBC at the same time (see `tbv8.store.bars`).
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from tbv8.store.database import (
    BUSY_TIMEOUT_S,
    DatabaseFiles,
    Query,
    check_revision,
    translated_errors,
)

type TrialStatus = Literal["ok", "failed", "died"]

BY_TRADE, MARKET_PART = "trades", "mc:"
_COLUMNS = {
    "sharpe": "sharpe",
    "sortino": "sortino",
    "calmar": "calmar",
    "return": "total_return",
    "profit_factor": "profit_factor",
    "max_drawdown": "max_drawdown",
}
"""The column of `trials`, and the field of a Trial, of each metric."""

METRICS = tuple(_COLUMNS)
"""The metrics of a trial by their names in the YAML and in summary.json."""

_TRIAL = (
    "key, subject, variant, start_ms, end_ms, status, sharpe, sortino, calmar, total_return,"
    " profit_factor, max_drawdown, trades, fills, files, digest"
)
_MAX_KEYS = 900  # per statement; every build of SQLite allows 999 variables


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `trials`.

    Attributes:
        key: The digest of all its inputs.
        subject: The strategy's class and its series; the deflated Sharpe ratio counts the variants
            of a subject.
        variant: The digest of the strategy's code and all values, but not of span and engine.
        start_ms: The start of the counted span.
        end_ms: The end of the counted span.
        status: `failed` if the strategy raised, `died` if its process died twice.
        sharpe: The Sharpe ratio; None if it is undefined, like the next five metrics.
        trades: The number of round trips.
        fills: The number of fills.
        files: The files that the strategy opened, as JSON of path and digest; empty for none.
        digest: The sha256 over statistics and equity.
    """

    key: bytes
    subject: str
    variant: bytes
    start_ms: int
    end_ms: int
    status: TrialStatus
    sharpe: float | None = None
    sortino: float | None = None
    calmar: float | None = None
    total_return: float | None = None
    profit_factor: float | None = None
    max_drawdown: float | None = None
    trades: int = 0
    fills: int = 0
    files: str = ""
    digest: bytes

    def metric(self, name: str) -> float | None:
        """Return the value of one of `METRICS`; None if it is undefined."""
        value: float | None = getattr(self, _COLUMNS[name])
        return value


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `trial_details`.

    Args:
        stats: The statistics as in summary.json, or the error.
        equity: The equity at the start, at each UTC midnight, and at the end: int64, little-endian,
            in 10^-8 USD.
    """

    stats: bytes
    equity: bytes


class ListedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `experiment_trials`; `params` are the trial's values by axis."""

    part: str
    number: int
    key: bytes
    params: Mapping[str, Any]


class TrialStore:
    """An open connection that writes trials; made by `open_trials`."""

    def __init__(self, db_path: Path, connection: sqlite3.Connection) -> None:
        self._db_path, self._connection = db_path, connection
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        self._files = DatabaseFiles(db_path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with translated_errors(self._db_path):
            self._files.check()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def write(self, trial: Trial, details: Details) -> None:
        """Write a trial; a row with the same key is replaced."""
        marks = ", ".join("?" * len(Trial.__struct_fields__))
        with self._transaction() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO trials ({_TRIAL}) VALUES ({marks})",
                msgspec.structs.astuple(trial),
            )
            connection.execute(
                "INSERT OR REPLACE INTO trial_details (key, stats, equity) VALUES (?, ?, ?)",
                (trial.key, zlib.compress(details.stats), zlib.compress(details.equity)),
            )

    def write_listed(self, experiment_id: str, listed: Iterable[ListedTrial]) -> None:
        """Replace the list of an experiment's trials."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM experiment_trials WHERE experiment_id = ?", (experiment_id,)
            )
            connection.executemany(
                "INSERT INTO experiment_trials (experiment_id, part, number, key, params)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    (experiment_id, trial.part, trial.number, trial.key, json.dumps(trial.params))
                    for trial in listed
                ),
            )

    def drop(self, keys: Sequence[bytes]) -> None:
        """Remove trials, but not from the lists of experiments."""
        with self._transaction() as connection:
            for table in ("trials", "trial_details"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE key = ?", ((key,) for key in keys)
                )

    def drop_lists(self, experiment_ids: Iterable[str]) -> None:
        """Remove the lists of experiments; their trials stay."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM experiment_trials WHERE experiment_id = ?",
                ((name,) for name in experiment_ids),
            )


def metric_columns(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a Trial for its metrics, from its statistics."""
    return {column: stats[name] for name, column in _COLUMNS.items()}


@contextmanager
def open_trials(db_path: Path) -> Iterator[TrialStore]:
    """Open the database to write trials.

    Raises:
        DataError: It is absent, damaged, locked or of another revision.
    """
    check_revision(db_path)
    with (
        translated_errors(db_path),
        closing(
            sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection,
    ):
        yield TrialStore(db_path, connection)


def read_trials(query: Query, keys: Iterable[bytes]) -> dict[bytes, Trial]:
    """Return the stored trials, by key."""
    rows = _select(query, f"SELECT {_TRIAL} FROM trials", keys)
    trials = (Trial(**dict(zip(Trial.__struct_fields__, row, strict=True))) for row in rows)
    return {trial.key: trial for trial in trials}


def read_digests(query: Query, keys: Iterable[bytes]) -> dict[bytes, tuple[bytes, str]]:
    """Return the digest and the opened files of the stored trials, by key."""
    rows = _select(query, "SELECT key, digest, files FROM trials", keys)
    return {key: (digest, files) for key, digest, files in rows}


def read_details(query: Query, keys: Iterable[bytes]) -> Iterator[tuple[bytes, Details]]:
    """Yield the keys of the stored trials and their details."""
    for key, stats, equity in _select(query, "SELECT key, stats, equity FROM trial_details", keys):
        yield key, Details(stats=zlib.decompress(stats), equity=zlib.decompress(equity))


def _select(query: Query, sql: str, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of keys; each statement selects many keys."""
    all_keys = list(keys)
    for first in range(0, len(all_keys), _MAX_KEYS):
        batch = all_keys[first : first + _MAX_KEYS]
        yield from query(f"{sql} WHERE key IN ({', '.join('?' * len(batch))})", batch)


def read_listed(query: Query, experiment_id: str, part: str | None = None) -> list[ListedTrial]:
    """Return the list of an experiment's trials, by part and number; with `part`, of one part."""
    rows = query(
        "SELECT part, number, key, params FROM experiment_trials WHERE experiment_id = ?"
        " AND part = coalesce(?, part) ORDER BY part, number",
        (experiment_id, part),
    )
    return [
        ListedTrial(part=part, number=number, key=key, params=json.loads(params))
        for part, number, key, params in rows
    ]


def read_best(
    query: Query,
    experiment_id: str,
    *,
    sort: str,
    ascending: bool,
    most: int,
    min_trades: int = 0,
) -> list[ListedTrial]:
    """Return the first `most` trials of a search in the order of a column.

    Failed trials come last, before them trials without a value, and before these trials with fewer
    than `min_trades` round trips; not if `sort` is `number`. Else it is `trades`, `fills` or one of
    `METRICS`.
    """
    if sort not in (*METRICS, "number", "trades", "fills"):
        raise ValueError(sort)
    column = _COLUMNS.get(sort, sort)
    direction = "" if ascending else " DESC"
    order = f"status != 'ok', {column} IS NULL, trades < {min_trades:d}, {column}{direction}, "
    rows = query(
        "SELECT number, key, params FROM experiment_trials JOIN trials USING (key)"
        " WHERE experiment_id = ? AND part = ''"
        f" ORDER BY {'' if sort == 'number' else order}number LIMIT ?",
        (experiment_id, most),
    )
    return [
        ListedTrial(part="", number=number, key=key, params=json.loads(params))
        for number, key, params in rows
    ]


def count_listed(query: Query, experiment_id: str) -> tuple[int, int, int]:
    """Return the numbers of a search's trials: all, those with a row, and the failed ones."""
    ((listed, present, failed),) = query(
        "SELECT count(*), count(status), total(status != 'ok') FROM experiment_trials"
        " LEFT JOIN trials USING (key) WHERE experiment_id = ? AND part = ''",
        (experiment_id,),
    )
    return int(listed), int(present), int(failed)


def read_variants(
    query: Query, subject: str, *, start_ms: int, end_ms: int
) -> tuple[int, dict[bytes, float]]:
    """Return the number of a subject's variants with a result, and Sharpe ratios by variant.

    The ratios are those of the variants with a trial over exactly the span.
    """
    ((count,),) = query(
        "SELECT count(DISTINCT variant) FROM trials WHERE subject = ? AND status = 'ok'", (subject,)
    )
    rows = query(
        "SELECT variant, sharpe FROM trials WHERE subject = ? AND start_ms = ? AND end_ms = ?"
        " AND status = 'ok' AND sharpe IS NOT NULL ORDER BY key DESC",
        (subject, start_ms, end_ms),
    )
    return int(count), {bytes(variant): float(sharpe) for variant, sharpe in rows}


def read_experiment_ids(query: Query) -> list[str]:
    """Return the ids of all experiments with a list of trials."""
    rows = query("SELECT DISTINCT experiment_id FROM experiment_trials ORDER BY 1", ())
    return [str(name) for (name,) in rows]


def read_orphans(query: Query, removed: Sequence[str] = ()) -> list[bytes]:
    """Return the keys of trials in no list of an experiment, besides the lists of `removed`."""
    marks = ", ".join("?" * len(removed))
    rows = query(
        "SELECT key FROM trials WHERE key NOT IN (SELECT key FROM experiment_trials WHERE"
        f" experiment_id NOT IN ({marks})) ORDER BY key",
        tuple(removed),
    )
    return [bytes(key) for (key,) in rows]


def read_died(query: Query) -> list[bytes]:
    """Return the keys of trials whose process died."""
    return [bytes(key) for (key,) in query("SELECT key FROM trials WHERE status = 'died'", ())]


def read_keys(query: Query, experiment_id: str) -> dict[tuple[str, int], bytes]:
    """Return the keys of the trials of an experiment, by part and number."""
    rows = query(
        "SELECT part, number, key FROM experiment_trials WHERE experiment_id = ?", (experiment_id,)
    )
    return {(str(part), int(number)): bytes(key) for part, number, key in rows}
