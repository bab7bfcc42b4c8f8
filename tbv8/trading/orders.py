"""The orders of a run: numbers, sizes at the venue, and ends.

The gate adds orders, the engine's reports change them, fill_source.py and audit.py read them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
from nautilus_trader.core import UUID4
from nautilus_trader.model import (
    ClientOrderId,
    InstrumentId,
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderSide,
    OrderStatus,
    Quantity,
)
from nautilus_trader.trading import Strategy

from tbv8.risk.book import Book
from tbv8.risk.checks import RULES
from tbv8.risk.events import Breach, Denial, Order
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import (
    HALT,
    STOP,
    EndedOrder,
    Events,
    Fill,
    RestingLimit,
    SubmittedOrder,
)
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.terms import id_of, side

BY_STRATEGY = "by the strategy"
"""The reason for a cancellation by the strategy."""

EXPIRED = "its time is over"
"""The reason for the end of an order that expires."""

_CAUSES = {HALT: "by the halt", STOP: "by `doit stop`"}
_NS = 1_000_000
_CALLBACKS = {
    OrderCanceled: "on_order_canceled",
    OrderDenied: "on_order_denied",
    OrderExpired: "on_order_expired",
}


class ForcedOrder(msgspec.Struct, frozen=True):
    """A closing order of tbv8: kind and tag in the results, and its price; None at the market."""

    kind: str
    price: int | None
    trigger: int
    tag: str


class PendingChange(msgspec.Struct, frozen=True):
    """A change that the engine has yet to report; `has_size` if the strategy set a quantity."""

    by_strategy: bool
    has_size: bool


class Orders:
    """The orders of one run.

    Attributes:
        step_ns: The time of the present or last instant.
        walking: The market whose planned step the engine walks through; None between steps.
        submitted: The strategy's orders, by id.
        changed: The strategy's changes and cancellations.
        forced: tbv8's closing orders, by id.
        numbers: The order_id in the results, by id.
        fills: All fills.
        ended: Orders that ended before they were filled as a whole.
        unsent_children: Copies of children that wait for their parent, by id.
        ended_unsent: The status of each child that ended before the engine got it, by id.
        changes: The changes that the engine has yet to report, by the order's id.
    """

    def __init__(
        self, strategy_id: str, book: Book, markets: Mapping[InstrumentId, SimulatedMarket]
    ) -> None:
        self.strategy_id, self.book, self.markets = strategy_id, book, dict(markets)
        self.step_ns = 0
        self.walking: SimulatedMarket | None = None
        self.submitted: dict[str, SubmittedOrder] = {}
        self.changed: list[SubmittedOrder] = []
        self.forced: dict[str, ForcedOrder] = {}
        self.numbers: dict[str, str] = {}
        self.fills: list[Fill] = []
        self.ended: list[EndedOrder] = []
        self.unsent_children: dict[str, Any] = {}
        self.ended_unsent: dict[str, Literal["canceled", "expired"]] = {}
        self.changes: defaultdict[str, list[PendingChange]] = defaultdict(list)
        self._undelivered: list[Any] = []  # events that no engine reports
        self._causes: dict[str, str] = {}  # reasons of cancellations in progress, by id

    def attach(self, loaded: Strategy) -> None:
        """Set the strategy, whose class derives from that of `make_gated_base`."""
        self.loaded = loaded
        self.clock_ns: Callable[[], int] = loaded.clock.timestamp_ns

    def detach(self) -> None:
        """Forget the strategy and its clock; no order can be sent after it."""
        del self.loaded, self.clock_ns

    def find(self, name: str) -> Any:
        """Return an order of NautilusTrader, also if the engine has not got it; None if unknown."""
        return self.unsent_children.get(name) or self.loaded.cache.order(ClientOrderId(name))

    def set_prices(self) -> None:
        """Report the last closes to the book."""
        prices = self.book.prices
        for market in self.markets.values():
            if market.last is not None:
                prices[market.symbol] = market.units.to_price(market.last)

    def events(self, *, since_ms: int) -> Events:
        """Return the events since a time, each list in its own order."""
        book = self.book
        return Events(
            submitted=[sent for sent in self.submitted.values() if sent.ts_ms >= since_ms],
            changed=[order for order in self.changed if order.ts_ms >= since_ms],
            fills=self.fills,
            payments=book.payments,
            denials=book.denials,
            halts=book.halts,
            ended=self.ended,
        )

    def resting_limits(self) -> list[RestingLimit]:
        """Return the resting limit orders, without children that wait for a parent."""
        return [
            RestingLimit(
                order_id=self.numbers[name],
                symbol=risk_order.symbol,
                side="buy" if risk_order.change > 0 else "sell",
                quantity=abs(risk_order.change),
                price=risk_order.prices[0],
            )
            for name, risk_order in self.book.working.items()
            if name not in self.unsent_children
            and (sent := self.submitted.get(name)) is not None
            and sent.type == "limit"
        ]

    # Orders for the engine.

    def add(self, name: str, risk_order: Order) -> int:
        """Book an order that is sent to the engine; return its number."""
        sequence = len(self.numbers) + 1
        self.numbers[name] = f"O-{sequence}"
        self.book.working[name] = risk_order
        return sequence

    def book_change(self, order: Any, changed: Order) -> None:
        """Book the present prices and quantity of an order."""
        self.book.working[id_of(order)] = changed
        self.markets[order.instrument_id].update(order)

    def list_change(self, name: str, quantity: Decimal, prices: tuple[Decimal, ...] = ()) -> None:
        """List a change of an order by the strategy; a quantity of 0 is a cancellation."""
        if (sent := self.submitted.get(name)) is not None:
            ts_ms = self.clock_ns() // _NS
            changed = {"ts_ms": ts_ms, "quantity": quantity, "prices": prices}
            self.changed.append(msgspec.structs.replace(sent, **changed))

    def close_all(
        self, prices: Mapping[str, tuple[str, int]] | None = None, *, tag: str = HALT
    ) -> None:
        """Cancel every order and close every position at the market, or at the prices in `prices`.

        Args:
            prices: Kind and price of a symbol's closing order, which is sent first; the others
                are market orders.
            tag: The tag of the closing orders.
        """
        self.cancel_all(tag)
        first = prices or {}
        for market in sorted(self.markets.values(), key=lambda m: m.symbol not in first):
            if market.position:
                kind, price = first.get(market.symbol, ("market", None))
                self._force(market, kind, price, tag)

    def cancel_all(self, cause: str) -> None:
        """Cancel every order, for one of `_CAUSES`."""
        self._causes |= dict.fromkeys(self.book.working, _CAUSES[cause])
        for instrument_id in self.markets:
            Strategy.cancel_all_orders(self.loaded, instrument_id)

    def _force(self, market: SimulatedMarket, kind: str, price: int | None, tag: str) -> None:
        units, size = market.units, abs(market.position)
        order = self.loaded.order_factory.market(
            market.instrument.id,
            OrderSide.SELL if market.position > 0 else OrderSide.BUY,
            Quantity.from_decimal_dp(units.to_size(size), units.size_decimals),
        )
        assert market.last is not None  # a position has a price
        trigger = market.last if price is None else price
        self.forced[id_of(order)] = ForcedOrder(kind, price, trigger, tag)
        change = units.to_size(-market.position)
        self.add(id_of(order), Order(symbol=market.symbol, change=change))
        Strategy.submit_order(self.loaded, order)

    # How orders end.

    def remove(
        self,
        market: SimulatedMarket,
        name: str,
        why: str,
        how: Literal["cancelled", "expired", "rejected"] = "cancelled",
    ) -> None:
        """Remove an order that has ended, and list its end."""
        market.remove(name)
        risk_order, sent = self.book.working.pop(name, None), self.submitted.get(name)
        if risk_order is None or sent is None:
            return
        self.ended.append(
            EndedOrder(
                ts_ms=self.step_ns // _NS,
                order_id=sent.order_id,
                symbol=sent.symbol,
                side=sent.side,
                type=sent.type,
                quantity=abs(risk_order.change),
                prices=risk_order.prices,
                tags=sent.tags,
                how=how,
                why=self._causes.pop(name, why),
            )
        )

    def cancel(self, market: SimulatedMarket, name: str, why: str) -> None:
        """Cancel an order."""
        if name in self.unsent_children:
            self.end_unsent(name, why)
            return
        self.remove(market, name, why)
        self.end_children(market, name)
        Strategy.cancel_order(self.loaded, ClientOrderId(name))

    def end_unsent(
        self, name: str, why: str, how: Literal["cancelled", "expired"] = "cancelled"
    ) -> None:
        """End a child that waits for its parent, which the engine has not got, and its children."""
        order, now_ns = self.unsent_children.pop(name), self.clock_ns()
        market = self.markets[order.instrument_id]
        self.remove(market, name, why, how)
        self.ended_unsent[name] = "expired" if how == "expired" else "canceled"
        kind = OrderExpired if how == "expired" else OrderCanceled
        self._undelivered.append(
            kind(
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
        self.end_children(market, name)

    def end_children(self, market: SimulatedMarket, name: str) -> None:
        """End the children of an order that ended without a fill."""
        for child in market.children_of(name):
            self.end_unsent(child, "its parent ended")

    def expire_unsent(self) -> None:
        """End the waiting children whose time is over."""
        for market in self.markets.values():
            for name in market.expired(self.step_ns):
                if name in self.unsent_children:
                    self.end_unsent(name, EXPIRED, "expired")

    def deny(self, orders: Sequence[Any], culprit: Any, breach: Breach) -> None:
        """Deny all orders of a request, and list the denial once.

        Args:
            orders: The orders of the request; more than one are a list, such as a bracket.
            culprit: The order that breaks a rule.
            breach: The broken rule.
        """
        kind = "bracket" if any(order.parent_order_id for order in orders) else "list"
        whole = f"{kind} of {len(orders)} orders, " if len(orders) > 1 else ""
        self.list_denial(culprit, breach, whole=whole)
        for order in orders:
            self._deny(order, breach)

    def _deny(self, order: Any, breach: Breach) -> None:
        now_ns = self.clock_ns()
        event = OrderDenied(
            order.trader_id,
            order.strategy_id,
            order.instrument_id,
            order.client_order_id,
            f"{breach.rule}: {RULES[breach.rule].reason(breach.numbers)}",
            UUID4(),
            now_ns,
            now_ns,
        )
        if order.status == OrderStatus.INITIALIZED:
            order.apply(event)
        if id_of(order) not in self.submitted:
            self._undelivered.append(event)

    def list_denial(
        self, order: Any, breach: Breach, size: Decimal | None = None, *, whole: str = ""
    ) -> None:
        """List the denial of an order, of `size` of it, or of the `whole` list that it is in."""
        halt = self.book.halted
        kind, quantity = order.order_type.name.lower(), order.quantity if size is None else size
        self.book.denials.append(
            Denial(
                ts_ms=self.step_ns // _NS,
                symbol=self.markets[order.instrument_id].symbol,
                rule=breach.rule,
                order=f"{whole}{side(order.is_buy)} {kind} {quantity}",
                until_ms=halt.until_ms if halt and halt.rule == breach.rule else None,
                numbers=breach.numbers,
                tags=", ".join(order.tags or ()),
            )
        )

    def deliver_events(self) -> None:
        """Call the strategy's callbacks for orders that ended before they reached the engine."""
        while self._undelivered:
            event = self._undelivered.pop(0)
            getattr(self.loaded, _CALLBACKS[type(event)])(event)
            self.loaded.on_order_event(event)

    def bypass_error(self, name: str) -> StrategyError:
        """Return the error of an order that was sent or changed by NautilusTrader's own methods."""
        return StrategyError(
            f"{self.strategy_id}: order {name} went past the risk limits: send and change orders "
            "with self.submit_order and self.modify_order, not with those of Strategy"
        )
