"""The gate between a strategy and the engine: what it sends is checked, adapted, and dated.

`gated` makes a base of the user's class, behind it and before NautilusTrader's, so that both
`self.submit_order` and `super().submit_order` end here; the gate is no attribute of the strategy.
Everything that reaches the venue passes: closing a position, too, is an order of the strategy.

A request counts at the close of a step. One that is made while a step is under way (from a timer,
or on a fill inside of it) waits for the close, in the order of asking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from functools import wraps
from typing import Any

import msgspec
from nautilus_trader.core import UUID4
from nautilus_trader.model import (
    BarType,
    ClientOrderId,
    ContingencyType,
    InstrumentId,
    OrderCanceled,
    OrderDenied,
    OrderSide,
    OrderStatus,
    OrderType,
    PositionSide,
    Quantity,
    TimeInForce,
    TriggerType,
)
from nautilus_trader.trading import Strategy

from tbv8.market import DAY_MS
from tbv8.risk.book import Book
from tbv8.risk.events import EXACT, Breach, Denial, Order
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import Fill, Side, SubmittedOrder
from tbv8.trading.resting import KINDS, RestingOrders
from tbv8.trading.units import FEE_DECIMALS

_NS = 1_000_000
_STOPS = (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
_NOT_EMULATED = (None, TriggerType.NO_TRIGGER)
_AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)
_LASTING = (TimeInForce.GTC, TimeInForce.GTD, TimeInForce.DAY)
_ALONE = {"contingency_type": None, "linked_order_ids": None, "parent_order_id": None}
_SERVED = ("subscribe_bars", "subscribe_signal", "subscribe_data")
_UNITS_RULES = ("lot_size", "tick_size")


def _exact[**P, R](method: Callable[P, R]) -> Callable[P, R]:
    """Keep the caller's decimal context, which may be the strategy's, out of our numbers."""

    @wraps(method)
    def run(*args: P.args, **options: P.kwargs) -> R:
        with localcontext(EXACT):
            return method(*args, **options)

    return run


class Forced(msgspec.Struct, frozen=True):
    """A closing order of ours: what it is listed as, and its price where it is not the market's."""

    kind: str
    price: int | None
    trigger: int


