"""Checks the rows of bars and funding against the ledger, and drops days that do not match."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tbv8.market import (
    DAY_MS,
    HOUR_MS,
    MAX_RATE,
    MINUTE_MS,
    ONE_MINUTE,
    Series,
    Span,
    Timeframe,
    iso,
    iso_day,
    parse_dataset,
)
from tbv8.store.bars import FUNDING_RATES, BarStore, day_digests, payments_in
from tbv8.store.database import series_in
from tbv8.store.ledger import (
    EMPTY_DIGEST,
    FUNDING,
    HISTORY,
    MINUTE_DATASETS,
    RECORDED,
    LedgerDay,
    missing_hours,
    read_days,
    read_stored_days,
)
from tbv8.text import counted, printable

_CHUNK_MS = 31 * DAY_MS
type Ints = npt.NDArray[np.int64]
type Flags = npt.NDArray[np.bool_]
_TIME_RANGE = Span(0, 253_402_300_800_000)
"""1970 to 9999; a row with another time, or with text as its time, is a stray."""


class DayProblem(msgspec.Struct, frozen=True):
    """A problem of a UTC day: its rows do not match the ledger, or are impossible."""

    venue: str
    symbol: str
    dataset: str
    day_ms: int
    problem: str

    @property
    def series(self) -> Series:
        """The series of the day."""
        return Series(self.venue, self.symbol)

    def __str__(self) -> str:
        return printable(f"{self.dataset} {self.series} {iso_day(self.day_ms)}: {self.problem}")


def stored_datasets(store: BarStore) -> list[str]:
    """Return the database's tables of bars and of funding."""
    names = store.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [str(name) for (name,) in names if _is_dataset(str(name))]


def stored_series(store: BarStore) -> list[tuple[str, Series]]:
    """Return every dataset and series with rows or a ledger, sorted."""
    ledger = store.query("SELECT DISTINCT dataset, venue, symbol FROM history_coverage")
    stored = {(str(name), Series(str(v), str(s))) for name, v, s in ledger}
    for name in stored_datasets(store):
        stored |= {(name, series) for series in series_in(store.query, name)}
    return sorted(stored)


def verify(store: BarStore, dataset: str, series: Series) -> Iterator[DayProblem]:
    """Yield the problems of one dataset and series, by day.

    Call it in a transaction, since others may be writing.
    """
    if not (_is_dataset(dataset) and _is_table(store, dataset)):
        for day in read_days(store.query, series, dataset):
            problem = f"the ledger has {day.bars} rows, but there is no such table of bars"
            yield DayProblem(series.venue, series.symbol, dataset, day.day_ms, problem)
        return
    if strays := _strays(store, dataset, series):
        yield DayProblem(series.venue, series.symbol, dataset, 0, strays)
    all_days = read_days(store.query, series, dataset)
    days = {day.day_ms: day for day in all_days if _is_time(day.day_ms)}
    for day in all_days:
        if not _is_time(day.day_ms):
            problem = "the ledger has an impossible day"
            yield DayProblem(series.venue, series.symbol, dataset, day.day_ms, problem)
    timeframe = ONE_MINUTE if dataset == FUNDING else parse_dataset(dataset)
    for span in _chunks(store, dataset, series, sorted(days)):
        bars = store.read(series, dataset, span)
        digests = day_digests(bars)
        is_funding = dataset == FUNDING
        row_problems = _rate_problems(bars) if is_funding else _bar_problems(bars, timeframe)
        ledger_days = [day_ms for day_ms in days if span.start_ms <= day_ms < span.end_ms]
        for day_ms in sorted({*digests, *ledger_days}):
            ledger = days.get(day_ms)
            count, digest = digests.get(day_ms, (0, EMPTY_DIGEST))
            problems = [*row_problems.get(day_ms, ())]
            if ledger is None:
                problems.append(f"{counted(count, 'row')} without a ledger row")
            else:
                problems += _ledger_problems(ledger, count, digest)
                problems += _missing_problems(bars, ledger, dataset)
                problems += _day_problems(ledger, timeframe)
                problems += _outside(bars, ledger, dataset)
            for problem in problems:
                yield DayProblem(series.venue, series.symbol, dataset, day_ms, problem)


type CanFetch = Callable[[str, Series, Span], bool]
"""Returns True if the venue of a series still has a dataset's history of a span."""


def drop(
    store: BarStore, problems: Sequence[DayProblem], *, can_fetch: CanFetch
) -> list[DayProblem]:
    """Drop the days that the next run restores, each in one transaction; return other problems.

    Args:
        store: The database.
        problems: The problems from `verify`.
        can_fetch: Returns True if the venue still has the history of a span.
    """
    remaining: list[DayProblem] = []
    for key, day_problems in groupby(sorted(problems, key=_day_of), key=_day_of):
        series, dataset, day_ms = key
        with store.transaction():
            if _can_restore(store, series, dataset, day_ms, can_fetch):
                _drop_day(store, dataset, series, day_ms)
            else:
                remaining += day_problems
    return remaining


