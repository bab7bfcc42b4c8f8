"""Checks and cleans rows of 1m bars: one bar per minute, by time.

After restarts in 2017-12 and 2018-02, Binance's bars began at :14.789, for example, and not on the
minute (docs/venues/binance.md). Their opens are floored. Of several bars in one minute the earliest
stays, which is the one on the minute if there is one; of equal opens, the first row stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tbv8.market import MAX_PRICE, MAX_VOLUME, MINUTE_MS, ONE_MINUTE, Span
from tbv8.venues.base import MAX_UNUSABLE

VALUES = ("open", "high", "low", "close", "volume")

_MICROSECONDS_FROM = 10**14  # the year 1973 in microseconds, 5138 in milliseconds

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]
type Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MinuteBars:
    """Bars by time, at most one per minute.

    Args:
        ts_ms: The opens, on the minute.
        values: One array for each of `VALUES`.
        off_minute: The number of bars with a floored open.
        duplicates: The number of dropped bars of minutes with several.
        unsorted: If true, the rows were not sorted by time.
        unusable: The opens of minutes with only impossible bars, which were dropped; by time.
    """

    ts_ms: Ints
    values: tuple[Floats, ...]
    off_minute: int = 0
    duplicates: int = 0
    unsorted: bool = False
    unusable: tuple[int, ...] = ()

    @property
    def newest_ms(self) -> int | None:
        """The open of the newest bar, also of an impossible one; None without any."""
        opens = [*self.ts_ms[-1:].tolist(), *self.unusable[-1:]]
        return max(opens, default=None)

    def __len__(self) -> int:
        return len(self.ts_ms)


def clean_rows(opens: Ints, values: Sequence[Floats], within: Span) -> MinuteBars:
    """Return rows in any order as `MinuteBars`.

    Args:
        opens: The times of the rows, each in milliseconds or microseconds.
        values: One column for each of `VALUES`.
        within: The span in which all rows must open.

    Raises:
        ValueError: A row opens outside of `within`, or too many are impossible.
    """
    ts_ms = np.where(opens >= _MICROSECONDS_FROM, opens // 1000, opens)
    first, high, low, last, volume = values
    _refuse(
        opens,
        (ts_ms < within.start_ms) | (ts_ms >= within.end_ms),
        f"lies outside of {within.start_ms} .. {within.end_ms}",
    )
    is_possible = (  # as in `Bar.is_possible`; false for NaN
        (low > 0)
        & (low <= np.minimum(first, last))
        & (high >= np.maximum(first, last))
        & (high <= MAX_PRICE)
        & (volume >= 0)
        & (volume <= MAX_VOLUME)
    )
    unusable: set[int] = set()
    if not is_possible.all():
        if np.count_nonzero(~is_possible) > MAX_UNUSABLE:
            _refuse(opens, ~is_possible, "is impossible: its prices or its volume are out of order")
        unusable = {ONE_MINUTE.floor(ts) for ts in ts_ms[~is_possible].tolist()}
        ts_ms, values = ts_ms[is_possible], [column[is_possible] for column in values]
    unsorted = bool((np.diff(ts_ms) < 0).any())
    if unsorted:
        order = np.argsort(ts_ms, kind="stable")
        ts_ms, values = ts_ms[order], [column[order] for column in values]
    past_minute = ts_ms % MINUTE_MS
    minute = ts_ms - past_minute
    duplicate = np.zeros(len(minute), dtype=np.bool_)
    duplicate[1:] = minute[1:] == minute[:-1]
    duplicates = int(np.count_nonzero(duplicate))
    if duplicates:
        minute, values = minute[~duplicate], [column[~duplicate] for column in values]
    return MinuteBars(
        minute,
        tuple(values),
        int(np.count_nonzero(past_minute)),
        duplicates,
        unsorted,
        tuple(sorted(unusable.difference(minute.tolist()))) if unusable else (),
    )


def within_span(minutes: MinuteBars, span: Span) -> MinuteBars:
    """Return the bars that open in `span`."""
    low, high = np.searchsorted(minutes.ts_ms, [span.start_ms, span.end_ms])
    return MinuteBars(
        minutes.ts_ms[low:high],
        tuple(column[low:high] for column in minutes.values),
        unusable=tuple(ts for ts in minutes.unusable if span.start_ms <= ts < span.end_ms),
    )


def join(parts: Sequence[MinuteBars]) -> MinuteBars:
    """Return the bars of all parts by time; of two bars of one minute, that of the earlier part."""
    joined = clean_rows(
        np.concatenate([part.ts_ms for part in parts]),
        [np.concatenate(columns) for columns in zip(*(p.values for p in parts), strict=True)],
        Span(0, _MICROSECONDS_FROM),
    )
    unusable = {ts_ms for part in parts for ts_ms in part.unusable}
    return replace(
        joined,
        unusable=tuple(sorted(unusable.difference(joined.ts_ms.tolist()))) if unusable else (),
        off_minute=sum(part.off_minute for part in parts),
        duplicates=sum(part.duplicates for part in parts) + joined.duplicates,
        unsorted=any(part.unsorted for part in parts),
    )


def missing_runs(minutes: MinuteBars, span: Span) -> list[Span]:
    """Return the spans of consecutive minutes without a bar in `span`, in time order."""
    first_ms = ONE_MINUTE.ceil(span.start_ms)
    is_absent = np.ones(max(0, -(-(span.end_ms - first_ms) // MINUTE_MS)), dtype=np.bool_)
    is_absent[(within_span(minutes, span).ts_ms - first_ms) // MINUTE_MS] = False
    if not is_absent.any():
        return []
    edges = np.flatnonzero(np.diff(is_absent, prepend=False, append=False))
    at_ms = (first_ms + edges * MINUTE_MS).tolist()
    return [
        Span(start_ms, end_ms) for start_ms, end_ms in zip(at_ms[::2], at_ms[1::2], strict=True)
    ]


def to_table(minutes: MinuteBars) -> pa.Table:
    """Return bars as a table of 1m bars (see `tbv8.market`)."""
    return pa.table(dict(zip(("ts_ms", *VALUES), (minutes.ts_ms, *minutes.values), strict=True)))


def _refuse(opens: Ints, is_wrong: Flags, problem: str) -> None:
    if is_wrong.any():
        index = int(np.argmax(is_wrong))
        raise ValueError(f"row {index + 1} (open time {opens[index]}) {problem}")
