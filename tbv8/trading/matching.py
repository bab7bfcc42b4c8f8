"""The fills of one step: which orders, in which order, at which price and size.

Pure, and in integers (see units.py). The rules are docs/orders.md, sections 2 to 5: the price walks
from the close before to open, first extreme, second extreme and close; both orders of the extremes
are walked, and the one that leaves the lower equity counts. Nothing is changed here: the caller
applies the planned fills.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from tbv8.trading.units import Ratio, Units

_BEGAN_STOP, _ENDING_STOP, _BEGAN_LIMIT, _ENDING_LIMIT = range(4)
"""The order in which orders fill at the end of a path."""


class Step(msgspec.Struct, frozen=True):
    """The prices of one bar, as integers of the symbol's units, and the time of its close.

    `before` is the close of the step before; None at a session's first.
    """

    close_ns: int
    open: int
    high: int
    low: int
    close: int
    before: int | None


class StepAccount(msgspec.Struct, frozen=True):
    """The position in the step's symbol, and the account's money; in integers, as in units.py.

    `cash` counts the other symbols' positions at their prices, `reserved` is their maintenance
    margin, `gross` the value of their worst positions. `leverage` limits all positions together, as
    a multiple of the equity; None for no limit.
    """

    position: int
    cash: int
    reserved: int = 0
    gross: int = 0
    leverage: Ratio | None = None


@dataclass(slots=True)
class WorkingOrder:
    """An order that rests at the venue, or waits for its `parent` to fill.

    `ends_ns` is its expiry, 0 without one. `linked` are its siblings in a bracket: a fill shrinks
    them by its size, or cancels them if the order is `one_cancels_other`. `triggered` is True for a
    stop-limit after its trigger. `began` and `ends_inside` are about the step in progress: the
    order began inside of it, or expires before its close. `at_close` is True if the close at which
    the order began had already reached its trigger or limit.
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
    at_close: bool = False

    @property
    def rests_at_limit(self) -> bool:
        """True if it fills only where the price goes beyond its limit."""
        return self.kind == "limit" or self.triggered

    @property
    def meeting_price(self) -> int:
        """The price at which it fills or triggers."""
        return self.price if self.rests_at_limit else self.trigger

    @property
    def opens(self) -> bool:
        """True if it could open or enlarge a position now."""
        return not self.reduce_only and self.parent is None

    @property
    def below(self) -> bool:
        """True if a falling price meets it."""
        return self.buy == self.rests_at_limit

    def copy(self) -> WorkingOrder:
        """Return a copy of the order."""
        return WorkingOrder(*(getattr(self, name) for name in _FIELDS))

    def would_take(self, price: int) -> bool:
        """Return True if it is a post-only limit that takes liquidity at a market price."""
        if self.kind != "limit" or not self.post_only:
            return False
        return self.price >= price if self.buy else self.price <= price

    def could_fill(self, position: int) -> int:
        """Return the size that it could fill with this position."""
        if not self.reduce_only:
            return self.left
        return min(self.left, abs(position)) if position and (position < 0) == self.buy else 0


_FIELDS = tuple(WorkingOrder.__dataclass_fields__)


class PlannedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event on the path: a fill at `price`, while the market is at `path_price`.

    On the jump from the last close the market is at the open.

    A `trigger` turns a stop-limit into a limit order; a `liquidation` closes the whole position and
    has no order.
    """

    kind: Literal["fill", "trigger", "liquidation"]
    order_id: str
    buy: bool
    size: int
    price: int
    path_price: int
    maker: bool = False


def plan(
    orders: Iterable[WorkingOrder], account: StepAccount, step: Step, units: Units
) -> list[PlannedEvent]:
    """Return the events of a step in order, on the path that leaves the lower equity.

    Args:
        orders: All resting and waiting orders, in any order.
        account: The account at the close before.
        step: The prices.
        units: The symbol's scales and costs.
    """
    reached = _within_reach(orders, step)
    low_first = _Walk(reached, account, step, units).along(step.low, step.high)
    high_first = _Walk(reached, account, step, units).along(step.high, step.low)
    return (low_first if _is_low_first(low_first, high_first, step) else high_first).planned


def _is_low_first(low_first: _Walk, high_first: _Walk, step: Step) -> bool:
    """Return True if the path with the low first counts: it is worse, or decides a tie."""
    if low_first.equity != high_first.equity:
        return low_first.equity < high_first.equity
    if low_first.position_at_open:
        return low_first.position_at_open > 0
    down, up = step.open - step.low, step.high - step.open
    if down != up:
        return down < up
    firsts = low_first.first_after_open, high_first.first_after_open
    return None in firsts or firsts[0] <= firsts[1]  # type: ignore[operator]  # None is out


def _within_reach(orders: Iterable[WorkingOrder], step: Step) -> list[WorkingOrder]:
    """Return the orders that can change a step.

    These are the orders that the step's prices reach; all orders if a reduce-only order or a parent
    is among them, since its fill, or that of a child, may end orders that are not reached.
    """
    orders = list(orders)
    before = step.open if step.before is None else step.before
    low, high = min(step.low, before), max(step.high, before)
    parents = {order.parent for order in orders}
    reached = []
    for order in orders:
        if order.parent is None and low <= order.meeting_price <= high:
            if order.reduce_only or order.id in parents:
                return orders
            reached.append(order)
    return reached


class _Walk:
    """One path through a step, from its own copy of the orders."""

    def __init__(
        self, orders: Iterable[WorkingOrder], account: StepAccount, step: Step, units: Units
    ) -> None:
        self.live = {order.id: order.copy() for order in orders}
        self._sequences = {order.id: order.sequence for order in self.live.values()}
        for order in self.live.values():
            order.ends_inside = 0 < order.ends_ns < step.close_ns
        self.position, self.cash, self.reserved = account.position, account.cash, account.reserved
        self.account = account
        self.step, self.units = step, units
        self.planned: list[PlannedEvent] = []
        self.liquidated = False
        self.position_at_open = self._planned_at_open = 0

    @property
    def equity(self) -> int:
        """The equity at the step's close, by which paths are compared."""
        if self.liquidated:
            return 0
        return self.cash + self.position * self.step.close * self.units.scale

    @property
    def _liquidation_price(self) -> int | None:
        """The price at which the present position is liquidated."""
        return self.units.liquidation_price(self.position, self.cash - self.reserved)

    @property
    def first_after_open(self) -> int | None:
        """The place in the order of sending of the first order that fills after the open."""
        later = self.planned[self._planned_at_open :]
        first = next((entry for entry in later if entry.kind != "trigger"), None)
        return self._sequences.get(first.order_id) if first else None

    def along(self, first: int, second: int) -> _Walk:
        """Walk from open to close over both extremes."""
        step = self.step
        if step.before is not None:
            self._leg(step.before, step.open, jump=True)
        self.position_at_open, self._planned_at_open = self.position, len(self.planned)
        for start, end in ((step.open, first), (first, second), (second, step.close)):
            self._leg(start, end, jump=False)
        self._end()
        return self

    def _leg(self, start: int, end: int, *, jump: bool) -> None:
        """Fill the orders that the price meets on its way from `start` to `end`, in that order."""
        direction = (end > start) - (end < start)
        while not self.liquidated:
            met = [
                (
                    -path_price * direction,
                    -1 if order is None else order.sequence,
                    order,
                    path_price,
                )
                for order, path_price in self._met(start, end, direction, end if jump else start)
            ]
            if not met:
                return
            order, path_price = max(met, key=lambda meeting: (meeting[0], -meeting[1]))[2:]
            start = path_price
            market_price = end if jump else path_price
            if order is None:
                self._liquidate(path_price, market_price)
            else:
                self._execute(order, market_price)

    def _met(
        self, start: int, end: int, direction: int, current_price: int
    ) -> Iterable[tuple[WorkingOrder | None, int]]:
        """Yield each order that a leg meets (None for a liquidation) and the price of the meeting.

        `current_price` is the present price: on the jump to the open, the open.
        """
        threshold = self._liquidation_price
        if threshold is not None:
            path_price = _reach(
                threshold,
                start,
                end,
                direction=direction,
                below=self.position > 0,
                current_price=current_price,
            )
            if path_price is not None:
                yield None, path_price
        for order in self.live.values():
            if order.parent is not None or order.ends_inside:
                continue
            if not order.could_fill(self.position):
                continue
            if order.rests_at_limit:
                if order.began or not _is_beyond(end, order.price, below=order.below):
                    continue
                path_price = _reach(order.price, start, end, direction=direction, below=order.below)
            else:
                began = current_price if order.began else None
                path_price = _reach(
                    order.trigger,
                    start,
                    end,
                    direction=direction,
                    below=order.below,
                    current_price=began,
                )
            if path_price is not None:
                yield order, path_price

    def _execute(self, order: WorkingOrder, path_price: int) -> None:
        """Fill or trigger an order when the market is at `path_price`."""
        if order.rests_at_limit:
            self._fill(order, order.price, path_price, maker=True)
        elif order.kind == "stop":
            price = self.units.taker_price(path_price, buy=order.buy)
            self._fill(order, price, path_price, maker=False)
        else:
            self._trigger(order, path_price)

    def _trigger(self, order: WorkingOrder, path_price: int) -> None:
        """Fill a stop-limit if the market is within its limit; else let it rest there."""
        if order.price >= path_price if order.buy else order.price <= path_price:
            self._fill(order, order.price, path_price, maker=False)
            return
        self._start_resting(order, path_price)

    def _start_resting(self, order: WorkingOrder, path_price: int) -> None:
        """Turn a stop-limit into a resting limit order."""
        order.triggered = order.began = True
        self.planned.append(
            PlannedEvent(
                kind="trigger",
                order_id=order.id,
                buy=order.buy,
                size=0,
                price=path_price,
                path_price=path_price,
            )
        )

    def _liquidate(self, path_price: int, reached: int) -> None:
        buy, size = self.position < 0, abs(self.position)
        price = self.units.taker_price(reached, buy=buy, slipped=False)
        self.liquidated = True
        self.planned.append(
            PlannedEvent(
                kind="liquidation",
                order_id="",
                buy=buy,
                size=size,
                price=price,
                path_price=path_price,
            )
        )

    def _fill(self, order: WorkingOrder, price: int, path_price: int, *, maker: bool) -> None:
        size = order.could_fill(self.position)
        signed = size if order.buy else -size
        self.position += signed
        self.cash -= signed * price * self.units.scale + self.units.fee(price, size, maker=maker)
        self.planned.append(
            PlannedEvent(
                kind="fill",
                order_id=order.id,
                buy=order.buy,
                size=size,
                price=price,
                path_price=path_price,
                maker=maker,
            )
        )
        order.left -= size
        if not order.left:
            del self.live[order.id]
        for name in order.linked:
            self._shrink(name, None if order.one_cancels_other else size)
        began = self._begin_children(order.id)
        for resting in list(self.live.values()):
            is_reducer = resting.reduce_only and resting.parent is None
            if is_reducer and not resting.could_fill(self.position):
                del self.live[resting.id]
        for name in excess(self.live.values(), self.position, self.units.max_position):
            del self.live[name]
        for child in began:
            if child.would_take(path_price):
                self.live.pop(child.id, None)

    def _begin_children(self, parent: str) -> list[WorkingOrder]:
        """Let the children of a filled order begin, unless they are denied; return them."""
        children = [order for order in self.live.values() if order.parent == parent]
        for child in children:
            child.parent, child.began = None, True
            if self._breaks_leverage(child):
                del self.live[child.id]
        return children

    def _breaks_leverage(self, child: WorkingOrder) -> bool:
        """Return True if a child that begins could open too much, at the last prices."""
        limit, last = self.account.leverage, self.step.before
        if child.reduce_only or limit is None or last is None:
            return False
        same_side = [o for o in self.live.values() if o.buy == child.buy and o.parent is None]
        signed = self.position if child.buy else -self.position
        worst = signed + sum(order.left for order in same_side if not order.reduce_only)
        if worst + sum(order.left for order in same_side if order.reduce_only) <= 0:
            return False
        price = last * self.units.scale
        gross, equity = abs(worst) * price + self.account.gross, self.cash + self.position * price
        return equity <= 0 or gross * limit.denominator > equity * limit.numerator

    def _shrink(self, name: str, size: int | None) -> None:
        """Reduce a sibling by a filled size; None cancels it."""
        sibling = self.live.get(name)
        if sibling is not None:
            sibling.left = 0 if size is None else max(sibling.left - size, 0)
            if not sibling.left:
                del self.live[name]

    # The end of the path.

    def _end(self) -> None:
        """Fill, one by one, the orders that are decided only at the step's close."""
        while not self.liquidated:
            late = [
                (turn, order.sequence, order)
                for order in self.live.values()
                if order.parent is None and order.could_fill(self.position)
                if (turn := self._turn(order)) is not None
            ]
            if not late:
                return
            turn, _, order = min(late, key=lambda candidate: candidate[:2])
            if turn == _BEGAN_STOP:
                close = self.step.close
                beyond = close <= order.trigger if order.below else close >= order.trigger
                self._execute(order, close if beyond else order.trigger)
            elif turn == _ENDING_STOP:
                self._fill_ending_stop(order)
            else:
                self._fill(order, order.price, self.step.close, maker=True)
            close, threshold = self.step.close, self._liquidation_price
            if threshold is not None and (
                close <= threshold if self.position > 0 else close >= threshold
            ):
                self._liquidate(close, close)

    def _turn(self, order: WorkingOrder) -> int | None:
        """Return an order's turn at the end of the path; None if it does not fill."""
        close = self.step.close
        if order.ends_inside:
            price = self._ending_price(order)
            worse = price is not None and (price > close if order.buy else price < close)
            if not worse:
                return None
            return _ENDING_LIMIT if order.rests_at_limit else _ENDING_STOP
        if not order.began:
            return None
        if order.rests_at_limit:
            return _BEGAN_LIMIT if _is_beyond(close, order.price, below=order.below) else None
        return _BEGAN_STOP if self._reached(order) else None

    def _reached(self, order: WorkingOrder) -> bool:
        """Return True if the step touched an order's trigger at any moment."""
        step = self.step
        return step.low <= order.trigger if order.below else step.high >= order.trigger

    def _ending_price(self, order: WorkingOrder) -> int | None:
        """Return the fill price of an order that expires inside of the step, if it fills."""
        step = self.step
        if order.rests_at_limit:
            extreme = step.low if order.below else step.high
            return order.price if _is_beyond(extreme, order.price, below=order.below) else None
        if not self._reached(order):
            return None
        if order.kind == "stop_limit":
            return order.price
        worse = min if order.below else max
        return self.units.taker_price(worse(order.trigger, step.open), buy=order.buy)

    def _fill_ending_stop(self, order: WorkingOrder) -> None:
        price = self._ending_price(order)
        assert price is not None  # `_turn` has found one
        worse = min if order.below else max
        reached = worse(order.trigger, self.step.open)
        if order.kind == "stop_limit" and (price < reached if order.buy else price > reached):
            self._start_resting(order, reached)
            self._fill(order, price, self.step.close, maker=True)
        else:
            self._fill(order, price, reached, maker=False)