def give_up(store: BarStore, problems: Sequence[DayProblem]) -> None:
    """Drop days that cannot be restored, each in one transaction.

    A dropped recorded day is listed in `recording_gaps`.
    """
    for series, dataset, day_ms in dict.fromkeys(map(_day_of, problems)):
        with store.transaction():
            if dataset == RECORDED:
                store.query(
                    "INSERT INTO recording_gaps"
                    " (venue, symbol, channel, start_ms, end_ms, reason, healed)"
                    " SELECT venue, symbol, dataset, start_ms, end_ms, ?, 0 FROM history_coverage"
                    " WHERE venue = ? AND symbol = ? AND dataset = ? AND day_ms = ?"
                    " AND start_ms < end_ms ON CONFLICT DO UPDATE SET (end_ms, reason, healed)"
                    " = (max(end_ms, excluded.end_ms), reason || '; ' || excluded.reason, 0)",
                    ("given up by doit verify", series.venue, series.symbol, dataset, day_ms),
                )
            _drop_day(store, dataset, series, day_ms)


def _drop_day(store: BarStore, dataset: str, series: Series, day_ms: int) -> None:
    if _is_table(store, dataset) and _is_time(day_ms):
        _remove_strays(store, dataset, series, day_ms)
        store.remove_day(series, dataset, day_ms)
    else:
        _remove_ledger_row(store, dataset, series, day_ms)


def _day_of(problem: DayProblem) -> tuple[Series, str, int]:
    return problem.series, problem.dataset, problem.day_ms


def _can_restore(
    store: BarStore,
    series: Series,
    dataset: str,
    day_ms: int,
    can_fetch: CanFetch,
) -> bool:
    """Return True if a fetch or a rebuild can restore a day; a recorded day never comes back."""
    if dataset == RECORDED or not _is_dataset(dataset):
        return False
    if not _is_time(day_ms):
        return True
    if dataset == FUNDING:
        return can_fetch(dataset, series, Span(day_ms, day_ms + DAY_MS))
    timeframe = parse_dataset(dataset)
    span = Span(timeframe.ceil(day_ms), timeframe.ceil(day_ms + DAY_MS))
    if day_ms == 0 or can_fetch(HISTORY, series, span or Span(day_ms, day_ms + DAY_MS)):
        return True
    stored_days = {
        day.ledger.day_ms for day in read_stored_days(store.query, series, ONE_MINUTE, span)
    }
    return dataset != HISTORY and stored_days.issuperset(span.days())


def _is_dataset(name: str) -> bool:
    if name == FUNDING:
        return True
    if name == HISTORY or name.startswith("bars_"):
        with suppress(ValueError):
            parse_dataset(name)
            return True
    return False


def _is_table(store: BarStore, dataset: str) -> bool:
    return bool(store.query("SELECT 1 FROM sqlite_master WHERE name = ?", (dataset,)))


def _is_time(ts_ms: int) -> bool:
    return _TIME_RANGE.start_ms <= ts_ms < _TIME_RANGE.end_ms


