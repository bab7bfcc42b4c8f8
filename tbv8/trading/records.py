"""Records of a session, as results read them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from tbv8.risk.events import Denial, Halt, Payment

type Side = Literal["buy", "sell"]


class SubmittedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that the strategy sent to the venue, with the quantity that it asked for.

    `prices` are its limit and trigger, in this order, as far as it has them. `waits`: it begins
    when its parent is filled, as the exits of a bracket do.
    """

    ts_ms: int
    order_id: str
    symbol: str
    side: Side
    type: str
    quantity: Decimal
    prices: tuple[Decimal, ...] = ()
    tags: str = ""
    waits: bool = False


class EndedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that ended before it was filled; `quantity` is the unfilled rest.

    `prices` are its limit and trigger, in this order, as far as it has them; `why` is the cause in
    words.
    """

    ts_ms: int
    order_id: str
    symbol: str
    side: Side
    type: str
    quantity: Decimal
    prices: tuple[Decimal, ...]
    tags: str
    how: Literal["cancelled", "expired", "rejected"]
    why: str


class RestingLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit order that works at the venue, with what is left of it."""

    order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution.

    `ts_ms` is the close of the step in which it happened; the quantity is in base units, the fee in
    USD, `position` what the symbol's position is after it. `trigger` is the price that set off a
    stop, or the close at which a market order was sent: what rounding and slipping are measured
    from. `tags` are those of the order; of our own closing orders `halt` or `stop`.
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
    trigger: Decimal | None = None
    tags: str = ""

    @property
    def change(self) -> Decimal:
        """The signed size that it added to the position."""
        return self.quantity if self.side == "buy" else -self.quantity


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's decimals, as files write its prices and quantities."""

    symbol: str
    price_decimals: int
    size_decimals: int


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """The account at the end of a warm-up, from which the run is counted."""

    ts_ms: int
    positions: dict[str, Decimal]
    prices: dict[str, Decimal]


class ChartLines(msgspec.Struct, frozen=True, kw_only=True):
    """Values that the strategy names for the price chart, by name, at the closes of its bars.

    NaN where there is none. A name with a slash, `strength/RSI`, has a panel below the price.
    """

    closes_ms: array[int]
    values: dict[str, array[float]]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A session's run; `orders` counts orders by status, `refused` by the engine's reason.

    `markets` are its symbols, the main one first; after a warm-up `carried` is what the account
    began with, and nothing before it is listed. `changed` are orders as the strategy changed them,
    with a quantity of 0 where it cancelled one. `tags` are those of filled orders, by order_id.
    """

    venue: str
    markets: tuple[Market, ...]
    start_equity: Decimal
    carried: Carried | None
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
