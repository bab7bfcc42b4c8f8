"""Cash, positions and equity from a run's fills and payments, apart from the engine's own books.

Decimals are exact up to 60 digits; the curve is in integers of 10^-8 USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext
from typing import Literal

import msgspec
import numpy as np

from tbv8.results.marks import Marks
from tbv8.risk.events import EXACT, LIQUIDATION, Payment
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints, check_range, fixed_point
from tbv8.trading.records import Fill, Run

_SMALLEST = Decimal(1).scaleb(-MONEY_DECIMALS)
_ZERO = Decimal(0)
_CARRIED = "carried"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A position in a symbol that was closed or turned; prices are averages.

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
    """One value per bar, at its close, and at the end: `equity = cash +` all `position * price`.

    Money is int64 in 10^-8 USD, positions and prices are float64 by symbol; a price is NaN before
    its symbol's first bar. The counted span begins at `start_ms`, with an equity of `start`.
    """

    start_ms: int
    start: int
    closes_ms: Ints
    equity: Ints
    positions: dict[str, Floats]
    prices: dict[str, Floats]
    buy_and_hold: Ints

    @property
    def times_ms(self) -> Ints:
        """The start, and the close of each bar."""
        return np.concatenate([[self.start_ms], self.closes_ms])

    def from_start(self, equity: Ints) -> Ints:
        """Return an equity at `times_ms`: with that of the start in front."""
        return np.concatenate([[self.start], equity])


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """A run, its curve, its cash at each close, and its closed positions in order of closing."""

    run: Run
    curve: Curve
    cash: Ints
    positions: tuple[Position, ...]


def to_books(run: Run, marks: Marks) -> Books:
    """Return the accounts of a run.

    Raises:
        DataError: Its money does not fit into the result.
    """
    cash = _cash(run, marks.closes_ms)
    positions = sorted(_positions(run), key=lambda position: position.closed_ms)
    return Books(run=run, curve=_to_curve(run, cash, marks), cash=cash, positions=tuple(positions))


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


def before(fill: Fill) -> Decimal:
    """Return the position before a fill."""
    return fill.position - fill.change


def entry_price(fills: Sequence[Fill]) -> Decimal | None:
    """Return the average entry price of the position left open by a symbol's fills; None if flat.

    A fill that only reduces the position keeps the average, as venues do.
    """
    if not fills or not fills[-1].position:
        return None
    entered = len(fills) - 1
    with localcontext(EXACT):
        while before(fills[entered]) * fills[entered].position > 0:
            entered -= 1
        average = fills[entered].price
        for fill in fills[entered + 1 :]:
            if fill.change * fill.position > 0:
                average = (average * before(fill) + fill.price * fill.change) / fill.position
    return average


# Positions.


def _positions(run: Run) -> Iterator[Position]:
    for market in run.markets:
        payments = [payment for payment in run.payments if payment.symbol == market.symbol]
        yield from _positions_of(market.symbol, history(run, market.symbol), payments)


def _positions_of(
    symbol: str, fills: Iterable[Fill], payments: Sequence[Payment]
) -> Iterator[Position]:
    """Yield a symbol's closed positions.

    A fill through zero closes one position and opens the next; its fee is split by quantity.
    """
    margins = {p.ts_ms: p.amount for p in payments if p.kind == LIQUIDATION}
    opened_ms = 0
    quantity = entered = exited = fees = paid = _ZERO  # of the open position
    with localcontext(EXACT):
        for event in _in_order(fills, [p for p in payments if p.kind != LIQUIDATION]):
            if isinstance(event, Payment):
                paid += event.amount
                continue
            size = before(event)
            closing = min(abs(size), event.quantity) if size * event.change < 0 else _ZERO
            opening, fee = event.quantity - closing, event.fee
            if opening and closing:
                fee = (fee * closing / event.quantity).quantize(_SMALLEST)
            fees += fee
            if closing:
                exited += closing * event.price
            if closing and closing == abs(size):
                fees += margins.get(event.ts_ms, 0) if event.type == LIQUIDATION else 0
                gained = exited - entered if size > 0 else entered - exited
                yield Position(
                    symbol=symbol,
                    opened_ms=opened_ms,
                    closed_ms=event.ts_ms,
                    side="long" if size > 0 else "short",
                    quantity=quantity,
                    entry_price=entered / quantity,
                    exit_price=exited / quantity,
                    pnl=gained - fees - paid,
                    fees=fees,
                    funding=paid,
                )
                quantity = entered = exited = paid = _ZERO
                fees = event.fee - fee
            if opening:
                opened_ms = opened_ms if quantity else event.ts_ms
                quantity += opening
                entered += opening * event.price


def _in_order(fills: Iterable[Fill], funding: Sequence[Payment]) -> Iterator[Fill | Payment]:
    """Yield fills and funding in the order of their effect.

    Funding is charged after the fills inside the step that ends at its time, and before the fills
    at the close itself.
    """
    paid = 0
    for fill in fills:
        while paid < len(funding) and (
            funding[paid].ts_ms < fill.ts_ms
            or (funding[paid].ts_ms == fill.ts_ms and fill.at == "close")
        ):
            yield funding[paid]
            paid += 1
        yield fill
    yield from funding[paid:]


# The curve.


def _to_curve(run: Run, cash: Ints, marks: Marks) -> Curve:
    """Return the account marked at each bar's close, including events at that instant."""
    equity, positions = cash.copy(), {}
    for symbol, prices in marks.prices.items():
        fills = history(run, symbol)
        sizes = np.array([0.0, *(float(fill.position) for fill in fills)])
        positions[symbol] = size = _at_closes(sizes, fills, marks.closes_ms)
        equity += fixed_point(np.where(size == 0, 0.0, size * prices), MONEY_DECIMALS)
    return Curve(
        start_ms=marks.start_ms,
        start=to_money(run.start_equity),
        closes_ms=marks.closes_ms,
        equity=equity,
        positions=positions,
        prices=marks.prices,
        buy_and_hold=_buy_and_hold(run.start_equity, list(marks.prices.values())),
    )


