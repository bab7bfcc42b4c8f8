"""The times of a file of bars, in any unit or zone, as milliseconds UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tbv8.errors import DataError
from tbv8.market import MINUTE_MS, iso
from tbv8.venues.files.columns import Columns
from tbv8.venues.files.zone import is_local_iso, parse_iso

_MINUTES = {"s": 60, "ms": MINUTE_MS, "us": MINUTE_MS * 10**3, "ns": MINUTE_MS * 10**6}
_FIRST_S, _END_S = 10**8, 10**11  # 1973 to 5138: a number is a time in one unit at most
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # local wall-clock time has no zone

type Ints = npt.NDArray[np.int64]
type Unit = Literal["s", "ms", "us", "ns"]


def read_times(columns: Columns) -> tuple[Ints, str]:
    """Return the opens in milliseconds UTC, and the unit of the file's times, for the user."""
    column, name = columns.time, columns.time_name
    if not len(column):
        raise DataError(f"{columns.name}: it has no bars: write some below the first line")
    if column.null_count:
        columns.refuse(int(np.argmax(column.is_null().to_numpy())), f"{name} is empty")
    unit, unit_name, raw = _raw_times(columns, column)
    minute = _MINUTES[unit]
    columns.refuse_any(
        raw % minute != 0,
        lambda row: (
            f"{name} {_time_text(int(raw[row]), unit)} is not on a full minute: write 1m bars"
        ),
    )
    return raw // minute * MINUTE_MS, unit_name


def _raw_times(columns: Columns, column: pa.ChunkedArray) -> tuple[Unit, str, Ints]:
    """Return the unit of the times, its name for the user, and the times in that unit.

    All rows of a file must have the same unit.
    """
    name, kind = columns.time_name, column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = column.to_pylist()
        is_local = bool(columns.zone.name) and is_local_iso(texts[0])
        for row, text in enumerate(texts):
            try:
                texts[row] = parse_iso(text, columns.zone, is_local=is_local)
            except ValueError as e:
                columns.refuse(row, f"{name}: {e}")
        times = np.array(texts, dtype=np.int64)
        return ("ms", *(_from_local(columns, times, "ms") if is_local else ("ISO", times)))
    if pa.types.is_timestamp(kind):
        times = column.cast(pa.int64()).to_numpy()
        if kind.tz is not None:
            return kind.unit, "ISO", times
        if not columns.zone.name:
            raise DataError(
                f"{columns.name}: the times of `{name}` have no zone: write them with one (UTC), "
                f"as whole numbers, or {columns.zone.cure}"
            )
        return (kind.unit, *_from_local(columns, times, kind.unit))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(f"{columns.name}: `{name}` holds {kind}: write whole numbers or ISO times")
    numbers = column.to_numpy()
    columns.refuse_any(
        ~(np.isfinite(numbers) & (numbers == np.floor(numbers))),
        lambda row: f"{name} {numbers[row]} is not a whole number",
    )
    units: dict[Unit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    fits = [
        unit for unit, per_s in units.items() if _FIRST_S * per_s <= numbers[0] < _END_S * per_s
    ]
    if not fits:
        columns.refuse(
            0, f"{name} {numbers[0]} is not a time: write seconds, ms, us or ns since 1970"
        )
    unit = fits[0]
    per_s = units[unit]
    columns.refuse_any(
        (numbers < _FIRST_S * per_s) | (numbers >= _END_S * per_s),
        lambda row: f"{name} {numbers[row]} is not in {unit} like the first time: use one unit",
    )
    return unit, unit, numbers.astype(np.int64)


def _from_local(columns: Columns, raw: Ints, unit: Unit) -> tuple[str, Ints]:
    """Return the name of the local zone for the user, and local times as times in UTC."""
    name = columns.zone.name
    zone: tzinfo = UTC if name == "UTC" else ZoneInfo(name)
    minute = _MINUTES[unit]
    quarters, index = np.unique(raw // (15 * minute), return_inverse=True)
    walls = [_EPOCH + timedelta(minutes=15 * int(quarter)) for quarter in quarters]
    before, after = (
        np.array([_offset_minutes(wall, zone, fold) for wall in walls], dtype=np.int64)[index]
        for fold in (0, 1)
    )

    def problem(row: int) -> str:
        wall = iso(int(raw[row]) * MINUTE_MS // minute).removesuffix("Z")
        trouble = "does not exist" if before[row] < after[row] else "exists twice"
        time = f"{columns.time_name} {wall}"
        return f"{time} {trouble} in {name}: write all times in UTC, with a Z"

    columns.refuse_any(before != after, problem)  # PEP 495: they differ in a gap and in a fold
    return f"ISO in {name}", raw - before * minute


def _offset_minutes(wall: datetime, zone: tzinfo, fold: int) -> int:
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()
    return offset // timedelta(minutes=1)


def _time_text(raw: int, unit: Unit) -> str:
    return f"{raw} ({iso(raw * MINUTE_MS // _MINUTES[unit])})"
