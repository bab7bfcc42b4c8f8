"""The records of a session that results are made of."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from tbv8.risk.events import Denial, Halt, Payment

type Side = Literal["buy", "sell"]

HALT, STOP = "halt", "doit stop"
"""The tags of tbv8's own closing orders."""


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order of the strategy; `prices` are its limit and trigger, as far as it has them."""

    ts_ms: int
    order_id: str
    symbol: str
    side: Side
    type: str
    quantity: Decimal
    prices: tuple[Decimal, ...] = ()
    tags: str = ""


class SubmittedOrder(_Order, frozen=True, kw_only=True):
    """A submitted order, with its requested quantity.

    `waits` is True if it begins only when its parent is filled, as the exits of a bracket.
    """

    waits: bool = False


class EndedOrder(_Order, frozen=True, kw_only=True):
    """An order that ended before it was filled as a whole; `quantity` is the unfilled part.

    `why` is the reason, as text for the user.
    """

    how: Literal["cancelled", "expired", "rejected"]
    why: str


class RestingLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A resting limit order, with its remaining quantity."""

    order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution.

    `ts_ms` is the close of its step, the quantity is in base units, the fee in USD, `position` the
    symbol's position after it. `at` is `close` for a fill at the close of its step, `inside` for
    one before it. `trigger` is the price from which rounding and slippage of a taker are measured:
    the close, or inside of a step the trigger of its stop or liquidation. `tags` are those of the
    order; `halt` or `stop` for tbv8's closing orders.
    """

    ts_ms: int
    symbol: str
    order_id: str
    side: Side
    type: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: Literal["maker", "taker"]
    position: Decimal
    at: Literal["close", "inside"] = "inside"
    trigger: Decimal | None = None
    tags: str = ""

    @property
    def change(self) -> Decimal:
        """The signed size that it added to the position."""
        return self.quantity if self.side == "buy" else -self.quantity


class MarketDecimals(msgspec.Struct, frozen=True, kw_only=True):
    """The decimals of one symbol's prices and quantities in files."""

    symbol: str
    price_decimals: int
    size_decimals: int


class CarriedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The account at the end of a warm-up, from which the run is counted."""

    ts_ms: int
    positions: dict[str, Decimal]
    prices: dict[str, Decimal]


class ChartLines(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a strategy in the price chart: their values at the closes of its bars, by name.

    NaN is no value. A name with a slash, `strength/RSI`, has a panel below the price.
    """

    closes_ms: array[int]
    values: dict[str, array[float]]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A session's run; `orders` counts orders by status, `refused` by the engine's reason.

    `markets` are its symbols, the main one first. `carried` is the account at the end of a warm-up;
    nothing before it is listed. `changed` are changed orders with their new values, with a quantity
    of 0 if cancelled. `tags` are the tags of filled orders, by order_id.
    """

    venue: str
    markets: tuple[MarketDecimals, ...]
    start_equity: Decimal
    carried: CarriedAccount | None
    submitted: tuple[SubmittedOrder, ...]
    orders: dict[str, int]
    refused: dict[str, int]
    fills: tuple[Fill, ...]
    payments: tuple[Payment, ...]
    denials: tuple[Denial, ...]
    halts: tuple[Halt, ...]
    changed: tuple[SubmittedOrder, ...] = ()
    tags: dict[str, str] = {}
    chart_lines: ChartLines | None = None


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """The run of a session so far; its lists grow with the session."""

    submitted: Sequence[SubmittedOrder]
    changed: Sequence[SubmittedOrder]
    fills: Sequence[Fill]
    payments: Sequence[Payment]
    denials: Sequence[Denial]
    halts: Sequence[Halt]
    ended: Sequence[EndedOrder]
