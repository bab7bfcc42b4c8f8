"""Which orders fill inside of one step, in which order, at which price and for how much.

Pure, and in integers (see units.py). The rules are docs/orders.md, sections 2 to 5: the price walks
from the close before to open, first extreme, second extreme and close; both orders of the extremes
are walked, and the one that leaves less counts. Nothing is changed here: whoever asks applies the
fills as they happen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from tbv8.trading.units import Units


class Step(msgspec.Struct, frozen=True):
    """One bar of prices, when it closes, and the close before it: None at a session's first."""

    close_ns: int
    open: int
    high: int
    low: int
    close: int
    before: int | None


class Account(msgspec.Struct, frozen=True):
    """The position in the step's symbol and the money beside it.

    `cash` counts the other symbols' positions at their prices, `reserved` is their maintenance
    margin.
    """

    position: int
    cash: int
    reserved: int = 0


@dataclass(slots=True)
class Working:
    """An order that works, or waits for its `parent`.

    `ends_ns` is 0 where it has no end. `linked` are its siblings of a bracket: they shrink by what
    it fills, or end at once if it is `one_cancels_other`. `triggered` is a stop-limit behind its
    trigger. Of the step that is walked: `began` inside of it, or `ends_inside` before its close.
    """

    id: str
    buy: bool
    kind: Literal["limit", "stop", "stop_limit"]
    left: int
    sequence: int
    price: int = 0
    trigger: int = 0
    reduce_only: bool = False
    post_only: bool = False
    ends_ns: int = 0
    parent: str | None = None
    linked: tuple[str, ...] = ()
    one_cancels_other: bool = False
    triggered: bool = False
    began: bool = False
    ends_inside: bool = False

    @property
    def rests_at_limit(self) -> bool:
        """Whether its limit is what the price must pass."""
        return self.kind == "limit" or self.triggered

    @property
    def meeting_price(self) -> int:
        """The price that sets it off."""
        return self.price if self.rests_at_limit else self.trigger

    @property
    def below(self) -> bool:
        """Whether it is met on a way down."""
        return self.buy == self.rests_at_limit

    def copy(self) -> Working:
        """Return another order with the same values."""
        return Working(*(getattr(self, name) for name in _FIELDS))

    def could_fill(self, position: int) -> int:
        """Return for how much it could fill while `position` is held."""
        if not self.reduce_only:
            return self.left
        return min(self.left, abs(position)) if position and (position < 0) == self.buy else 0


_FIELDS = tuple(Working.__dataclass_fields__)


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happens on the path, when the price is at `at`.

    A `trigger` makes a stop-limit rest at its limit; a `liquidation` is of the whole position, and
    has no order.
    """

    kind: Literal["fill", "trigger", "liquidation"]
    order_id: str
    buy: bool
    size: int
    price: int
    at: int
    maker: bool = False


def plan(orders: Iterable[Working], account: Account, step: Step, units: Units) -> list[Planned]:
    """Return what happens in a step, in order: the walk that leaves the lower equity.

    Args:
        orders: All that work or wait, in any order.
        account: As it is at the close before.
        step: The prices.
        units: The symbol's scales and costs.
    """
    copies = _within_reach(orders, step)
    low_first = _Walk(copies, account, step, units).along(step.low, step.high)
    high_first = _Walk(copies, account, step, units).along(step.high, step.low)
    if low_first.equity != high_first.equity:
        return min(low_first, high_first, key=lambda walk: walk.equity).planned
    if account.position:
        return low_first.planned if account.position > 0 else high_first.planned
    down, up = step.open - step.low, step.high - step.open
    if down != up:
        return low_first.planned if down < up else high_first.planned
    sent = {order.id: order.sequence for order in copies}
    firsts = [
        sent.get(walk.planned[0].order_id, 0) if walk.planned else 0
        for walk in (low_first, high_first)
    ]
    later = all(walk.planned for walk in (low_first, high_first)) and firsts[1] < firsts[0]
    return high_first.planned if later else low_first.planned


def _within_reach(orders: Iterable[Working], step: Step) -> list[Working]:
    """Return the orders that the step's prices reach, and those that wait for one of them."""
    before = step.open if step.before is None else step.before
    low, high = min(step.low, before), max(step.high, before)
    reached: dict[str, Working] = {}
    waiting: list[Working] = []
    for order in orders:
        if order.parent is not None:
            waiting.append(order)
        elif low <= order.meeting_price <= high:
            reached[order.id] = order
    while found := [order for order in waiting if order.parent in reached]:
        reached |= {order.id: order for order in found}
        waiting = [order for order in waiting if order.id not in reached]
    return list(reached.values())


