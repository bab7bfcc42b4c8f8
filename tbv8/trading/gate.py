"""The gate between a strategy and the engine: it checks each request, and sets when it counts.

Every request passes it, also the order that closes a position. A request counts at the close of a
step. One made during a step (by a timer, or on a fill inside of it) is deferred to the close, in
the order of the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec
from nautilus_trader.model import InstrumentId

from tbv8.risk.events import EXACT, Breach, Order
from tbv8.trading.orders import BY_STRATEGY, Orders, PendingChange
from tbv8.trading.records import SubmittedOrder
from tbv8.trading.simulated_market import KINDS, SimulatedMarket
from tbv8.trading.terms import (
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
        orders: The run's orders.
        subscribed: True if the strategy subscribed to any bars.
        deferred: Requests deferred to a close of their symbol, in order.
    """

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.subscribed = False
        self.deferred: list[tuple[SimulatedMarket, Callable[[], None]]] = []
        self._requested: dict[str, SimulatedMarket] = {}  # by the ids of orders
        self._is_deferred = False  # True while a deferred request is run

    # Times of requests.

    def market(self, instrument_id: InstrumentId) -> SimulatedMarket:
        """Return the market of an instrument.

        Raises:
            ValueError: The run has no such instrument.
        """
        markets = self.orders.markets
        if instrument_id not in markets:
            declared = ", ".join(map(str, markets))
            raise ValueError(
                f"no instrument {instrument_id} in this run, only {declared}; declare more with "
                "`symbols` in the strategy's YAML"
            )
        return markets[instrument_id]

    def run_or_defer(self, market: SimulatedMarket | None, request: Callable[[], None]) -> None:
        """Run a request now, or at the next close if its symbol's step is in progress."""
        if market is None or market.last is None or market.closed_ns == self.orders.clock_ns():
            request()
        else:
            self.deferred.append((market, request))

    def has_deferred(self, markets: Collection[SimulatedMarket]) -> bool:
        """Return True if a request is deferred to a close of one of these symbols."""
        return any(market in markets for market, _ in self.deferred)

    def run_next(self, markets: Collection[SimulatedMarket]) -> None:
        """Run the first request that is deferred to a close of one of these symbols."""
        index = next(n for n, (market, _) in enumerate(self.deferred) if market in markets)
        _, request = self.deferred.pop(index)
        self._is_deferred = True
        request()
        self._is_deferred = False
        self.orders.deliver_events()

    # Submitting.

    def submit(self, orders: Sequence[Any], send: Callable[[list[Any]], None]) -> None:
        """Send all orders of a request, or deny all; of a turning order a part may be sent.

        Args:
            orders: The orders of one request: one, or those of an order list.
            send: Sends orders to NautilusTrader, in the form that is safe for the engine.
        """
        markets = [self.market(order.instrument_id) for order in orders]
        self._requested.update(zip(map(id_of, orders), markets, strict=True))
        if orders:
            self.run_or_defer(markets[0], lambda: self._submit(orders, send))

    def _submit(self, orders: Sequence[Any], send: Callable[[list[Any]], None]) -> None:
        with localcontext(EXACT):  # the strategy may have set another
            copies = self._admit_all(orders)
        if copies:
            send(copies)

    def _admit_all(self, orders: Sequence[Any]) -> list[Any]:
        """Book the orders of a request; return the copies that the engine gets now."""
        self.orders.set_prices()
        admitted: dict[str, Order] = {}
        for order in orders:
            risk_order = self._admit(order, orders, admitted)
            if isinstance(risk_order, Breach):
                self.orders.deny(orders, order, risk_order)
                return []
            admitted[id_of(order)] = risk_order
        copies = [self._book(order, admitted[id_of(order)]) for order in orders]
        children = {id_of(copy): copy for copy in copies if admitted[id_of(copy)].parent}
        self.orders.unsent_children |= children
        return [copy for copy in copies if id_of(copy) not in children]

    def _admit(
        self, order: Any, orders: Sequence[Any], admitted: Mapping[str, Order]
    ) -> Order | Breach:
        """Return an order with the size that may be sent, or the rule that denies it.

        Args:
            order: One order of the request.
            orders: All orders of the request; a child among them waits for its parent.
            admitted: The orders of the request that were admitted before.
        """
        book, name = self.orders.book, id_of(order)
        risk_order = to_order(order, self.orders.markets[order.instrument_id].symbol)
        terms = to_terms(
            order,
            now_ns=self.orders.step_ns,
            lacks_parent=lacks_parent(order, orders),
            is_repeated=name in self.orders.submitted or name in admitted,
            was_deferred=self._is_deferred,
        )
        trigger = getattr(order, "trigger_price", None)
        breach = book.check(
            risk_order,
            terms=terms,
            trigger=trigger and trigger.as_decimal(),
            together_with=admitted.values(),
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

    def _book(self, order: Any, risk_order: Order) -> Any:
        """Book an order that is sent to the venue; return the copy for the engine."""
        market, name = self.orders.markets[order.instrument_id], id_of(order)
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

    # Changing and cancelling.

    def modify(self, updates: Sequence[Update], send: Callable[[], None]) -> None:
        """Send all changes of working orders, or deny all."""
        market = self._requested.get(updates[0][0].value) if updates else None
        self.run_or_defer(market, lambda: self._modify(updates, send))

    def _modify(self, updates: Sequence[Update], send: Callable[[], None]) -> None:
        with localcontext(EXACT):
            is_sent = self._change(updates)
        if is_sent:
            send()

    def _change(self, updates: Sequence[Update]) -> bool:
        """Book admitted changes; return True if the engine must get them."""
        orders = self.orders
        orders.set_prices()
        changed: dict[str, Order] = {}
        for client_order_id, quantity, price, trigger_price in updates:
            name = client_order_id.value
            order = orders.find(name)
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
                together_with=changed.values(),
                replacing=[*changed, name],
            )
            if breach:
                orders.list_denial(order, breach)
                return False
            changed[name] = risk_order
            if name in orders.unsent_children:
                self._change_unsent(order, risk_order, quantity, price, trigger_price)
        for name, risk_order in changed.items():
            orders.list_change(name, abs(risk_order.change), risk_order.prices)
        sent = changed.keys() - orders.unsent_children.keys()
        for client_order_id, quantity, *_ in updates:
            if (name := client_order_id.value) in sent:
                orders.changes[name].append(PendingChange(True, quantity is not None))
        return bool(sent)

    def _change_unsent(
        self, order: Any, risk_order: Order, quantity: Any, price: Any, trigger_price: Any
    ) -> None:
        """Change a child that waits for its parent, which the engine has not got yet."""
        new_values = {"quantity": quantity, "price": price, "trigger_price": trigger_price}
        changes = {key: str(value) for key, value in new_values.items() if value is not None}
        copy = with_changes(order, changes)
        self.orders.unsent_children[id_of(order)] = copy
        self.orders.book_change(copy, risk_order)

    def cancel(self, client_order_id: Any, send: Callable[[], None]) -> None:
        """Cancel an order, unless it has ended."""
        market = self._requested.get(client_order_id.value)
        self.run_or_defer(market, lambda: self._cancel(client_order_id, send))

    def _cancel(self, client_order_id: Any, send: Callable[[], None]) -> None:
        name, order = client_order_id.value, self.orders.loaded.cache.order(client_order_id)
        is_unsent = name in self.orders.unsent_children
        if is_unsent or (order is not None and not order.is_closed):
            self.orders.list_change(name, Decimal(0))
            if is_unsent:
                self.orders.end_unsent(name, BY_STRATEGY)
            else:
                send()
