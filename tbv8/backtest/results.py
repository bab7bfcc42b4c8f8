"""The files of a result: written whole or not at all.

A result is written beside its place, as `.<name>.new`; the old one steps aside as `.<name>.old`,
the new one in, the old one goes. Writers hold a lock on the results folder meanwhile, which the
kernel takes from a killed process: what `sweep` finds while it has the lock is a leftover.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tbv8.backtest.accounting import Curve, Fill, Position, fixed_point
from tbv8.backtest.engine import Run
from tbv8.backtest.nautilus import MONEY_DECIMALS, Ints

_NEW, _OLD = ".new", ".old"


def write_result(folder: Path, write: Callable[[Path], None], *, inputs: Mapping[str, Any]) -> None:
    """Put what `write` writes into a folder in the place of `folder`, with its manifest.

    Args:
        folder: The result's folder, `data/results/<strategy_id>`.
        write: Fills the folder that it is given.
        inputs: What the result was made from: digest and value of each part.
    """
    new, old = (folder.with_name(f".{folder.name}{suffix}") for suffix in (_NEW, _OLD))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent):
        _clean(folder)
        try:
            new.mkdir()
            write(new)
            _write_manifest(new, inputs)
            for path in [*new.rglob("*"), new]:
                _sync(path)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            _sync(folder.parent)
        finally:
            _clean(folder)


def sweep(results_path: Path) -> None:
    """Remove what killed runs left; a result that had stepped aside comes back.

    Does nothing while another process writes a result: the next start will.
    """
    if not results_path.is_dir():
        return
    try:
        with _locked(results_path, wait=False):
            for suffix in (_NEW, _OLD):
                for leftover in sorted(results_path.glob(f".*{suffix}")):
                    _clean(leftover.with_name(leftover.name[1:].removesuffix(suffix)))
    except BlockingIOError:
        return


def write_run(folder: Path, run: Run) -> None:
    """Write fills.csv, positions.csv and equity.csv."""
    folder.mkdir(exist_ok=True)
    _write_rows(folder / "fills.csv", Fill, (_fill_row(fill, run) for fill in run.fills))
    rows = (_position_row(position, run) for position in run.positions)
    _write_rows(folder / "positions.csv", Position, rows)
    _write_curve(folder / "equity.csv", run.curve, run)


def _write_manifest(folder: Path, inputs: Mapping[str, Any]) -> None:
    outputs = {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"inputs": msgspec.to_builtins(inputs), "outputs": outputs}
    write_json(folder / "manifest.json", manifest)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, keys in the order of the value's own."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


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


def _write_rows(path: Path, record: type[Any], rows: Iterator[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(record.__struct_fields__)
        writer.writerows(rows)


def _write_curve(path: Path, curve: Curve, run: Run) -> None:
    table = pa.table(
        {
            "ts_ms": curve.closes_ms,
            "equity": _fixed_column(curve.equity, MONEY_DECIMALS),
            "cash": _fixed_column(curve.cash, MONEY_DECIMALS),
            "position": _fixed_column(
                fixed_point(curve.position, run.size_decimals), run.size_decimals
            ),
            "price": _fixed_column(
                fixed_point(curve.price, run.price_decimals), run.price_decimals
            ),
            "buy_and_hold": _fixed_column(curve.buy_and_hold, MONEY_DECIMALS),
        }
    )
    with path.open("wb") as file:
        file.write(f"{','.join(table.column_names)}\n".encode())
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(results_path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a results folder; BlockingIOError when it is held and we don't wait."""
    handle = os.open(results_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def _clean(folder: Path) -> None:
    """Bring back a result that only stepped aside, remove what lies beside it; under the lock."""
    new, old = (folder.with_name(f".{folder.name}{suffix}") for suffix in (_NEW, _OLD))
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)
