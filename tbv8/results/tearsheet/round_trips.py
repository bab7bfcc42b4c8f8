"""The closed positions of an account: what each gained, why it ended, how far it went meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.results.read import Result, read_trades
from tbv8.results.tearsheet.words import decimals_of
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, close_times, column

type Flags = npt.NDArray[np.bool_]


class RoundTrips(msgspec.Struct, frozen=True, kw_only=True):
    """Closed positions in the order of positions.csv, one value of each column for each.

    `cents` are gains, rounded; `shares` are gains as fractions of what was entered, NaN where that
    was nothing. `adverse` and `favorable` are how far the price went against and for the position,
    as fractions of the entry, none below 0. A reason is the tags of the order that closed it, or
    its type.
    """

    symbols: Sequence[str]
    is_long: Flags
    opened_ms: Ints
    closed_ms: Ints
    entries: Floats
    exits: Floats
    gains: Floats
    cents: Ints
    fees: Floats
    funding: Floats
    shares: Floats
    reasons: Sequence[str]
    adverse: Floats
    favorable: Floats

    def __len__(self) -> int:
        return len(self.opened_ms)


def round_trips(result: Result) -> RoundTrips:
    """Return the closed positions of the primary run."""
    positions = result.primary.positions
    numbers = {
        name: positions[name].cast(pa.float64()).to_numpy()
        for name in ("quantity", "entry_price", "exit_price", "pnl", "fees", "funding")
    }
    basis = numbers["entry_price"] * numbers["quantity"]
    shares = np.full(len(basis), np.nan)
    np.divide(numbers["pnl"], basis, out=shares, where=basis > 0)
    symbols = positions["symbol"].to_pylist()
    count = len(symbols)
    reasons, at_close = [""] * count, np.zeros(count, dtype=bool)
    adverse, favorable = np.zeros(count), np.zeros(count)
    is_long = np.array([side == "long" for side in positions["side"].to_pylist()], dtype=bool)
    opened_ms, closed_ms = positions["opened_ms"].to_numpy(), positions["closed_ms"].to_numpy()
    for symbol in result.summary.symbols:
        of_symbol = np.array(
            [at for at, name in enumerate(symbols) if name == symbol], dtype=np.int64
        )
        for at, (reason, is_at_close) in zip(
            of_symbol, _endings(result.primary.fills, result.primary.tags, symbol), strict=True
        ):
            reasons[at], at_close[at] = reason, is_at_close
        steps = result.steps[symbol]
        ends_ms = close_times(steps, result.step)
        first = np.searchsorted(ends_ms, opened_ms[of_symbol], side="right")
        last = np.where(
            at_close[of_symbol],
            np.searchsorted(ends_ms, closed_ms[of_symbol], side="right"),
            np.searchsorted(ends_ms, closed_ms[of_symbol], side="left"),
        )
        entries, exits = numbers["entry_price"][of_symbol], numbers["exit_price"][of_symbol]
        highest = np.fmax(_extremes(column(steps, "high"), first, last, highest=True), exits)
        lowest = np.fmin(_extremes(column(steps, "low"), first, last, highest=False), exits)
        up, down = highest / entries - 1, 1 - lowest / entries
        adverse[of_symbol] = np.maximum(np.where(is_long[of_symbol], down, up), 0)
        favorable[of_symbol] = np.maximum(np.where(is_long[of_symbol], up, down), 0)
    return RoundTrips(
        symbols=symbols,
        is_long=is_long,
        opened_ms=opened_ms,
        closed_ms=closed_ms,
        entries=numbers["entry_price"],
        exits=numbers["exit_price"],
        gains=numbers["pnl"],
        cents=_cents(positions["pnl"]),
        fees=numbers["fees"],
        funding=numbers["funding"],
        shares=shares,
        reasons=reasons,
        adverse=adverse,
        favorable=favorable,
    )


def _cents(money: pa.ChunkedArray) -> Ints:
    exact = money.cast(pa.decimal128(38, MONEY_DECIMALS))
    rounded = pc.round(exact, ndigits=2, round_mode="half_to_even").cast(pa.float64())
    cents: Ints = np.rint(rounded.to_numpy() * 100).astype(np.int64)
    return cents


def _extremes(values: Floats, first: Ints, last: Ints, *, highest: bool) -> Floats:
    """Return the highest or lowest value of each slice; NaN for an empty one."""
    extremes = np.full(len(first), np.nan)
    for at, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        if end > begin:
            part = values[begin:end]
            extremes[at] = part.max() if highest else part.min()
    return extremes


def closing_reasons(folder: Path) -> list[str]:
    """Return the reason of each row of a run's positions.csv, as the tearsheet shows it."""
    trades = read_trades(folder)
    symbols = trades["positions"]["symbol"].to_pylist()
    reasons = {
        symbol: iter(_endings(trades["fills"], trades["tags"], symbol)) for symbol in set(symbols)
    }
    return [next(reasons[symbol])[0] for symbol in symbols]


def _endings(fills: pa.Table, tags: Mapping[str, str], symbol: str) -> list[tuple[str, bool]]:
    """Return the reason for closing of each closed position; True if at the close of a step."""
    fills = fills.filter(pc.equal(fills["symbol"], symbol))
    if not fills.num_rows:
        return []
    places = decimals_of(fills["quantity"][0].as_py())
    after, size = (
        np.rint(fills[name].cast(pa.float64()).to_numpy() * 10.0**places).astype(np.int64)
        for name in ("position", "quantity")
    )
    is_buy = pc.equal(fills["side"], "buy").to_numpy()
    before = after - np.where(is_buy, size, -size)
    closing = np.flatnonzero((before != 0) & (np.sign(after) != np.sign(before)))
    rows = fills.take(pa.array(closing)).select(["order_id", "type", "liquidity"]).to_pylist()
    return [
        (
            tags.get(row["order_id"]) or row["type"].replace("_", " "),
            row["type"] == "market" or (row["type"] == "limit" and row["liquidity"] == "taker"),
        )
        for row in rows
    ]
