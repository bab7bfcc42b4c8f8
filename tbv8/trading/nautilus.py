"""Convert instruments, bar types and bars to NautilusTrader's types.

The engine counts prices and sizes in integers of 10^-16, and fails silently in these cases, each
of them tried:

- Prices of bars need not lie on the tick. So the instrument's price precision is the larger of what
  the tick and the bars need, while its increment stays the venue's tick.
- A bar specification of 7 minutes, 90 minutes or 36 hours is refused: only divisors of the next
  unit are allowed. Such bars get the longest specification that divides theirs. It is only a label,
  since the engine does not build the bars.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from nautilus_trader.model import (
    AggregationSource,
    Bar,
    BarAggregation,
    BarSpecification,
    BarType,
    CryptoPerpetual,
    Currency,
    InstrumentId,
    Price,
    PriceType,
    Quantity,
    Symbol,
    Venue,
)
from nautilus_trader.persistence import BarDataWrangler

from tbv8.config import files
from tbv8.errors import DataError
from tbv8.market import Series, Timeframe, iso
from tbv8.trading.units import ENGINE_DECIMALS

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]

MONEY_DECIMALS = 8
VOLUME_DECIMALS = 8
_PRICES = ("open", "high", "low", "close")
_GC_THRESHOLD = 100_000  # new objects between two collections
_LARGEST = 1e13  # the engine holds prices up to 1.7e13 and sizes up to 3.4e13
_EXACT = 2**53  # the largest float64 below which every integer is exact
_INT64 = 9.2e18


def to_instrument_id(series: Series) -> InstrumentId:
    """Return `BTC/USDT.hyperliquid`; the engine finds no account of a venue with a dash."""
    return InstrumentId(Symbol(series.symbol), Venue(series.venue.replace("-", "_")))


def to_bar_type(series: Series, timeframe: Timeframe) -> BarType:
    """Return the type of bars that the engine does not build itself."""
    step, unit = timeframe.label
    spec = BarSpecification(step, getattr(BarAggregation, unit), PriceType.LAST)
    return BarType(to_instrument_id(series), spec, AggregationSource.EXTERNAL)


def to_instrument(
    series: Series, rules: files.Instrument, *, price_decimals: int
) -> CryptoPerpetual:
    """Return the perpetual that orders are sent for; money has eight decimals.

    It requires no margin: the engine would count the whole of an order that reverses a position as
    new, and deny it. The rules in tbv8/risk limit positions.
    """
    base, _, quote = series.symbol.partition("/")
    money = Currency.from_str(quote)
    if money.precision < MONEY_DECIMALS:  # USD has two, and would round every fee to a cent
        money = Currency.from_str("USDT")
    size_decimals = decimals(rules.lot_size)
    lot = Quantity.from_decimal_dp(rules.lot_size, size_decimals)
    return CryptoPerpetual(
        instrument_id=to_instrument_id(series),
        raw_symbol=Symbol(series.symbol),
        base_currency=Currency.from_str(base),
        quote_currency=money,
        settlement_currency=money,
        is_inverse=False,
        price_precision=price_decimals,
        size_precision=size_decimals,
        price_increment=Price.from_decimal_dp(rules.tick_size, price_decimals),
        size_increment=lot,
        lot_size=lot,
        min_quantity=lot,
        ts_event=0,
        ts_init=0,
    )


def decimals(value: Decimal) -> int:
    """Return the number of decimals that `value` needs."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def price_decimals(bars: pa.Table, tick_size: Decimal) -> int:
    """Return the fewest decimals that write the tick and every price of the bars exactly.

    If the prices are no decimals, as many as float64 holds.
    """
    needed = decimals(tick_size)
    for name in _PRICES:
        inexact = column(bars, name)
        largest = float(inexact.max(initial=0.0))
        while True:
            scaled = np.rint(inexact * 10.0**needed)
            inexact = inexact[scaled / 10.0**needed != inexact]
            if not inexact.size or needed == ENGINE_DECIMALS:
                break
            if largest * 10.0 ** (needed + 1) >= _EXACT:
                break
            needed += 1
    return needed


