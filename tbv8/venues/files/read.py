"""Reads one file of 1m bars: detects its format, columns and unit of time, and checks every row.

The format follows from the first bytes. A wrong row is refused with its line number, never
corrected. The only change to a file is its order, if it begins with its newest bar.

Arrow's thread pool is not used: a process that ends soon after using it sometimes aborts (2 of 100,
"terminate called without an active exception"). A year of CSV takes 0.15 s without it.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal, NoReturn
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tbv8.errors import DataError
from tbv8.market import MAX_PRICE, MAX_VOLUME, MINUTE_MS, Span, iso, parse_time
from tbv8.text import counted, one_line, quoted

PRICES = ("open", "high", "low", "close", "volume")
TIMES = ("ts", "ts_ms", "timestamp", "unix", "time", "open_time", "date", "datetime")
"""The names of the time column; if a file has several of them, the first in this list is read."""

# The columns of files without a header. The twelve columns of Binance's archive begin as ccxt's
# six; jesse has the same six in another order.
_ARCHIVE_WIDTH = 12
_CCXT = {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
_JESSE = {"timestamp": 0, "open": 1, "close": 2, "high": 3, "low": 4, "volume": 5}

_MINUTES = {"s": 60, "ms": MINUTE_MS, "us": MINUTE_MS * 10**3, "ns": MINUTE_MS * 10**6}
_FIRST_S, _END_S = 10**8, 10**11  # 1973 to 5138: a number is a time in one unit at most
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # local wall-clock time has no zone
_ZONE_CURE = (
    "write the zone of its times, such as `zone: UTC` or `zone: Europe/Berlin`, below "
    "`history: files` in the venue's file"
)
_WHOLE = re.compile(r"\s*[0-9]{1,19}\s*")
_MIN_STEPS = 5  # with fewer bars, equal gaps may be chance

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]
type Flags = npt.NDArray[np.bool_]
type Unit = Literal["s", "ms", "us", "ns"]


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
    columns = _parse(raw, name, _Zone(zone, zone_cure))
    return _check_rows(columns, sha256)


@dataclass(frozen=True, slots=True)
class _Zone:
    """The time zone of times without a zone ("" for none), and the way to set it."""

    name: str
    cure: str


class _Columns:
    """The columns of a file, before their values are checked.

    Args:
        name: The name of the file in error messages.
        zone: The time zone of times without a zone.
        time: The name of the time column, and the column.
        values: One column for each of `PRICES`.
        where: Returns the place of a row: `:17` or `: row 17`.
        layout: The guessed order of columns without a header; "" with a header.
    """

    def __init__(
        self,
        name: str,
        zone: _Zone,
        time: tuple[str, pa.ChunkedArray],
        values: Sequence[pa.ChunkedArray],
        where: Callable[[int], str],
        layout: str = "",
    ) -> None:
        self.name, self.zone, self.time_name, self.time = name, zone, *time
        self.values, self.where, self.layout = values, where, layout

    def refuse(self, row: int, problem: str, *, count: int = 1) -> NoReturn:
        suffix = f" (and {count - 1:,} more such rows)" if count > 1 else ""
        raise DataError(f"{self.name}{self.where(row)}: {problem}{suffix}")

    def refuse_any(self, is_wrong: Flags, problem: Callable[[int], str]) -> None:
        """Refuse the first wrong row, if there is one."""
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            self.refuse(row, problem(row), count=int(np.count_nonzero(is_wrong)))


def _parse(raw: bytes, name: str, zone: _Zone) -> _Columns:
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as e:
            raise DataError(
                f"{name}: it is not a complete gzip file ({e}): compress the file again"
            ) from e
    if raw[:4] == b"PAR1" or raw[:6] == b"ARROW1":
        return _parse_table(raw, name, zone)
    if raw[:4] in (b"PK\x03\x04", b"FEA1"):
        kind_problem = (
            "a zip: unpack it" if raw[:2] == b"PK" else "Feather of version 1: write version 2"
        )
        raise DataError(f"{name}: it is {kind_problem}")
    return _parse_csv(raw, name, zone)


def _parse_table(raw: bytes, name: str, zone: _Zone) -> _Columns:
    """Parse Parquet or Feather (version 2 of Feather is Arrow's file format)."""
    try:
        if raw[:4] == b"PAR1":
            file = pa.parquet.ParquetFile(pa.BufferReader(raw))
            picked = _pick_columns(file.schema_arrow.names, name)
            table = file.read(columns=list(picked.values()), use_threads=False)
        else:
            options = pa.ipc.IpcReadOptions(use_threads=False)
            table = pa.ipc.open_file(pa.BufferReader(raw), options=options).read_all()
            picked = _pick_columns(table.column_names, name)
        values = [table[picked[column]].cast(pa.float64(), safe=False) for column in PRICES]
    except (pa.ArrowException, OSError) as e:
        raise DataError(f"{name}: it cannot be read as bars ({one_line(str(e))})") from e
    time = picked["time"]
    return _Columns(name, zone, (time, table[time]), values, lambda row: f": row {row + 1}")


def _parse_csv(raw: bytes, name: str, zone: _Zone) -> _Columns:
    text = _Csv(raw, name, zone)
    kinds = {number: pa.float64() for number in text.picked.values()}
    kinds[text.picked["time"]] = text.time_type()
    names = [str(number) for number in range(text.width)]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(raw),
            pa.csv.ReadOptions(use_threads=False, column_names=names, skip_rows=text.header_lines),
            pa.csv.ParseOptions(delimiter=text.delimiter),
            pa.csv.ConvertOptions(
                include_columns=[str(number) for number in kinds],
                column_types={str(number): kind for number, kind in kinds.items()},
                timestamp_parsers=[pa.csv.ISO8601],
            ),
        )
    except pa.ArrowInvalid as e:
        raise DataError(f"{name}{text.describe_problem(one_line(str(e)))}") from e
    picked, layout = text.picked, ""
    if not text.header_lines and text.width == len(_CCXT):
        picked, layout = _guess_order(table)
    return _Columns(
        name,
        zone,
        (text.time_name, table[str(picked["time"])]),
        [table[str(picked[column])] for column in PRICES],
        lambda row: f":{text.line_of(row)}",
        layout,
    )


