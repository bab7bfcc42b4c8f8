"""Does the database hold what its ledger says? Recomputed from the rows, nothing taken on trust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.market import DAY_MS, MINUTE_MS, Series, Span, Timeframe, iso, iso_day, parse_dataset
from tbv8.store.bars import BarStore, day_digests
from tbv8.store.ledger import EMPTY, HISTORY, MINUTE_DATASETS, RECORDED, LedgerDay, read_days

_CHUNK_MS = 31 * DAY_MS


class Problem(msgspec.Struct, frozen=True):
    """A UTC day of a dataset that is not what the ledger, or the market, allows."""

    venue: str
    symbol: str
    dataset: str
    day_ms: int
    problem: str

    @property
    def series(self) -> Series:
        """Whose day it is."""
        return Series(self.venue, self.symbol)

    @property
    def repairable(self) -> bool:
        """Tell whether a source or a rebuild can bring the day back; a recording is unique."""
        return self.dataset != RECORDED

    def __str__(self) -> str:
        return f"{self.dataset} {self.series} {iso_day(self.day_ms)}: {self.problem}"


def stored_series(
    store: BarStore, *, venue: str = "", symbol: str = "", dataset: str = ""
) -> list[tuple[str, Series]]:
    """Return every dataset and series that has rows or a ledger, narrowed by the words given."""
    names = [
        str(name)
        for (name,) in store.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        if name == HISTORY or str(name).startswith("bars_")
    ]
    ledger = store.query("SELECT DISTINCT dataset, venue, symbol FROM history_coverage")
    found = {(str(name), Series(str(v), str(s))) for name, v, s in ledger}
    found |= {(name, series) for name in names for series in _series_with_rows(store, name)}
    return sorted(
        (name, series)
        for name, series in found
        if venue in ("", series.venue) and symbol in ("", series.symbol) and dataset in ("", name)
    )


def verify(store: BarStore, dataset: str, series: Series) -> Iterator[Problem]:
    """Yield the days of one dataset and series that are wrong, by time; a day may have several."""
    days = {day.day_ms: day for day in read_days(store.query, series, dataset)}
    timeframe = parse_dataset(dataset)
    for span in _chunks(store, dataset, series, sorted(days)):
        bars = store.read(series, dataset, span)
        digests = day_digests(bars)
        wrong = _wrong_rows(bars, timeframe)
        for day_ms in sorted({*digests, *(d for d in days if span.start_ms <= d < span.end_ms)}):
            day = days.get(day_ms)
            count, digest = digests.get(day_ms, (0, EMPTY))
            problems = [*wrong.get(day_ms, ())]
            if day is None:
                problems.append(f"{count} rows that no ledger row tells of")
            else:
                problems += _ledger_problems(day, count, digest, timeframe)
                problems += _outside(bars, day, dataset)
            for problem in problems:
                yield Problem(series.venue, series.symbol, dataset, day_ms, problem)


def drop(store: BarStore, problems: Sequence[Problem]) -> int:
    """Forget the days that can be brought back, each in one transaction; return how many."""
    days = {(p.series, p.dataset, p.day_ms) for p in problems if p.repairable}
    for series, dataset, day_ms in sorted(days):
        with store.transaction():
            store.remove_day(series, dataset, day_ms)
    return len(days)


def _series_with_rows(store: BarStore, dataset: str) -> Iterator[Series]:
    """Hop along the primary key from one series to the next, without reading the rows between."""
    after = ("", "")
    while rows := store.query(
        f'SELECT venue, symbol FROM "{dataset}" WHERE (venue, symbol) > (?, ?)'
        " ORDER BY venue, symbol LIMIT 1",
        after,
    ):
        after = (str(rows[0][0]), str(rows[0][1]))
        yield Series(*after)


def _chunks(store: BarStore, dataset: str, series: Series, ledger: Sequence[int]) -> Iterator[Span]:
    """Yield spans of whole days that hold every row and every ledger day of a series."""
    ((first, last),) = store.query(
        f'SELECT coalesce(min(ts_ms), -1), coalesce(max(ts_ms), -1) FROM "{dataset}"'
        " WHERE venue = ? AND symbol = ?",
        (series.venue, series.symbol),
    )
    known = [ts_ms // DAY_MS * DAY_MS for ts_ms in (first, last) if ts_ms >= 0]
    known += [*ledger[:1], *ledger[-1:]]
    if known:
        end_ms = max(known) + DAY_MS
        for start_ms in range(min(known), end_ms, _CHUNK_MS):
            yield Span(start_ms, min(start_ms + _CHUNK_MS, end_ms))


def _ledger_problems(
    day: LedgerDay, count: int, digest: str, timeframe: Timeframe
) -> Iterator[str]:
    if day.digest is None:
        yield "a row was changed outside of tbv8"
    elif day.digest != digest:
        yield "its rows are not those that were checked in (another digest)"
    if day.bars != count:
        yield f"{count} rows where the ledger tells of {day.bars}"
    if timeframe.text == "1m" and day.bars + day.missing != day.span.minutes:
        yield f"{day.bars} bars and {day.missing} missing do not make {day.span.minutes} minutes"
    if day.start_ms % MINUTE_MS or day.end_ms % MINUTE_MS or not day.span:
        yield f"its ledger knows {day.span}"


def _outside(bars: pa.Table, day: LedgerDay, dataset: str) -> Iterator[str]:
    if dataset not in MINUTE_DATASETS:
        return
    opens = bars["ts_ms"].to_numpy()
    of_day = opens[(opens >= day.day_ms) & (opens < day.day_ms + DAY_MS)]
    outside = of_day[(of_day < day.start_ms) | (of_day >= day.end_ms)]
    if outside.size:
        yield f"{outside.size} rows outside of {day.span}, first {iso(int(outside[0]))}"


def _wrong_rows(bars: pa.Table, timeframe: Timeframe) -> dict[int, list[str]]:
    """Return by UTC day what is wrong with the rows by themselves."""
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
        f"off the {timeframe} grid": misaligned,
        "with a high below or a low above its open or close": (high < body_high) | (low > body_low),
        "with a price that is not above 0": low <= 0,
        "with a negative volume": columns["volume"] < 0,
        "with a value that is not finite": ~np.isfinite(high - low + columns["volume"]),
    }
    found: dict[int, list[str]] = {}
    for what, wrong in checks.items():
        where = opens[wrong]
        for day_ms in np.unique(where // DAY_MS * DAY_MS):
            of_day = where[where // DAY_MS * DAY_MS == day_ms]
            found.setdefault(int(day_ms), []).append(
                f"{of_day.size} rows {what}, first {iso(int(of_day[0]))}"
            )
    return found
