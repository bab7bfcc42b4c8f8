"""The gate between a strategy and the engine: when a request counts, and whether it may go.

Everything that reaches the venue passes: closing a position, too, is an order of the strategy. A
request counts at the close of a step. One that is made while a step is under way (from a timer, or
on a fill inside of it) waits for the close, in the order of asking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec
from nautilus_trader.model import InstrumentId

from tbv8.risk.events import EXACT, Breach, Order
from tbv8.trading.orders import BY_STRATEGY, Orders
from tbv8.trading.records import SubmittedOrder
from tbv8.trading.resting import KINDS, RestingOrders
from tbv8.trading.terms import (
    AT_ONCE,
    as_changed,
    end_ns,
    id_of,
    is_change,
    lacks_parent,
    side,
    to_engine,
    to_order,
    to_terms,
    with_changes,
)

_NS = 1_000_000

type Update = tuple[Any, Any, Any, Any]
"""Id, quantity, price and trigger price of a change; None leaves a value as it is."""


class Gate:
    """The requests of one run's strategy.

    Attributes:
        orders: The run's.
        subscribed: Whether the strategy subscribed to any bars.
        waiting: Requests that wait for a close of their symbol, in the order of asking.
    """

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.subscribed = False
        self.waiting: list[tuple[RestingOrders, Callable[[], None]]] = []
        self._requested: dict[str, RestingOrders] = {}  # by the ids of orders
        self._is_late = False  # the request that counts now was made inside of the step

    # When.

    def market(self, instrument_id: InstrumentId) -> RestingOrders:
        """Return an instrument's symbol.

        Raises:
            ValueError: The run has none.
        """
        markets = self.orders.markets
        if instrument_id not in markets:
            booked = ", ".join(map(str, markets))
            raise ValueError(
                f"no instrument {instrument_id} in this run: there are {booked}; declare more with "
                "`symbols` in the strategy's YAML"
            )
        return markets[instrument_id]

    def ask(self, market: RestingOrders | None, request: Callable[[], None]) -> None:
        """Let a request count now, or at the close of its symbol's step that is under way."""
        if market is None or market.last is None or market.closed_ns == self.orders.clock_ns():
            request()
        else:
            self.waiting.append((market, request))

    def has_waiting(self, markets: Collection[RestingOrders]) -> bool:
        """Return True if requests wait for a close of one of these symbols."""
        return any(market in markets for market, _ in self.waiting)

    def count_next(self, markets: Collection[RestingOrders]) -> None:
        """Let the first request count that waits for a close of one of these symbols."""
        place = next(at for at, (market, _) in enumerate(self.waiting) if market in markets)
        _, request = self.waiting.pop(place)
        self._is_late = True
        request()
        self._is_late = False
        self.orders.deliver_events()

    # To submit.

    def submit(self, orders: Sequence[Any], send: Callable[[list[Any]], None]) -> None:
        """Let all orders go, or deny all; a turning order may go in part.

        Args:
            orders: Of one request; more than one is a list, which goes whole.
            send: Hands the orders, as the engine may have them, to NautilusTrader.
        """
        markets = [self.market(order.instrument_id) for order in orders]
        self._requested.update(zip(map(id_of, orders), markets, strict=True))
        if orders:
            self.ask(markets[0], lambda: self._submit(orders, send))

    def _submit(self, orders: Sequence[Any], send: Callable[[list[Any]], None]) -> None:
        with localcontext(EXACT):  # the strategy may have set another
            now = self._admitted(orders)
        if now:
            send(now)

    def _admitted(self, orders: Sequence[Any]) -> list[Any]:
        """Book the orders of a request; return those that go to the engine now, as it has them."""
        self.orders.set_prices()
        admitted: dict[str, Order] = {}
        for order in orders:
            risk_order = self._admit(order, orders, admitted)
            if isinstance(risk_order, Breach):
                self.orders.deny(orders, order, risk_order)
                return []
            admitted[id_of(order)] = risk_order
        copies = [self._pass(order, admitted[id_of(order)]) for order in orders]
        self.orders.held.update((id_of(c), c) for c in copies if admitted[id_of(c)].parent)
        return [copy for copy in copies if id_of(copy) not in self.orders.held]

    def _admit(
        self, order: Any, orders: Sequence[Any], admitted: Mapping[str, Order]
    ) -> Order | Breach:
        """Return an order as it may go, or the rule that denies it.

        Args:
            order: One of the request.
            orders: All of the request; a child among them waits for its parent.
            admitted: Those of them that may go.
        """
        book, name = self.orders.book, id_of(order)
        risk_order = to_order(order, self.orders.markets[order.instrument_id].symbol)
        terms = to_terms(
            order,
            now_ns=self.orders.step_ns,
            lacks_parent=lacks_parent(order, orders),
            is_repeated=name in self.orders.submitted or name in admitted,
            has_waited=self._is_late,
        )
        trigger = getattr(order, "trigger_price", None)
        breach = book.check(
            risk_order,
            terms=terms,
            trigger=trigger and trigger.as_decimal(),
            others=admitted.values(),
        )
        if breach is None:
            return risk_order
        closing = book.closing_part(risk_order, breach) if len(orders) == 1 else Decimal(0)
        if not closing:
            return breach
        if left := abs(risk_order.change) - closing:
            self.orders.list_denial(order, breach, left)
        return msgspec.structs.replace(
            risk_order, change=closing.copy_sign(risk_order.change), reduce_only=True
        )

    def _pass(self, order: Any, risk_order: Order) -> Any:
        """Book an order that goes to the venue; return it as the engine may have it."""
        market, name = self.orders.markets[order.instrument_id], id_of(order)
        if risk_order.reduce_only and order.time_in_force in AT_ONCE:
            held = abs(self.orders.book.expected(market.symbol))
            change = min(abs(risk_order.change), held).copy_sign(risk_order.change)
            risk_order = msgspec.structs.replace(risk_order, change=change)
        ends_ns = end_ns(order, self.orders.step_ns)
        copy = to_engine(
            order, risk_order, size_decimals=market.units.size_decimals, ends_ns=ends_ns
        )
        sequence = self.orders.add(name, risk_order)
        self.orders.submitted[name] = SubmittedOrder(
            ts_ms=self.orders.step_ns // _NS,
            order_id=self.orders.numbers[name],
            symbol=market.symbol,
            side=side(order.is_buy),
            type=order.order_type.name.lower(),
            quantity=order.quantity.as_decimal(),
            prices=risk_order.prices,
            tags=", ".join(order.tags or ()),
            waits=risk_order.parent is not None,
        )
        if order.order_type in KINDS:
            market.add(order, risk_order, sequence=sequence, ends_ns=ends_ns)
            market.meet_close(name)
        return copy

    # To change and cancel.

    def modify(self, updates: Sequence[Update], send: Callable[[], None]) -> None:
        """Let all changes of working orders go, or deny all."""
        market = self._requested.get(updates[0][0].value) if updates else None
        self.ask(market, lambda: self._modify(updates, send))

    def _modify(self, updates: Sequence[Update], send: Callable[[], None]) -> None:
        with localcontext(EXACT):
            is_sent = self._change(updates)
        if is_sent:
            send()

    def _change(self, updates: Sequence[Update]) -> bool:
        """Book changes that may go; tell whether the engine is to be sent them."""
        orders = self.orders
        orders.set_prices()
        changed: dict[str, Order] = {}
        for client_order_id, quantity, price, trigger_price in updates:
            name = client_order_id.value
            order: Any = orders.held.get(name) or orders.loaded.cache.order(client_order_id)
            booked = orders.book.working.get(name)
            if order is None or order.is_closed or booked is None:
                return False
            market = orders.markets[order.instrument_id]
            price = price if hasattr(order, "price") else None
            waits_for_trigger = hasattr(order, "trigger_price") and not market.is_triggered(name)
            trigger_price = trigger_price if waits_for_trigger else None
            if not is_change(order, quantity, price, trigger_price):
                continue
            left = order.leaves_qty.as_decimal()
            if quantity is not None:
                left = quantity.as_decimal() - order.filled_qty.as_decimal()
            risk_order = as_changed(booked, order, left, price, trigger_price)
            trigger = (trigger_price or order.trigger_price) if waits_for_trigger else None
            breach = orders.book.check(
                risk_order,
                trigger=trigger and trigger.as_decimal(),
                others=changed.values(),
                replacing=[*changed, name],
            )
            if breach:
                orders.list_denial(order, breach)
                return False
            changed[name] = risk_order
            if name in orders.held:
                self._change_held(order, risk_order, quantity, price, trigger_price)
        for name, risk_order in changed.items():
            orders.note_change(name, abs(risk_order.change), risk_order.prices)
        sent = changed.keys() - orders.held.keys()
        for name in sent:
            orders.changes[name].append("strategy")
        return bool(sent)

    def _change_held(
        self, order: Any, risk_order: Order, quantity: Any, price: Any, trigger_price: Any
    ) -> None:
        """Change an order that waits for its parent, of which the engine does not know yet."""
        new_values = {"quantity": quantity, "price": price, "trigger_price": trigger_price}
        changes = {key: str(value) for key, value in new_values.items() if value is not None}
        copy = with_changes(order, changes)
        self.orders.held[id_of(order)] = copy
        self.orders.take_over(copy, risk_order)

    def cancel(self, client_order_id: Any, send: Callable[[], None]) -> None:
        """Let an order be cancelled, unless it has ended."""
        market = self._requested.get(client_order_id.value)
        self.ask(market, lambda: self._cancel(client_order_id, send))

    def _cancel(self, client_order_id: Any, send: Callable[[], None]) -> None:
        name, order = client_order_id.value, self.orders.loaded.cache.order(client_order_id)
        is_held = name in self.orders.held
        if is_held or (order is not None and not order.is_closed):
            self.orders.note_change(name, Decimal(0))
            if is_held:
                self.orders.drop(name, BY_STRATEGY)
            else:
                send()
