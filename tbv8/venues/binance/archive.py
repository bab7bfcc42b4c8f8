"""Parses archive files: zips with one CSV of bars or of funding, and their CHECKSUM. No I/O.

Wire facts: docs/venues/binance.md. Times of Spot are milliseconds up to 2024 and microseconds from
2025 on; the columns after the volume are not read, since old files have junk in them.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv

from tbv8.market import Span
from tbv8.text import one_line, quoted
from tbv8.venues.base import Payment
from tbv8.venues.binance.minutes import VALUES, MinuteBars, clean_rows

MOST_BYTES = 16 * 2**20
"""The limit of a file, and again of its contents: a month of 1m bars has 2 MB, 6 MB unzipped."""

_ROWS_PER_MINUTE = 2  # some files have a minute twice

_COLUMNS = [
    "open_time",
    *VALUES,
    *("close_time", "quote_volume", "trades", "taker_base", "taker_quote", "unused"),
]
_READ = {"open_time": pa.int64(), **dict.fromkeys(VALUES, pa.float64())}
_CONVERT = pa.csv.ConvertOptions(
    column_types=_READ, include_columns=list(_READ), null_values=[], check_utf8=False
)
_RATE_COLUMNS = {
    "calc_time": pa.int64(),
    "funding_interval_hours": pa.int64(),
    "last_funding_rate": pa.float64(),
}
_RATE_HEADER = ",".join(_RATE_COLUMNS)
_MOST_RATES = 31 * 24
_CONVERT_RATES = pa.csv.ConvertOptions(column_types=_RATE_COLUMNS, null_values=[], check_utf8=False)
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")

# The head of a file in a zip: flags, method, CRC, sizes, lengths of its name and extra field.
_MEMBER = struct.Struct("<4s2xHH4xLLLHH")
_DESCRIPTOR = struct.Struct("<4sL")
_MEMBER_SIGN, _DESCRIPTOR_SIGN, _DIRECTORY_SIGN = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02"
_ENCRYPTED, _CRC_FOLLOWS = 1, 8
_STORED, _DEFLATED = 0, 8


class UnusableError(Exception):
    """An archive file that cannot be used; the text is the reason, without the file's name."""

    def __init__(self, problem: str) -> None:
        super().__init__(one_line(problem))


def digest(zipped: bytes) -> str:
    """Return the sha256 of a file, as a CHECKSUM has it."""
    return hashlib.sha256(zipped).hexdigest()


def parse_checksum(line: bytes, name: str) -> str:
    """Return the sha256 of the file `name` in a CHECKSUM file; "" if it has none."""
    match = _CHECKSUM.fullmatch(line)
    return match[1].decode().lower() if match and match[2] == name.encode() else ""


def parse_file(zipped: bytes, stem: str, span: Span) -> MinuteBars:
    """Parse an archive file of the month or day `span`, whose name is `stem` and `.zip`.

    Raises:
        UnusableError: It is damaged, or is not the bars of `span`.
    """
    text = _read_text(zipped, stem, most_rows=span.minutes * _ROWS_PER_MINUTE)
    columns = _read_columns(text, _COLUMNS, _CONVERT)
    try:
        return clean_rows(columns[0], columns[1:], span)
    except ValueError as e:
        raise UnusableError(str(e)) from e


def parse_rates(zipped: bytes, stem: str, span: Span) -> list[Payment]:
    """Parse an archive file of the funding of the month `span`.

    Raises:
        UnusableError: It is damaged, is not the funding of `span`, or has other columns.
    """
    text = _read_text(zipped, stem, most_rows=_MOST_RATES)
    header = text.splitlines()[0].decode(errors="replace") if text else ""
    if not text[:1].isdigit() and header != _RATE_HEADER:
        raise UnusableError(f"its columns are {quoted(header)}, not {_RATE_HEADER}")
    columns = _read_columns(text, list(_RATE_COLUMNS), _CONVERT_RATES)
    payments = [
        Payment(time_ms, rate, hours)
        for time_ms, hours, rate in zip(*(column.tolist() for column in columns), strict=True)
    ]
    for payment in payments:
        if not span.start_ms <= payment.time_ms < span.end_ms:
            raise UnusableError(f"a payment of time {payment.time_ms} lies outside of its month")
    return payments


