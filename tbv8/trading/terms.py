"""Convert NautilusTrader's orders to those of tbv8/risk, and to copies for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from nautilus_trader.model import (
    ContingencyType,
    OrderStatus,
    OrderType,
    Quantity,
    TimeInForce,
    TriggerType,
)

from tbv8.market import DAY_MS
from tbv8.risk.events import Order, Terms
from tbv8.trading.records import Side
from tbv8.trading.simulated_market import KINDS

AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)
_NOT_EMULATED = (None, TriggerType.NO_TRIGGER)
_NO_LINKS = {"contingency_type": None, "linked_order_ids": None, "parent_order_id": None}
_DAY_NS = DAY_MS * 1_000_000


def id_of(thing: Any) -> str:
    """Return the id of an order, or of the order that an event is about."""
    name: str = thing.client_order_id.value
    return name


def side(buy: bool) -> Side:
    """Return `buy` or `sell`."""
    return "buy" if buy else "sell"


def to_order(order: Any, symbol: str) -> Order:
    """Return a submitted order as the risk rules need it."""
    parent = order.parent_order_id
    return Order(
        symbol=symbol,
        change=_signed(order, order.quantity.as_decimal()),
        reduce_only=order.is_reduce_only,
        prices=_prices(order),
        parent=parent.value if parent else None,
    )


def lacks_parent(order: Any, orders: Sequence[Any]) -> bool:
    """Return True if an order's parents can never fill: the outermost must be in the request.

    Args:
        order: One order of a request.
        orders: All orders of the request; parents are of the same instrument.
    """
    siblings = {id_of(o): o for o in orders if o.instrument_id == order.instrument_id}
    for _ in siblings:
        if order.parent_order_id is None:
            return False
        order = siblings.get(order.parent_order_id.value)
        if order is None:
            return True
    return True  # they wait for each other


def to_terms(
    order: Any, *, now_ns: int, lacks_parent: bool, is_repeated: bool, was_deferred: bool
) -> Terms:
    """Return the terms of an order; arguments as in `Terms`."""
    return Terms(
        type=order.order_type.name.lower(),
        time_in_force=order.time_in_force.name.lower(),
        sent_ns=now_ns,
        ends_ns=getattr(order, "expire_time", None) or 0,
        is_post_only=getattr(order, "is_post_only", False),
        is_quote_quantity=order.is_quote_quantity,
        is_emulated=order.emulation_trigger not in _NOT_EMULATED,
        has_algorithm=order.exec_algorithm_id is not None,
        lacks_parent=lacks_parent,
        is_repeated=is_repeated or order.status != OrderStatus.INITIALIZED,
        was_deferred=was_deferred,
    )


def as_changed(
    booked: Order, order: Any, left: Decimal, price: Any = None, trigger_price: Any = None
) -> Order:
    """Return a booked order with a new remaining size, and with its new or present prices."""
    return msgspec.structs.replace(
        booked, change=_signed(order, left), prices=_prices(order, price, trigger_price)
    )


def _signed(order: Any, size: Decimal) -> Decimal:
    return size if order.is_buy else size.copy_negate()


def _prices(order: Any, price: Any = None, trigger_price: Any = None) -> tuple[Decimal, ...]:
    """Return limit and trigger, as far as the order has them."""
    if order.order_type == OrderType.MARKET:
        return ()
    prices = (
        price or getattr(order, "price", None),
        trigger_price or getattr(order, "trigger_price", None),
    )
    return tuple(value.as_decimal() for value in prices if value is not None)


def end_ns(order: Any, now_ns: int) -> int:
    """Return the expiry of an order that is sent now; 0 if it has none."""
    if order.order_type in KINDS and order.time_in_force == TimeInForce.DAY:
        return (now_ns // _DAY_NS + 1) * _DAY_NS
    return getattr(order, "expire_time", None) or 0


def to_engine(order: Any, risk_order: Order, *, size_decimals: int, ends_ns: int) -> Any:
    """Return the order to send to the engine: a copy without links, where they would do harm.

    The engine enlarges resting reduce-only orders and children of a bracket, cancels the siblings
    of an order that is filled in part, does not know DAY, and cancels a FOK order larger than the
    position that it reduces.
    """
    changes: dict[str, Any] = {}
    size, rests = abs(risk_order.change), order.order_type in KINDS
    if size != order.quantity.as_decimal():
        changes["quantity"] = str(Quantity.from_decimal_dp(size, size_decimals))
    reduce_only = risk_order.reduce_only and not rests
    if reduce_only != order.is_reduce_only:
        changes["is_reduce_only"] = reduce_only
    linked = order.contingency_type not in (None, ContingencyType.NO_CONTINGENCY)
    if linked or order.parent_order_id is not None:
        changes |= _NO_LINKS
    if rests and order.time_in_force == TimeInForce.DAY:
        changes |= {"time_in_force": "GTD", "expire_time_ns": ends_ns}
    if risk_order.reduce_only and order.time_in_force == TimeInForce.FOK:
        changes["time_in_force"] = "IOC"
    return with_changes(order, changes) if changes else order


def with_changes(order: Any, changes: dict[str, Any]) -> Any:
    """Return a copy of an order with other values."""
    return type(order).from_dict(order.to_dict() | changes)


def is_change(order: Any, quantity: Any, price: Any, trigger_price: Any) -> bool:
    """Return True if a change has values other than the order's; the engine refuses equal ones."""
    return (
        quantity not in (None, order.quantity)
        or price not in (None, getattr(order, "price", None))
        or trigger_price not in (None, getattr(order, "trigger_price", None))
    )
