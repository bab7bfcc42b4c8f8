"""The columns of a file of bars: detects its format, delimiter and columns, and parses them.

The format follows from the first bytes.

Arrow's thread pool is not used: a process that ends soon after using it sometimes aborts (2 of 100,
"terminate called without an active exception"). A year of CSV takes 0.15 s without it.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tbv8.errors import DataError
from tbv8.text import one_line, quoted
from tbv8.venues.files.zone import Zone, is_local_iso, parse_iso

PRICES = ("open", "high", "low", "close", "volume")
TIMES = ("ts", "ts_ms", "timestamp", "unix", "time", "open_time", "date", "datetime")
"""The names of the time column; if a file has several of them, the first in this list is read."""

# The columns of files without a header. The twelve columns of Binance's archive begin as ccxt's
# six; jesse has the same six in another order.
_ARCHIVE_WIDTH = 12
_CCXT = {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
_JESSE = {"timestamp": 0, "open": 1, "close": 2, "high": 3, "low": 4, "volume": 5}

_WHOLE = re.compile(r"\s*[0-9]{1,19}\s*")

type Flags = npt.NDArray[np.bool_]


class Columns:
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
        zone: Zone,
        time: tuple[str, pa.ChunkedArray],
        values: Sequence[pa.ChunkedArray],
        where: Callable[[int], str],
        layout: str = "",
    ) -> None:
        self.name, self.zone, self.time_name, self.time = name, zone, *time
        self.values, self.where, self.layout = values, where, layout

    def refuse(self, row: int, problem: str, *, count: int = 1) -> NoReturn:
        """Raise a DataError about a row, the first of `count` with this problem."""
        suffix = f" (and {count - 1:,} more such rows)" if count > 1 else ""
        raise DataError(f"{self.name}{self.where(row)}: {problem}{suffix}")

    def refuse_any(self, is_wrong: Flags, problem: Callable[[int], str]) -> None:
        """Refuse the first wrong row, if there is one."""
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            self.refuse(row, problem(row), count=int(np.count_nonzero(is_wrong)))


def parse_columns(raw: bytes, name: str, zone: Zone) -> Columns:
    """Parse a file's contents: CSV, Parquet or Feather, gzipped or not.

    Raises:
        DataError: It is none of these, or a line or column is not as expected.
    """
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


def _parse_table(raw: bytes, name: str, zone: Zone) -> Columns:
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
    return Columns(name, zone, (time, table[time]), values, lambda row: f": row {row + 1}")


def _parse_csv(raw: bytes, name: str, zone: Zone) -> Columns:
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
    return Columns(
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

    def __init__(self, raw: bytes, name: str, zone: Zone) -> None:
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
        is_local = bool(self._zone.name) and is_local_iso(first.strip())
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
                        parse_iso(value.strip(), self._zone, is_local=kind.tz is None)
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

    names, order = max(candidates.items(), key=lambda item: possible(item[1]))
    picked = {"time": 0} | {word: order[word] for word in PRICES}
    return picked, f"no header, columns by the prices: time, open, {names}, volume"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
