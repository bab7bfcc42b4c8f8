"""The differences between Binance's markets, as data; light to import."""

from __future__ import annotations

import msgspec


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One of Binance's markets, with the places and limits of its history.

    Args:
        venue: Its name in tbv8.
        opened_ms: Its first day.
        archive_folder: The folder of its files in the archive.
        rest_url: The base URL of its REST API.
        rest_cure: A better value of `rest_url` if that host refuses us, in words.
        api: The common path of its REST calls.
        ccxt_api: The name of that API in ccxt's `urls`.
        ccxt_klines: The name of ccxt's raw call for its bars.
        page_rows: The largest number of bars that one call returns.
        page_weights: The weights of calls for bars: pairs of a largest number of rows and the
            weight up to it, ascending.
        weight_limit: The weight that an IP address may use in a minute.
        info_weight: The weight of the call for trading rules.
        info_takes_symbol: If true, that call is for one symbol; otherwise it returns all.
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
        """The path of the user's settings of the venue, for messages."""
        return f"config/venues/{self.venue}.yaml"

    def native_symbol(self, symbol: str) -> str:
        """Return `BTCUSDT` for `BTC/USDT`."""
        return symbol.replace("/", "")

    def page_weight(self, rows: int) -> int:
        """Return the request weight of a call for at most `rows` bars."""
        return next(weight for most, weight in self.page_weights if rows <= most)
