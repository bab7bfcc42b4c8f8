"""Cash, positions and equity from a run's fills and payments, apart from the engine's own books.

Decimals are exact up to 60 digits; the curve is in integers of 10^-8 USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal, localcontext
from typing import Literal

import msgspec
import numpy as np

from tbv8.results.marks import Marks
from tbv8.risk.events import LIQUIDATION, Payment
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, check_range, fixed_point
from tbv8.trading.records import Fill, Run

_EXACT = Context(prec=60)
_SMALLEST = Decimal(1).scaleb(-MONEY_DECIMALS)
_CARRIED = "carried"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A closed position in a symbol, from flat to flat; prices are averages.

    `fees` include the maintenance margin lost in a liquidation. `funding` is the amount paid while
    the position was open (negative: received). `pnl` is after both.
    """

    symbol: str
    opened_ms: int
    closed_ms: int
    side: Literal["long", "short"]
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    fees: Decimal
    funding: Decimal


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One value per bar, at its close: `equity = cash +` the sum of `position * price`.

    Money is int64 in 10^-8 USD, positions and prices are float64 by symbol; a price is NaN before
    its symbol's first bar. The first bar opened at `start_ms`.
    """

    start_ms: int
    closes_ms: Ints
    equity: Ints
    cash: Ints
    positions: dict[str, Floats]
    prices: dict[str, Floats]
    buy_and_hold: Ints


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """A run, its curve, and its closed positions in the order of closing."""

    run: Run
    curve: Curve
    positions: tuple[Position, ...]


def to_books(run: Run, marks: Marks) -> Books:
    """Return the accounts of a run.

    Raises:
        DataError: Its money does not fit into the result.
    """
    return Books(run=run, curve=_to_curve(run, marks), positions=tuple(_to_positions(run)))


def history(run: Run, symbol: str) -> list[Fill]:
    """Return a symbol's fills; a position carried over from the warm-up comes first, as a fill."""
    fills = [fill for fill in run.fills if fill.symbol == symbol]
    carried = run.carried
    if carried is None or not carried.positions[symbol]:
        return fills
    position = carried.positions[symbol]
    entered = Fill(
        ts_ms=carried.ts_ms,
        symbol=symbol,
        order_id=_CARRIED,
        side="buy" if position > 0 else "sell",
        type=_CARRIED,
        quantity=abs(position),
        price=carried.prices[symbol],
        fee=Decimal(0),
        liquidity="taker",
        position=position,
    )
    return [entered, *fills]


def entry_price(fills: Iterable[Fill]) -> Decimal | None:
    """Return the average entry price of the position left open by a symbol's fills; None if flat.

    A fill that only reduces the position keeps the average, as venues do.
    """
    average: Decimal | None = None
    with localcontext(_EXACT):
        for fill in fills:
            before = fill.position - fill.change
            if fill.position == 0:
                average = None
            elif average is None or before * fill.position < 0:
                average = fill.price
            elif abs(fill.position) > abs(before):
                average = (average * before + fill.price * fill.change) / fill.position
    return average


# Positions.


def _to_positions(run: Run) -> list[Position]:
    closed = [
        position
        for market in run.markets
        for position in _positions_of(
            history(run, market.symbol), [p for p in run.payments if p.symbol == market.symbol]
        )
    ]
    return sorted(closed, key=lambda position: position.closed_ms)


def _positions_of(fills: Sequence[Fill], payments: Sequence[Payment]) -> Iterator[Position]:
    """Yield a symbol's closed positions.

    A fill through zero closes one position and opens the next; its fee is split by quantity.
    """
    lost = {p.ts_ms: p.amount for p in payments if p.kind == LIQUIDATION}
    held: list[Fill] = []
    paid = Decimal(0)
    with localcontext(_EXACT):
        for event in _in_order(fills, [p for p in payments if p.kind != LIQUIDATION]):
            if isinstance(event, Payment):
                paid += event.amount
                continue
            before = event.position - event.change
            if before * event.position < 0:
                closing, opening = _split(event, abs(before))
            else:
                closing, opening = event, None
            held.append(closing)
            if closing.position == 0:
                margin = lost.get(event.ts_ms, 0) if event.type == LIQUIDATION else 0
                yield _close(held, funding=paid, margin=Decimal(margin))
                held, paid = [opening] if opening else [], Decimal(0)


def _in_order(fills: Iterable[Fill], funding: Sequence[Payment]) -> Iterator[Fill | Payment]:
    """Yield fills and funding in the order of their effect.

    Funding is charged after the fills inside the step that ends at its time, and before the fills
    at the close itself.
    """
    paid = 0
    for fill in fills:
        while paid < len(funding) and (
            funding[paid].ts_ms < fill.ts_ms
            or (funding[paid].ts_ms == fill.ts_ms and is_at_close(fill))
        ):
            yield funding[paid]
            paid += 1
        yield fill
    yield from funding[paid:]


