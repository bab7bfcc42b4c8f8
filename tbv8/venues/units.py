"""Conversion of markets that trade many units as one: one `kPEPE` or `1000PEPEUSDT` is 1000 PEPE.

Such prices are divided and such amounts multiplied here; everywhere else they are for one unit of
the symbol. The arithmetic is decimal: the price of 1000 PEPE, 0.012345, becomes 0.000012345, not a
neighbouring float.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tbv8.market import Bar, Bbo, Span, Trade
from tbv8.venues.base import Ack, ErrorFrame, Feed, FetchedSpan, Listing, Request, Rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_PREFIXES = {"k": 1000, "1M": 1_000_000}


def multiplier_in(native: str, symbol: str) -> int:
    """Return the multiplier in a native symbol: 1000 for `1000PEPEUSDT`; 1 if it has none."""
    base = re.escape(symbol.partition("/")[0])
    match = re.match(rf"(k|1M|10{{3,}}){base}", native)
    return _PREFIXES.get(match[1], 0) or int(match[1]) if match else 1


def unit_price(price: float, multiplier: Decimal) -> float:
    """Return the price of one unit of the symbol, from that of `multiplier` units."""
    return float(Decimal(repr(price)) / multiplier)


def unit_amount(amount: float, multiplier: Decimal) -> float:
    """Return an amount in units of the symbol, from one in the venue's units."""
    return float(Decimal(repr(amount)) * multiplier)


class _UnitFeed:
    """A feed whose events are in units of their symbols."""

    def __init__(self, feed: Feed, listings: Mapping[str, Listing]) -> None:
        self.subscribe, self.unsubscribe = feed.subscribe, feed.unsubscribe
        self._feed, self._listings = feed, listings

    def parse(self, frame: bytes) -> Sequence[Trade | Bbo | Ack | ErrorFrame]:
        """See `Feed.parse`."""
        return [
            _in_units(event, self._listings[event.symbol].multiplier)
            if isinstance(event, Trade | Bbo)
            else event
            for event in self._feed.parse(frame)
        ]


def unit_feed(feed: Feed, listings: Mapping[str, Listing]) -> Feed:
    """Return a feed whose events are in units of their symbols; `feed` itself if it suffices."""
    scaled = any(listing.multiplier != 1 for listing in listings.values())
    return _UnitFeed(feed, listings) if scaled else feed


def unit_request[T](request: Request[T], listing: Listing) -> Request[T]:
    """Return a request whose trades, quote or bars are in units of the symbol."""
    if listing.multiplier == 1:
        return request

    def parse(reply: bytes) -> T | Request[T]:
        value = request.parse(reply)
        if isinstance(value, Request):
            return unit_request(value, listing)
        if isinstance(value, list):
            return [_in_units(event, listing.multiplier) for event in value]  # type: ignore[return-value]
        return _in_units(value, listing.multiplier)

    return replace(request, parse=parse)


def _in_units[T](event: T, multiplier: Decimal) -> T:
    """Return a trade, a quote or a bar in units of the symbol."""
    if multiplier == 1:
        return event
    changes: dict[str, Any] = {}
    for name in ("price", "bid_price", "ask_price", "open", "high", "low", "close"):
        if (value := getattr(event, name, None)) is not None:
            changes[name] = unit_price(value, multiplier)
    for name in ("size", "bid_size", "ask_size", "volume"):
        if (value := getattr(event, name, None)) is not None:
            changes[name] = unit_amount(value, multiplier)
    assert isinstance(event, Trade | Bbo | Bar)
    return replace(event, **changes)


class UnitRows:
    """Rows of 1m bars in units of the symbol."""

    def __init__(self, rows: Rows, multiplier: Decimal) -> None:
        self.first_ms = rows.first_ms
        self._rows, self._multiplier = rows, multiplier

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """See `Rows.fetch`."""
        with closing(self._rows.fetch(native, gaps)) as pieces:
            for piece in pieces:
                yield replace(piece, bars=unit_bars(piece.bars, self._multiplier))

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """See `Rows.fetch_direct`."""
        return unit_bars(self._rows.fetch_direct(native, span), self._multiplier)


def unit_bars(bars: pa.Table, multiplier: Decimal) -> pa.Table:
    """Return a table of 1m bars in units of the symbol."""
    import pyarrow as pa

    for index, name in enumerate(bars.column_names if multiplier != 1 else ()):
        if name != "ts_ms":
            convert = unit_amount if name == "volume" else unit_price
            values = _convert_each(bars[name].to_numpy(), convert, multiplier)
            bars = bars.set_column(index, name, pa.array(values))
    return bars


def _convert_each(values: npt.NDArray[np.float64], convert: Any, multiplier: Decimal) -> Any:
    """Convert each value; equal values are converted once."""
    import numpy as np

    distinct, places = np.unique(values, return_inverse=True)
    converted = [convert(value, multiplier) for value in distinct.tolist()]
    return np.array(converted, dtype=np.float64)[places]