def _reach(
    price: int,
    start: int,
    end: int,
    *,
    direction: int,
    below: bool,
    current_price: int | None = None,
) -> int | None:
    """Return the point at which the rest of a leg meets a price; None if it does not.

    Args:
        price: The price to meet.
        start: The present price.
        end: The end of the leg; touching the price is meeting it.
        direction: The direction of the leg: -1 down, 1 up, 0 for none.
        below: True if a falling price meets it, False for a rising one.
        current_price: The present price if an order that is already beyond its price is met at
            once, in whichever direction the price moves; else None.
    """
    if below:
        if direction < 0 and end <= price:
            return min(price, start)
        return start if current_price is not None and current_price <= price else None
    if direction > 0 and end >= price:
        return max(price, start)
    return start if current_price is not None and current_price >= price else None


def _is_beyond(price: int, limit: int, *, below: bool) -> bool:
    """Return True if a price is beyond a limit; at the limit is not enough."""
    return price < limit if below else price > limit


def excess(orders: Iterable[WorkingOrder], position: int, most: int) -> list[str]:
    """Return the ids of orders to cancel: their side could take the position beyond the limit.

    The last sent are cancelled first; reduce-only orders and waiting children do not count.
    """
    opening = [order for order in orders if order.opens]
    ended: list[str] = []
    if not opening:
        return ended
    for sign in (1, -1):
        side = [order for order in opening if order.buy == (sign > 0)]
        side.sort(key=lambda order: order.sequence)
        worst = position * sign + sum(order.left for order in side)
        while side and worst > most:
            last = side.pop()
            worst -= last.left
            ended.append(last.id)
    return ended