def is_at_close(fill: Fill) -> bool:
    """Return True if a fill happened at the close of its step."""
    return fill.type == "market" or (fill.type == "limit" and fill.liquidity == "taker")


def _split(fill: Fill, closing: Decimal) -> tuple[Fill, Fill]:
    fee = (fill.fee * closing / fill.quantity).quantize(_SMALLEST)
    return (
        msgspec.structs.replace(fill, quantity=closing, fee=fee, position=Decimal(0)),
        msgspec.structs.replace(fill, quantity=fill.quantity - closing, fee=fill.fee - fee),
    )


def _close(fills: Sequence[Fill], *, funding: Decimal, margin: Decimal) -> Position:
    first, last = fills[0], fills[-1]
    entries = [fill for fill in fills if fill.side == first.side]
    exits = [fill for fill in fills if fill.side != first.side]
    fees = sum((fill.fee for fill in fills), margin)
    gained = -sum((fill.change * fill.price for fill in fills), Decimal(0))
    return Position(
        symbol=first.symbol,
        opened_ms=first.ts_ms,
        closed_ms=last.ts_ms,
        side="long" if first.side == "buy" else "short",
        quantity=sum((fill.quantity for fill in entries), Decimal(0)),
        entry_price=_average(entries),
        exit_price=_average(exits),
        pnl=gained - fees - funding,
        fees=fees,
        funding=funding,
    )


def _average(fills: Sequence[Fill]) -> Decimal:
    quantity = sum((fill.quantity for fill in fills), Decimal(0))
    return sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / quantity


# The curve.


def _to_curve(run: Run, marks: Marks) -> Curve:
    """Return the account marked at each bar's close, including events at that instant."""
    closes_ms, prices = marks.closes_ms, marks.prices
    cash = _cash(run, closes_ms)
    equity = cash.copy()
    positions = {}
    for symbol in prices:
        positions[symbol] = held = _held(history(run, symbol), closes_ms)
        worth = np.where(held == 0, 0.0, held * prices[symbol])
        equity += fixed_point(worth, MONEY_DECIMALS)
    return Curve(
        start_ms=marks.start_ms,
        closes_ms=closes_ms,
        equity=equity,
        cash=cash,
        positions=positions,
        prices=prices,
        buy_and_hold=_buy_and_hold(run.start_equity, list(prices.values())),
    )


def _cash(run: Run, closes_ms: Ints) -> Ints:
    with localcontext(_EXACT):
        begun = run.start_equity
        if run.carried:
            for symbol, position in run.carried.positions.items():
                begun -= position * run.carried.prices[symbol] if position else 0
        cash = [begun]
        for fill in run.fills:
            cash.append(cash[-1] - fill.change * fill.price - fill.fee)
    held = [to_money(value) for value in cash]
    check_range(float(max(held, key=abs)), MONEY_DECIMALS)
    paid = np.cumsum([0, *(to_money(payment.amount) for payment in run.payments)], dtype=np.int64)
    after = np.searchsorted([fill.ts_ms for fill in run.fills], closes_ms, side="right")
    paid_after = np.searchsorted([p.ts_ms for p in run.payments], closes_ms, side="right")
    return np.array(held, dtype=np.int64)[after] - paid[paid_after]


def _held(fills: Sequence[Fill], closes_ms: Ints) -> Floats:
    after = np.searchsorted([fill.ts_ms for fill in fills], closes_ms, side="right")
    return np.array([0.0, *(float(fill.position) for fill in fills)])[after]


def _buy_and_hold(start: Decimal, prices: Sequence[Floats]) -> Ints:
    """Return the equity of equal parts in every symbol, each invested at its first price."""
    total = np.zeros(len(prices[0]))
    for price in prices:
        known = np.flatnonzero(~np.isnan(price))
        first = price[known[0]] if known.size else 1.0
        total += np.where(np.isnan(price), 1.0, price / first)
    return fixed_point(float(start) * (total / len(prices)), MONEY_DECIMALS)


def to_money(value: Decimal) -> int:
    """Return USD in integers of 10^-8."""
    return int(value.quantize(_SMALLEST, context=_EXACT).scaleb(MONEY_DECIMALS, context=_EXACT))


def from_money(value: int) -> Decimal:
    """Return integers of 10^-8 as USD."""
    return Decimal(int(value)).scaleb(-MONEY_DECIMALS)
