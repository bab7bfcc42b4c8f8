"""Reads one file of 1m bars, and checks every row.

A wrong row is refused with its line number, never corrected. The only change to a file is its
order, if it begins with its newest bar.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tbv8.errors import DataError
from tbv8.market import MAX_PRICE, MAX_VOLUME, MINUTE_MS, Span, iso
from tbv8.text import counted
from tbv8.venues.files.columns import PRICES, Columns, parse_columns
from tbv8.venues.files.times import Ints, read_times
from tbv8.venues.files.zone import Zone

_ZONE_CURE = (
    "write the zone of its times, such as `zone: UTC` or `zone: Europe/Berlin`, below "
    "`history: files` in the venue's file"
)
_MIN_STEPS = 5  # with fewer bars, equal gaps may be chance

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FileBars:
    """The bars of a file, by time, at most one per minute.

    Args:
        sha256: The digest of the file.
        ts_ms: The opens.
        values: One array for each of `PRICES`.
        layout: The detected layout, for the user.
        where: Returns the place of a bar, to follow the file's name: `:17` or `: row 17`.
    """

    sha256: str
    ts_ms: Ints
    values: tuple[Floats, ...]
    layout: str
    where: Callable[[int], str]

    @property
    def span(self) -> Span:
        """The span from the first bar to the end of the last one."""
        return Span(int(self.ts_ms[0]), int(self.ts_ms[-1]) + MINUTE_MS)

    def note(self, name: str) -> str:
        """Return a summary of the file, or of the files that `name` stands for."""
        return f"{name}: {counted(len(self.ts_ms), 'bar')}, {self.layout}"

    @property
    def table(self) -> pa.Table:
        """The table of bars that `tbv8.market` describes."""
        return pa.table(dict(zip(("ts_ms", *PRICES), (self.ts_ms, *self.values), strict=True)))


def read_file(path: Path, *, name: str, zone: str = "", zone_cure: str = _ZONE_CURE) -> FileBars:
    """Return the bars of a file.

    Args:
        path: The file.
        name: The name of the file in error messages.
        zone: The IANA time zone of times without a zone; "" to refuse such times.
        zone_cure: The way to set `zone`, for error messages.

    Raises:
        DataError: The file cannot be read, is no file of 1m bars, or has a wrong row.
    """
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise DataError(f"{name}: cannot be read ({e.strerror}): make it readable") from e
    sha256 = hashlib.sha256(raw).hexdigest()
    columns = parse_columns(raw, name, Zone(zone, zone_cure))
    return _check_rows(columns, sha256)


def _check_rows(columns: Columns, sha256: str) -> FileBars:
    values = [
        _numbers(columns, name, column) for name, column in zip(PRICES, columns.values, strict=True)
    ]
    ts_ms, unit = read_times(columns)
    where = columns.where
    newest_first = len(ts_ms) > 1 and bool((np.diff(ts_ms) < 0).all())
    if newest_first:
        ts_ms, values = ts_ms[::-1].copy(), [column[::-1].copy() for column in values]
        last = len(ts_ms) - 1
        columns.where = lambda row: where(last - row)
    _check_order(columns, ts_ms)
    _check_possible(columns, values)
    layout = [f"`{columns.time_name}` in {unit}", columns.layout]
    layout.append("newest first, put in order" if newest_first else "")
    return FileBars(
        sha256, ts_ms, tuple(values), ", ".join(word for word in layout if word), columns.where
    )


def _numbers(columns: Columns, name: str, column: pa.ChunkedArray) -> Floats:
    numbers: Floats = column.to_numpy()
    columns.refuse_any(
        ~np.isfinite(numbers), lambda _: f"{name} is not a number: correct it, or remove the row"
    )
    return numbers


def _check_order(columns: Columns, ts_ms: Ints) -> None:
    steps = np.diff(ts_ms)
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 1
        earlier = f"{columns.where(row - 1).lstrip(': ')}"
        earlier = earlier if earlier.startswith("row") else f"line {earlier}"
        when, before = iso(int(ts_ms[row])), iso(int(ts_ms[row - 1]))
        problem = (
            f"repeats the minute {when} of {earlier}: remove one of the two"
            if steps[row - 1] == 0
            else f"{when} comes after {before} of {earlier}: sort the rows by time"
        )
        columns.refuse(row, problem, count=int(np.count_nonzero(steps <= 0)))
    if len(steps) >= _MIN_STEPS and (step := int(np.gcd.reduce(steps))) > MINUTE_MS:
        raise DataError(
            f"{columns.name}: its bars are {step // MINUTE_MS} minutes apart: write 1m bars, "
            "tbv8 builds longer ones itself"
        )


def _check_possible(columns: Columns, values: Sequence[Floats]) -> None:
    """Refuse impossible bars, by the rule of `Bar.is_possible`."""
    first, high, low, last, volume = values
    impossible = ~(
        (low > 0)
        & (low <= np.minimum(first, last))
        & (high >= np.maximum(first, last))
        & (high <= MAX_PRICE)
        & (volume >= 0)
        & (volume <= MAX_VOLUME)
    )

    def problem(row: int) -> str:
        shown = ", ".join(
            f"{name} {float(column[row])!r}" for name, column in zip(PRICES, values, strict=True)
        )
        return f"a bar of {shown} is impossible: correct it, or remove the row"

    columns.refuse_any(impossible, problem)
