"""Records that the book keeps: orders, denials, halts and payments."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Literal

import msgspec

EXACT = Context(prec=60)
"""The decimal context of every sum of money."""

LIQUIDATION = "liquidation"

NEVER_MS = 10**16
"""Later than any time."""

type PaymentKind = Literal["funding", "liquidation"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the rules need it; `change` is its unfilled quantity, below 0 for a sale.

    `prices` are its limit and trigger, in this order, as far as it has them. A child of a bracket
    names its `parent`.
    """

    symbol: str
    change: Decimal
    reduce_only: bool = False
    prices: tuple[Decimal, ...] = ()
    parent: str | None = None

    @property
    def is_market(self) -> bool:
        """True for a market order, which is in flight until it is filled."""
        return not self.prices


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Instructions of an order that matter only when it is sent, in NautilusTrader's words.

    `lacks_parent`: its parent is not sent together with it, is of another symbol, or waits for the
    order itself. `is_repeated`: an order of this id was sent before. `was_deferred`: it was
    requested during a step, and waited for the close.
    """

    type: str = "market"
    time_in_force: str = "gtc"
    sent_ns: int = 0
    ends_ns: int = 0
    is_post_only: bool = False
    is_quote_quantity: bool = False
    is_emulated: bool = False
    has_algorithm: bool = False
    lacks_parent: bool = False
    is_repeated: bool = False
    was_deferred: bool = False

    @property
    def is_stop(self) -> bool:
        """True if it waits for a trigger."""
        return self.type in ("stop_market", "stop_limit")


class Breach(msgspec.Struct, frozen=True):
    """The rule that an order would break, and the numbers that show it.

    Money is named `..._usd`, prices are USD per unit, leverage is a multiple of the equity, times
    are `..._s` or `..._ms`, and all else is in base units.
    """

    rule: str
    numbers: dict[str, Decimal]


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """An order, or a part of one, that did not reach the venue; a list of orders is one denial.

    `until_ms` is the end of a halt, `tags` are those of the order.
    """

    ts_ms: int
    symbol: str
    rule: str
    order: str
    until_ms: int | None
    numbers: dict[str, Decimal]
    tags: str = ""


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """A halt: the time at which everything was closed, and the end of the pause.

    `rule` is `max_daily_loss_usd` or `liquidation`; the numbers have the units of a Breach.
    """

    ts_ms: int
    until_ms: int
    rule: str
    numbers: dict[str, Decimal]


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Money that left the account outside of fills, below 0 if it came in.

    Of the kind `liquidation` it is the lost maintenance margin, or below 0 the loss beyond the
    equity, which the venue bears. `booked_ms` is the booking of funding that became known later.
    """

    ts_ms: int
    symbol: str
    kind: PaymentKind
    amount: Decimal
    booked_ms: int | None = None


def plain(value: Decimal) -> str:
    """Return a number without exponent or trailing zeros."""
    return f"{value.normalize(EXACT):f}"
