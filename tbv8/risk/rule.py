"""The shape of a rule, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

import msgspec

from tbv8.risk.events import Halt, Order
from tbv8.risk.limits import Limits, MarketLimits

type Numbers = dict[str, Decimal]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An order at the moment at which it is asked for, and the account as it is then.

    `worst` is the position of each symbol if its working orders fill to the worse side, the order
    included; `open_orders` what works on the order's own side. `prices` are the last ones; a
    symbol without a price has not closed yet. `opens` tells whether the order, with all that works
    on its side, could open a position; `barred` names the rule by which none may be opened now.
    """

    order: Order
    position: Decimal
    open_orders: Decimal
    worst: Mapping[str, Decimal]
    prices: Mapping[str, Decimal]
    equity: Decimal
    opens: bool
    halted: Halt | None
    barred: str | None
    limits: Limits

    @property
    def market(self) -> MarketLimits:
        """The limits of the order's symbol."""
        return self.limits.markets[self.order.symbol]

    @property
    def worst_here(self) -> Decimal:
        """The worst position in the order's symbol."""
        return self.worst[self.order.symbol]

    def sizes(self) -> Numbers:
        """Return the numbers that explain a worst position."""
        return {
            "position": self.position,
            "open_orders": self.open_orders,
            "order": self.order.change,
            "worst": self.worst_here,
        }


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule.

    Attributes:
        name: As summary.json and the terminal have it.
        key: Where its number comes from in the YAML; None where it is no number of the user's.
        words: What an order that breaks it does, for the result's page.
        cure: What keeps a strategy within it, for the terminal; empty where the words say it.
        broken: Returns the numbers that show the breach, None where there is none.
        of_all: Whether it holds for orders that only reduce, too.
    """

    name: str
    key: str | None
    words: str
    broken: Callable[[Request], Numbers | None]
    of_all: bool = False
    cure: str = ""
