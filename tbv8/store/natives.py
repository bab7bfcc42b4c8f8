"""The native market of each stored series, so that rows of two markets never mix.

Rows are stored under venue and symbol. The native symbol and the multiplier are the user's
settings: after a change, the stored rows belong to another market, or are in another unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tbv8.errors import ConfigError
from tbv8.market import Series
from tbv8.store.database import Query
from tbv8.store.ledger import FUNDING, MINUTE_DATASETS, has_days

UPSERT = (
    "INSERT OR REPLACE INTO native_markets (venue, symbol, native, setting, multiplier)"
    " VALUES (?, ?, ?, ?, ?)"
)
"""Writes the market of a series; see `NativeMarket.row`."""


class NativeMarket(msgspec.Struct, frozen=True, kw_only=True):
    """The market at the venue of the rows of a series.

    Attributes:
        native: The native symbol; "" if unknown: the rows are older than this table.
        setting: The native symbol in the venue's file; "" if the venue's rule applies.
        multiplier: The number of the symbol's units that the venue trades as one.
    """

    native: str
    setting: str
    multiplier: Decimal

    def __str__(self) -> str:
        name = repr(self.native) if self.native else "the market"
        return name if self.multiplier == 1 else f"{name} in units of {self.multiplier:f}"

    def row(self, series: Series) -> tuple[str, str, str, str, str]:
        """Return the values for `UPSERT`."""
        return (
            series.venue,
            series.symbol,
            self.native,
            self.setting,
            f"{self.multiplier.normalize():f}",
        )


def read_native(query: Query, series: Series) -> NativeMarket | None:
    """Return the market of a series' rows; None if there are no rows."""
    rows = query(
        "SELECT CAST(native AS TEXT), CAST(setting AS TEXT), CAST(multiplier AS TEXT)"
        " FROM native_markets WHERE venue = ? AND symbol = ?",
        (series.venue, series.symbol),
    )
    if rows:
        native, setting, multiplier = rows[0]
        return NativeMarket(native=native, setting=setting, multiplier=Decimal(multiplier))
    if has_days(query, series, (*MINUTE_DATASETS, FUNDING)):
        return NativeMarket(native="", setting="", multiplier=Decimal(1))
    return None


def is_changed(
    stored: NativeMarket | None, configured: NativeMarket, *, any_name: bool = False
) -> bool:
    """Return True if the venue's file sets another market or unit than that of the stored rows.

    Only the settings are compared, so `configured` needs no `native`, which could take a request.
    With `any_name`, only the unit matters.
    """
    if stored is None:
        return False
    is_renamed = not any_name and stored.native != "" and stored.setting != configured.setting
    return is_renamed or stored.multiplier != configured.multiplier


class NativeStore(Protocol):
    """An open database for writing."""

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""

    def write_native(self, series: Series, market: NativeMarket) -> None:
        """Write the market of a series' rows."""


def claim_native(
    store: NativeStore, series: Series, market: NativeMarket, *, any_name: bool = False
) -> None:
    """Store the market of a series; call it before adding rows.

    Args:
        store: The database.
        series: The series.
        market: The market from the venue's file.
        any_name: True if only the unit must equal that of the stored rows.

    Raises:
        ConfigError: The stored rows are of another market, or of another unit.
    """
    stored = read_native(store.query, series)
    if stored == market:
        return
    if stored is not None:
        is_renamed = not any_name and stored.native not in ("", market.native)
        if is_renamed or stored.multiplier != market.multiplier:
            raise ConfigError(
                f"its stored rows are of {stored}, but the file has {market} now: write that back, "
                f"or drop the rows with `doit prune --everything --venue {series.venue} --symbol "
                f"{series.symbol}` and fetch or import them again",
                path=Path(f"config/venues/{series.venue}.yaml"),
                key=f"symbols.{series.symbol}",
            )
    store.write_native(series, market)
