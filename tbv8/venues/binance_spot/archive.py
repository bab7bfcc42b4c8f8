"""An archive file: a zip with one CSV of 12 columns, and the CHECKSUM beside it. Pure.

Wire facts: protocols.md 3.5. Times are milliseconds up to 2024 and microseconds from 2025 on; the
columns behind the volume are not read, since old files have junk in them.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
import zipfile
import zlib
from typing import Any

import pyarrow as pa
import pyarrow.csv

from tbv8.market import Span
from tbv8.venues.binance_spot.minutes import VALUES, Minutes, settle

MOST_BYTES = 64 * 2**20
"""No file of a month of 1m bars comes near it: 2 MB, or 6 MB unzipped."""

_COLUMNS = [
    "open_time",
    *VALUES,
    *("close_time", "quote_volume", "trades", "taker_base", "taker_quote", "unused"),
]
_READ = {"open_time": pa.int64(), **dict.fromkeys(VALUES, pa.float64())}
_CONVERT = pa.csv.ConvertOptions(
    column_types=_READ, include_columns=list(_READ), null_values=[], check_utf8=False
)
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")


class UnusableError(Exception):
    """An archive file that is not what its name says; its text says why, without the name."""


def digest(zipped: bytes) -> str:
    """Return the sha256 that a CHECKSUM has."""
    return hashlib.sha256(zipped).hexdigest()


def parse_checksum(line: bytes, name: str) -> str:
    """Parse a CHECKSUM file to the sha256 of the file `name`; "" if it tells nothing of it."""
    found = _CHECKSUM.fullmatch(line)
    return found[1].decode().lower() if found and found[2] == name.encode() else ""


def parse_file(zipped: bytes, stem: str, span: Span) -> Minutes:
    """Parse an archive file of the month or day `span`, whose name is `stem` and `.zip`.

    Raises:
        UnusableError: It is damaged, or is not the bars of `span`.
    """
    text = _unzip(zipped, f"{stem}.csv").removeprefix(codecs.BOM_UTF8)
    header = 0 if text[:1].isdigit() else 1
    try:
        table = pa.csv.read_csv(
            pa.py_buffer(text),
            read_options=pa.csv.ReadOptions(
                column_names=_COLUMNS,
                skip_rows=header,
                use_threads=False,  # files are parsed side by side already
                block_size=max(len(text), 1),  # one block, so that a column is one chunk
            ),
            convert_options=_CONVERT,
        )
        if not table.num_rows:
            raise UnusableError("it has no rows")
        columns: list[Any] = [column.chunk(0).to_numpy() for column in table.columns]
        return settle(columns[0], columns[1:], span)
    except ValueError as e:  # pyarrow's are ValueErrors too
        raise UnusableError(" ".join(str(e).split())) from e


def _unzip(zipped: bytes, inner_name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            names = archive.namelist()
            if names != [inner_name]:
                raise UnusableError(f"it holds {names}, not {inner_name!r}")
            if archive.getinfo(inner_name).file_size > MOST_BYTES:
                raise UnusableError(f"it unzips to more than {MOST_BYTES} bytes")
            return archive.read(inner_name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
        raise UnusableError(f"it is not a zip that can be read ({e})") from e
