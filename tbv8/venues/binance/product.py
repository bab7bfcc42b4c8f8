"""Differences between Binance's markets, as data; light to import."""

from __future__ import annotations

import msgspec


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One of Binance's markets, and where and how its history is to be had.

    Args:
        venue: tbv8's name of it.
        opened_ms: Its first day.
        archive_folder: Of its files in the archive.
        rest_url: The host of its REST API.
        rest_cure: What to set `rest_url` to where that host refuses.
        api: The path that its REST calls begin with.
        ccxt_api: The name of that API in ccxt's `urls`.
        ccxt_klines: ccxt's raw call of its bars.
        page_rows: The most bars that one call returns.
        page_weights: What a call for bars weighs, by ascending bounds: up to so many rows, so much.
        info_weight: What the call for the rules of its symbols weighs.
        info_of_one: That call is for one symbol; else for all, and takes none.
        weight_limit: How much may be asked for in a minute, for each IP address.
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
    info_of_one: bool

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
