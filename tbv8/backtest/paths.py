"""The order of high and low inside of a bar, where it matters: the one that is worse for us.

The engine walks each bar from open to high to low to close. That is the worse order for whoever is
short; for the other cases, which would come out too well, the guard knows the next bar and

- holds a resting limit back for one bar, by a price out of reach, where a stop on the same side is
  reached in that bar too (the stop comes first), or where it only begins to work inside of that bar
  (a take-profit whose entry is filled in it);
- takes a stop that began to work inside of a bar as reached if the bar reached it at any moment:
  it is cancelled, and a market order of ours is filled at its price.

The strategy is not told of a price that is changed and changed back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from nautilus_trader.model import OrderPendingUpdate, OrderSide, OrderType, OrderUpdated, Price
from nautilus_trader.trading import Strategy

from tbv8.backtest.nautilus import ENGINE_DECIMALS

if TYPE_CHECKING:
    from tbv8.backtest.guard import RiskGuard

STOPS = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
_ALERT = "tbv8-path"
_OUT_OF_REACH = 10**6  # times the price


class Rests(msgspec.Struct, frozen=True, kw_only=True):
    """A limit or stop order that may be reached inside of a bar; the price in engine integers."""

    kind: Literal["limit", "stop"]
    buy: bool
    price: int
    parent: str | None
    began_inside: bool
    order_id: Any


class Paths:
    """The resting orders of one run, and those of them that the next bar must not fill."""

    def __init__(self, guard: RiskGuard) -> None:
        self.guard = guard
        self.orders: dict[str, Rests] = {}
        self.held: dict[str, Rests] = {}
        self._returning: dict[str, int] = {}
        self._given_back: list[str] = []
        self._alert = False

    def is_secret(self, name: str, event: Any) -> bool:
        """Tell whether an event is about a price that was changed here, or changed back."""
        if not isinstance(event, OrderPendingUpdate | OrderUpdated):
            return False
        return name in self.held or self._returning.get(name, -1) == event.ts_event

    def add(self, order: Any, *, late: bool = False) -> None:
        """Remember an order that was sent or changed; `late` was asked for inside of the bar."""
        kind: Literal["limit", "stop"]
        if order.order_type == OrderType.LIMIT:
            kind, price = "limit", order.price.raw
        elif order.order_type in STOPS:
            kind, price = "stop", order.trigger_price.raw
        else:
            return
        name = order.client_order_id.value
        parent = order.parent_order_id
        known = self.orders.get(name)
        self.orders[name] = Rests(
            kind=kind,
            buy=order.side == OrderSide.BUY,
            price=price,
            parent=known.parent if known else (parent.value if parent else None),
            began_inside=late,
            order_id=order.client_order_id,
        )

    def on_fill(self, name: str, *, inside: bool) -> None:
        """Let the children of a filled order begin to work."""
        if not self.orders:
            return
        self.orders.pop(name, None)
        self.held.pop(name, None)
        for child, rests in self.orders.items():
            if rests.parent == name:
                began = msgspec.structs.replace(rests, parent=None, began_inside=inside)
                self.orders[child] = began

    def on_end(self, name: str) -> None:
        """Forget an order that works no more."""
        self.orders.pop(name, None)
        self.held.pop(name, None)

    def end_bar(self) -> None:
        """Give back their prices to the orders that were held, when the bar has closed.

        Where the market is beyond by now, they are filled at it all the same, not better.
        """
        forced = self.guard.fill_model.forced
        for name in self._given_back:
            forced.pop(name, None)
        self._given_back = list(self.held)
        for name, rests in self.held.items():
            forced[name] = rests.price
            self._move(rests, rests.price)
            self._returning[name] = self.guard.loaded.clock.timestamp_ns()
        self.held = {}

    def set_alert(self) -> None:
        """Wake up before the next bar where something must be done before it."""
        at = self.guard.at
        if not self._alert and (self._late_stops(at) or self._too_early(at + 1)):
            clock = self.guard.loaded.clock
            clock.set_time_alert_ns(_ALERT, clock.timestamp_ns() + 1, self._act)
            self._alert = True

    def _act(self, _event: Any) -> None:
        self._alert = False
        at = self.guard.at
        for name in self._late_stops(at):
            self._take_as_reached(name)
        for name, rests in self.orders.items():
            self.orders[name] = msgspec.structs.replace(rests, began_inside=False)
        for name in self._too_early(at + 1):
            rests = self.held[name] = self.orders[name]
            tick = self.guard.instrument.price_increment.raw
            self._move(rests, tick if rests.buy else rests.price * _OUT_OF_REACH)

    def _late_stops(self, at: int) -> list[str]:
        """Return the stops that began to work inside of a bar that reached them."""
        high, low = self._extremes(at)
        return [
            name
            for name, rests in self.orders.items()
            if rests.kind == "stop" and rests.began_inside
            if (high >= rests.price if rests.buy else low <= rests.price)
        ]

    def _too_early(self, at: int) -> list[str]:
        """Return the limits that the engine would fill in a bar, and a pessimist would not."""
        if at >= len(self.guard.market.lows):
            return []
        high, low = self._extremes(at)
        opened = int(self.guard.market.opens[at]) * self._unit
        closed = int(self.guard.market.closes[at]) * self._unit
        stopped = any(
            rests.kind == "stop" and not rests.buy and rests.parent is None and low <= rests.price
            for rests in self.orders.values()
        )
        return [
            name
            for name, rests in self.orders.items()
            if rests.kind == "limit"
            if (low < rests.price if rests.buy else high > rests.price)
            if self._begins_inside(rests, closed)
            or (not rests.buy and stopped and opened <= rests.price)
        ]

    def _begins_inside(self, rests: Rests, closed: int) -> bool:
        """Tell whether an order may begin to work in a bar that does not end beyond its price."""
        beyond = closed < rests.price if rests.buy else closed > rests.price
        return rests.parent in self.orders and not beyond

    def _take_as_reached(self, name: str) -> None:
        guard, rests = self.guard, self.orders[name]
        order = guard.loaded.cache.order(rests.order_id)
        if order is None or order.is_closed or not guard.reduces(buy=rests.buy):
            return
        left = min(order.leaves_qty.as_decimal(), guard.account.position.copy_abs())
        Strategy.cancel_order(guard.loaded, rests.order_id)
        guard.force(left if rests.buy else -left, order.order_type.name.lower(), rests.price)

    def _move(self, rests: Rests, price: int) -> None:
        precision = self.guard.instrument.price_precision
        Strategy.modify_order(
            self.guard.loaded, rests.order_id, price=Price.from_raw(price, precision)
        )

    def _extremes(self, at: int) -> tuple[int, int]:
        market = self.guard.market
        return int(market.highs[at]) * self._unit, int(market.lows[at]) * self._unit

    @property
    def _unit(self) -> int:
        unit: int = 10 ** (ENGINE_DECIMALS - self.guard.instrument.price_precision)
        return unit
