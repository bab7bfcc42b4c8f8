"""The shape of a rule, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from tbv8.risk.events import Halt, Order, Terms
from tbv8.risk.limits import Limits, MarketLimits

type Numbers = dict[str, Decimal]

type Scope = Literal["sending", "every", "beginning", "opening"]
"""Of which orders a rule is asked: of those that are sent (not of changes); of every one; of those
that begin to work (not of children that wait for their parent); of those that could open a position
and begin to work."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An order at the moment at which it is asked for, and the account as it is then.

    A change of an order has no `terms`; `trigger` is a stop's, unless it was reached before.
    `expected` is the position once the market orders under way are filled, `open_orders` what works
    on the order's own side, `worst` the position of each symbol if its working orders fill to the
    worse side, the order included. `prices` are the last ones; a symbol without a price has not
    closed yet. `opens` tells whether the order, with all that works on its side, could open a
    position; `barred` names the rule by which none may be opened now.
    """

    order: Order
    terms: Terms | None
    trigger: Decimal | None
    position: Decimal
    expected: Decimal
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
    def scopes(self) -> set[Scope]:
        """The scopes whose rules are asked."""
        begins = self.order.parent is None
        asked: dict[Scope, bool] = {
            "sending": self.terms is not None,
            "every": True,
            "beginning": begins,
            "opening": begins and self.opens,
        }
        return {scope for scope, is_asked in asked.items() if is_asked}

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
        scope: Of which orders it is asked.
    """

    name: str
    key: str | None
    words: str
    broken: Callable[[Request], Numbers | None]
    scope: Scope = "opening"
    cure: str = ""

    @property
    def explanation(self) -> str:
        """Words and cure, for the result's page."""
        return f"{self.words} ({self.cure})" if self.cure else self.words