class Gate:
    """What one run's strategy asks of the venue, and what the venue tells it."""

    def __init__(
        self, strategy_id: str, book: Book, markets: Mapping[InstrumentId, RestingOrders]
    ) -> None:
        self.strategy_id = strategy_id
        self.book = book
        self.markets = dict(markets)
        self.step_ns = 0  # the instant that is dealt with, or was last
        self.walking: RestingOrders | None = None  # whose plan answers now

        self.submitted: dict[str, SubmittedOrder] = {}
        self.changed: list[SubmittedOrder] = []
        self.forced: dict[str, Forced] = {}
        self.numbers: dict[str, str] = {}  # order ids as results have them
        self.fills: list[Fill] = []
        self.subscribed = False  # to any bars
        self._waiting: list[tuple[RestingOrders, Callable[[], None]]] = []
        self._asked: dict[str, RestingOrders] = {}
        self.held: dict[str, Any] = {}  # children that wait for their parent
        self.dropped: set[str] = set()  # those whose parent never was filled
        self._unsaid: list[OrderDenied | OrderCanceled] = []  # events that no engine reports
        self._updates: Counter[str] = Counter()  # of orders, that were sent and not reported yet
        self._late = False  # what is sent now was asked for inside of the step
        self._maker = False  # of the fill that the engine was just answered

    def join(self, loaded: Strategy) -> None:
        """Take the strategy whose class is derived from what `gated` made."""
        self.loaded = loaded
        self.clock_ns: Callable[[], int] = loaded.clock.timestamp_ns

    def set_prices(self) -> None:
        """Report the last closes to the book."""
        prices = self.book.prices
        for market in self.markets.values():
            if market.last is not None:
                prices[market.symbol] = market.units.to_price(market.last)

    # When.

    def ask(self, market: RestingOrders | None, request: Callable[[], None]) -> None:
        """Let a request count now, or at the close of its symbol's step that is under way."""
        if market is None or market.last is None or market.closed_ns == self.clock_ns():
            request()
        else:
            self._waiting.append((market, request))

    def market_of(self, client_order_id: Any) -> RestingOrders | None:
        """Return the symbol of an order that was asked for; None of an unknown one."""
        return self._asked.get(client_order_id.value)

    @property
    def is_waited_for(self) -> bool:
        """Whether any request waits for a close."""
        return bool(self._waiting)

    def has_waiting(self, markets: Collection[RestingOrders]) -> bool:
        """Tell whether requests wait for a close of one of these symbols."""
        return any(market in markets for market, _ in self._waiting)

    def count_next(self, markets: Collection[RestingOrders]) -> None:
        """Let the first request count that waits for a close of one of these symbols."""
        place = next(at for at, (market, _) in enumerate(self._waiting) if market in markets)
        _, request = self._waiting.pop(place)
        self._late = True
        request()
        self._late = False
        self.deliver_events()

    # Orders.

    @_exact
    def submit(self, orders: Sequence[Any], send: Callable[[list[Any]], None]) -> None:
        """Let all orders go, or deny all; a turning order may go in part.

        Args:
            orders: Of one request; more than one is a list, which goes whole.
            send: Hands the orders, as the engine may have them, to NautilusTrader.
        """
        self.set_prices()
        asked: list[Order] = []
        ids = {_name(order) for order in orders}
        for order in orders:
            market = self.markets.get(order.instrument_id)
            breach = self._unsupported(order, market, ids)
            if market is None or breach:
                return self._deny(orders, breach or Breach("instrument", {}))
            wanted = _to_risk_order(order, market.symbol, order.quantity.as_decimal())
            breach = self.book.check_units(wanted) or self._without_use(wanted, asked)
            if not breach and wanted.parent is None:
                breach = self._stop_in_market(order, market, waited=self._late, others=asked)
            if breach:
                return self._deny(orders, breach)
            breach = None if wanted.parent else self.book.check(wanted, others=asked)
            if breach and len(orders) == 1 and (closing := self._closing_part(wanted)):
                if left := EXACT.subtract(abs(wanted.change), closing):
                    self.book.denials.append(self._denial(order, breach, left))
                wanted = msgspec.structs.replace(
                    wanted, change=closing.copy_sign(wanted.change), reduce_only=True
                )
            elif breach:
                return self._deny(orders, breach)
            asked.append(wanted)
        copies = [self._pass(order, wanted) for order, wanted in zip(orders, asked, strict=True)]
        now = []
        for order, copy in zip(orders, copies, strict=True):
            if order.parent_order_id is not None and order.parent_order_id.value in ids:
                self.held[_name(order)] = copy
            else:
                now.append(copy)
        send(now)
        return None

    def ask_to_submit(self, orders: Sequence[Any], send: Callable[[list[Any]], None]) -> None:
        """Submit orders when they count."""
        market = self.markets.get(orders[0].instrument_id)
        if market is not None:
            self._asked.update((_name(order), market) for order in orders)
        self.ask(market, lambda: self.submit(orders, send))

    def _pass(self, order: Any, wanted: Order) -> Any:
        """Book an order that goes to the venue; return it as the engine may have it.

        The engine enlarges resting reduce-only orders and children of a bracket, ends the whole
        sibling of an order that is filled, and knows no DAY: it gets a copy that stands alone.
        """
        market, name = self.markets[order.instrument_id], _name(order)
        self.submitted[name] = SubmittedOrder(
            ts_ms=self.step_ns // _NS,
            symbol=market.symbol,
            side=_side(order.is_buy),
            type=order.order_type.name.lower(),
            quantity=order.quantity.as_decimal(),
            prices=wanted.prices,
        )
        sequence = len(self.numbers) + 1
        self.numbers[name] = f"O-{sequence}"
        changes: dict[str, Any] = {}
        size = abs(wanted.change)
        rests = order.order_type in KINDS
        if wanted.reduce_only and order.time_in_force in _AT_ONCE:
            size = min(size, abs(self.book.expected(market.symbol)))
        if size != order.quantity.as_decimal():
            changes["quantity"] = str(Quantity.from_decimal_dp(size, market.units.size_decimals))
            order_change = size.copy_sign(wanted.change)
            wanted = msgspec.structs.replace(wanted, change=order_change)
        if order.is_reduce_only and rests:
            changes["is_reduce_only"] = False
        elif wanted.reduce_only and not rests:
            changes["is_reduce_only"] = True
        linked = order.contingency_type not in (None, ContingencyType.NO_CONTINGENCY)
        if linked or order.parent_order_id is not None:
            changes |= _ALONE
        ends_ns = getattr(order, "expire_time", None) or 0
        if rests and order.time_in_force == TimeInForce.DAY:
            day_ns = DAY_MS * _NS
            ends_ns = (self.step_ns // day_ns + 1) * day_ns
            changes |= {"time_in_force": "GTD", "expire_time_ns": ends_ns}
        copy = type(order).from_dict(order.to_dict() | changes) if changes else order
        self.book.working[name] = wanted
        if rests:
            market.add(
                order,
                sequence=sequence,
                size=market.units.size(copy.quantity),
                reduce_only=wanted.reduce_only,
                ends_ns=ends_ns,
            )
            market.meet_close(name)
        return copy

    @_exact
    def modify(
        self, updates: Sequence[tuple[Any, Any, Any, Any]], send: Callable[[], None]
    ) -> None:
        """Let all changes of working orders go, or deny all."""
        self.set_prices()
        changed: dict[str, Order] = {}
        for client_order_id, quantity, price, trigger_price in updates:
            name = client_order_id.value
            order: Any = self.held.get(name) or self.loaded.cache.order(client_order_id)
            known = self.book.working.get(name)
            if order is None or order.is_closed or known is None:
                return
            price = price if hasattr(order, "price") else None
            market = self.markets[order.instrument_id]
            if not hasattr(order, "trigger_price") or market.is_triggered(name):
                trigger_price = None  # it is a limit order
            if not _changes(order, quantity, price, trigger_price):
                continue
            left = order.leaves_qty.as_decimal()
            if quantity is not None:
                left = EXACT.subtract(quantity.as_decimal(), order.filled_qty.as_decimal())
            wanted = msgspec.structs.replace(
                _to_risk_order(order, market.symbol, left, price, trigger_price),
                reduce_only=known.reduce_only,
                parent=known.parent,
            )
            breach = self.book.check_units(wanted)
            if not breach and name not in self.held:
                others = changed.values()
                breach = self._stop_in_market(
                    order, market, trigger_price, waited=False
                ) or self.book.check(wanted, others=others, replacing=[*changed, name])
            if breach:
                self.book.denials.append(self._denial(order, breach))
                return
            changed[name] = wanted
            market.meet_close(name, None if price is None else market.units.price(price))
            if name in self.held:
                self._change_held(order, quantity, price, trigger_price)
        for name, wanted in changed.items():
            self._note_change(name, abs(wanted.change), wanted.prices)
        if sent := changed.keys() - self.held.keys():
            self._updates.update(sent)
            send()

    def _note_change(self, name: str, quantity: Decimal, prices: tuple[Decimal, ...] = ()) -> None:
        """Write down that the strategy changed an order; a quantity of 0 cancels it."""
        if (sent := self.submitted.get(name)) is not None:
            ts_ms = self.clock_ns() // _NS
            changed = {"ts_ms": ts_ms, "quantity": quantity, "prices": prices}
            self.changed.append(msgspec.structs.replace(sent, **changed))

    def _change_held(self, order: Any, quantity: Any, price: Any, trigger_price: Any) -> None:
        """Change an order that waits for its parent, of which the engine does not know yet."""
        given = {"quantity": quantity, "price": price, "trigger_price": trigger_price}
        changes = {key: str(value) for key, value in given.items() if value is not None}
        copy = type(order).from_dict(order.to_dict() | changes)
        self.held[_name(order)] = copy
        self._take_over(copy)

    @_exact
    def cancel(self, client_order_ids: Iterable[Any], send: Callable[[list[Any]], None]) -> None:
        """Let those orders be cancelled that have not ended."""
        working = []
        for client_order_id in client_order_ids:
            order = self.loaded.cache.order(client_order_id)
            is_held = client_order_id.value in self.held
            if is_held or (order is not None and not order.is_closed):
                self._note_change(client_order_id.value, Decimal(0))
            if is_held:
                self._drop(client_order_id.value)
            elif order is not None and not order.is_closed:
                working.append(client_order_id)
        if working:
            send(working)

    def _closing_part(self, order: Order) -> Decimal:
        """Return how much of an order closes the position that it turns round, else 0."""
        position = self.book.expected(order.symbol)
        turns = position * order.change < 0 and not order.reduce_only and order.parent is None
        return min(abs(position), abs(order.change)) if turns else Decimal(0)

    def _without_use(self, order: Order, others: Sequence[Order]) -> Breach | None:
        """Refuse a reduce-only order where there is nothing to reduce."""
        position = self.book.expected(order.symbol, others)
        if not order.reduce_only or order.parent is not None or position * order.change < 0:
            return None
        return Breach("reduce_only", {"position": position, "order": order.change})

    def _unsupported(
        self, order: Any, market: RestingOrders | None, ids: Collection[str]
    ) -> Breach | None:
        """Refuse what is not simulated in full, and what was sent before.

        Args:
            order: What is asked.
            market: Its symbol.
            ids: The orders of its list; a child among them begins later.
        """
        begins = order.parent_order_id is None or order.parent_order_id.value not in ids
        kind, name, in_force = order.order_type, _name(order), order.time_in_force
        rests = kind in KINDS
        rule = None
        if name in self.submitted or order.status != OrderStatus.INITIALIZED:
            rule = "duplicate_order"
        elif market is None:
            rule = "instrument"
        elif kind != OrderType.MARKET and not rests:
            rule = "order_type"
        elif order.is_quote_quantity:
            rule = "quote_quantity"
        elif order.exec_algorithm_id is not None:
            rule = "exec_algorithm"
        elif rests and order.emulation_trigger not in _NOT_EMULATED:
            rule = "emulation_trigger"
        elif kind == OrderType.STOP_LIMIT and order.is_post_only:
            rule = "post_only"
        elif in_force not in _LASTING and (in_force not in _AT_ONCE or kind in _STOPS):
            rule = "time_in_force"
        elif in_force == TimeInForce.GTD and rests and begins and order.expire_time <= self.step_ns:
            rule = "expire_time"
        return Breach(rule, {}) if rule else None

    def _stop_in_market(
        self,
        order: Any,
        market: RestingOrders,
        trigger_price: Any = None,
        *,
        waited: bool,
        others: Sequence[Order] = (),
    ) -> Breach | None:
        """Refuse a stop whose trigger the close has reached, as most venues do.

        One that `waited` for the close and reduces goes off instead.
        """
        if order.order_type not in _STOPS or market.last is None:
            return None
        if market.is_triggered(_name(order)):
            return None
        trigger = market.units.price(trigger_price or order.trigger_price)
        if (trigger > market.last) if order.is_buy else (trigger < market.last):
            return None
        position = self.book.expected(market.symbol, others)
        reduces = position < 0 if order.is_buy else position > 0
        small = order.is_reduce_only or order.quantity.as_decimal() <= abs(position)
        if waited and reduces and small:
            return None
        units = market.units
        numbers = {"trigger": units.to_price(trigger), "price": units.to_price(market.last)}
        return Breach("stop_in_market", numbers)

    # Denials.

    def _deny(self, orders: Sequence[Any], breach: Breach) -> None:
        """Deny all orders of a request."""
        for order in orders:
            self.book.denials.append(self._denial(order, breach))
            now_ns = self.clock_ns()
            event = OrderDenied(
                order.trader_id,
                order.strategy_id,
                order.instrument_id,
                order.client_order_id,
                str(breach),
                UUID4(),
                now_ns,
                now_ns,
            )
            if order.status == OrderStatus.INITIALIZED:
                order.apply(event)
            if _name(order) not in self.submitted:
                self._unsaid.append(event)

    def _denial(self, order: Any, breach: Breach, size: Decimal | None = None) -> Denial:
        halt = self.book.halted
        market = self.markets.get(order.instrument_id)
        quantity = order.quantity if size is None else size
        kind = order.order_type.name.lower()
        return Denial(
            ts_ms=self.step_ns // _NS,
            symbol=market.symbol if market else order.instrument_id.symbol.value,
            rule=breach.rule,
            order=f"{_side(order.is_buy)} {kind} {quantity}",
            until_ms=halt.until_ms if halt and halt.rule == breach.rule else None,
            numbers=breach.numbers,
        )

    def deliver_events(self) -> None:
        """Call the strategy's callbacks for orders that ended before they reached the engine."""
        while self._unsaid:
            event = self._unsaid.pop(0)
            if isinstance(event, OrderDenied):
                self.loaded.on_order_denied(event)
            else:
                self.loaded.on_order_canceled(event)
            self.loaded.on_order_event(event)

    # Our own orders.

    def close_all(self, prices: Mapping[str, tuple[str, int]] | None = None) -> None:
        """Cancel every order and close every position at the market, or as `prices` name it.

        Args:
            prices: Kind and price of a symbol's closing order, which goes first; the others are
                market orders.
        """
        for instrument_id in self.markets:
            Strategy.cancel_all_orders(self.loaded, instrument_id)
        first = prices or {}
        for market in sorted(self.markets.values(), key=lambda each: each.symbol not in first):
            if market.position:
                self._force(market, *first.get(market.symbol, ("market", None)))

    def _force(self, market: RestingOrders, kind: str, price: int | None) -> None:
        units, size = market.units, abs(market.position)
        order = self.loaded.order_factory.market(
            market.instrument.id,
            OrderSide.SELL if market.position > 0 else OrderSide.BUY,
            Quantity.from_decimal_dp(units.to_size(size), units.size_decimals),
        )
        name = _name(order)
        assert market.last is not None  # a position has a price
        self.forced[name] = Forced(kind, price, market.last if price is None else price)
        self.numbers[name] = f"O-{len(self.numbers) + 1}"
        change = units.to_size(-market.position)
        self.book.working[name] = Order(symbol=market.symbol, change=change)
        Strategy.submit_order(self.loaded, order)

    # What the engine asks.

    @_exact
    def answer(self, order: Any) -> tuple[int, int] | None:
        """Return price and size at which an order is filled now; None for "not now"."""
        market, name = self.markets[order.instrument_id], _name(order)
        units, resting = market.units, market.working.get(name)
        submitted = order.status == OrderStatus.SUBMITTED
        if self.walking is not None:
            planned = market.take(name, at_once=submitted) if resting else None
            if planned is None:
                return None
            self._maker = planned.maker
            return planned.price, planned.size
        self._maker = False
        forced = self.forced.get(name)
        if forced is not None and forced.price is not None:
            return forced.price, units.size(order.leaves_qty)
        assert market.last is not None  # orders are refused before the first close
        if resting is None:
            if order.order_type != OrderType.MARKET:
                return None  # it has ended, and the engine does not know it yet
            price = units.taker_price(market.last, buy=order.is_buy)
            return price, units.size(order.leaves_qty)
        if not resting.at_close:
            return None  # it rests, and the close has touched its price
        if resting.kind == "stop":
            price = units.taker_price(market.last, buy=order.is_buy)
        else:
            limit, worse = units.price(order.price), min if order.is_buy else max
            taken = units.taker_price(market.last, buy=order.is_buy, slipped=False)
            price = worse(taken, limit)
        size = resting.could_fill(market.position)
        return (price, size) if size else None

    @_exact
    def fee(self, order: Any, quantity: Any, price: Any) -> Decimal:
        """Return the fee of the fill that was just answered, in USD."""
        units = self.markets[order.instrument_id].units
        money = units.fee(units.price(price), units.size(quantity), maker=self._maker)
        return EXACT.scaleb(Decimal(money), -units.money_decimals).quantize(
            Decimal(1).scaleb(-FEE_DECIMALS)
        )

    # What the engine reports; each hook runs before the strategy's own callback.

    def hooks(self) -> dict[str, Callable[..., Any]]:
        """Return the gate's hooks by callback name; each runs before the strategy's own."""
        ended = ("canceled", "expired", "rejected", "denied")
        return {
            "on_order_accepted": self._on_accepted,
            "on_order_filled": self.on_filled,
            "on_order_updated": self._on_updated,
            "on_order_modify_rejected": self._on_updated,
            **{f"on_order_{name}": self._on_ended for name in ended},
        }

    def _refuse_unknown(self, event: Any) -> None:
        if _name(event) not in self.numbers:
            raise past_limits(self.strategy_id, _name(event))

    def on_filled(self, event: Any) -> None:
        """Book an execution."""
        self._refuse_unknown(event)
        market, name = self.markets[event.instrument_id], _name(event)
        units, buy = market.units, event.order_side == OrderSide.BUY
        price, size = units.price(event.last_px), units.size(event.last_qty)
        kind, trigger = event.order_type.name.lower(), self._trigger(event, market)
        if name in self.forced:
            kind = self.forced[name].kind
        linked = market.fill(name, size, buy=buy)
        if name not in market.working:
            self._begin_children(name)
        quantity, at = units.to_size(size), units.to_price(price)
        fee = event.commission.as_decimal() if event.commission else Decimal(0)
        self.book.fill(name, market.symbol, quantity if buy else -quantity, at, fee)
        if name not in market.working:  # a change that came too late may have asked for more
            self.book.working.pop(name, None)
        self.fills.append(
            Fill(
                ts_ms=self.step_ns // _NS,
                symbol=market.symbol,
                order_id=self.numbers[name],
                side=_side(buy),
                type=kind,
                quantity=quantity,
                price=at,
                fee=fee,
                liquidity="maker" if self._maker else "taker",
                position=self.book.positions[market.symbol],
                trigger=trigger,
            )
        )
        for sibling, left in linked.items():
            self._shrink(market, sibling, left)
        self._end_without_use(market)

    def _begin_children(self, name: str) -> None:
        """Send the orders that waited for one that is filled."""
        children = [child for child, wanted in self.book.working.items() if wanted.parent == name]
        for child in children:
            self.book.working[child] = msgspec.structs.replace(
                self.book.working[child], parent=None
            )
            copy = self.held.pop(child)
            if self.walking is None:
                self.markets[copy.instrument_id].meet_close(child)
            Strategy.submit_order(self.loaded, copy)

    def _drop(self, name: str) -> None:
        """End an order that waits for its parent."""
        order = self.held.pop(name)
        self.dropped.add(name)
        self._forget(self.markets[order.instrument_id], name)
        now_ns = self.clock_ns()
        self._unsaid.append(
            OrderCanceled(
                order.trader_id,
                order.strategy_id,
                order.instrument_id,
                order.client_order_id,
                UUID4(),
                now_ns,
                now_ns,
                False,
            )
        )

    def _shrink(self, market: RestingOrders, name: str, left: int) -> None:
        """Make a sibling of a filled order smaller, or end it."""
        if not left:
            self._end(market, name)
            return
        if name in self.held:
            return
        order: Any = self.loaded.cache.order(ClientOrderId(name))
        quantity = EXACT.add(market.units.to_size(left), order.filled_qty.as_decimal())
        known = self.book.working[name]
        change = market.units.to_size(left).copy_sign(known.change)
        self.book.working[name] = msgspec.structs.replace(known, change=change)
        size = Quantity.from_decimal_dp(quantity, market.units.size_decimals)
        self._updates[name] += 1
        Strategy.modify_order(self.loaded, order.client_order_id, size)

    def _trigger(self, event: Any, market: RestingOrders) -> Decimal | None:
        """Return the price from which rounding and slipping are measured."""
        name = _name(event)
        if name in self.forced:
            return market.units.to_price(self.forced[name].trigger)
        if event.order_type == OrderType.MARKET and market.last is not None:
            return market.units.to_price(market.last)
        resting = market.working.get(name)
        if event.order_type == OrderType.STOP_MARKET and resting is not None:
            return market.units.to_price(resting.trigger)
        return None

    def _on_accepted(self, event: Any) -> None:
        self._refuse_unknown(event)
        market, name = self.markets[event.instrument_id], _name(event)
        if name in market.without_use():
            self._end(market, name)

    def _end_without_use(self, market: RestingOrders) -> None:
        """Cancel orders that have nothing left to reduce, or that could break max_position now."""
        for name in market.without_use():
            self._end(market, name)
        for name in market.excess():
            breach = Breach(
                "max_position",
                {
                    "position": self.book.positions[market.symbol],
                    "limit": self.book.limits.markets[market.symbol].max_position,
                },
            )
            order = self.loaded.cache.order(ClientOrderId(name))
            self.book.denials.append(self._denial(order, breach))
            self._end(market, name)

    def _end(self, market: RestingOrders, name: str) -> None:
        if name in self.held:
            self._drop(name)
            return
        self._forget(market, name)
        Strategy.cancel_order(self.loaded, ClientOrderId(name))

    def _on_ended(self, event: Any) -> None:
        market, name = self.markets.get(event.instrument_id), _name(event)
        if market is None:
            return
        children = market.children_of(name)
        self._forget(market, name)
        for child in children:
            self._drop(child)

    def _forget(self, market: RestingOrders, name: str) -> None:
        self.book.working.pop(name, None)
        market.end(name)

    def _on_updated(self, event: Any) -> None:
        name, order = _name(event), self.loaded.cache.order(event.client_order_id)
        known = self.book.working.get(name)
        if order is None or known is None:
            return
        market = self.markets[order.instrument_id]
        now = _to_risk_order(order, market.symbol, order.leaves_qty.as_decimal())
        if self._updates[name]:
            self._updates[name] -= 1
        elif abs(now.change) > abs(known.change) or now.prices != known.prices:
            raise past_limits(self.strategy_id, name)
        self._take_over(order)
        self._end_without_use(market)

    def _take_over(self, order: Any) -> None:
        """Book the prices and the quantity that an order has now."""
        market, known = self.markets[order.instrument_id], self.book.working[_name(order)]
        self.book.working[_name(order)] = msgspec.structs.replace(
            _to_risk_order(order, market.symbol, order.leaves_qty.as_decimal()),
            reduce_only=known.reduce_only,
            parent=known.parent,
        )
        market.update(order)


def gated(gate: Gate, bar_types: Collection[BarType]) -> type[Strategy]:
    """Return a base class whose order methods ask the gate before they reach the engine.

    Args:
        gate: The run's own.
        bar_types: What may be subscribed to, beside bars that NautilusTrader builds from it.
    """

    class Gated(Strategy):
        """The methods of a strategy that reach the venue or subscribe to data."""

        def submit_order(self, order: Any, *args: Any, **options: Any) -> None:
            """Submit an order."""

            def send(orders: list[Any]) -> None:
                Strategy.submit_order(self, orders[0], *args, **options)

            gate.ask_to_submit([order], send)

        def submit_order_list(self, order_list: Any, *args: Any, **options: Any) -> None:
            """Submit all orders of a list, or none."""
            orders = list(getattr(order_list, "orders", order_list))

            def send(copies: list[Any]) -> None:
                Strategy.submit_order_list(self, copies, *args, **options)

            gate.ask_to_submit(orders, send)

        def modify_order(
            self,
            client_order_id: Any,
            quantity: Any = None,
            price: Any = None,
            trigger_price: Any = None,
            *args: Any,
            **options: Any,
        ) -> None:
            """Change an order."""
            update = (client_order_id, quantity, price, trigger_price)

            def send() -> None:
                Strategy.modify_order(self, *update, *args, **options)

            market = gate.market_of(client_order_id)
            gate.ask(market, lambda: gate.modify([update], send))

        def modify_orders(self, updates: Any = (), *args: Any, **options: Any) -> None:
            """Change all of the orders, or none."""
            changes = list(updates)

            def send() -> None:
                Strategy.modify_orders(self, changes, *args, **options)

            market = gate.market_of(changes[0][0]) if changes else None
            gate.ask(market, lambda: gate.modify(changes, send))

        def cancel_order(self, client_order_id: Any, *args: Any, **options: Any) -> None:
            """Cancel an order."""

            def send(ids: list[Any]) -> None:
                Strategy.cancel_order(self, ids[0], *args, **options)

            market = gate.market_of(client_order_id)
            gate.ask(market, lambda: gate.cancel([client_order_id], send))

        def cancel_orders(self, client_order_ids: Any, *args: Any, **options: Any) -> None:
            """Cancel orders."""
            for client_order_id in client_order_ids:
                self.cancel_order(client_order_id, *args, **options)

        def cancel_all_orders(
            self, instrument_id: Any, order_side: Any = None, *args: Any, **options: Any
        ) -> None:
            """Cancel all orders of an instrument, or those of one side."""
            rest = (instrument_id, order_side, *args)
            market = gate.markets.get(instrument_id)
            gate.ask(market, lambda: Strategy.cancel_all_orders(self, *rest, **options))

        def close_position(self, position: Any, *_args: Any, **_options: Any) -> None:
            """Close a position by a reduce-only market order."""
            side = OrderSide.SELL if position.side == PositionSide.LONG else OrderSide.BUY
            self.submit_order(
                self.order_factory.market(
                    position.instrument_id, side, position.quantity, reduce_only=True
                )
            )

        def close_all_positions(
            self, instrument_id: Any, position_side: Any = None, *_args: Any, **_options: Any
        ) -> None:
            """Close the positions of an instrument."""
            for position in self.cache.positions_open(instrument_id=instrument_id):
                if position_side in (None, PositionSide.NO_POSITION_SIDE, position.side):
                    self.close_position(position)

        def market_exit(self) -> None:
            """Cancel all orders and close all positions."""
            for instrument_id in gate.markets:
                self.cancel_all_orders(instrument_id)
                self.close_all_positions(instrument_id)

        def subscribe_bars(self, bar_type: Any, *args: Any, **options: Any) -> None:
            """Subscribe to bars that the session is fed with, or to bars built from them."""
            wanted = bar_type
            if bar_type.is_internally_aggregated():
                wanted = bar_type.composite() if bar_type.is_composite() else None
            if wanted not in bar_types:
                known = ", ".join(str(each) for each in bar_types)
                raise ValueError(
                    f"no bars {bar_type} in this run: there are {known}; declare more with "
                    "`symbols` and `bars` in the strategy's YAML"
                )
            gate.subscribed = True
            super().subscribe_bars(bar_type, *args, **options)

    for name in dir(Strategy):
        if name.startswith(("subscribe_", "request_")) and name not in _SERVED:
            setattr(Gated, name, _not_served(name))
    return Gated


def _not_served(name: str) -> Callable[..., None]:
    def refuse(_strategy: Any, *_args: Any, **_options: Any) -> None:
        raise ValueError(
            f"{name}: a session has bars alone, from its first on; use subscribe_bars and keep "
            "what is needed"
        )

    return refuse


def past_limits(strategy_id: str, name: str) -> StrategyError:
    """Return the error of an order that was sent or changed by NautilusTrader's own methods."""
    return StrategyError(
        f"{strategy_id}: order {name} went past the risk limits: send and change orders with "
        "self.submit_order and self.modify_order, not with those of Strategy"
    )


def _name(thing: Any) -> str:
    """Return the id of an order, or of the order that an event is about."""
    name: str = thing.client_order_id.value
    return name


def _side(buy: bool) -> Side:
    return "buy" if buy else "sell"


def _changes(order: Any, quantity: Any, price: Any, trigger_price: Any) -> bool:
    """Tell whether a change asks for other values than the order has; the engine refuses others."""
    return (
        quantity not in (None, order.quantity)
        or price not in (None, getattr(order, "price", None))
        or trigger_price not in (None, getattr(order, "trigger_price", None))
    )


def _to_risk_order(
    order: Any, symbol: str, left: Decimal, price: Any = None, trigger_price: Any = None
) -> Order:
    """Return what of an order may still be filled, as the rules see it."""
    prices: Iterator[Any] = iter(())
    if order.order_type != OrderType.MARKET:
        given = (
            price or getattr(order, "price", None),
            trigger_price or getattr(order, "trigger_price", None),
        )
        prices = (value.as_decimal() for value in given if value is not None)
    parent = order.parent_order_id
    return Order(
        symbol=symbol,
        change=left if order.is_buy else left.copy_negate(),
        reduce_only=order.is_reduce_only,
        prices=tuple(prices),
        parent=parent.value if parent else None,
    )