class _Csv:
    """The layout of a CSV file: its delimiter, the numbers of its columns, the lines of its rows.

    Args:
        raw: The contents of the file.
        name: The name of the file in error messages.
        zone: The time zone of times without a zone.
    """

    def __init__(self, raw: bytes, name: str, zone: _Zone) -> None:
        try:
            head = raw[: raw.find(b"\n") + 1 or None].decode("utf-8-sig")
        except UnicodeDecodeError as e:
            raise DataError(
                f"{name}: it is neither UTF-8 text nor gzip, Parquet or Feather: save it as one "
                "of them"
            ) from e
        if not head.strip():
            raise DataError(f"{name}: its first line is empty: it must name the columns")
        self._raw, self._zone = raw, zone
        self.delimiter = max(",;\t", key=head.count)
        fields = next(csv.reader([head.strip("\r\n")], delimiter=self.delimiter))
        self.width = len(fields)
        self.header_lines = 0 if _is_number(fields[0]) else 1
        if self.header_lines:
            names = _pick_columns(fields, name)
            self.time_name = names["time"].strip()
            self.picked = {word: fields.index(field) for word, field in names.items()}
        elif self.width in (len(_CCXT), _ARCHIVE_WIDTH):
            self.time_name = "column 1"
            self.picked = {"time": 0} | {word: _CCXT[word] for word in PRICES}
        else:
            raise DataError(
                f"{name}: its first line names no columns: write {', '.join(['ts', *PRICES])} above"
            )

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number, from 1 on, and the fields of each row that is not empty."""
        text = io.TextIOWrapper(io.BytesIO(self._raw), encoding="utf-8-sig", errors="replace")
        reader = csv.reader(text, delimiter=self.delimiter)
        for number, fields in enumerate(reader, 1):
            if number > self.header_lines and fields:
                yield number, fields

    def line_of(self, row: int) -> int:
        """Return the line number of a row; rows count from 0."""
        return next(line for index, (line, _) in enumerate(self.rows()) if index == row)

    def time_type(self) -> pa.DataType:
        """Return the type of the time column, from its first value."""
        _, fields = next(self.rows(), (0, []))
        first = fields[self.picked["time"]] if len(fields) == self.width else ""
        if _WHOLE.fullmatch(first):
            return pa.int64()
        if _is_number(first):
            return pa.float64()
        is_local = bool(self._zone.name) and _is_local(first.strip())
        return pa.timestamp("us") if is_local else pa.timestamp("us", "UTC")

    def describe_problem(self, fallback: str) -> str:
        """Return the place of the first unreadable line and the reason; `fallback` if unknown."""
        kind = self.time_type()
        for line, fields in self.rows():
            if len(fields) != self.width:
                return (
                    f":{line}: it has {len(fields)} fields, where the first line has {self.width}"
                )
            for word, number in self.picked.items():
                value = fields[number]
                if word == "time" and pa.types.is_timestamp(kind):
                    try:
                        _parse_iso(value.strip(), self._zone, is_local=kind.tz is None)
                    except ValueError as e:
                        return f":{line}: {self.time_name}: {e}"
                elif word == "time" and pa.types.is_integer(kind) and not _WHOLE.fullmatch(value):
                    return f":{line}: {self.time_name} is {quoted(value)}: expected a whole number"
                elif not _is_number(value):
                    column = self.time_name if word == "time" else word
                    return f":{line}: {column} is {quoted(value)}: expected a number"
        return f": it cannot be read as CSV ({fallback})"


def _pick_columns(names: Sequence[str], name: str) -> dict[str, str]:
    """Return the names of the columns for `time` and for each of `PRICES`.

    Raises:
        DataError: A column is missing, or there twice.
    """
    plain = [str(column).strip().strip("﻿").lower() for column in names]
    times = [column for column in TIMES if column in plain]
    absent = [column for column in PRICES if column not in plain]
    if not times or absent:
        lacking = " and ".join(
            [*([] if times else ["time (ts, timestamp, time or date)"]), *absent]
        )
        raise DataError(
            f"{name}: it has no column {lacking}, only "
            f"{one_line(', '.join(map(str, names)), max_length=200)}: name its columns "
            f"{', '.join(['ts', *PRICES])}"
        )
    picked = {"time": times[0]} | {column: column for column in PRICES}
    doubles = [column for column, count in Counter(plain).items() if count > 1]
    if doubled := [column for column in picked.values() if column in doubles]:
        raise DataError(f"{name}: it has two columns {doubled[0]!r}: remove one")
    return {word: names[plain.index(column)] for word, column in picked.items()}


def _guess_order(table: pa.Table) -> tuple[dict[str, int], str]:
    """Guess the order of six columns without names: the one that makes more rows possible bars."""
    candidates = {"high, low, close": _CCXT, "close, high, low (as jesse has it)": _JESSE}

    def possible(order: Mapping[str, int]) -> int:
        first, high, low, last = (
            table[str(order[word])].to_numpy() for word in ("open", "high", "low", "close")
        )
        fits = (low <= np.minimum(first, last)) & (np.maximum(first, last) <= high)
        return int(np.count_nonzero(fits))

    words, order = max(candidates.items(), key=lambda item: possible(item[1]))
    picked = {"time": 0} | {word: order[word] for word in PRICES}
    return picked, f"no header, columns by the prices: time, open, {words}, volume"


def _is_local(text: str) -> bool:
    """Return True for an ISO time without a zone."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).tzinfo is None
    return False


