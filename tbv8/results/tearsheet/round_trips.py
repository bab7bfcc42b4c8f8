"""The closed positions of an account: what each gained, why it ended, how far it went meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.market import Timeframe
from tbv8.results.read import Result
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


class Closings(msgspec.Struct, frozen=True, kw_only=True):
    """What closed each position of a run.

    Attributes:
        reasons: The tags of the order that closed it, or its type, as the tearsheet shows them.
        at_close: True if that order was filled at the close of a step, not inside of it.
    """

    reasons: Sequence[str]
    at_close: Flags


def round_trips(result: Result) -> RoundTrips:
    """Return the closed positions of the primary run."""
    run = result.primary
    positions = run.positions
    numbers = {
        name: positions[name].cast(pa.float64()).to_numpy()
        for name in ("quantity", "entry_price", "exit_price", "pnl", "fees", "funding")
    }
    basis = numbers["entry_price"] * numbers["quantity"]
    shares = np.full(len(basis), np.nan)
    np.divide(numbers["pnl"], basis, out=shares, where=basis > 0)
    ends = closings(positions, run.fills, run.tags)
    adverse, favorable = excursions(positions, ends, result.steps, result.step)
    return RoundTrips(
        symbols=positions["symbol"].to_pylist(),
        is_long=_is_long(positions),
        opened_ms=positions["opened_ms"].to_numpy(),
        closed_ms=positions["closed_ms"].to_numpy(),
        entries=numbers["entry_price"],
        exits=numbers["exit_price"],
        gains=numbers["pnl"],
        cents=_cents(positions["pnl"]),
        fees=numbers["fees"],
        funding=numbers["funding"],
        shares=shares,
        reasons=ends.reasons,
        adverse=adverse,
        favorable=favorable,
    )


def excursions(
    positions: pa.Table, ends: Closings, steps: Mapping[str, pa.Table], step: Timeframe
) -> tuple[Floats, Floats]:
    """Return how far the price went against each closed position, and for it.

    Both are fractions of the entry price, none below 0. They count the steps that lie within the
    position as a whole, its entry and its exit.

    Args:
        positions: positions.csv.
        ends: Its closings.
        steps: The bars that matched orders, by symbol.
        step: Their timeframe.
    """
    count = positions.num_rows
    adverse, favorable = np.zeros(count), np.zeros(count)
    symbols = np.array(positions["symbol"].to_pylist(), dtype=object)
    is_long = _is_long(positions)
    opened_ms, closed_ms = positions["opened_ms"].to_numpy(), positions["closed_ms"].to_numpy()
    entry, exit_ = (
        positions[name].cast(pa.float64()).to_numpy() for name in ("entry_price", "exit_price")
    )
    for symbol in dict.fromkeys(symbols):
        at = np.flatnonzero(symbols == symbol)
        bars = steps[symbol]
        ends_ms = close_times(bars, step)
        first = np.searchsorted(ends_ms, opened_ms[at], side="right")
        last = np.where(
            ends.at_close[at],
            np.searchsorted(ends_ms, closed_ms[at], side="right"),
            np.searchsorted(ends_ms, closed_ms[at], side="left"),
        )
        highest = np.fmax(_extremes(column(bars, "high"), first, last, highest=True), exit_[at])
        lowest = np.fmin(_extremes(column(bars, "low"), first, last, highest=False), exit_[at])
        up, down = highest / entry[at] - 1, 1 - lowest / entry[at]
        adverse[at] = np.maximum(np.where(is_long[at], down, up), 0)
        favorable[at] = np.maximum(np.where(is_long[at], up, down), 0)
    return adverse, favorable


def _is_long(positions: pa.Table) -> Flags:
    return np.array([side == "long" for side in positions["side"].to_pylist()], dtype=bool)


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


def closings(positions: pa.Table, fills: pa.Table, tags: Mapping[str, str]) -> Closings:
    """Return what closed each row of positions.csv, from the files of the same run."""
    symbols = positions["symbol"].to_pylist()
    endings = {symbol: iter(_endings(fills, tags, symbol)) for symbol in dict.fromkeys(symbols)}
    each = [next(endings[symbol]) for symbol in symbols]
    return Closings(
        reasons=[reason for reason, _ in each],
        at_close=np.array([at_close for _, at_close in each], dtype=bool),
    )


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
