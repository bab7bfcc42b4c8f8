"""Rows of trials: one run of anything, by the content that it is made of, shared by experiments.

Numbers that lists sort by stand in `trials`; the whole statistics and the equity at every UTC
midnight in `trial_details`, compressed. `experiment_trials` is what an experiment is made of, part
by part: `""` its search, `is:3` and `oos:3` a window of its walk-forward, `trades` its chosen trial
with the balance after each round trip in place of the equity, `mc:3` that trial on a market of its
Monte Carlo.

There is one writer: the doit process of the experiment, by Python's own sqlite3, with a transaction
a trial. No BarStore may be open in the process meanwhile (see tbv8/store/bars.py).
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

from tbv8.store.database import BUSY_TIMEOUT_S, Place, Query, open_reader, refusals

type Status = Literal["ok", "failed", "died"]

BY_TRADE, MARKET = "trades", "mc:"
METRICS = ("sharpe", "sortino", "calmar", "total_return", "profit_factor", "max_drawdown")

_TRIAL = (
    "key, subject, variant, start_ms, end_ms, status, sharpe, sortino, calmar, total_return,"
    " profit_factor, max_drawdown, trades, fills, files, digest"
)
_ASKED = 900  # of SQLite's variables in a statement, of which every build allows 999


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `trials`.

    Attributes:
        key: Of all that it is made of.
        subject: The strategy's class and its series: trials of one subject are tries at one thing.
        variant: Of the strategy's code and all values, whatever the span and the engine.
        start_ms: Of the span that is counted.
        end_ms: Its end.
        status: `failed` where the strategy raised, `died` where its process did, twice.
        sharpe: None where it is not defined, as the five after it.
        files: What the strategy opened, as JSON of path and digest; empty for nothing.
        digest: sha256 over statistics and equity.
    """

    key: bytes
    subject: str
    variant: bytes
    start_ms: int
    end_ms: int
    status: Status
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
        """Return a number by its name in the YAML: `return` is the total one."""
        value: float | None = getattr(self, "total_return" if name == "return" else name)
        return value


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics as summary.json has them, or the error; equity in 10^-8 USD, little-endian int64.

    The equity is that of the start and of every UTC midnight, and of the end.
    """

    stats: bytes
    equity: bytes


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `experiment_trials`; `params` are the values by the names of the axes."""

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
        self._place = Place(db_path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with refusals(self._db_path):
            self._place.check()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def write(self, trial: Trial, details: Details) -> None:
        """Write a trial, in the place of what is there under its key."""
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

    def write_listed(self, experiment_id: str, listed: Iterable[Listed]) -> None:
        """Make these all that an experiment is made of."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM experiment_trials WHERE experiment_id = ?", (experiment_id,)
            )
            connection.executemany(
                "INSERT INTO experiment_trials (experiment_id, part, number, key, params)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    (experiment_id, each.part, each.number, each.key, json.dumps(each.params))
                    for each in listed
                ),
            )

    def drop(self, keys: Sequence[bytes]) -> None:
        """Remove trials."""
        with self._transaction() as connection:
            for table in ("trials", "trial_details"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE key = ?", ((key,) for key in keys)
                )

    def forget(self, experiment_ids: Iterable[str]) -> None:
        """Remove what experiments are made of; their trials stay."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM experiment_trials WHERE experiment_id = ?",
                ((name,) for name in experiment_ids),
            )


