"""The record of a rule, and its input: an order and the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from tbv8.risk.events import Breach, Halt, Order, Terms
from tbv8.risk.limits import Limits, MarketLimits

type Numbers = dict[str, Decimal]


def number_text(number: Decimal) -> str:
    """Return a number with eight digits at most, without an exponent."""
    return f"{Decimal(f'{number:.8g}').normalize():,f}"


type Scope = Literal["sending", "every", "beginning", "opening"]
"""The orders that a rule applies to: orders that are sent, not changes; every order and change;
orders that begin to work, not children that wait for a parent; orders that begin to work and could
open a position."""


class OrderCheck(msgspec.Struct, frozen=True, kw_only=True):
    """An order to check, and the account at that moment.

    A change of an order has no `terms`. `trigger` is the trigger of a stop, None once reached.
    `expected` is the position after the market orders in flight, `open_orders` the sum of the
    working orders on the order's side. `worst` is each symbol's position if its working orders fill
    to the worse side, the order included. `prices` are the last closes, without symbols that have
    none yet. `opens` is True if the order and the working orders on its side could open a position.
    `blocked_by` denies new positions now, whatever the account.
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
    blocked_by: Breach | None
    limits: Limits

    @property
    def market(self) -> MarketLimits:
        """The limits of the order's symbol."""
        return self.limits.markets[self.order.symbol]

    @property
    def scopes(self) -> set[Scope]:
        """The scopes that the order belongs to."""
        begins = self.order.parent is None
        belongs: dict[Scope, bool] = {
            "sending": self.terms is not None,
            "every": True,
            "beginning": begins,
            "opening": begins and self.opens,
        }
        return {scope for scope, is_in in belongs.items() if is_in}

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
        name: Its name in summary.json and in the terminal.
        description: A description of a breach; the reason of a denial unless `cause` returns one.
        find_breach: Returns the numbers that show a breach; None if there is none.
        scope: The orders that it applies to.
        key: The key of its number in the YAML; None if no key sets it.
        cure: The way to keep the rule, for the terminal; empty if obvious.
        explain: Returns the sizes of breaches, one or more, and the cure if it depends on them.
        cause: Returns what is wrong with an order, from the numbers of its breach.
    """

    name: str
    description: str
    find_breach: Callable[[OrderCheck], Numbers | None]
    scope: Scope = "opening"
    key: str | None = None
    cure: str = ""
    explain: Callable[[Sequence[Numbers]], str] | None = None
    cause: Callable[[Numbers], str] | None = None

    def hint(self, breaches: Sequence[Numbers]) -> str:
        """Return sizes and cure of breaches, for the terminal; empty if obvious."""
        return self.explain(breaches) if self.explain and breaches else self.cure

    def reason(self, numbers: Numbers) -> str:
        """Return the reason of a denial, with the numbers of the breach."""
        return self.cause(numbers) if self.cause else self.description


def terms_rule(name: str, *, description: str, cure: str, breaks: Callable[[Terms], bool]) -> Rule:
    """Return a rule that depends on the instructions of a sent order alone."""
    return Rule(
        name=name,
        description=description,
        find_breach=lambda check: {} if check.terms and breaks(check.terms) else None,
        scope="sending",
        cure=cure,
    )