def _parse_iso(text: str, zone: _Zone, *, is_local: bool) -> int:
    """Parse an ISO time to milliseconds; a local time is parsed as if it were UTC.

    Raises:
        ValueError: The text is no such time.
    """
    if is_local:
        if not _is_local(text):
            raise ValueError(f"{quoted(text)} is no time without a zone as the first is")
        return parse_time(f"{text}Z" if len(text) > len("2024-01-31") else text)
    try:
        return parse_time(text)
    except ValueError as e:
        raise ValueError(f"{e}, or {zone.cure}" if _is_local(text) else str(e)) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_rows(columns: _Columns, sha256: str) -> FileBars:
    values = [
        _numbers(columns, name, column) for name, column in zip(PRICES, columns.values, strict=True)
    ]
    ts_ms, unit = _times(columns)
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


def _numbers(columns: _Columns, name: str, column: pa.ChunkedArray) -> Floats:
    numbers: Floats = column.to_numpy()
    columns.refuse_any(
        ~np.isfinite(numbers), lambda _: f"{name} is not a number: correct it, or remove the row"
    )
    return numbers


def _times(columns: _Columns) -> tuple[Ints, str]:
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


def _raw_times(columns: _Columns, column: pa.ChunkedArray) -> tuple[Unit, str, Ints]:
    """Return the unit of the times, its name for the user, and the times in that unit.

    All rows of a file must have the same unit.
    """
    name, kind = columns.time_name, column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = column.to_pylist()
        is_local = bool(columns.zone.name) and _is_local(texts[0])
        for row, text in enumerate(texts):
            try:
                texts[row] = _parse_iso(text, columns.zone, is_local=is_local)
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


def _from_local(columns: _Columns, raw: Ints, unit: Unit) -> tuple[str, Ints]:
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


def _check_order(columns: _Columns, ts_ms: Ints) -> None:
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


def _check_possible(columns: _Columns, values: Sequence[Floats]) -> None:
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
