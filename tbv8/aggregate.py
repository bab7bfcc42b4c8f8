"""The aggregation of 1m bars to bars of a timeframe. Pure.

The code of this file is part of every built day's key: a change here builds all bars again.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pyarrow as pa

from tbv8.market import Timeframe

# A volume is the decimal of at most eight places that its float64 stands for: its shortest repr.
# Volumes are added exactly and the sum is rounded once, so neither order nor chunks matter. They
# are not integers of 1e-8: tiny-priced coins overflow int64, and polars divides by a number by
# multiplying with its reciprocal, which misses the nearest float64 once in seven times.
_VOLUME = pl.Decimal(38, 8)


def aggregate(bars: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Return a bar for every slot of the timeframe with at least one minute, in time order.

    Prices are those of the minutes that traded. Minutes with volume 0 carry the last close, which
    may lie outside of the bar's range; they count only in a bar without any trade. Binance builds
    its own bars in the same way.

    The caller passes only minutes of slots whose whole time is covered.

    Args:
        bars: A table of 1m bars, or of bars with `minutes` that nest in the slots; see
            `tbv8.market`.
        timeframe: The timeframe of the result.

    Returns:
        A table of bars with `minutes`, the number of 1m bars in each.
    """
    volume = pl.col("volume").cast(pl.String).cast(_VOLUME).sum()
    minutes = pl.col("minutes").sum() if "minutes" in bars.column_names else pl.len()
    frame = pl.DataFrame(bars).with_columns(_open_ms(timeframe).set_sorted())
    price = _of_traded if (frame["volume"] == 0).any() else _of_all  # filters take a third more
    return (
        frame.group_by("ts_ms", maintain_order=True)
        .agg(
            price("open", pl.Expr.first),
            price("high", pl.Expr.max),
            price("low", pl.Expr.min),
            price("close", pl.Expr.last),
            volume.cast(pl.String).cast(pl.Float64),
            minutes.cast(pl.Int64).alias("minutes"),
        )
        .to_arrow()
    )


def _of_all(name: str, pick: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Pick a price from all minutes of a bar."""
    return pick(pl.col(name))


def _of_traded(name: str, pick: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """Pick a price from the minutes of a bar with trades, or from all if none has any."""
    traded = pl.col(name).filter(pl.col("volume") > 0)
    return pl.coalesce(pick(traded), _of_all(name, pick))


def _open_ms(timeframe: Timeframe) -> pl.Expr:
    """`Timeframe.floor` as an expression."""
    ts_ms = pl.col("ts_ms")
    length = timeframe.fixed_ms
    if length is None:
        return ts_ms.cast(pl.Datetime("ms")).dt.truncate("1mo").dt.epoch("ms")
    return ts_ms - (ts_ms - timeframe.floor(0)) % length
