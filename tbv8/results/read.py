"""Read a result's folder, for the page that shows it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv

from tbv8.config import records
from tbv8.manifest import PAGE_PART, PLOTLY_BESIDE
from tbv8.market import Timeframe, parse_timeframe
from tbv8.results.accounting import Curve, Position
from tbv8.results.marks import counted
from tbv8.results.summary import Stats, Summary, read_summary
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, fixed_point
from tbv8.trading.records import Fill

_TEXT_FILLS = tuple(name for name in Fill.__struct_fields__ if name != "trigger")
_TEXT_POSITIONS = tuple(Position.__struct_fields__)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a result: its statistics, the flat values of summary.json, and its files.

    In the tables times are int64 and all other columns text; `tags` are its orders' by order_id.
    """

    title: str
    stats: Stats
    numbers: Mapping[str, Any]
    curve: Curve
    fills: pa.Table
    positions: pa.Table
    tags: Mapping[str, str]

    @property
    def venue(self) -> str:
        """The venue whose rules applied."""
        return self.stats.venue


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A result together with its bars.

    Attributes:
        market: market.csv by symbol.
        bars: The counted bars of the main timeframe, by symbol.
        steps: The bars that matched orders, by symbol; `step` is their timeframe.
        chart_lines: chart_lines.csv, or None.
        inputs: The inputs in its manifest.
    """

    summary: Summary
    primary: Account
    shadow: Account | None
    market: Mapping[str, pa.Table]
    timeframe: Timeframe
    bars: Mapping[str, pa.Table]
    step: Timeframe
    steps: Mapping[str, pa.Table]
    chart_lines: pa.Table | None
    inputs: Mapping[str, Any]

    @property
    def runs(self) -> list[Account]:
        """The primary, and the shadow if there is one."""
        return [self.primary, self.shadow] if self.shadow else [self.primary]

    @property
    def span(self) -> tuple[int, int]:
        """The span of every chart over time: from the first bar's open to the last one's close."""
        return self.primary.curve.start_ms, int(self.primary.curve.closes_ms[-1])

    @property
    def times_ms(self) -> Ints:
        """The start of the run, and the close of each bar."""
        return np.concatenate([[self.span[0]], self.primary.curve.closes_ms])

    @property
    def shares_plotly(self) -> bool:
        """True if its page loads plotly.min.js from the results folder."""
        part = msgspec.to_builtins(self.inputs.get(PAGE_PART, {}))
        return PLOTLY_BESIDE in part.get("value", {}).values()

    @property
    def mark(self) -> str:
        """The watermark of each chart."""
        return "simulated" if self.summary.simulated else ""


def read_result(
    folder: Path, *, strategy: records.Strategy, bars: Bars, inputs: Mapping[str, Any]
) -> Result:
    """Return a result whose page is not drawn yet.

    Args:
        folder: The folder with its files, without the page and the manifest.
        strategy: The strategy.
        bars: The bars of the run.
        inputs: For the manifest: digest and value of each part of the result's key.
    """
    summary = read_summary(folder)
    numbers = json.loads((folder / "summary.json").read_text("utf-8"))
    market = _read(folder / "market.csv", text=("symbol",))
    return Result(
        summary=summary,
        primary=_account(folder, "primary", summary, summary.primary, numbers["primary"]),
        shadow=_account(folder / "shadow", "shadow", summary, summary.shadow, numbers["shadow"])
        if summary.shadow
        else None,
        market={
            symbol: market.filter(pa.compute.equal(market["symbol"], symbol))
            for symbol in summary.symbols
        },
        timeframe=strategy.timeframe,
        bars={
            symbol: counted(strategy, bars.shown[symbol, strategy.timeframe])
            for symbol in summary.symbols
        },
        step=strategy.step,
        steps=bars.steps,
        chart_lines=_chart_lines(folder / "chart_lines.csv"),
        inputs=inputs,
    )


def _account(
    folder: Path, name: str, summary: Summary, stats: Stats, numbers: Mapping[str, Any]
) -> Account:
    return Account(
        title=f"{stats.venue} ({name})",
        stats=stats,
        numbers=numbers,
        curve=_curve(_read(folder / "equity.csv"), summary),
        **read_trades(folder),
    )


def read_trades(folder: Path) -> dict[str, Any]:
    """Return the `fills`, `positions` and `tags` of one run, as an Account has them."""
    return {
        "fills": _read(folder / "fills.csv", text=_TEXT_FILLS),
        "positions": _read(folder / "positions.csv", text=_TEXT_POSITIONS),
        "tags": _tags(folder / "tags.csv"),
    }


def _chart_lines(path: Path) -> pa.Table | None:
    """Return the times, and every line as floats; None if the strategy has no chart lines."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    types = {name: pa.float64() for name in names} | {"ts_ms": pa.int64()}
    options = pyarrow.csv.ConvertOptions(column_types=types)
    return pyarrow.csv.read_csv(path, convert_options=options)


def _tags(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    rows = _read(path, text=("order_id", "tags"))
    return dict(zip(rows["order_id"].to_pylist(), rows["tags"].to_pylist(), strict=True))


def _curve(rows: pa.Table, summary: Summary) -> Curve:
    closes_ms: Ints = rows["ts_ms"].to_numpy()
    money = {
        name: fixed_point(rows[name].to_numpy(), MONEY_DECIMALS)
        for name in ("equity", "cash", "buy_and_hold")
    }

    def by_symbol(name: str) -> dict[str, Floats]:
        alone = len(summary.symbols) == 1
        return {
            symbol: rows[name if alone else f"{name}_{symbol}"].to_numpy().astype(np.float64)
            for symbol in summary.symbols
        }

    return Curve(
        start_ms=parse_timeframe(summary.timeframe).floor(int(closes_ms[0]) - 1),
        closes_ms=closes_ms,
        positions=by_symbol("position"),
        prices=by_symbol("price"),
        **money,
    )


def _read(path: Path, *, text: Sequence[str] = ()) -> pa.Table:
    types = {"ts_ms": pa.int64(), "opened_ms": pa.int64(), "closed_ms": pa.int64()}
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(text, pa.string()) | types, strings_can_be_null=False
    )
    return pyarrow.csv.read_csv(path, convert_options=options)
