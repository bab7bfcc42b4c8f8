"""Splits gaps into pieces, each from one archive file or from REST. Pure, no I/O; light to import.

The archive's layout is that of https://github.com/binance/binance-public-data: a file per month,
published some days into the next month, and a file per day, published on the next day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from tbv8.market import DAY_MS, Span, iso_day, parse_timeframe
from tbv8.venues.base import Cost
from tbv8.venues.binance.product import Product

_MONTH = parse_timeframe("1M")
_MEGABYTES = {"monthly": 2.1, "daily": 0.07, "rest": 0.16}  # BTCUSDT of 2024; REST: a thousand bars

type Source = Literal["monthly", "daily", "rest"]


class Piece(msgspec.Struct, frozen=True):
    """A part of a gap and its source; within one month for `monthly`, else within one UTC day."""

    span: Span
    source: Source

    @property
    def file_span(self) -> Span:
        """The month or the UTC day of its archive file."""
        if self.source == "monthly":
            start_ms = _MONTH.floor(self.span.start_ms)
            return Span(start_ms, _MONTH.close(start_ms))
        start_ms = self.span.start_ms // DAY_MS * DAY_MS
        return Span(start_ms, start_ms + DAY_MS)

    def file_stem(self, native: str) -> str:
        """Return the name of its archive file without `.zip`."""
        day = iso_day(self.span.start_ms)
        return f"{native}-1m-{day[:7] if self.source == 'monthly' else day}"

    def file_path(self, product: Product, native: str) -> str:
        """Return the path of its archive file."""
        folder = f"/data/{product.archive_folder}/{self.source}/klines/{native}/1m"
        return f"{folder}/{self.file_stem(native)}.zip"

    def rates_stem(self, native: str) -> str:
        """Return the name of its month's file of funding, without `.zip`."""
        return f"{native}-fundingRate-{iso_day(self.span.start_ms)[:7]}"

    def rates_path(self, product: Product, native: str) -> str:
        """Return the path of its month's file of funding."""
        folder = f"/data/{product.archive_folder}/monthly/fundingRate/{native}"
        return f"{folder}/{self.rates_stem(native)}.zip"

    def by_day(self, source: Source) -> list[Piece]:
        """Return its UTC days as pieces from another source, in time order."""
        return [
            Piece(self.span.intersection(Span(day_ms, day_ms + DAY_MS)), source)
            for day_ms in self.span.days()
        ]


def pieces(gaps: Sequence[Span], *, now_ms: int, listed_ms: int) -> list[Piece]:
    """Return the pieces of `gaps` in time order.

    A past month that is whole, or whole from the listing on, comes from a monthly file; any other
    past day, or part of it, from a daily file; today from REST.
    """
    today_ms = now_ms // DAY_MS * DAY_MS
    return [
        piece
        for gap in sorted(gaps)
        for part in _by_month(gap)
        for piece in _pieces_of_month(part, today_ms, listed_ms)
    ]


def rate_pieces(gaps: Sequence[Span], *, now_ms: int, listed_ms: int) -> list[Piece]:
    """Return the pieces of gaps in funding, in time order: whole past months from files, else REST.

    A piece from REST lies within one month too; one reply could have eleven months of payments.
    """
    return [
        piece if piece.source == "monthly" else Piece(part, "rest")
        for gap in sorted(gaps)
        for part in _by_month(gap)
        for piece in _pieces_of_month(part, now_ms // DAY_MS * DAY_MS, listed_ms)[:1]
    ]


def rates_cost(planned: Sequence[Piece]) -> Cost:
    """Return the rough cost of pieces of funding."""
    count = Counter(piece.source for piece in planned)
    return Cost(
        monthly_files=count["monthly"],
        requests=count["rest"],
        megabytes=0.002 * count["monthly"] + 0.01 * count["rest"],
    )


def cost(product: Product, planned: Sequence[Piece]) -> Cost:
    """Return the rough cost of pieces; sizes are those of BTCUSDT, the largest."""
    count = Counter(piece.source for piece in planned)
    rest = [piece.span.minutes for piece in planned if piece.source == "rest"]
    pages = sum(-(-minutes // product.page_rows) for minutes in rest)
    return Cost(
        monthly_files=count["monthly"],
        daily_files=count["daily"],
        requests=pages,
        megabytes=sum(
            number * _MEGABYTES[source]
            for source, number in (
                ("monthly", count["monthly"]),
                ("daily", count["daily"]),
                ("rest", pages),
            )
        ),
    )


def _by_month(gap: Span) -> Iterator[Span]:
    start_ms = gap.start_ms
    while start_ms < gap.end_ms:
        end_ms = min(_MONTH.close(_MONTH.floor(start_ms)), gap.end_ms)
        yield Span(start_ms, end_ms)
        start_ms = end_ms


def _pieces_of_month(part: Span, today_ms: int, listed_ms: int) -> list[Piece]:
    monthly = Piece(part, "monthly")
    month = monthly.file_span
    from_start = part.start_ms <= max(month.start_ms, listed_ms)
    if from_start and part.end_ms == month.end_ms <= today_ms:
        return [monthly]
    return [
        Piece(day.span, "daily" if day.file_span.end_ms <= today_ms else "rest")
        for day in monthly.by_day("daily")
    ]
