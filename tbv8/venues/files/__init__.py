"""History from a user's own files of 1m bars: CSV, gzip, Parquet, Feather.

    index       which files, of which sha256 and time: remembered, light to import
    scan        the program that reads files for the index, in a process of its own
    read        one file: format, columns, unit of time, checks
    history     the session

The venue's name is free; `history: files` in its YAML leads here. Only `index` is imported at the
top: the others bring numpy and pyarrow with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from tbv8.market import Span
from tbv8.venues.base import Cost, Endpoints, FromFiles, History, HistorySource, Log
from tbv8.venues.files.index import FileIndex


def files_source(origin: FromFiles) -> HistorySource:
    """Return the history that `origin` configures."""
    index = FileIndex(origin)

    def opened(endpoints: Endpoints, log: Log) -> History:
        from tbv8.venues.files.history import open_history

        return open_history(index)

    return HistorySource(span=index.span, cost=_cost, open=opened, files=index.named)


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return that nothing is asked of a network."""
    return Cost()
