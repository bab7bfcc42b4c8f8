"""The closed positions of an account: what each gained, why it ended, how far it went meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.results.read import Result, read_trades
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, close_times, column

type Flags = npt.NDArray[np.bool_]
type Texts = npt.NDArray[np.object_]


class RoundTrips(msgspec.Struct, frozen=True, kw_only=True):
    """Closed positions in the order of positions.csv, a column of each value.

    `cents` are gains, rounded; `shares` are gains as fractions of the entry's value, NaN where that
    is 0. `adverse` and `favorable` are the largest moves of the price against and in favor of the
    position, as fractions of the entry, none below 0. A reason is the tags of the closing order, or
    its type.
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
    reasons: Texts
    adverse: Floats
    favorable: Floats

    def __len__(self) -> int:
        return len(self.opened_ms)


def round_trips(result: Result) -> RoundTrips:
    """Return the closed positions of the primary run."""
    positions, fills, tags = result.primary.positions, result.primary.fills, result.primary.tags
    quantity, entries, exits, gains, fees, funding = (
        positions[name].cast(pa.float64()).to_numpy()
        for name in ("quantity", "entry_price", "exit_price", "pnl", "fees", "funding")
    )
    symbols, is_long = positions["symbol"].to_numpy(), _is(positions["side"], "long")
    opened_ms, closed_ms = positions["opened_ms"].to_numpy(), positions["closed_ms"].to_numpy()
    basis, count = entries * quantity, len(symbols)
    shares = np.full(count, np.nan)
    np.divide(gains, basis, out=shares, where=basis > 0)
    reasons, adverse, favorable = np.empty(count, np.object_), np.zeros(count), np.zeros(count)
    for symbol in result.summary.symbols:
        own, steps = symbols == symbol, result.bars.steps[symbol]
        reasons[own], at_close = _endings(fills, tags, symbol)
        ends_ms = close_times(steps, result.strategy.step)
        first = np.searchsorted(ends_ms, opened_ms[own], side="right")
        ended_ms = np.where(at_close, closed_ms[own], closed_ms[own] - 1)
        last = np.searchsorted(ends_ms, ended_ms, side="right")
        highest = np.fmax(_extremes(np.maximum, column(steps, "high"), first, last), exits[own])
        lowest = np.fmin(_extremes(np.minimum, column(steps, "low"), first, last), exits[own])
        up, down = highest / entries[own] - 1, 1 - lowest / entries[own]
        adverse[own] = np.maximum(np.where(is_long[own], down, up), 0)
        favorable[own] = np.maximum(np.where(is_long[own], up, down), 0)
    return RoundTrips(
        symbols=symbols,
        is_long=is_long,
        opened_ms=opened_ms,
        closed_ms=closed_ms,
        entries=entries,
        exits=exits,
        gains=gains,
        cents=_cents(positions["pnl"]),
        fees=fees,
        funding=funding,
        shares=shares,
        reasons=reasons,
        adverse=adverse,
        favorable=favorable,
    )


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


def closing_reasons(folder: Path) -> list[str]:
    """Return the reason of each row of a run's positions.csv, as the tearsheet shows it."""
    trades = read_trades(folder)
    symbols = trades["positions"]["symbol"].to_numpy()
    reasons = np.empty(len(symbols), np.object_)
    for symbol in set(symbols):
        reasons[symbols == symbol], _ = _endings(trades["fills"], trades["tags"], symbol)
    return list(reasons)


def _endings(fills: pa.Table, tags: Mapping[str, str], symbol: str) -> tuple[list[str], Flags]:
    """Return the reason for closing of each closed position; True if at the close of a step."""
    fills = fills.filter(pc.equal(fills["symbol"], symbol))
    sizes = fills["quantity"]
    places = len(sizes[0].as_py().partition(".")[2]) if fills.num_rows else 0
    after, size = (
        np.rint(fills[name].cast(pa.float64()).to_numpy() * 10.0**places).astype(np.int64)
        for name in ("position", "quantity")
    )
    before = after - np.where(_is(fills["side"], "buy"), size, -size)
    closing = np.flatnonzero((before != 0) & (np.sign(after) != np.sign(before)))
    last = fills.take(pa.array(closing)).select(["order_id", "type", "liquidity"])
    kinds = pc.replace_substring(last["type"], "_", " ").to_pylist()
    ids = last["order_id"].to_pylist()
    reasons = [tags.get(id_) or kind for id_, kind in zip(ids, kinds, strict=True)]
    takes = _is(last["type"], "limit") & _is(last["liquidity"], "taker")
    return reasons, _is(last["type"], "market") | takes