def _read_text(zipped: bytes, stem: str, *, most_rows: int) -> bytes:
    text = _unzip(zipped, f"{stem}.csv").removeprefix(codecs.BOM_UTF8)
    if text.count(b"\n") + text.count(b"\r") > 2 * most_rows + 2:
        raise UnusableError(f"it has more than {most_rows:,} rows")
    return text


def _read_columns(text: bytes, names: Sequence[str], convert: pa.csv.ConvertOptions) -> list[Any]:
    """Return the columns of a CSV, with a header or without, as arrays."""
    header = 0 if text[:1].isdigit() else 1
    try:
        table = pa.csv.read_csv(
            pa.py_buffer(text),
            read_options=pa.csv.ReadOptions(
                column_names=names,
                skip_rows=header,
                use_threads=False,  # files are parsed side by side already
                block_size=max(len(text), 1),  # one block, so that a column is one chunk
            ),
            convert_options=convert,
        )
        if not table.num_rows:
            raise UnusableError("it has no rows")
        return [column.chunk(0).to_numpy() for column in table.columns]
    except ValueError as e:  # pyarrow's are ValueErrors too
        raise UnusableError(str(e)) from e


def _unzip(zipped: bytes, inner_name: str) -> bytes:
    """Return the one file in a zip, which begins with it.

    The directory at the zip's end is not read: it only repeats sizes, offsets and names.
    """
    try:
        sign, flags, method, crc, size, _, name_length, extra_length = _MEMBER.unpack_from(zipped)
    except struct.error:
        sign = b""
    if sign != _MEMBER_SIGN:
        raise UnusableError("it is not a zip that can be read (no file stands at its beginning)")
    data_at = _MEMBER.size + name_length + extra_length
    name = zipped[_MEMBER.size : _MEMBER.size + name_length]
    if name != inner_name.encode():
        raise UnusableError(f"it holds {quoted(name.decode(errors='replace'))}, not {inner_name!r}")
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise UnusableError(f"it is encrypted, or packed in a way that is not read ({method})")
    if method == _DEFLATED:
        text, tail = _inflate(zipped[data_at:])
    else:
        text, tail = zipped[data_at : data_at + size], zipped[data_at + size :]
    if flags & _CRC_FOLLOWS:
        crc, tail = _read_descriptor(tail)
    if zlib.crc32(text) != crc:
        raise UnusableError("it is damaged (another CRC)")
    if tail[:4] != _DIRECTORY_SIGN:
        raise UnusableError(f"it holds more than {inner_name!r}, or is cut off")
    return text


def _inflate(packed: bytes) -> tuple[bytes, bytes]:
    """Return the inflated contents of a file, and the bytes after the file."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = inflater.decompress(packed, MOST_BYTES + 1)
    except zlib.error as e:
        raise UnusableError(f"it is damaged ({e})") from e
    if len(text) > MOST_BYTES:
        raise UnusableError(f"it unzips to more than {MOST_BYTES:,} bytes")
    if not inflater.eof:
        raise UnusableError("it is cut off")
    return text, inflater.unused_data


def _read_descriptor(tail: bytes) -> tuple[int, bytes]:
    """Return the CRC that follows a file whose head lacks it, and the bytes after that."""
    try:
        sign, crc = _DESCRIPTOR.unpack_from(tail)
    except struct.error:
        raise UnusableError("it is cut off") from None
    length = 16
    if sign != _DESCRIPTOR_SIGN:  # it may be left out
        crc, length = int.from_bytes(sign, "little"), 12
    return crc, tail[length:]
