"""Checks and mends a venue's rows of 1m bars: one a minute, by time.

After restarts in 2017-12 and 2018-02, Binance's bars did not begin on the minute but at :14.789,
for example (docs/venues/binance.md). They are floored. Of several bars in one minute the earliest
stays, which is the one on the minute if there is one; of equal times the first row stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tbv8.market import MINUTE_MS, MOST_PRICE, MOST_VOLUME, ONE_MINUTE, Span
from tbv8.venues.base import MOST_UNUSABLE

VALUES = ("open", "high", "low", "close", "volume")

_MICROSECONDS_FROM = 10**14  # as microseconds 1973, as milliseconds the year 5138

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]
type Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MinuteBars:
    """Bars by time, at most one a minute.

    Args:
        ts_ms: The opens, on the minute.
        values: One array for each of `VALUES`.
        off_minute: The number of bars that were floored.
        duplicates: The number of bars that were dropped, since their minute had one already.
        unsorted: If true, the rows did not come by time.
        unusable: The minutes, by time, of impossible bars, which were dropped.
    """

    ts_ms: Ints
    values: tuple[Floats, ...]
    off_minute: int = 0
    duplicates: int = 0
    unsorted: bool = False
    unusable: tuple[int, ...] = ()

    @property
    def newest_ms(self) -> int | None:
        """The open of the newest bar, impossible ones included; None without any."""
        opens = [*self.ts_ms[-1:].tolist(), *self.unusable[-1:]]
        return max(opens, default=None)

    def __len__(self) -> int:
        return len(self.ts_ms)


def clean_rows(opens: Ints, values: Sequence[Floats], within: Span) -> MinuteBars:
    """Return rows in any order as `MinuteBars`; each of `opens` may be in ms or us.

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
        & (high <= MOST_PRICE)
        & (volume >= 0)
        & (volume <= MOST_VOLUME)
    )
    unusable: set[int] = set()
    if not is_possible.all():
        if np.count_nonzero(~is_possible) > MOST_UNUSABLE:
            _refuse(
                opens, ~is_possible, "cannot be a bar: its prices or its volume are out of order"
            )
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
    """Return the bars of all parts by time; of two bars of one minute, the earlier part's."""
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
    """Return the minutes of `span` that have no bar, as runs in time order."""
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
    """Return the table of bars that `tbv8.market` describes."""
    return pa.table(dict(zip(("ts_ms", *VALUES), (minutes.ts_ms, *minutes.values), strict=True)))


def _refuse(opens: Ints, is_wrong: Flags, problem: str) -> None:
    if is_wrong.any():
        index = int(np.argmax(is_wrong))
        raise ValueError(f"row {index + 1}, of open time {opens[index]}, {problem}")