class _Walk:
    """One path through a step, from its own copy of the orders."""

    def __init__(
        self, orders: Iterable[Working], account: Account, step: Step, units: Units
    ) -> None:
        self.live = {order.id: order.copy() for order in orders}
        for order in self.live.values():
            order.ends_inside = 0 < order.ends_ns < step.close_ns
        self.position, self.cash, self.reserved = account.position, account.cash, account.reserved
        self.step, self.units = step, units
        self.planned: list[Planned] = []
        self.liquidated = False

    @property
    def equity(self) -> int:
        """What is left at the step's close, by which paths are compared."""
        if self.liquidated:
            return 0
        return self.cash + self.position * self.step.close * self.units.scale

    def along(self, first: int, second: int) -> _Walk:
        """Walk to the close by way of both extremes."""
        step = self.step
        if step.before is not None:
            self._leg(step.before, step.open, jump=True)
        for start, end in ((step.open, first), (first, second), (second, step.close)):
            self._leg(start, end, jump=False)
        self._end()
        return self

    def _leg(self, start: int, end: int, *, jump: bool) -> None:
        """Fill what the price meets between two prices, in the order in which it meets it."""
        down = end < start
        while not self.liquidated:
            met = [
                (at if down else -at, -1 if order is None else order.sequence, order, at)
                for order, at in self._met(start, end)
            ]
            if not met:
                return
            order, at = max(met, key=lambda each: (each[0], -each[1]))[2:]
            start = at
            self._happen(order, at, end if jump else at)

    def _met(self, start: int, end: int) -> Iterable[tuple[Working | None, int]]:
        """Yield each order that a leg meets, None for a liquidation, and the price there."""
        gone = self.units.liquidation_price(self.position, self.cash - self.reserved)
        if gone is not None:
            at = _reach(gone, start, end, below=self.position > 0, at_once=True)
            if at is not None:
                yield None, at
        for order in self.live.values():
            if order.parent is not None or order.ends_inside:
                continue
            if not order.could_fill(self.position):
                continue
            if order.rests_at_limit:
                if order.began or not _is_beyond(end, order.price, below=order.below):
                    continue
                at = _reach(order.price, start, end, below=order.below, at_once=False)
            else:
                at = _reach(order.trigger, start, end, below=order.below, at_once=order.began)
            if at is not None:
                yield order, at

    def _happen(self, order: Working | None, at: int, reached: int) -> None:
        """Let a liquidation, or an order, have its way where the market is at `reached`."""
        if order is None:
            self._liquidate(at, reached)
        elif order.rests_at_limit:
            self._fill(order, order.price, at, maker=True)
        elif order.kind == "stop":
            self._fill(order, self.units.taker_price(reached, buy=order.buy), at, maker=False)
        else:
            self._trigger(order, at, reached)

    def _trigger(self, order: Working, at: int, reached: int) -> None:
        """Turn a stop-limit into a limit order that is sent where the market is."""
        if order.price >= reached if order.buy else order.price <= reached:
            self._fill(order, order.price, at, maker=False)
            return
        order.triggered = order.began = True
        self.planned.append(
            Planned(
                kind="trigger", order_id=order.id, buy=order.buy, size=0, price=reached, at=reached
            )
        )

    def _liquidate(self, at: int, reached: int) -> None:
        buy, size = self.position < 0, abs(self.position)
        price = self.units.taker_price(reached, buy=buy, slipped=False)
        self.liquidated = True
        self.planned.append(
            Planned(kind="liquidation", order_id="", buy=buy, size=size, price=price, at=at)
        )

    def _fill(self, order: Working, price: int, at: int, *, maker: bool) -> None:
        size = order.could_fill(self.position)
        signed = size if order.buy else -size
        self.position += signed
        self.cash -= signed * price * self.units.scale + self.units.fee(price, size, maker=maker)
        self.planned.append(
            Planned(
                kind="fill",
                order_id=order.id,
                buy=order.buy,
                size=size,
                price=price,
                at=at,
                maker=maker,
            )
        )
        order.left -= size
        if not order.left:
            del self.live[order.id]
        filled_whole = not order.left
        for name in order.linked:
            self._shrink(name, 0 if order.one_cancels_other else order.left)
        if filled_whole:
            for child in self.live.values():
                if child.parent == order.id:
                    child.parent, child.began = None, True
            for child in [c for c in self.live.values() if c.began and self._is_rejected(c, at)]:
                del self.live[child.id]
        for other in list(self.live.values()):
            if other.reduce_only and other.parent is None and not other.could_fill(self.position):
                del self.live[other.id]

    def _shrink(self, name: str, most: int) -> None:
        sibling = self.live.get(name)
        if sibling is not None:
            sibling.left = min(sibling.left, most)
            if not sibling.left:
                del self.live[name]

    def _is_rejected(self, order: Working, at: int) -> bool:
        """Tell whether a post-only limit would take where it begins."""
        if order.kind != "limit" or not order.post_only:
            return False
        return order.price >= at if order.buy else order.price <= at

    # The end of the path.

    def _end(self) -> None:
        """Fill what began or ends inside of the step, by what is known at its close.

        What fills may let others begin: so it looks again until nothing is left.
        """
        for stops in (True, False) * 2:
            for ends_inside in (False, True):
                for order in self._late(stops=stops, ends_inside=ends_inside):
                    if self.liquidated or order.id not in self.live:
                        continue
                    if ends_inside:
                        self._fill_ending(order)
                    elif order.rests_at_limit:
                        if _is_beyond(self.step.close, order.price, below=order.below):
                            self._fill(order, order.price, order.price, maker=True)
                    elif self._reached(order):
                        self._happen(order, order.trigger, order.trigger)

    def _late(self, *, stops: bool, ends_inside: bool) -> list[Working]:
        """Return the orders that are looked at at the end of the path only, first sent first."""
        return sorted(
            (
                order
                for order in self.live.values()
                if order.rests_at_limit is not stops
                and order.parent is None
                and (order.ends_inside if ends_inside else order.began and not order.ends_inside)
                and order.could_fill(self.position)
            ),
            key=lambda order: order.sequence,
        )

    def _reached(self, order: Working) -> bool:
        """Tell whether the step touched an order's trigger at any moment."""
        step = self.step
        return step.low <= order.trigger if order.below else step.high >= order.trigger

    def _fill_ending(self, order: Working) -> None:
        """Fill an order whose time ends inside of the step, if that is worse than the close."""
        step, price = self.step, order.price
        if order.rests_at_limit:
            extreme = step.low if order.below else step.high
            met = _is_beyond(extreme, price, below=order.below)
        else:
            met = self._reached(order)
            if order.kind == "stop":
                worse = min if order.below else max
                price = self.units.taker_price(worse(order.trigger, step.open), buy=order.buy)
        if not met or not (price > step.close if order.buy else price < step.close):
            return
        if order.kind == "stop_limit" and not order.triggered:
            self._trigger(order, order.trigger, order.trigger)
        if order.id in self.live:
            self._fill(order, price, order.meeting_price, maker=order.rests_at_limit)


def _reach(price: int, start: int, end: int, *, below: bool, at_once: bool) -> int | None:
    """Return where a way from `start` to `end` meets a price; None where it does not.

    Args:
        price: What is waited for.
        start: Where the way begins.
        end: Where it ends; to touch the price is to meet it.
        below: Whether a way down meets it, else a way up.
        at_once: Whether it is met at the start if the market is at or beyond it there, whichever
            way the price goes then.
    """
    if below:
        met = (end < start and end <= price) or (at_once and start <= price)
        return min(price, start) if met else None
    met = (end > start and end >= price) or (at_once and start >= price)
    return max(price, start) if met else None


def _is_beyond(price: int, limit: int, *, below: bool) -> bool:
    """Tell whether a price is beyond a limit: at it is not enough."""
    return price < limit if below else price > limit