def _cash(run: Run, closes_ms: Ints) -> Ints:
    with localcontext(EXACT):
        cash = run.start_equity
        if run.carried:
            for symbol, position in run.carried.positions.items():
                cash -= position * run.carried.prices[symbol] if position else 0
        units = [to_money(cash)]
        for fill in run.fills:
            cash -= fill.change * fill.price + fill.fee
            units.append(to_money(cash))
    check_range(float(max(units, key=abs)), MONEY_DECIMALS)
    paid = np.cumsum([0, *(to_money(payment.amount) for payment in run.payments)], dtype=np.int64)
    traded = _at_closes(np.array(units, dtype=np.int64), run.fills, closes_ms)
    return traded - _at_closes(paid, run.payments, closes_ms)


def _at_closes[V: (Floats, Ints)](
    values: V, events: Sequence[Fill] | Sequence[Payment], closes_ms: Ints
) -> V:
    """Return the value at each close: the first of `values`, or the one of the last event."""
    at = np.searchsorted(closes_ms, [event.ts_ms for event in events])
    return np.repeat(values, np.diff(at, prepend=0, append=len(closes_ms)))


def _buy_and_hold(start: Decimal, prices: Sequence[Floats]) -> Ints:
    """Return the equity of equal parts in every symbol, each invested at its first price."""
    total = np.zeros(len(prices[0]))
    for price in prices:
        is_unknown = np.isnan(price)
        total += np.where(is_unknown, 1.0, price / price[np.argmin(is_unknown)])
    return fixed_point(float(start) * (total / len(prices)), MONEY_DECIMALS)


def to_money(value: Decimal) -> int:
    """Return USD in integers of 10^-8."""
    return round(value.scaleb(MONEY_DECIMALS, context=EXACT))


def from_money(value: int) -> Decimal:
    """Return integers of 10^-8 as USD."""
    return Decimal(int(value)).scaleb(-MONEY_DECIMALS)


def in_usd(values: Ints) -> Floats:
    """Return integers of 10^-8 as USD in floats."""
    usd: Floats = values / 10.0**MONEY_DECIMALS
    return usd