def check_bars(bars: pa.Table) -> None:
    """Refuse impossible bars: the engine would skip them without an error.

    Raises:
        DataError: A price is not above 0 or outside of its bar, or bars are not sorted by time.
    """
    ts_ms: Ints = bars["ts_ms"].to_numpy()
    opened, high, low, close = (column(bars, name) for name in _PRICES)
    volume = column(bars, "volume")
    with np.errstate(invalid="ignore"):
        good = (low > 0) & (high < _LARGEST) & (volume >= 0)
        good &= (low <= np.minimum(opened, close)) & (high >= np.maximum(opened, close))
    good[1:] &= ts_ms[1:] > ts_ms[:-1]
    if not good.all():
        where = int(np.argmin(good))
        values = ", ".join(f"{name} {bars[name][where].as_py()!r}" for name in (*_PRICES, "volume"))
        raise DataError(
            f"the bar of {iso(int(ts_ms[where]))} is impossible ({values}): "
            "run `doit verify` to see which bars are damaged"
        )


def close_times(bars: pa.Table, timeframe: Timeframe) -> Ints:
    """Return the end of each bar in milliseconds: the first instant at which a strategy sees it."""
    ts_ms: Ints = bars["ts_ms"].to_numpy()
    length = timeframe.fixed_ms
    if length is not None:
        return ts_ms + length
    return np.array([timeframe.close(opened) for opened in ts_ms.tolist()], dtype=np.int64)


def to_bars(
    bars: pa.Table, bar_type: BarType, instrument: CryptoPerpetual, *, closes_ms: Ints
) -> list[Bar]:
    """Return the table's bars, each delivered at its close, volumes with eight decimals.

    They are only shown to the strategy: the engine matches no orders with them.
    """
    prices = instrument.price_precision
    volume = np.minimum(column(bars, "volume"), _LARGEST)
    ts = pa.array(closes_ms * 1_000_000, pa.timestamp("ns", tz="UTC"))
    columns = {name: _engine_decimals(column(bars, name), prices) for name in _PRICES}
    batch = pa.record_batch(
        {
            **columns,
            "volume": _engine_decimals(volume, VOLUME_DECIMALS),
            "ts_event": ts,
            "ts_init": ts,
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    wrangler = BarDataWrangler(str(bar_type), prices, VOLUME_DECIMALS)
    return wrangler.process_record_batch_bytes(sink.getvalue().to_pybytes())


def fixed_point(values: Floats, places: int) -> Ints:
    """Return the values in integers of 10^-places.

    Raises:
        DataError: One does not fit into 64 bits.
    """
    scaled = np.rint(values * 10.0**places)
    check_range(float(np.abs(scaled).max(initial=0.0)), places)
    return scaled.astype(np.int64)


def check_range(largest: float, places: int) -> None:
    """Refuse a number that 64 bits cannot hold.

    Raises:
        DataError: It is too large.
    """
    if not abs(largest) < _INT64:
        raise DataError(
            f"{largest / 10.0**places!r} is more than a result can hold with {places} decimals: "
            "lower starting_balance_usd or max_position"
        )


@contextmanager
def infrequent_gc() -> Iterator[None]:
    """Collect garbage rarely during the block, in which many objects are made and few are dropped.

    A million bars take 0.5 s in place of 1.3.
    """
    before = gc.get_threshold()
    gc.set_threshold(_GC_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def column(bars: pa.Table, name: str) -> Floats:
    """Return a column of prices or volumes; no copy where it has one chunk."""
    values: Floats = bars[name].to_numpy()
    return values


def _engine_decimals(values: Floats, places: int) -> pa.Array:
    """Return floats, rounded to `places`, as the engine's decimal128 with 16 decimals.

    Arrow's own cast from float takes ten times as long.
    """
    whole = np.floor(values)
    parts = np.rint((values - whole) * 10.0**places).astype(np.uint64)
    high, low = _times(whole.astype(np.uint64), 10**ENGINE_DECIMALS)
    total = low + parts * np.uint64(10 ** (ENGINE_DECIMALS - places))
    high += total < low  # the carry
    pairs = np.column_stack((total, high))
    buffers = [None, pa.py_buffer(pairs.tobytes())]
    return pa.Array.from_buffers(pa.decimal128(38, ENGINE_DECIMALS), len(values), buffers)


def _times(
    values: npt.NDArray[np.uint64], factor: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return `values * factor` as two 64-bit halves; for values and factors below 2^62."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    v1, v0 = values >> half, values & mask
    f1, f0 = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    lowest = v0 * f0
    middle = v1 * f0 + v0 * f1 + (lowest >> half)
    return v1 * f1 + (middle >> half), (middle << half) | (lowest & mask)
