"""The history of 1m bars in the user's files.

A minute without a bar in any file of a symbol counts as missing until the files change.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from tbv8.errors import DataError
from tbv8.market import DAY_MS, Span, iso, parse_timeframe
from tbv8.venues.base import FetchedSpan, History, LocalConnection
from tbv8.venues.files.columns import PRICES
from tbv8.venues.files.index import FileIndex
from tbv8.venues.files.read import FileBars, read_file

NO_FILE = "no file has it"
"""The ledger source of a span for which no file has a bar."""


def open_history(index: FileIndex) -> History:
    """Open a session with the user's files; its clock is ours."""
    return History(LocalConnection(lambda: int(time.time() * 1000)), FileRows(index))


class FileRows:
    """The 1m bars of a user's files; each file is read once.

    Args:
        index: The files.
    """

    def __init__(self, index: FileIndex) -> None:
        self._index = index
        self._read: dict[str, _SymbolBars] = {}

    def first_ms(self, native: str) -> int:
        """Return the UTC midnight before the first bar.

        Raises:
            DataError: There is no file, or one of the files cannot be used.
        """
        first_ms = min(span.start_ms for span in self._index.by_source(native).values())
        return first_ms // DAY_MS * DAY_MS

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, in time order: one per run of days of equal files.

        Raises:
            DataError: A file cannot be used, or two have different bars of one minute.
        """
        symbol_bars = self._symbol_bars(native)
        notes = symbol_bars.notes
        for gap in gaps:
            for span, names in _pieces(gap, symbol_bars.files):
                source = "; ".join(names) or NO_FILE
                yield FetchedSpan(
                    span=span, bars=symbol_bars.within(span), source=source, notes=notes
                )
                notes = ()

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the files' bars of `span`, by time."""
        return self._symbol_bars(native).within(span)

    def _symbol_bars(self, native: str) -> _SymbolBars:
        if native not in self._read:
            self._read[native] = self._read_files(native)
        return self._read[native]

    def _read_files(self, native: str) -> _SymbolBars:
        sources, files, parts = self._index.by_source(native), {}, []
        for path in self._index.paths(native):
            bars = read_file(path, name=self._index.name(path), zone=self._index.zone)
            source = self._index.source(path, bars.sha256)
            if source not in sources:
                raise DataError(f"{self._index.name(path)}: it changed during the run: run again")
            files[source] = bars.span
            parts.append((path, bars))
        opens, *values = self._join(parts)
        return _SymbolBars(
            files=files,
            bars=pa.table(dict(zip(("ts_ms", *PRICES), (opens, *values), strict=True))),
            notes=self._notes(parts),
        )

    def _notes(self, parts: Sequence[tuple[Path, FileBars]]) -> tuple[str, ...]:
        """Return one line for the user per layout: its files, their bars, and the layout."""
        alike: dict[str, list[tuple[Path, FileBars]]] = {}
        for path, bars in parts:
            alike.setdefault(bars.layout, []).append((path, bars))
        return tuple(
            f"{self._index.name(files[0][0])} and {len(files) - 1:,} more: "
            f"{sum(len(bars.ts_ms) for _, bars in files):,} bars, {layout}"
            if len(files) > 1
            else files[0][1].note(self._index.name(files[0][0]))
            for layout, files in alike.items()
        )

    def _join(self, parts: Sequence[tuple[Path, FileBars]]) -> list[np.ndarray]:
        """Return the bars of all files by time; bars of the same minute must be equal."""
        columns = [
            np.concatenate([(bars.ts_ms, *bars.values)[index] for _, bars in parts])
            for index in range(1 + len(PRICES))
        ]
        if len(parts) == 1:
            return columns
        order = np.argsort(columns[0], kind="stable")
        columns = [column[order] for column in columns]
        twin = np.flatnonzero(np.diff(columns[0]) == 0)
        differs = np.any([column[twin] != column[twin + 1] for column in columns], axis=0)
        if differs.any():
            index = int(twin[np.argmax(differs)])
            places = " and ".join(self._place(parts, int(row)) for row in order[index : index + 2])
            when = iso(int(columns[0][index]))
            raise DataError(
                f"{places} have different bars of {when} (and of "
                f"{np.count_nonzero(differs) - 1:,} more minutes): correct or remove one of them"
            )
        return [np.delete(column, twin + 1) for column in columns]

    def _place(self, parts: Sequence[tuple[Path, FileBars]], row: int) -> str:
        for path, bars in parts:
            if row < len(bars.ts_ms):
                return f"{self._index.name(path)}{bars.where(row)}"
            row -= len(bars.ts_ms)
        raise AssertionError("no such row")


@dataclass(frozen=True, slots=True)
class _SymbolBars:
    """A symbol's bars, the spans of its files by ledger name, and notes for the user."""

    files: dict[str, Span]
    bars: pa.Table
    notes: tuple[str, ...]

    def within(self, span: Span) -> pa.Table:
        low, high = np.searchsorted(self.bars["ts_ms"].to_numpy(), [span.start_ms, span.end_ms])
        return self.bars.slice(low, high - low)


def _pieces(gap: Span, files: dict[str, Span]) -> Iterator[tuple[Span, tuple[str, ...]]]:
    """Split a gap at the ends of months, and between days whose bars come from different files.

    Yields:
        The span of each part, and the ledger names of its files.
    """
    month = parse_timeframe("1M")

    def origin(part: Span) -> tuple[int, tuple[str, ...]]:
        names = tuple(name for name, span in files.items() if span.intersection(part))
        return month.floor(part.start_ms), names

    days = (gap.intersection(Span(day_ms, day_ms + DAY_MS)) for day_ms in gap.days())
    for (_, names), days_alike in groupby(days, key=origin):
        parts = list(days_alike)
        yield Span(parts[0].start_ms, parts[-1].end_ms), names
