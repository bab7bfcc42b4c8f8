"""One symbol in the simulation: resting orders, last price, and the plan of the current step."""

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
from tbv8.trading.matching import Account, Planned, Step, Working, excess, plan
from tbv8.trading.units import ENGINE_DECIMALS, NEVER, Units

KINDS: dict[OrderType, Literal["limit", "stop", "stop_limit"]] = {
    OrderType.LIMIT: "limit",
    OrderType.STOP_MARKET: "stop",
    OrderType.STOP_LIMIT: "stop_limit",
}


class RestingOrders:
    """The orders of one symbol that work at the venue, in the integers of `units`.

    Attributes:
        position: What is held.
        last: The close of the last step; None before the first.
        closed_ns: When that step closed, once all that waited for it has counted.
        working: By id; children of a bracket wait in it for their parent.
        highest_below: A step whose low is at or below it may set off an order; -1 where none can.
        lowest_above: The same of a step's high; NEVER where none can.
        ends_ns: When the first order's time ends; NEVER where none has an end.
        low_alarm: A step whose low is at or below it may change the account without any order.
        high_alarm: The same of a step's high.
    """

    def __init__(self, symbol: str, instrument: CryptoPerpetual, units: Units) -> None:
        self.symbol, self.instrument, self.units = symbol, instrument, units
        self.position = 0
        self.last: int | None = None
        self.closed_ns = -1
        self.working: dict[str, Working] = {}
        self.highest_below, self.lowest_above, self.ends_ns = -1, NEVER, NEVER
        self.low_alarm, self.high_alarm = -1, NEVER
        self._planned: list[Planned] = []
        self._next = 0
        self._instrument_id, self._decimals = instrument.id, units.price_decimals
        self._raw = 10 ** (ENGINE_DECIMALS - units.price_decimals)
        self._size = Quantity.from_raw(10**ENGINE_DECIMALS, units.size_decimals)

    def quote(self, price: int, time_ns: int) -> QuoteTick:
        """Return the quote that moves the engine's market to a price, one price wide."""
        at, size = Price.from_raw(price * self._raw, self._decimals), self._size
        return QuoteTick(self._instrument_id, at, at, size, size, time_ns, time_ns)

    @property
    def value(self) -> int:
        """The value of the position at the last close, as money."""
        return self.position * self.last * self.units.scale if self.last is not None else 0

    def set_alarm(self, room: int) -> None:
        """Set the alarm of a position as far from the last close as it may lose."""
        assert self.last is not None  # a position has a price
        if self.position > 0:
            self.low_alarm = self.last - room
        else:
            self.high_alarm = self.last + room

    # Orders come, change and go.

    def add(self, order: Any, risk_order: Order, *, sequence: int, ends_ns: int) -> None:
        """Take an order of NautilusTrader that is sent to the venue as the rules let it."""
        linked = ()
        if order.contingency_type in (ContingencyType.OCO, ContingencyType.OUO):
            linked = tuple(each.value for each in order.linked_order_ids or ())
        name = order.client_order_id.value
        self.working[name] = Working(
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
        """Let an order that begins or was changed at a close take there, if that reaches it."""
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
        """Book an execution; what waited for the order begins.

        Returns what is left of its siblings, if it has any.
        """
        self.position += size if buy else -size
        order = self.working.get(name)
        if order is not None:
            order.left -= size
            if order.left <= 0:
                del self.working[name]
        for child in self.working.values():
            if child.parent == name and name not in self.working:
                child.parent = None
        shrunk = {}
        for sibling in order.linked if order else ():
            other = self.working.get(sibling)
            if order is not None and other is not None:
                other.left = 0 if order.one_cancels_other else max(other.left - size, 0)
                shrunk[sibling] = other.left
        self.set_band()
        return shrunk

    def end(self, name: str) -> None:
        """Forget an order that works no more."""
        if self.working.pop(name, None) is not None:
            self.set_band()

    def update(self, order: Any) -> None:
        """Take over the prices and the quantity of an order that was changed."""
        resting = self.working.get(order.client_order_id.value)
        if resting is None:
            return
        resting.left = self.units.size(order.leaves_qty)
        resting.price = _units(self.units, getattr(order, "price", None))
        resting.trigger = _units(self.units, getattr(order, "trigger_price", None))
        self.set_band()

    def is_triggered(self, name: str) -> bool:
        """Return True if an order is a stop-limit whose trigger was reached."""
        order = self.working.get(name)
        return order is not None and order.triggered

    def without_use(self) -> list[str]:
        """Return the reduce-only orders that have nothing left to reduce."""
        return [
            order.id
            for order in self.working.values()
            if order.reduce_only and order.parent is None and not order.could_fill(self.position)
        ]

    def excess(self) -> list[str]:
        """Return the orders that could take the position beyond its limit, last sent first."""
        return excess(self.working.values(), self.position, self.units.max_position)

    def children_of(self, name: str) -> list[str]:
        """Return the orders that wait for one."""
        return [order.id for order in self.working.values() if order.parent == name]

    def set_band(self) -> None:
        """Set the prices between which nothing happens to the orders."""
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

    # A step.

    def first_end(self, low: int, high: int, time_ns: int) -> int:
        """Return the earliest expiry that a step reaches; the step's close if there is none.

        Args:
            low: The step's lowest price.
            high: Its highest.
            time_ns: Its close.
        """
        if self.ends_ns >= time_ns:
            return time_ns
        low, high = min(low, self.last or low), max(high, self.last or high)
        ends = (
            order.ends_ns
            for order in self.working.values()
            if self.closed_ns + 1 < order.ends_ns < time_ns and low <= order.meeting_price <= high
        )
        return min(ends, default=time_ns)

    def make_plan(self, step: Step, account: Account) -> list[Planned]:
        """Plan a step; what is asked until it is closed is answered by the plan."""
        self._planned, self._next = plan(self.working.values(), account, step, self.units), 0
        return self._planned

    def take(self, name: str, *, at_once: bool) -> Planned | None:
        """Return the plan's fill of an order, if it is its turn; None for "not now".

        Args:
            name: The order's id.
            at_once: Whether the engine asks once only, so that a later turn will do.
        """
        for at in range(self._next, len(self._planned)):
            entry = self._planned[at]
            if entry.kind != "fill":
                continue
            if entry.order_id == name:
                self._planned.insert(self._next, self._planned.pop(at))
                self._next += 1
                return entry
            if not at_once:
                return None
        return None

    def close_step(self, close: int) -> list[Planned]:
        """End the plan, and note the close; return fills that the engine did not ask for."""
        left = [entry for entry in self._planned[self._next :] if entry.kind == "fill"]
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
        return left


def _units(units: Units, price: Any) -> int:
    return 0 if price is None else units.price(price)