def _chunks(store: BarStore, dataset: str, series: Series, ledger: Sequence[int]) -> Iterator[Span]:
    """Yield spans of whole days that together include every row and ledger day of a series."""
    at_ms = _TIME_RANGE.start_ms
    while True:
        rows = store.query(
            f'SELECT ts_ms FROM "{dataset}" WHERE venue = ? AND symbol = ? AND ts_ms >= ?'
            " AND ts_ms < ? ORDER BY ts_ms LIMIT 1",
            (series.venue, series.symbol, at_ms, _TIME_RANGE.end_ms),
        )
        starts_ms = [int(ts_ms) // DAY_MS * DAY_MS for (ts_ms,) in rows]
        starts_ms += ledger[bisect_left(ledger, at_ms) :][:1]
        if not starts_ms:
            return
        start_ms, at_ms = min(starts_ms), min(starts_ms) + _CHUNK_MS
        yield Span(start_ms, at_ms)


_STRAYS = "venue = ? AND symbol = ? AND (ts_ms < ? OR ts_ms >= ?)"


def _strays(store: BarStore, dataset: str, series: Series) -> str:
    """Return a problem text about rows with an impossible time; "" if there are none."""
    values = (series.venue, series.symbol, _TIME_RANGE.start_ms, _TIME_RANGE.end_ms)
    ((count, first),) = store.query(
        f'SELECT count(*), CAST(min(ts_ms) AS TEXT) FROM "{dataset}" WHERE {_STRAYS}', values
    )
    return f"{counted(count, 'row')} with an impossible ts_ms, first {first!r}" if count else ""


def _remove_strays(store: BarStore, dataset: str, series: Series, day_ms: int) -> None:
    if day_ms == 0:
        values = (series.venue, series.symbol, _TIME_RANGE.start_ms, _TIME_RANGE.end_ms)
        store.query(f'DELETE FROM "{dataset}" WHERE {_STRAYS}', values)


def _remove_ledger_row(store: BarStore, dataset: str, series: Series, day_ms: int) -> None:
    store.query(
        "DELETE FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND dataset = ? AND day_ms = ?",
        (series.venue, series.symbol, dataset, day_ms),
    )


def _ledger_problems(day: LedgerDay, count: int, digest: str) -> Iterator[str]:
    if day.digest is None:
        yield "a row was changed outside of tbv8"
    elif day.digest != digest:
        yield "its rows do not match the ledger's digest"
    if day.bars != count:
        yield f"{counted(count, 'row')}, but {day.bars} in the ledger"


def _missing_problems(rows: pa.Table, day: LedgerDay, dataset: str) -> Iterator[str]:
    if dataset in MINUTE_DATASETS and day.bars + day.missing != day.span.minutes:
        total = day.span.minutes
        yield f"{day.bars} bars and {day.missing} missing do not add up to {total:,} minutes"
    if dataset == FUNDING:
        missing = missing_hours(payments_in(rows, day.span), day.span)
        if day.missing != missing:
            yield f"{counted(missing, 'hour')} without a payment, but {day.missing} in the ledger"


def _day_problems(day: LedgerDay, timeframe: Timeframe) -> Iterator[str]:
    if not _is_within_day(day, timeframe):
        yield f"its ledger has {day.span}, which is outside of the day"


def _is_within_day(day: LedgerDay, timeframe: Timeframe) -> bool:
    span, next_day_ms = day.span, day.day_ms + DAY_MS
    last_ms = span.end_ms if timeframe.text == "1m" else span.start_ms  # bars may end after the day
    return (
        bool(span)
        and day.day_ms <= span.start_ms < next_day_ms
        and last_ms <= next_day_ms
        and not (span.start_ms % MINUTE_MS or span.end_ms % MINUTE_MS)
    )


def _outside(bars: pa.Table, day: LedgerDay, dataset: str) -> Iterator[str]:
    if dataset not in (*MINUTE_DATASETS, FUNDING):
        return
    opens = bars["ts_ms"].to_numpy()
    of_day = opens[(opens >= day.day_ms) & (opens < day.day_ms + DAY_MS)]
    outside = of_day[(of_day < day.start_ms) | (of_day >= day.end_ms)]
    if outside.size:
        yield f"{counted(outside.size, 'row')} outside of {day.span}, first {iso(int(outside[0]))}"


def _rate_problems(rates: pa.Table) -> dict[int, list[str]]:
    """Return the problems of funding payments, by UTC day."""
    paid, rate, hours = (rates[name].to_numpy() for name in FUNDING_RATES.names)
    is_divisor = np.isin(hours, [number for number in range(1, 25) if 24 % number == 0])
    checks = {
        "not on a full hour": paid % HOUR_MS != 0,
        "with an interval that does not divide 24 hours": ~is_divisor,
        "with an impossible rate": ~(abs(rate) < MAX_RATE),
    }
    return _by_day(paid, checks)


def _bar_problems(bars: pa.Table, timeframe: Timeframe) -> dict[int, list[str]]:
    """Return the problems of bars, by UTC day."""
    columns = {name: bars[name].to_numpy() for name in bars.schema.names}
    opens = columns["ts_ms"]
    low, high = columns["low"], columns["high"]
    if timeframe.fixed_ms and timeframe.text != "1w":
        misaligned = opens % timeframe.fixed_ms != 0
    else:
        misaligned = np.array([timeframe.floor(int(ts)) != ts for ts in opens], dtype=bool)
    body_low = np.minimum(columns["open"], columns["close"])
    body_high = np.maximum(columns["open"], columns["close"])
    checks = {
        "with a repeated time": np.diff(opens, prepend=-1) <= 0,
        f"off the {timeframe} grid": misaligned,
        "with a high below or a low above its open or close": (high < body_high) | (low > body_low),
        "with a price that is not above 0": low <= 0,
        "with a negative volume": columns["volume"] < 0,
        "with a value that is not finite": ~np.isfinite(high - low + columns["volume"]),
    }
    if "minutes" in columns:
        checks["without any 1m bars"] = columns["minutes"] < 1
    return _by_day(opens, checks)


def _by_day(opens: Ints, checks: Mapping[str, Flags]) -> dict[int, list[str]]:
    """Return a problem text for each failed check of a day, by UTC day.

    Args:
        opens: The times of the rows.
        checks: The rows that fail each check, by the text of the problem.
    """
    lines: dict[int, list[str]] = {}
    for problem, failed in checks.items():
        failed_ms = opens[failed]
        for day_ms in np.unique(failed_ms // DAY_MS * DAY_MS):
            of_day = failed_ms[failed_ms // DAY_MS * DAY_MS == day_ms]
            lines.setdefault(int(day_ms), []).append(
                f"{counted(of_day.size, 'row')} {problem}, first {iso(int(of_day[0]))}"
            )
    return lines