@contextmanager
def open_trials(db_path: Path) -> Iterator[TrialStore]:
    """Open the database to write trials.

    Raises:
        DataError: It is absent, damaged, locked or of another revision.
    """
    with open_reader(db_path):
        pass
    with (
        refusals(db_path),
        closing(
            sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection,
    ):
        yield TrialStore(db_path, connection)


def read_trials(query: Query, keys: Iterable[bytes]) -> dict[bytes, Trial]:
    """Return the trials that are there, by key."""
    return {
        row[0]: Trial(**dict(zip(Trial.__struct_fields__, row, strict=True)))
        for row in _select(query, f"SELECT {_TRIAL} FROM trials", keys)
    }


def read_held(query: Query, keys: Iterable[bytes]) -> dict[bytes, tuple[bytes, str]]:
    """Return digest and opened files of the trials that are there, by key."""
    rows = _select(query, "SELECT key, digest, files FROM trials", keys)
    return {key: (digest, files) for key, digest, files in rows}


def read_details(query: Query, keys: Iterable[bytes]) -> Iterator[tuple[bytes, Details]]:
    """Yield statistics and equity of the trials that are there."""
    for key, stats, equity in _select(query, "SELECT key, stats, equity FROM trial_details", keys):
        yield key, Details(stats=zlib.decompress(stats), equity=zlib.decompress(equity))


def _select(query: Query, sql: str, keys: Iterable[bytes]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of keys, many keys a statement."""
    left = list(keys)
    for first in range(0, len(left), _ASKED):
        planned = left[first : first + _ASKED]
        yield from query(f"{sql} WHERE key IN ({', '.join('?' * len(planned))})", planned)


def read_listed(query: Query, experiment_id: str, part: str | None = None) -> list[Listed]:
    """Return what an experiment is made of, part by part and in order; one part, if it is named."""
    rows = query(
        "SELECT part, number, key, params FROM experiment_trials WHERE experiment_id = ?"
        " AND part = coalesce(?, part) ORDER BY part, number",
        (experiment_id, part),
    )
    return [
        Listed(part=part, number=number, key=key, params=json.loads(params))
        for part, number, key, params in rows
    ]


def read_best(
    query: Query, experiment_id: str, *, sort: str, ascending: bool, most: int
) -> list[Listed]:
    """Return the first trials of a search in the order of a column; those without a value last.

    `sort` is `number` or a column of `trials`.
    """
    if sort not in (*METRICS, "number", "trades", "fills"):
        raise ValueError(sort)
    order = "" if sort == "number" else f"status != 'ok', {sort} IS NULL, {sort}"
    order += "" if ascending or not order else " DESC"
    rows = query(
        "SELECT number, key, params FROM experiment_trials JOIN trials USING (key)"
        " WHERE experiment_id = ? AND part = ''"
        f" ORDER BY {order}{', ' if order else ''}number LIMIT ?",
        (experiment_id, most),
    )
    return [
        Listed(part="", number=number, key=key, params=json.loads(params))
        for number, key, params in rows
    ]


def count_listed(query: Query, experiment_id: str) -> tuple[int, int, int]:
    """Return how many trials a search has, how many are there, and how many of those failed."""
    ((listed, present, failed),) = query(
        "SELECT count(*), count(status), total(status != 'ok') FROM experiment_trials"
        " LEFT JOIN trials USING (key) WHERE experiment_id = ? AND part = ''",
        (experiment_id,),
    )
    return int(listed), int(present), int(failed)


def read_tries(
    query: Query, subject: str, *, start_ms: int, end_ms: int
) -> tuple[int, dict[bytes, float]]:
    """Return how many variants of a subject have ever had a result, and Sharpe ratios over a span.

    The ratios are those of every variant that was run over exactly this span.
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
    """Return the names of the experiments that have ever been run here."""
    rows = query("SELECT DISTINCT experiment_id FROM experiment_trials ORDER BY 1", ())
    return [str(name) for (name,) in rows]


def read_orphans(query: Query, gone: Sequence[str] = ()) -> list[bytes]:
    """Return the keys of trials that no experiment is made of, but for those that are `gone`."""
    marks = ", ".join("?" * len(gone))
    rows = query(
        "SELECT key FROM trials WHERE key NOT IN (SELECT key FROM experiment_trials WHERE"
        f" experiment_id NOT IN ({marks})) ORDER BY key",
        tuple(gone),
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
