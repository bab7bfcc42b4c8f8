"""The order of high and low inside of a bar, where it matters: the one that is worse for us.

The engine walks each bar from open to high to low to close. That is the worse order for whoever is
short; for the other cases, which would come out too well, the guard knows the bar and

- lets a limit that is sold at the high wait where a stop that sells is reached in that bar too (the
  stop comes first), and one that only begins to work inside of the bar (a take-profit whose entry
  is filled in it) unless the bar ends beyond it: the fill model shows it an empty book, whereupon
  it rests and is asked about again at the next price;
- takes a stop that began to work inside of a bar as reached if the bar reached it at any moment:
  it is cancelled, and a market order of ours is filled at its price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from nautilus_trader.model import OrderSide, OrderType

from tbv8.trading.nautilus import ENGINE_DECIMALS

if TYPE_CHECKING:
    from tbv8.trading.guard import RiskGuard

STOPS = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)


class Rests(msgspec.Struct, frozen=True, kw_only=True):
    """A limit or stop order that may be reached inside of a bar; the price in engine integers."""

    kind: Literal["limit", "stop"]
    buy: bool
    price: int
    parent: str | None
    began_inside: bool


class Paths:
    """The resting orders of one run, and when inside of a bar they may be filled."""

    def __init__(self, guard: RiskGuard) -> None:
        self.guard = guard
        self.orders: dict[str, Rests] = {}

    def add(self, order: Any, *, late: bool = False) -> None:
        """Remember an order that was sent or changed; `late` was asked for inside of the bar."""
        name = order.client_order_id.value
        known = self.orders.get(name)
        parent = known.parent if known else _value(order.parent_order_id)
        stop = order.order_type in STOPS
        self.orders[name] = Rests(
            kind="stop" if stop else "limit",
            buy=order.side == OrderSide.BUY,
            price=order.trigger_price.raw if stop else order.price.raw,
            parent=parent,
            began_inside=late and parent is None,
        )

    def on_fill(self, name: str, *, inside: bool) -> None:
        """Let the children of a filled order begin to work."""
        self.orders.pop(name, None)
        for child, rests in self.orders.items():
            if rests.parent == name:
                began = msgspec.structs.replace(rests, parent=None, began_inside=inside)
                self.orders[child] = began

    def on_end(self, name: str) -> None:
        """Forget an order that works no more."""
        self.orders.pop(name, None)

    def end_bar(self) -> list[str]:
        """Return the stops to be taken as reached in the bar that has just closed."""
        inside = [name for name, rests in self.orders.items() if rests.began_inside]
        for name in inside:
            self.orders[name] = msgspec.structs.replace(self.orders[name], began_inside=False)
        return [name for name in inside if self.was_reached(name)]

    def was_reached(self, name: str) -> bool:
        """Tell whether the bar that closed last reached a stop; never so of a limit."""
        rests, at = self.orders[name], self.guard.at
        if rests.kind == "limit":
            return False
        if rests.buy:
            return self._at("highs", at) >= rests.price
        return self._at("lows", at) <= rests.price

    def is_too_early(self, order: Any) -> bool:
        """Tell whether a pessimist would not fill a limit in the bar that is under way."""
        rests = self.orders.get(order.client_order_id.value)
        if rests is None or not self.guard.inside_bar():
            return False
        at, price = self.guard.at + 1, order.price.raw
        if rests.kind == "stop":  # a stop-limit: its limit works from the trigger on
            begins = order.ts_triggered == self.guard.clock_ns()
            begins &= (price < rests.price) == rests.buy  # else the trigger's price fills it
        else:
            begins = rests.began_inside
        closed = self._at("closes", at)
        if begins and not (closed < price if rests.buy else closed > price):
            return True
        if rests.buy or rests.kind == "stop" or self._at("opens", at) > price:
            return False
        low = self._at("lows", at)
        return any(
            stop.kind == "stop" and not stop.buy and stop.parent is None and low <= stop.price
            for stop in self.orders.values()
        )

    def _at(self, prices: str, at: int) -> int:
        """Return one of a bar's prices in engine integers."""
        unit: int = 10 ** (ENGINE_DECIMALS - self.guard.instrument.price_precision)
        return int(getattr(self.guard.market, prices)[at]) * unit


def _value(name: Any) -> str | None:
    return None if name is None else name.value
