"""Checks before rows of a series are written, and lines about them for the user."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TextIO

from tbv8.config.records import Venue
from tbv8.errors import DataError
from tbv8.market import DAY_MS, MINUTE_MS, Series
from tbv8.store.bars import BarStore
from tbv8.store.natives import NativeMarket, claim_native, is_changed, read_native
from tbv8.text import counted, one_line

_ROW_BYTES = 92  # of a 1m bar in SQLite with its venue and symbol; measured: 89 for BTC/USDT


def is_other_market(store: BarStore, series: Series, venue: Venue) -> bool:
    """Return True if the stored rows are of another market or unit than the venue's file has."""
    stored, configured = read_native(store.query, series), _market(series, venue, "")
    return is_changed(stored, configured, any_name=venue.has_files)


def claim(store: BarStore, series: Series, venue: Venue, native: str) -> None:
    """Store the market of a series; refuse one that differs from that of stored rows."""
    market = _market(series, venue, native)
    claim_native(store, series, market, any_name=venue.has_files)


def _market(series: Series, venue: Venue, native: str) -> NativeMarket:
    """Return the market that a venue's file configures; `native` is the full native symbol."""
    return NativeMarket(
        native=venue.market_name(native),
        setting=venue.market_name(venue.symbols[series.symbol]),
        multiplier=venue.multiplier(series.symbol),
    )


def imported_native(series: Series, venue: Venue) -> str:
    """Return the native symbol of a series without a history source."""
    return venue.symbols[series.symbol] or series.symbol


def check_disk(db_path: Path, minutes: int) -> None:
    """Refuse bars that would fill the disk; the month being written takes twice its space."""
    needed = (minutes + min(minutes, 31 * DAY_MS // MINUTE_MS)) * _ROW_BYTES
    free = shutil.disk_usage(db_path.parent).free
    if free < needed:
        raise DataError(
            f"{db_path}: {counted(minutes, 'bar')} take about {_megabytes(needed)}, but "
            f"{_megabytes(free)} are free on its disk: free some space, set another db_path in "
            "config/data.yaml, or a later start_date in config/history.yaml"
        )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def print_line(subject: Series | str, line: str, *, out: TextIO | None = None) -> None:
    """Print a line about a series or a venue."""
    print(f"   {subject}: {one_line(line)}", file=out, flush=True)
