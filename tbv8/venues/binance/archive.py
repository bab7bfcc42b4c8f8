"""Parses archive files: a zip with one CSV of bars or of funding, and its CHECKSUM. Pure, no I/O.

Wire facts: docs/venues/binance.md. Times of Spot are milliseconds until 2024 and microseconds from
2025 on. The columns after the volume are not read, since old files have junk in them.
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

MAX_BYTES = 16 * 2**20
"""The limit of a zip, and again of its content; a month of 1m bars has 2 MB, 6 MB unzipped."""

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
_MAX_RATES = 31 * 24
_CONVERT_RATES = pa.csv.ConvertOptions(column_types=_RATE_COLUMNS, null_values=[], check_utf8=False)
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")

# The head of a file in a zip: flags, method, CRC, sizes, lengths of its name and extra field.
_MEMBER = struct.Struct("<4s2xHH4xLLLHH")
_DESCRIPTOR = struct.Struct("<4sL")
_MEMBER_SIGN, _DESCRIPTOR_SIGN, _DIRECTORY_SIGN = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02"
_ENCRYPTED, _CRC_FOLLOWS = 1, 8
_STORED, _DEFLATED = 0, 8


class UnusableError(Exception):
    """An archive file cannot be used; the text is the reason, without the file's name."""

    def __init__(self, problem: str) -> None:
        super().__init__(one_line(problem))


def digest(zipped: bytes) -> str:
    """Return the sha256 of a zip as lower-case hex."""
    return hashlib.sha256(zipped).hexdigest()


def parse_checksum(line: bytes, name: str) -> str:
    """Return the sha256 in the line of a CHECKSUM file; "" if it is not for the file `name`."""
    match = _CHECKSUM.fullmatch(line)
    return match[1].decode().lower() if match and match[2] == name.encode() else ""


def parse_file(zipped: bytes, stem: str, span: Span) -> MinuteBars:
    """Parse the archive file `<stem>.zip` of 1m bars; `span` is its month or day.

    Raises:
        UnusableError: The file is damaged, or has other rows than bars of `span`.
    """
    text = _read_text(zipped, stem, max_rows=span.minutes * _ROWS_PER_MINUTE)
    columns = _read_columns(text, _COLUMNS, _CONVERT)
    try:
        return clean_rows(columns[0], columns[1:], span)
    except ValueError as e:
        raise UnusableError(str(e)) from e


def parse_rates(zipped: bytes, stem: str, span: Span) -> list[Payment]:
    """Parse the archive file `<stem>.zip` of funding payments; `span` is its month.

    Raises:
        UnusableError: The file is damaged, has other columns, or payments outside of `span`.
    """
    text = _read_text(zipped, stem, max_rows=_MAX_RATES)
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
            raise UnusableError(f"a payment at {payment.time_ms} is outside of its month")
    return payments


def _read_text(zipped: bytes, stem: str, *, max_rows: int) -> bytes:
    text = _unzip(zipped, f"{stem}.csv").removeprefix(codecs.BOM_UTF8)
    if text.count(b"\n") + text.count(b"\r") > 2 * max_rows + 2:
        raise UnusableError(f"it has more than {max_rows:,} rows")
    return text


def _read_columns(text: bytes, names: Sequence[str], convert: pa.csv.ConvertOptions) -> list[Any]:
    """Return the columns of a CSV as numpy arrays; a header row is skipped."""
    header = 0 if text[:1].isdigit() else 1
    try:
        table = pa.csv.read_csv(
            pa.py_buffer(text),
            read_options=pa.csv.ReadOptions(
                column_names=names,
                skip_rows=header,
                use_threads=False,  # several files are parsed at once already
                block_size=max(len(text), 1),  # one block, so that each column is one chunk
            ),
            convert_options=convert,
        )
        if not table.num_rows:
            raise UnusableError("it has no rows")
        return [column.chunk(0).to_numpy() for column in table.columns]
    except ValueError as e:  # the base of pyarrow's exceptions too
        raise UnusableError(str(e)) from e


def _unzip(zipped: bytes, inner_name: str) -> bytes:
    """Return the content of the only file in a zip.

    It is read from the zip's beginning. The directory at the zip's end only repeats its sizes,
    offset and name, and is not read.
    """
    try:
        sign, flags, method, crc, size, _, name_length, extra_length = _MEMBER.unpack_from(zipped)
    except struct.error:
        sign = b""
    if sign != _MEMBER_SIGN:
        raise UnusableError("it is no zip that begins with a file")
    data_at = _MEMBER.size + name_length + extra_length
    name = zipped[_MEMBER.size : _MEMBER.size + name_length]
    if name != inner_name.encode():
        shown = quoted(name.decode(errors="replace"))
        raise UnusableError(f"it contains {shown}, not {inner_name!r}")
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise UnusableError(f"it is encrypted, or compressed by an unknown method ({method})")
    if method == _DEFLATED:
        text, tail = _inflate(zipped[data_at:])
    else:
        text, tail = zipped[data_at : data_at + size], zipped[data_at + size :]
    if flags & _CRC_FOLLOWS:
        crc, tail = _read_descriptor(tail)
    if zlib.crc32(text) != crc:
        raise UnusableError("it is damaged (its CRC differs)")
    if tail[:4] != _DIRECTORY_SIGN:
        raise UnusableError(f"it contains more than {inner_name!r}, or is cut off")
    return text


def _inflate(packed: bytes) -> tuple[bytes, bytes]:
    """Return the inflated content of a deflated file, and the bytes after it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = inflater.decompress(packed, MAX_BYTES + 1)
    except zlib.error as e:
        raise UnusableError(f"it is damaged ({e})") from e
    if len(text) > MAX_BYTES:
        raise UnusableError(f"it unzips to more than {MAX_BYTES:,} bytes")
    if not inflater.eof:
        raise UnusableError("it is cut off")
    return text, inflater.unused_data


def _read_descriptor(tail: bytes) -> tuple[int, bytes]:
    """Return the CRC from the descriptor after a file, and the bytes after the descriptor."""
    try:
        sign, crc = _DESCRIPTOR.unpack_from(tail)
    except struct.error:
        raise UnusableError("it is cut off") from None
    length = 16
    if sign != _DESCRIPTOR_SIGN:  # the signature is optional
        crc, length = int.from_bytes(sign, "little"), 12
    return crc, tail[length:]
