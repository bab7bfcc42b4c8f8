"""Differences between Binance's markets, as data; light to import."""

from __future__ import annotations

import msgspec


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One of Binance's markets, with the places and limits of its history.

    Args:
        venue: Its name in tbv8.
        opened_ms: Its first day.
        archive_folder: The folder of its files in the archive.
        rest_url: The URL of its REST API.
        rest_cure: The value to set `rest_url` to if that host refuses, in words.
        api: The path that its REST calls begin with.
        ccxt_api: The name of that API in ccxt's `urls`.
        ccxt_klines: The name of ccxt's raw call for its bars.
        page_rows: The largest number of bars that one call returns.
        page_weights: The weights of calls for bars: pairs of the largest number of rows and the
            weight, ascending.
        info_weight: The weight of the call for the rules of its symbols.
        info_takes_symbol: If true, that call takes one symbol; otherwise it returns all.
        weight_limit: The weight that an IP address may use in a minute.
    """

    venue: str
    opened_ms: int
    archive_folder: str
    rest_url: str
    rest_cure: str
    api: str
    ccxt_api: str
    ccxt_klines: str
    page_rows: int
    page_weights: tuple[tuple[int, int], ...]
    weight_limit: int
    info_weight: int
    info_takes_symbol: bool

    @property
    def config(self) -> str:
        """The file that a user corrects."""
        return f"config/venues/{self.venue}.yaml"

    def native_symbol(self, symbol: str) -> str:
        """Return `BTCUSDT` for `BTC/USDT`."""
        return symbol.replace("/", "")

    def page_weight(self, rows: int) -> int:
        """Return the request weight of a call for at most `rows` bars."""
        return next(weight for most, weight in self.page_weights if rows <= most)
