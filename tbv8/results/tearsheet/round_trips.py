"""The closed positions of an account, with gains, reasons of entry and exit, and excursions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.market import Timeframe
from tbv8.results.read import Result
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, close_times, column

type Flags = npt.NDArray[np.bool_]
type Texts = npt.NDArray[np.object_]


class RoundTrips(msgspec.Struct, frozen=True, kw_only=True):
    """Closed positions in the order of positions.csv, a column of each value.

    `cents` are gains, rounded; `shares` are gains as fractions of the entry's value, NaN where that
    is 0. `adverse` and `favorable` are the largest moves of the price against and in favor of the
    position, as fractions of the entry, none below 0. `entry_by` and `exit_by` are the tags of the
    opening and of the closing order, or its type.
    """

    symbols: Texts
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
    entry_by: Texts
    exit_by: Texts
    adverse: Floats
    favorable: Floats

    def __len__(self) -> int:
        return len(self.opened_ms)


class Ends(msgspec.Struct, frozen=True, kw_only=True):
    """The fills that opened and closed the positions of a run.

    Attributes:
        entry_by: The tags of each opening order, or its type; `warm-up` for a position that was
            open when the result began.
        exit_by: The tags of each closing order, or its type.
        at_close: True if the exit was filled at the close of a step, False if inside of it.
    """

    entry_by: Texts
    exit_by: Texts
    at_close: Flags


def round_trips(result: Result) -> RoundTrips:
    """Return the closed positions of the primary run."""
    run, positions = result.primary, result.primary.positions
    entries, gains = _floats(positions, "entry_price"), _floats(positions, "pnl")
    basis, shares = entries * _floats(positions, "quantity"), np.full(len(entries), np.nan)
    np.divide(gains, basis, out=shares, where=basis > 0)
    ends = read_ends(positions, run.fills, run.tags)
    adverse, favorable = excursions(positions, ends, result.bars.steps, result.strategy.step)
    return RoundTrips(
        symbols=positions["symbol"].to_numpy(),
        is_long=_is(positions["side"], "long"),
        opened_ms=positions["opened_ms"].to_numpy(),
        closed_ms=positions["closed_ms"].to_numpy(),
        entries=entries,
        exits=_floats(positions, "exit_price"),
        gains=gains,
        cents=_cents(positions["pnl"]),
        fees=_floats(positions, "fees"),
        funding=_floats(positions, "funding"),
        shares=shares,
        entry_by=ends.entry_by,
        exit_by=ends.exit_by,
        adverse=adverse,
        favorable=favorable,
    )


def excursions(
    positions: pa.Table, ends: Ends, steps: Mapping[str, pa.Table], step: Timeframe
) -> tuple[Floats, Floats]:
    """Return the largest moves of the price against each closed position, and in favor of it.

    Both are fractions of the entry price, none below 0. They count every price that was surely
    within the position: the whole steps between its entry and its exit, the close of the step in
    which it was opened, the open of the step inside of which it was closed, and the exit itself.

    Args:
        positions: positions.csv.
        ends: Their entries and exits.
        steps: The bars that matched orders, by symbol.
        step: Their timeframe.
    """
    adverse, favorable = np.zeros(positions.num_rows), np.zeros(positions.num_rows)
    symbols, is_long = positions["symbol"].to_numpy(), _is(positions["side"], "long")
    entries, exits = _floats(positions, "entry_price"), _floats(positions, "exit_price")
    opened_ms = positions["opened_ms"].to_numpy()
    ended_ms = positions["closed_ms"].to_numpy() - ~ends.at_close  # not the step that it ends in
    for symbol in dict.fromkeys(symbols):
        own, bars = symbols == symbol, steps[symbol]
        times_ms = close_times(bars, step)
        first, last = (
            np.searchsorted(times_ms, of[own], side="right") for of in (opened_ms, ended_ms)
        )
        is_longer = last >= first  # than a part of one step
        begins = is_longer & (first > 0) & (times_ms[first - 1] == opened_ms[own])
        after = np.where(begins, column(bars, "close")[first - 1], exits[own])
        opens = column(bars, "open")[np.minimum(last, len(times_ms) - 1)]
        before = np.where(is_longer & ~ends.at_close[own], opens, exits[own])
        edges = np.stack([after, before, exits[own]])
        highs, lows = column(bars, "high"), column(bars, "low")
        highest = np.fmax(_extremes(np.maximum, highs, first, last), edges.max(axis=0))
        lowest = np.fmin(_extremes(np.minimum, lows, first, last), edges.min(axis=0))
        up, down = highest / entries[own] - 1, 1 - lowest / entries[own]
        adverse[own] = np.maximum(np.where(is_long[own], down, up), 0)
        favorable[own] = np.maximum(np.where(is_long[own], up, down), 0)
    return adverse, favorable


def _floats(table: pa.Table, name: str) -> Floats:
    values: Floats = table[name].cast(pa.float64()).to_numpy()
    return values


def _is(texts: pa.ChunkedArray, text: str) -> Flags:
    flags: Flags = pc.equal(texts, text).to_numpy()
    return flags


def _cents(money: pa.ChunkedArray) -> Ints:
    exact = money.cast(pa.decimal128(38, MONEY_DECIMALS))
    rounded = pc.round(exact, ndigits=2, round_mode="half_to_even").cast(pa.float64())
    cents: Ints = np.rint(rounded.to_numpy() * 100).astype(np.int64)
    return cents


def _extremes(extreme: np.ufunc, values: Floats, first: Ints, last: Ints) -> Floats:
    """Return the highest or lowest value of each slice; NaN for an empty one."""
    edges = np.column_stack([first, last]).ravel()
    found = extreme.reduceat(np.append(values, np.nan), edges)[::2]
    return np.where(last > first, found, np.nan)


def read_ends(positions: pa.Table, fills: pa.Table, tags: Mapping[str, str]) -> Ends:
    """Return the entry and the exit of each row of positions.csv, from the files of its run."""
    symbols = positions["symbol"].to_numpy()
    entry_by, exit_by = np.full(len(symbols), None), np.full(len(symbols), None)
    at_close = np.zeros(len(symbols), np.bool_)
    for symbol in dict.fromkeys(symbols):
        own = symbols == symbol
        entry_by[own], exit_by[own], at_close[own] = _ends_of(symbol, fills, tags)
    return Ends(entry_by=entry_by, exit_by=exit_by, at_close=at_close)


def _ends_of(
    symbol: str, fills: pa.Table, tags: Mapping[str, str]
) -> tuple[list[str], list[str], Flags]:
    fills = fills.filter(pc.equal(fills["symbol"], symbol))
    places = len(fills["quantity"][0].as_py().partition(".")[2])
    after, size = (
        np.rint(_floats(fills, name) * 10.0**places).astype(np.int64)
        for name in ("position", "quantity")
    )
    before = after - np.where(_is(fills["side"], "buy"), size, -size)
    changed = np.sign(after) != np.sign(before)
    opening, closing = (
        fills.take(pa.array(np.flatnonzero(changed & (position != 0))))
        for position in (after, before)
    )
    carried = ["warm-up"] if before[0] else []
    entry_by = [*carried, *_reasons(opening, tags)][: len(closing)]
    return entry_by, _reasons(closing, tags), _at_close(closing)


def _reasons(fills: pa.Table, tags: Mapping[str, str]) -> list[str]:
    """Return the tags of each fill's order, or its type."""
    kinds = pc.replace_substring(fills["type"], "_", " ").to_pylist()
    ids = fills["order_id"].to_pylist()
    return [tags.get(id_) or kind for id_, kind in zip(ids, kinds, strict=True)]


def _at_close(fills: pa.Table) -> Flags:
    """Return True for fills at the close of their step."""
    if "at" in fills.column_names:
        return _is(fills["at"], "close")
    takes = _is(fills["type"], "limit") & _is(fills["liquidity"], "taker")  # a file of 0.1
    return _is(fills["type"], "market") | takes
