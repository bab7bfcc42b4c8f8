"""One run's files: fills.csv, positions.csv, equity.csv, numbers always written the same way."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tbv8.results.accounting import Curve, Fill, Position, fixed_point
from tbv8.trading.engine import Run
from tbv8.trading.nautilus import MONEY_DECIMALS, Ints

_FILL_COLUMNS = [name for name in Fill.__struct_fields__ if name != "trigger"]
_ROWS = 250_000  # of equity.csv, as text in memory at once


def write_run(folder: Path, run: Run) -> None:
    """Write fills.csv, positions.csv and equity.csv."""
    folder.mkdir(exist_ok=True)
    rows = (_fill_row(fill, run) for fill in run.fills)
    _write_rows(folder / "fills.csv", _FILL_COLUMNS, rows)
    rows = (_position_row(position, run) for position in run.positions)
    _write_rows(folder / "positions.csv", Position.__struct_fields__, rows)
    _write_curve(folder / "equity.csv", run.curve, run)


def _fill_row(fill: Fill, run: Run) -> tuple[Any, ...]:
    return (
        fill.ts_ms,
        fill.order_id,
        fill.side,
        fill.type,
        _fixed(fill.quantity, run.size_decimals),
        _fixed(fill.price, run.price_decimals),
        _fixed(fill.fee, MONEY_DECIMALS),
        fill.liquidity,
        _fixed(fill.position, run.size_decimals),
    )


def _position_row(position: Position, run: Run) -> tuple[Any, ...]:
    return (
        position.opened_ms,
        position.closed_ms,
        position.side,
        _fixed(position.quantity, run.size_decimals),
        _fixed(position.entry_price, run.price_decimals),
        _fixed(position.exit_price, run.price_decimals),
        _fixed(position.pnl, MONEY_DECIMALS),
        _fixed(position.fees, MONEY_DECIMALS),
    )


def _fixed(value: Decimal, places: int) -> str:
    quantum = Decimal(1).scaleb(-places)
    return f"{value.quantize(quantum, rounding=ROUND_HALF_EVEN):f}"


def _write_rows(path: Path, header: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_curve(path: Path, curve: Curve, run: Run) -> None:
    columns = {
        "equity": (curve.equity, MONEY_DECIMALS),
        "cash": (curve.cash, MONEY_DECIMALS),
        "position": (fixed_point(curve.position, run.size_decimals), run.size_decimals),
        "price": (fixed_point(curve.price, run.price_decimals), run.price_decimals),
        "buy_and_hold": (curve.buy_and_hold, MONEY_DECIMALS),
    }
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(f"{','.join(('ts_ms', *columns))}\n".encode())
        for first in range(0, len(curve.closes_ms), _ROWS):
            rows = slice(first, first + _ROWS)
            texts = {name: _fixed_column(v[rows], places) for name, (v, places) in columns.items()}
            table = pa.table({"ts_ms": curve.closes_ms[rows], **texts})
            pyarrow.csv.write_csv(table, file, options)


def _fixed_column(values: Ints, places: int) -> pa.Array:
    """Return integers of 10^-places as text; Arrow writes decimals as 1E-8 when they are small."""
    if not places:
        return pa.array(values).cast(pa.string())
    whole, part = np.divmod(np.abs(values), 10**places)
    return pc.binary_join_element_wise(
        pc.if_else(pa.array(values < 0), "-", ""),
        pa.array(whole).cast(pa.string()),
        ".",
        pc.utf8_lpad(pa.array(part).cast(pa.string()), places, "0"),
        "",
    )
