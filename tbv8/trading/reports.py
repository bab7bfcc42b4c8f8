"""The engine's reports of orders, booked before the strategy's own callbacks run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
from nautilus_trader.model import (
    ClientOrderId,
    OrderDenied,
    OrderExpired,
    OrderRejected,
    OrderSide,
    OrderUpdated,
    Quantity,
)
from nautilus_trader.trading import Strategy

from tbv8.risk.events import EXACT, Breach
from tbv8.risk.rules.max_leverage import MAX_LEVERAGE
from tbv8.trading.fill_source import FillSource
from tbv8.trading.orders import BY_STRATEGY, EXPIRED, Orders, PendingChange
from tbv8.trading.records import Fill
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.terms import AT_ONCE, as_changed, id_of, side, with_changes

_NS = 1_000_000
_NOTHING_TO_REDUCE = "the position that it would reduce is gone"
_WOULD_TAKE = "it is post-only and the price has reached its limit"


class Reports:
    """The engine's reports of one run."""

    def __init__(self, orders: Orders, source: FillSource) -> None:
        self.orders, self.source = orders, source
        self.book, self.markets = orders.book, orders.markets
        # orders that the engine did not make smaller: post-only ones, while it would fill them
        self._oversized: set[str] = set()

    def hooks(self) -> dict[str, Callable[..., Any]]:
        """Return the hook that books each report, by the name of the strategy's callback."""
        ended = ("canceled", "expired", "rejected", "denied")
        return {
            "on_order_accepted": self._on_accepted,
            "on_order_filled": self.on_filled,
            "on_order_updated": self._on_updated,
            "on_order_modify_rejected": self._on_updated,
            **{f"on_order_{name}": self._on_ended for name in ended},
        }

    def _refuse_unknown(self, event: Any) -> None:
        if id_of(event) not in self.orders.numbers:
            raise self.orders.bypass_error(id_of(event))

    def on_filled(self, event: Any) -> None:
        """Book an execution."""
        self._refuse_unknown(event)
        market, name = self.markets[event.instrument_id], id_of(event)
        units, buy = market.units, event.order_side == OrderSide.BUY
        price, size = units.from_price(event.last_px), units.from_size(event.last_qty)
        forced, sent = self.orders.forced.get(name), self.orders.submitted.get(name)
        is_inside = self.orders.walking is not None or bool(forced and forced.price is not None)
        trigger = self._trigger(name, market)
        linked = market.fill(name, size, buy=buy)
        quantity, price_usd = units.to_size(size), units.to_price(price)
        fee = event.commission.as_decimal() if event.commission else Decimal(0)
        self.book.fill(name, market.symbol, quantity if buy else -quantity, price_usd, fee)
        self.orders.fills.append(
            Fill(
                ts_ms=self.orders.step_ns // _NS,
                symbol=market.symbol,
                order_id=self.orders.numbers[name],
                side=side(buy),
                type=forced.kind if forced else event.order_type.name.lower(),
                quantity=quantity,
                price=price_usd,
                fee=fee,
                liquidity="maker" if self.source.maker else "taker",
                position=self.book.positions[market.symbol],
                at="inside" if is_inside else "close",
                trigger=trigger,
                tags=forced.tag if forced else sent.tags if sent else "",
            )
        )
        for sibling, left in linked.items():
            self._shrink(market, sibling, left)
        began = self._begin_children(name, market)
        for other in market.without_effect():
            self.orders.cancel(market, other, _NOTHING_TO_REDUCE)
        self._end_excess(market)
        if name in self._oversized and name not in market.working:
            self._end_rest(name)
        if self.orders.walking is not None:
            self._reject_takers(began, market)
            self._send_next(market)

    def _end_rest(self, name: str) -> None:
        """Cancel what the engine has left of an order that is filled, as the book has it."""
        order = self.orders.find(name)
        if not (order.is_closed or order.is_pending_cancel):
            Strategy.cancel_order(self.orders.loaded, order.client_order_id)

    def _trigger(self, name: str, market: SimulatedMarket) -> Decimal | None:
        """Return the price from which rounding and slipping are measured; None for a maker."""
        if name in self.orders.forced:
            return market.units.to_price(self.orders.forced[name].trigger)
        if self.source.maker:
            return None
        if self.orders.walking is not None:
            return market.units.to_price(market.working[name].trigger)
        assert market.last is not None  # orders are refused before the first close
        return market.units.to_price(market.last)

    def _begin_children(self, name: str, market: SimulatedMarket) -> list[str]:
        """Send the children of a filled order, unless max_leverage denies them; return them.

        The engine requests the fill of a new taker only once. So a child that takes in the present
        step is sent by `_send_next`, and a stop that expires inside of the step without a fill is
        not sent at all.
        """
        began = []
        working = self.book.working
        self.orders.set_prices()
        for child in [child for child, order in working.items() if order.parent == name]:
            begun = working[child] = msgspec.structs.replace(working[child], parent=None)
            breach = self.book.check(begun, replacing=[child], rules=(MAX_LEVERAGE.name,))
            if breach is not None:
                self.orders.list_denial(self.orders.unsent_children[child], breach)
                self.orders.end_unsent(child, f"by {breach.rule}")
                continue
            if self.orders.walking is None:
                market.meet_close(child)
            is_held = market.will_take(child) or market.ends_as_stop(child, self.orders.step_ns)
            if not is_held:
                self._send_child(child)
            began.append(child)
        return began

    def _reject_takers(self, children: Sequence[str], market: SimulatedMarket) -> None:
        """Book the ends of the post-only children that the engine is going to reject."""
        for child in children:
            order = market.working.get(child)
            if order is not None and order.would_take(self.source.path_price):
                self.orders.remove(market, child, _WOULD_TAKE, "rejected")
                self.orders.end_children(market, child)

    def _send_next(self, market: SimulatedMarket) -> None:
        """Send the child, if it is one, that the step fills next."""
        planned = market.next_fill()
        if planned is not None and planned.order_id in self.orders.unsent_children:
            self._send_child(planned.order_id)

    def _send_child(self, name: str) -> None:
        Strategy.submit_order(self.orders.loaded, self.orders.unsent_children.pop(name))

    def _shrink(self, market: SimulatedMarket, name: str, left: int) -> None:
        """Make a sibling of a filled order smaller, or end it.

        A size that the strategy has requested before, and the engine has yet to set, stays.
        """
        if not left:
            self.orders.cancel(market, name, "an order linked with it was filled")
            return
        size, booked = market.units.to_size(left), self.book.working[name]
        change = size.copy_sign(booked.change)
        self.book.working[name] = msgspec.structs.replace(booked, change=change)
        unsent = self.orders.unsent_children
        if name in unsent:
            unsent[name] = with_changes(unsent[name], {"quantity": str(size)})
            return
        if any(pending.has_size for pending in self.orders.changes[name]):
            return
        order: Any = self.orders.loaded.cache.order(ClientOrderId(name))
        quantity = EXACT.add(size, order.filled_qty.as_decimal())
        self.orders.changes[name].append(PendingChange(False, False))
        Strategy.modify_order(
            self.orders.loaded,
            order.client_order_id,
            Quantity.from_decimal_dp(quantity, market.units.size_decimals),
        )

    def _end_excess(self, market: SimulatedMarket) -> None:
        """Cancel orders that could break max_position now."""
        for name in market.excess():
            position, change = self.book.positions[market.symbol], self.book.working[name].change
            worst = market.units.to_size(market.worst_position(buy=change > 0))
            numbers = {
                "position": position,
                "open_orders": EXACT.subtract(EXACT.subtract(worst, position), change),
                "order": change,
                "worst": worst,
                "limit": self.book.limits.markets[market.symbol].max_position,
            }
            breach = Breach("max_position", numbers)
            self.orders.list_denial(self.orders.find(name), breach)
            self.orders.cancel(market, name, f"by {breach.rule}")

    def _on_accepted(self, event: Any) -> None:
        self._refuse_unknown(event)
        market, name = self.markets[event.instrument_id], id_of(event)
        if name in market.without_effect():
            self.orders.cancel(market, name, _NOTHING_TO_REDUCE)

    def _on_updated(self, event: Any) -> None:
        name, order = id_of(event), self.orders.loaded.cache.order(event.client_order_id)
        booked = self.book.working.get(name)
        if order is None:
            return
        if booked is None:
            self._end_rest(name)
            return
        market = self.markets[order.instrument_id]
        changed = as_changed(booked, order, order.leaves_qty.as_decimal())
        changes = self.orders.changes[name]
        pending = changes.pop(0) if changes else None
        is_larger = abs(changed.change) > abs(booked.change)
        if pending is None and (is_larger or changed.prices != booked.prices):
            raise self.orders.bypass_error(name)
        is_rejected = not isinstance(event, OrderUpdated)
        if is_rejected and pending is not None and not pending.by_strategy:
            self._oversized.add(name)
            return
        if is_rejected and is_larger and pending is not None and pending.has_size:
            self._shrink(market, name, market.working[name].left)
            return
        self.orders.book_change(order, changed)
        if pending is not None and pending.by_strategy and not is_rejected:
            market.meet_close(name)
        self._end_excess(market)

    def _on_ended(self, event: Any) -> None:
        market, name = self.markets.get(event.instrument_id), id_of(event)
        if market is None:
            return
        self.orders.remove(market, name, *self._end_of(event))
        self.orders.end_children(market, name)

    def _end_of(self, event: Any) -> tuple[str, Literal["cancelled", "expired", "rejected"]]:
        """Return the reason and the kind of an order's end, from the engine's report."""
        if isinstance(event, OrderExpired):
            return EXPIRED, "expired"
        if isinstance(event, OrderRejected | OrderDenied):
            reason = str(event.reason).partition(":")[0]
            return _WOULD_TAKE if reason.startswith("POST_ONLY") else reason, "rejected"
        order = self.orders.loaded.cache.order(event.client_order_id)
        is_at_once = order is not None and order.time_in_force in AT_ONCE
        return "it could not fill at once" if is_at_once else BY_STRATEGY, "cancelled"
