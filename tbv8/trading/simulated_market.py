"""One symbol in the simulation: working orders, last price, and the plan of the current step."""

from __future__ import annotations

from typing import Any, Literal

from nautilus_trader.model import (
    ContingencyType,
    CryptoPerpetual,
    OrderType,
    Price,
    Quantity,
    QuoteTick,
)

from tbv8.risk.events import EXACT, Order
from tbv8.trading.matching import PlannedEvent, Step, StepAccount, WorkingOrder, excess, plan
from tbv8.trading.units import ENGINE_DECIMALS, NEVER, Units

KINDS: dict[OrderType, Literal["limit", "stop", "stop_limit"]] = {
    OrderType.LIMIT: "limit",
    OrderType.STOP_MARKET: "stop",
    OrderType.STOP_LIMIT: "stop_limit",
}


class SimulatedMarket:
    """One symbol at the simulated venue: its orders, position and last price, in its `units`.

    Attributes:
        position: The position, below 0 if short.
        last: The close of the last step; None before the first.
        closed_ns: The time of that close, once all requests deferred to it are done.
        working: The orders by id, also a bracket's children that wait for their parent.
        highest_below: A step with a low at or below it may fill an order; -1 if none can.
        lowest_above: A step with a high at or above it may fill an order; NEVER if none can.
        ends_ns: The earliest expiry; NEVER without one.
        low_alarm: A step with a low at or below it may liquidate or halt the account.
        high_alarm: A step with a high at or above it may liquidate or halt the account.
    """

    def __init__(self, symbol: str, instrument: CryptoPerpetual, units: Units) -> None:
        self.symbol, self.instrument, self.units = symbol, instrument, units
        self.position = 0
        self.last: int | None = None
        self.closed_ns = -1
        self.working: dict[str, WorkingOrder] = {}
        self.highest_below, self.lowest_above, self.ends_ns = -1, NEVER, NEVER
        self.low_alarm, self.high_alarm = -1, NEVER
        self._planned: list[PlannedEvent] = []
        self._next = 0
        self._instrument_id, self._decimals = instrument.id, units.price_decimals
        self._raw = 10 ** (ENGINE_DECIMALS - units.price_decimals)
        self._size = Quantity.from_raw(10**ENGINE_DECIMALS, units.size_decimals)

    def quote(self, price: int, time_ns: int) -> QuoteTick:
        """Return the quote that moves the engine's market to a price: bid and ask are equal."""
        tick, size = Price.from_raw(price * self._raw, self._decimals), self._size
        return QuoteTick(self._instrument_id, tick, tick, size, size, time_ns, time_ns)

    @property
    def value(self) -> int:
        """The value of the position at the last close, as money."""
        return self.position * self.last * self.units.scale if self.last is not None else 0

    @property
    def worst_value(self) -> int:
        """The value at the last close of the larger position after all buys or all sells."""
        if self.last is None:
            return 0
        worst = max(abs(self.worst_position(buy=buy)) for buy in (True, False))
        return worst * self.last * self.units.scale

    def set_alarm(self, room: int) -> None:
        """Set the alarm at the loss per unit that the account can bear from the last close."""
        assert self.last is not None  # a position has a price
        if self.position > 0:
            self.low_alarm = self.last - room
        else:
            self.high_alarm = self.last + room

    # Orders.

    def add(self, order: Any, risk_order: Order, *, sequence: int, ends_ns: int) -> None:
        """Add an order of NautilusTrader, with the size that the risk rules admitted."""
        linked = ()
        if order.contingency_type in (ContingencyType.OCO, ContingencyType.OUO):
            linked = tuple(sibling.value for sibling in order.linked_order_ids or ())
        name = order.client_order_id.value
        self.working[name] = WorkingOrder(
            id=name,
            buy=order.is_buy,
            kind=KINDS[order.order_type],
            left=int(EXACT.scaleb(risk_order.change.copy_abs(), self.units.size_decimals)),
            sequence=sequence,
            price=_units(self.units, getattr(order, "price", None)),
            trigger=_units(self.units, getattr(order, "trigger_price", None)),
            reduce_only=risk_order.reduce_only,
            post_only=getattr(order, "is_post_only", False),
            ends_ns=ends_ns,
            parent=risk_order.parent,
            linked=linked,
            one_cancels_other=order.contingency_type == ContingencyType.OCO,
        )
        self.set_band()

    def meet_close(self, name: str) -> None:
        """Mark a new or changed order as filling at the last close, if that reaches its price."""
        order = self.working.get(name)
        if order is None or self.last is None or order.parent is not None:
            return
        if not order.rests_at_limit:
            down = order.below
            order.at_close = self.last <= order.trigger if down else self.last >= order.trigger
            order.triggered = order.at_close and order.kind == "stop_limit"
        if order.rests_at_limit:
            reached = self.last <= order.price if order.buy else self.last >= order.price
            order.at_close |= reached
        self.set_band()

    def fill(self, name: str, size: int, *, buy: bool) -> dict[str, int]:
        """Book an execution; children of a filled order begin.

        Returns:
            The remaining size of each sibling, by id.
        """
        self.position += size if buy else -size
        order = self.working.get(name)
        if order is not None:
            order.left -= size
            if order.left <= 0:
                del self.working[name]
        for child in self.working.values():
            if child.parent == name:
                child.parent = None
        shrunk = {}
        for sibling in order.linked if order else ():
            linked = self.working.get(sibling)
            if order is not None and linked is not None:
                linked.left = 0 if order.one_cancels_other else max(linked.left - size, 0)
                shrunk[sibling] = linked.left
        self.set_band()
        return shrunk

    def remove(self, name: str) -> None:
        """Remove an order that has ended."""
        if self.working.pop(name, None) is not None:
            self.set_band()

    def update(self, order: Any) -> None:
        """Copy prices and quantity from a changed order."""
        resting = self.working.get(order.client_order_id.value)
        if resting is None:
            return
        resting.left = self.units.from_size(order.leaves_qty)
        resting.price = _units(self.units, getattr(order, "price", None))
        resting.trigger = _units(self.units, getattr(order, "trigger_price", None))
        self.set_band()

    def is_triggered(self, name: str) -> bool:
        """Return True if an order is a stop-limit whose trigger was reached."""
        order = self.working.get(name)
        return order is not None and order.triggered

    def without_effect(self) -> list[str]:
        """Return the ids of reduce-only orders with nothing left to reduce."""
        return [
            order.id
            for order in self.working.values()
            if order.reduce_only and order.parent is None and not order.could_fill(self.position)
        ]

    def excess(self) -> list[str]:
        """Return the ids of orders that could break max_position, the last sent first."""
        return excess(self.working.values(), self.position, self.units.max_position)

    def worst_position(self, *, buy: bool) -> int:
        """Return the position after all resting orders of a side that could enlarge it."""
        side = [order.left for order in self.working.values() if order.buy == buy and order.opens]
        return self.position + (sum(side) if buy else -sum(side))

    def children_of(self, name: str) -> list[str]:
        """Return the ids of the orders that wait for an order."""
        return [order.id for order in self.working.values() if order.parent == name]

    def set_band(self) -> None:
        """Set the band of prices in which no order fills or triggers."""
        below, above, ends_ns = -1, NEVER, NEVER
        for order in self.working.values():
            if order.ends_ns:
                ends_ns = min(ends_ns, order.ends_ns)
            if order.parent is None:
                price = order.meeting_price
                if order.below:
                    below = max(below, price)
                else:
                    above = min(above, price)
        self.highest_below, self.lowest_above, self.ends_ns = below, above, ends_ns

    # Steps.

    def expired(self, time_ns: int) -> list[str]:
        """Return the ids of the orders whose time is over."""
        if self.ends_ns > time_ns:
            return []
        return [order.id for order in self.working.values() if 0 < order.ends_ns <= time_ns]

    def ends_as_stop(self, name: str, time_ns: int) -> bool:
        """Return True if an order is a stop whose time is over."""
        return self.working[name].kind == "stop" and name in self.expired(time_ns)

    def first_expiry(self, time_ns: int) -> int:
        """Return the earliest expiry inside of a step that closes at `time_ns`, else `time_ns`."""
        if self.ends_ns >= time_ns:
            return time_ns
        ends = (order.ends_ns for order in self.working.values())
        return min((end for end in ends if self.closed_ns + 1 < end), default=time_ns)

    def make_plan(self, step: Step, account: StepAccount) -> list[PlannedEvent]:
        """Plan a step; `take_fill` returns its fills until the step is closed."""
        self._planned, self._next = plan(self.working.values(), account, step, self.units), 0
        return self._planned

    def next_fill(self) -> PlannedEvent | None:
        """Return the next planned fill."""
        for index in range(self._next, len(self._planned)):
            if self._planned[index].kind == "fill":
                self._next = index
                return self._planned[index]
        return None

    def take_fill(self, name: str) -> PlannedEvent | None:
        """Return the next planned fill if it is of this order; else None."""
        entry = self.next_fill()
        if entry is None or entry.order_id != name:
            return None
        self._next += 1
        return entry

    def will_take(self, name: str) -> bool:
        """Return True if an order is still to fill as taker."""
        later = self._planned[self._next :]
        return any(e.order_id == name and e.kind == "fill" and not e.maker for e in later)

    def close_step(self, close: int) -> list[PlannedEvent]:
        """End the plan and set the last price; return the fills that the engine did not request."""
        unfilled = [entry for entry in self._planned[self._next :] if entry.kind == "fill"]
        for entry in self._planned:
            order = self.working.get(entry.order_id)
            if order is not None and entry.kind == "trigger":
                order.triggered = True
        for order in self.working.values():
            order.at_close = False
        if self._planned:
            self._planned, self._next = [], 0
            self.set_band()
        self.last = close
        return unfilled


def _units(units: Units, price: Any) -> int:
    return 0 if price is None else units.from_price(price)
