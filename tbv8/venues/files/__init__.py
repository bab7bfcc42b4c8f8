"""History from a user's own files of 1m bars: CSV, gzip, Parquet, Feather.

    index       the files with sha256 and span, which it stores; imports little
    scan        the program that reads files for the index, in a process of its own
    read        one file: checks of every row
    columns     its format and columns
    times       its times, in any unit
    zone        the zone of times without one
    history     the session

A venue of any name has this history with `history: files` in its YAML. Only `index` is imported at
the top: the other modules import numpy and pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tbv8.market import Span
from tbv8.venues.base import Cost, Endpoints, FilesOrigin, History, HistorySource, Log
from tbv8.venues.files.index import FileIndex


def files_source(origin: FilesOrigin) -> HistorySource:
    """Return the history that `origin` configures."""
    index = FileIndex(origin)
    return HistorySource(
        span=index.span, cost=_cost, open=partial(_open_session, index), files=index.by_source
    )


def _open_session(index: FileIndex, endpoints: Endpoints, log: Log) -> History:
    from tbv8.venues.files.history import open_history

    return open_history(index)


def _cost(gaps: Sequence[Span], now_ms: int) -> Cost:
    """Return a cost of nothing: there is no network."""
    return Cost()
