"""One run's files: fills.csv, positions.csv, equity.csv, in a deterministic number format."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tbv8.config.records import Strategy
from tbv8.results.accounting import Books, Position
from tbv8.results.marks import candles_of, overview
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, fixed_point
from tbv8.trading.records import ChartLines, Fill, MarketDecimals

FILL_COLUMNS = tuple(name for name in Fill.__struct_fields__ if name not in ("trigger", "tags"))
POSITION_COLUMNS = Position.__struct_fields__
_MONEY = ("fee", "fees", "pnl", "funding")
_AVERAGE_DECIMALS = 8  # beyond those of prices
_ROWS = 50_000  # of equity.csv, as text in memory at once


def write_run(folder: Path, books: Books) -> None:
    """Write fills.csv, positions.csv and equity.csv.

    Also tags.csv and chart_lines.csv, if the strategy tags its orders or declares chart lines.
    """
    folder.mkdir(exist_ok=True)
    run, markets = books.run, {market.symbol: market for market in books.run.markets}
    _write_records(folder / "fills.csv", FILL_COLUMNS, run.fills, markets)
    _write_records(folder / "positions.csv", POSITION_COLUMNS, books.positions, markets)
    _write_curve(folder / "equity.csv", books)
    if run.tags:
        _write_rows(folder / "tags.csv", ("order_id", "tags"), run.tags.items())
    if run.chart_lines:
        _write_chart_lines(folder / "chart_lines.csv", run.chart_lines)


def curve_column(name: str, symbol: str, *, of: int) -> str:
    """Return a column of equity.csv: `position_ETH/USDT` of several symbols, else `position`."""
    return f"{name}_{symbol}" if of > 1 else name


def write_market(path: Path, strategy: Strategy, bars: Bars) -> None:
    """Write market.csv: the main bars of every symbol, merged into fewer rows if there are many.

    A row has the time of its last bar's close, and the prices from its first bar's open on.
    """
    tables = []
    for symbol in strategy.symbols:
        candles = overview(candles_of(strategy, bars, symbol))
        prices = {name: getattr(candles, name) for name in ("open", "high", "low", "close")}
        names = pa.array([symbol] * len(candles.ends_ms))
        tables.append(pa.table({"symbol": names, "ts_ms": candles.ends_ms, **prices}))
    options = pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none")
    pyarrow.csv.write_csv(pa.concat_tables(tables), path, options)


def _write_chart_lines(path: Path, lines: ChartLines) -> None:
    columns = {name: _ten_digits(values) for name, values in lines.values.items()}
    table = pa.table({"ts_ms": np.asarray(lines.closes_ms), **columns})
    _write_rows(path, table.column_names, ())
    with path.open("ab") as file:
        pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=False))


def _ten_digits(values: Sequence[float]) -> pa.Array:
    """Return values with ten digits, more than a chart shows; null for NaN and infinities."""
    column = np.asarray(values)
    is_number = np.isfinite(column)
    sizes = np.abs(np.where(is_number & (column != 0), column, 1.0))
    scale = 10.0 ** (9 - np.floor(np.log10(sizes)))
    return pa.array(np.round(column * scale) / scale, mask=~is_number)


def _write_records(
    path: Path,
    columns: Sequence[str],
    records: Sequence[Fill] | Sequence[Position],
    markets: Mapping[str, MarketDecimals],
) -> None:
    """Write records as rows; decimals have as many places as the market's prices or sizes.

    Averages of prices have more, if they lie between two prices.
    """
    read = operator.attrgetter(*columns)
    writers = {
        symbol: [_writer(column, market) for column in columns]
        for symbol, market in markets.items()
    }
    rows = (map(operator.call, writers[record.symbol], read(record)) for record in records)
    _write_rows(path, columns, rows)


def _writer(column: str, market: MarketDecimals) -> Callable[[Any], str]:
    """Return the function from a column's values to text."""
    if column in ("entry_price", "exit_price"):
        return partial(_average_text, decimals=market.price_decimals)
    if column in ("quantity", "position"):
        return f"{{:.{market.size_decimals}f}}".format
    if column == "price":
        return f"{{:.{market.price_decimals}f}}".format
    return (f"{{:.{MONEY_DECIMALS}f}}" if column in _MONEY else "{}").format


def _average_text(price: Decimal, *, decimals: int) -> str:
    """Return an average of prices with as many more decimals as it needs, at most eight."""
    whole, _, fraction = f"{price:.{decimals + _AVERAGE_DECIMALS}f}".partition(".")
    fraction = fraction[:decimals] + fraction[decimals:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _write_rows(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_curve(path: Path, books: Books) -> None:
    curve, markets = books.curve, books.run.markets
    columns: dict[str, tuple[Floats | Ints, int]] = {
        "equity": (curve.equity, MONEY_DECIMALS),
        "cash": (books.cash, MONEY_DECIMALS),
    }
    for name, values in (("position", curve.positions), ("price", curve.prices)):
        for market in markets:
            places = market.size_decimals if name == "position" else market.price_decimals
            columns[curve_column(name, market.symbol, of=len(markets))] = (
                values[market.symbol],
                places,
            )
    columns["buy_and_hold"] = curve.buy_and_hold, MONEY_DECIMALS
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(f"{','.join(('ts_ms', *columns))}\n".encode())
        for first in range(0, len(curve.closes_ms), _ROWS):
            rows = slice(first, first + _ROWS)
            texts = {name: _text_column(v[rows], places) for name, (v, places) in columns.items()}
            table = pa.table({"ts_ms": curve.closes_ms[rows], **texts})
            pyarrow.csv.write_csv(table, file, options)


def _text_column(values: Floats | Ints, places: int) -> pa.Array:
    """Return a column as text; empty where a price is not known yet."""
    if values.dtype == np.int64:
        return _fixed_column(values.astype(np.int64, copy=False), places)
    unknown = np.isnan(values)
    text = _fixed_column(fixed_point(np.where(unknown, 0.0, values), places), places)
    return pc.if_else(pa.array(unknown), "", text) if unknown.any() else text


def _fixed_column(values: Ints, places: int) -> pa.Array:
    """Return integers of 10^-places as text; Arrow would write small decimals as 1E-8.

    A fraction gets a 1 in front of its decimals, which then becomes a 0.
    """
    if not places:
        return pa.array(values).cast(pa.string())
    whole = 10**places
    is_fraction = np.abs(values) < whole
    digits = np.where(is_fraction, values + np.where(values < 0, -whole, whole), values)
    text = pc.binary_replace_slice(pa.array(digits).cast(pa.string()), -places, -places, ".")
    if not is_fraction.any():
        return text
    return pc.if_else(
        pa.array(is_fraction), pc.binary_replace_slice(text, -places - 2, -places - 1, "0"), text
    )
