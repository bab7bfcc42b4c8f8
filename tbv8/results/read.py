"""Read a result's folder, for the page that shows it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv

from tbv8.config import records
from tbv8.manifest import ADDRESS_PART, PAGE_PART, PLOTLY_BESIDE, SESSION_PART
from tbv8.market import parse_time
from tbv8.results.accounting import Curve, to_money
from tbv8.results.files import FILL_COLUMNS, POSITION_COLUMNS, curve_column
from tbv8.results.summary import Stats, Summary, read_summary, to_json
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import MONEY_DECIMALS, column, fixed_point


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
        """The venue with the rules of the run."""
        return self.stats.venue


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A result together with its strategy and bars.

    `chart_lines` are those of chart_lines.csv, or None. `inputs` are those of its manifest.
    """

    summary: Summary
    primary: Account
    shadow: Account | None
    strategy: records.Strategy
    bars: Bars
    chart_lines: pa.Table | None
    inputs: Mapping[str, Any]

    @property
    def runs(self) -> list[Account]:
        """The primary, and the shadow if there is one."""
        return [self.primary, self.shadow] if self.shadow else [self.primary]

    @property
    def span(self) -> tuple[int, int]:
        """The span of every chart over time: that of the curve."""
        return self.primary.curve.start_ms, int(self.primary.curve.closes_ms[-1])

    @property
    def shares_plotly(self) -> bool:
        """True if its page loads plotly.min.js from the results folder."""
        part = msgspec.to_builtins(self.inputs.get(PAGE_PART, {}))
        return PLOTLY_BESIDE in part.get("value", {}).values()

    @property
    def paper_name(self) -> str:
        """The number and the venue of its paper session, as `7 at mexc`; empty for a backtest."""
        part = msgspec.to_builtins(self.inputs.get(SESSION_PART, {}))
        if not part:
            return ""
        primary = part["value"]["primary"]
        return f"{primary['id']} at {primary['venue']}"

    @property
    def addresses(self) -> Mapping[str, Sequence[str]]:
        """The addresses of a paper session's bars by venue, if not the venue's own."""
        part = msgspec.to_builtins(self.inputs.get(ADDRESS_PART, {}))
        addresses: Mapping[str, Sequence[str]] = part.get("value", {})
        return addresses

    @property
    def mark(self) -> str:
        """The watermark of each chart."""
        return "simulated" if self.summary.simulated else ""


def read_result(
    folder: Path, *, strategy: records.Strategy, bars: Bars, inputs: Mapping[str, Any]
) -> Result:
    """Return a result from its files, without its page.

    Args:
        folder: The folder with its files, without the page and the manifest.
        strategy: The strategy.
        bars: The bars of the run.
        inputs: For the manifest: digest and value of each part of the result's key.
    """
    summary = read_summary(folder)
    accounts = [
        Account(
            title=f"{stats.venue} ({name})",
            stats=stats,
            numbers=to_json(summary)[name],
            curve=_curve(path / "equity.csv", summary, stats),
            **read_trades(path),
        )
        for name, path, stats in (
            ("primary", folder, summary.primary),
            ("shadow", folder / "shadow", summary.shadow),
        )
        if stats is not None
    ]
    return Result(
        summary=summary,
        primary=accounts[0],
        shadow=accounts[1] if summary.shadow else None,
        strategy=strategy,
        bars=bars,
        chart_lines=_chart_lines(folder / "chart_lines.csv"),
        inputs=inputs,
    )


def read_trades(folder: Path) -> dict[str, Any]:
    """Return the `fills`, `positions` and `tags` of one run, as an Account has them."""
    path, tags = folder / "tags.csv", {}
    if path.exists():
        rows = _read(path, text=("order_id", "tags"))
        tags = dict(zip(rows["order_id"].to_pylist(), rows["tags"].to_pylist(), strict=True))
    return {
        "fills": _read(folder / "fills.csv", text=FILL_COLUMNS),
        "positions": _read(folder / "positions.csv", text=POSITION_COLUMNS),
        "tags": tags,
    }


def _chart_lines(path: Path) -> pa.Table | None:
    """Return the times, and every line as floats; None if the strategy has no chart lines."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    return _read(path, floats=names[1:]).combine_chunks()  # whose columns need no copies


def _curve(path: Path, summary: Summary, stats: Stats) -> Curve:
    symbols = summary.symbols
    positions, prices = (
        {symbol: curve_column(name, symbol, of=len(symbols)) for symbol in symbols}
        for name in ("position", "price")
    )
    rows = _read(path, floats=("equity", *positions.values(), *prices.values(), "buy_and_hold"))
    return Curve(
        start_ms=parse_time(summary.span["start"]),
        start=to_money(stats.start_equity),
        closes_ms=rows["ts_ms"].to_numpy(),
        equity=fixed_point(column(rows, "equity"), MONEY_DECIMALS),
        positions={symbol: column(rows, name) for symbol, name in positions.items()},
        prices={symbol: column(rows, name) for symbol, name in prices.items()},
        buy_and_hold=fixed_point(column(rows, "buy_and_hold"), MONEY_DECIMALS),
    )


def _read(path: Path, *, text: Sequence[str] = (), floats: Sequence[str] = ()) -> pa.Table:
    """Return a file as a table; if `floats` are given, only those and `ts_ms`."""
    times = dict.fromkeys(("ts_ms", "opened_ms", "closed_ms"), pa.int64())
    types = dict.fromkeys(floats, pa.float64()) | dict.fromkeys(text, pa.string()) | times
    options = pyarrow.csv.ConvertOptions(
        column_types=types,
        strings_can_be_null=False,
        include_columns=["ts_ms", *floats] if floats else None,
    )
    return pyarrow.csv.read_csv(path, convert_options=options)
