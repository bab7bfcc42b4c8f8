"""A result's files as its page needs them: numbers of summary.json, fills, positions, curves.

A page is always drawn from the files, after a run and when only the code that draws has changed:
so it is the same both times.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tbv8.market import parse_time
from tbv8.results.accounting import Curve, Fill, Position
from tbv8.trading.guard import Denial, Halt
from tbv8.trading.nautilus import Floats, Ints


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What one run's files hold; of the denials only those that summary.json lists."""

    venue: str
    start_equity: Decimal
    denials: tuple[Denial, ...]
    halts: tuple[Halt, ...]
    fills: tuple[Fill, ...]
    positions: tuple[Position, ...]
    curve: Curve
    price_decimals: int
    size_decimals: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a tearsheet shows: summary.json's values, both runs, the bars, the key's parts."""

    summary: Mapping[str, Any]
    primary: Account
    shadow: Account | None
    bars: pa.Table
    inputs: Mapping[str, Any]

    @property
    def runs(self) -> list[tuple[str, Account, Mapping[str, Any]]]:
        """Title, run and numbers of the primary and the shadow."""
        runs = [("primary", self.primary)]
        if self.shadow:
            runs.append(("shadow", self.shadow))
        return [(f"{run.venue} ({name})", run, self.summary[name]) for name, run in runs]

    @property
    def span(self) -> tuple[int, int]:
        """What every chart over time shows: from the first bar's open to the last one's close."""
        return int(self.bars["ts_ms"][0].as_py()), int(self.primary.curve.closes_ms[-1])

    @property
    def times_ms(self) -> Ints:
        """When the run began, and when each bar closed."""
        return np.concatenate([[self.span[0]], self.primary.curve.closes_ms])

    @property
    def mark(self) -> str:
        """What stands across each chart."""
        return "simulated" if self.summary["simulated"] else ""


def read_result(folder: Path, *, bars: pa.Table, inputs: Mapping[str, Any]) -> Result:
    """Return what the files of a result hold, beside the bars of its key and the key itself."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    shadow = summary["shadow"]
    return Result(
        summary=summary,
        primary=_read_account(folder, summary["primary"]),
        shadow=_read_account(folder / "shadow", shadow) if shadow else None,
        bars=bars,
        inputs=inputs,
    )


def _read_account(folder: Path, numbers: Mapping[str, Any]) -> Account:
    curve, price_decimals, size_decimals = _read_curve(folder / "equity.csv")
    return Account(
        venue=numbers["venue"],
        start_equity=_decimal(numbers["start_equity"]),
        denials=tuple(
            Denial(
                ts_ms=parse_time(event["time"]),
                rule=event["rule"],
                order=event["order"],
                until_ms=parse_time(event["until"]) if "until" in event else None,
                numbers=_decimals(event["numbers"]),
            )
            for event in numbers["denials"]
        ),
        halts=tuple(
            Halt(
                ts_ms=parse_time(event["time"]),
                until_ms=parse_time(event["until"]),
                rule=event["rule"],
                numbers=_decimals(event["numbers"]),
            )
            for event in numbers["halts"]
        ),
        fills=tuple(_read_rows(folder / "fills.csv", Fill)),
        positions=tuple(_read_rows(folder / "positions.csv", Position)),
        curve=curve,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
    )


def _read_rows[Row: (Fill, Position)](path: Path, row: type[Row]) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for values in csv.DictReader(file):
            yield msgspec.convert(values, row, strict=False)


def _read_curve(path: Path) -> tuple[Curve, int, int]:
    """Return the curve, and the decimals of its prices and of its positions."""
    with path.open("rb") as file:
        names = file.readline().decode().strip().split(",")
        types = {name: pa.string() for name in names} | {"ts_ms": pa.int64()}
        columns = pyarrow.csv.read_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(column_names=names),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )
    curve = Curve(
        closes_ms=columns["ts_ms"].to_numpy(),
        equity=_integers(columns["equity"]),
        cash=_integers(columns["cash"]),
        position=_floats(columns["position"]),
        price=_floats(columns["price"]),
        buy_and_hold=_integers(columns["buy_and_hold"]),
    )
    first = {name: columns[name][0].as_py() for name in ("price", "position")}
    places = {name: len(text.partition(".")[2]) for name, text in first.items()}
    return curve, places["price"], places["position"]


def _integers(texts: pa.ChunkedArray) -> Ints:
    """Return numbers that all have the same decimals as integers of the last one."""
    whole: Ints = pc.replace_substring(texts, ".", "").cast(pa.int64()).to_numpy()
    return whole


def _floats(texts: pa.ChunkedArray) -> Floats:
    numbers: Floats = texts.cast(pa.float64()).to_numpy()
    return numbers


def _decimals(numbers: Mapping[str, float]) -> dict[str, Decimal]:
    return {name: _decimal(value) for name, value in numbers.items()}


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))
