"""Cash, positions and equity from the fills and the bars, apart from the engine's own books.

Decimals are exact up to 60 digits; the curve is in integers of 10^-8 USD, a price in integers of
the instrument's last decimal, a position in those of the lot's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, localcontext
from typing import Literal

import msgspec
import numpy as np

from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, check_range, fixed_point

_EXACT = Context(prec=60)
_SMALLEST = Decimal(1).scaleb(-MONEY_DECIMALS)
_INT64 = 9.2e18


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution; the quantity in base units, the fee in USD, `position` is what it left.

    `trigger` is the price that set off a stop, or a liquidation; the market may be beyond it.
    """

    ts_ms: int
    order_id: str
    side: Literal["buy", "sell"]
    type: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: Literal["maker", "taker"]
    position: Decimal
    trigger: Decimal | None = None

    @property
    def change(self) -> Decimal:
        """What it added to the position."""
        return self.quantity if self.side == "buy" else -self.quantity


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """What was held from flat to flat; prices are averages, `pnl` is after `fees`."""

    opened_ms: int
    closed_ms: int
    side: Literal["long", "short"]
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    pnl: Decimal
    fees: Decimal


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One value a bar, at its close: `equity = cash + position * price`.

    Money is int64 in 10^-8 USD, the others float64.
    """

    closes_ms: Ints
    equity: Ints
    cash: Ints
    position: Floats
    price: Floats
    buy_and_hold: Ints


def to_positions(fills: Iterable[Fill]) -> list[Position]:
    """Return the closed positions in the order of their closing.

    A fill through zero closes one and opens the next; its fee is shared by quantity.
    """
    positions: list[Position] = []
    held: list[Fill] = []
    with localcontext(_EXACT):
        for fill in fills:
            before = fill.position - fill.change
            if before * fill.position < 0:
                closing, opening = _split(fill, abs(before))
                positions.append(_close([*held, closing]))
                held = [opening]
                continue
            held.append(fill)
            if fill.position == 0:
                positions.append(_close(held))
                held = []
    return positions


def entry_price(fills: Iterable[Fill]) -> Decimal | None:
    """Return the average price at which what the fills leave open was entered; None when flat.

    A fill that only reduces leaves the average as it is, as venues have it.
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


def _split(fill: Fill, closing: Decimal) -> tuple[Fill, Fill]:
    fee = (fill.fee * closing / fill.quantity).quantize(_SMALLEST)
    return (
        msgspec.structs.replace(fill, quantity=closing, fee=fee, position=Decimal(0)),
        msgspec.structs.replace(fill, quantity=fill.quantity - closing, fee=fill.fee - fee),
    )


def _close(fills: Sequence[Fill]) -> Position:
    first, last = fills[0], fills[-1]
    entries = [fill for fill in fills if fill.side == first.side]
    exits = [fill for fill in fills if fill.side != first.side]
    fees = sum((fill.fee for fill in fills), Decimal(0))
    gained = -sum((fill.change * fill.price for fill in fills), Decimal(0))
    return Position(
        opened_ms=first.ts_ms,
        closed_ms=last.ts_ms,
        side="long" if first.side == "buy" else "short",
        quantity=sum((fill.quantity for fill in entries), Decimal(0)),
        entry_price=_average(entries),
        exit_price=_average(exits),
        pnl=gained - fees,
        fees=fees,
    )


def _average(fills: Sequence[Fill]) -> Decimal:
    quantity = sum((fill.quantity for fill in fills), Decimal(0))
    return sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / quantity


class Payment(msgspec.Struct, frozen=True):
    """Funding paid at its time, or received where it is below 0."""

    ts_ms: int
    amount: Decimal


def to_curve(
    fills: Sequence[Fill],
    payments: Sequence[Payment] = (),
    *,
    start: Decimal,
    closes_ms: Ints,
    closes: Floats,
) -> Curve:
    """Return the account marked at each bar's close; what happened at that instant is in it."""
    cash, position = [start], [Decimal(0)]
    with localcontext(_EXACT):
        for fill in fills:
            cash.append(cash[-1] - fill.change * fill.price - fill.fee)
            position.append(fill.position)
    after = np.searchsorted([fill.ts_ms for fill in fills], closes_ms, side="right")
    held = np.array([float(value) for value in position])[after]
    held_money = [to_money(value) for value in cash]
    check_range(float(max(held_money, key=abs)), MONEY_DECIMALS)
    paid = np.cumsum([0, *(to_money(payment.amount) for payment in payments)], dtype=np.int64)
    paid_after = np.searchsorted([p.ts_ms for p in payments], closes_ms, side="right")
    money = np.array(held_money, dtype=np.int64)[after] - paid[paid_after]
    return Curve(
        closes_ms=closes_ms,
        equity=money + fixed_point(held * closes, MONEY_DECIMALS),
        cash=money,
        position=held,
        price=closes,
        buy_and_hold=fixed_point(float(start) * (closes / closes[0]), MONEY_DECIMALS),
    )


def to_money(value: Decimal) -> int:
    """Return USD in integers of 10^-8."""
    return int(value.quantize(_SMALLEST, context=_EXACT).scaleb(MONEY_DECIMALS, context=_EXACT))


def from_money(value: int) -> Decimal:
    """Return integers of 10^-8 as USD."""
    return Decimal(int(value)).scaleb(-MONEY_DECIMALS)
