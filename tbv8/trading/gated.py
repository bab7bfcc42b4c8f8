"""The base of a run's strategy: its methods that reach the venue or subscribe to data ask the gate.

It comes behind the user's class and before NautilusTrader's, so that both `self.submit_order` and
`super().submit_order` end here; the gate is no attribute of the strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from nautilus_trader.model import BarType, OrderSide, PositionSide
from nautilus_trader.trading import Strategy

from tbv8.trading.gate import Gate

_SERVED = ("subscribe_bars", "subscribe_signal", "subscribe_data")


def make_gated_base(gate: Gate, bar_types: Collection[BarType]) -> type[Strategy]:
    """Return a base class whose order methods ask the gate before they reach the engine.

    Args:
        gate: The run's gate.
        bar_types: The bars to subscribe to; NautilusTrader may build others from them.
    """
    methods = {method.__name__: _method(method, gate) for method in _ORDER_METHODS}
    for name in dir(Strategy):
        if name.startswith(("subscribe_", "request_")) and name not in _SERVED:
            methods[name] = _not_served(name)
    methods["subscribe_bars"] = _subscribe_bars(gate, bar_types)
    return type("Gated", (Strategy,), methods)


def _method(function: Callable[..., None], gate: Gate) -> Callable[..., None]:
    @wraps(function)
    def method(strategy: Any, *args: Any, **options: Any) -> None:
        function(gate, strategy, *args, **options)

    return method


def submit_order(gate: Gate, strategy: Any, order: Any, *args: Any, **options: Any) -> None:
    """Submit an order."""

    def send(copies: list[Any]) -> None:
        Strategy.submit_order(strategy, copies[0], *args, **options)

    gate.submit([order], send)


def submit_order_list(
    gate: Gate, strategy: Any, order_list: Any, *args: Any, **options: Any
) -> None:
    """Submit all orders of a list, or none."""

    def send(copies: list[Any]) -> None:
        Strategy.submit_order_list(strategy, copies, *args, **options)

    gate.submit(list(getattr(order_list, "orders", order_list)), send)


def modify_order(
    gate: Gate,
    strategy: Any,
    client_order_id: Any,
    quantity: Any = None,
    price: Any = None,
    trigger_price: Any = None,
    *args: Any,
    **options: Any,
) -> None:
    """Change an order."""
    update = (client_order_id, quantity, price, trigger_price)
    gate.modify([update], lambda: Strategy.modify_order(strategy, *update, *args, **options))


def modify_orders(gate: Gate, strategy: Any, updates: Any = (), *args: Any, **options: Any) -> None:
    """Change all of the orders, or none."""
    changes = list(updates)
    gate.modify(changes, lambda: Strategy.modify_orders(strategy, changes, *args, **options))


def cancel_order(
    gate: Gate, strategy: Any, client_order_id: Any, *args: Any, **options: Any
) -> None:
    """Cancel an order."""
    gate.cancel(
        client_order_id,
        lambda: Strategy.cancel_order(strategy, client_order_id, *args, **options),
    )


def cancel_orders(
    _gate: Gate, strategy: Any, client_order_ids: Any, *args: Any, **options: Any
) -> None:
    """Cancel orders."""
    for client_order_id in client_order_ids:
        strategy.cancel_order(client_order_id, *args, **options)


def cancel_all_orders(
    gate: Gate, strategy: Any, instrument_id: Any, *args: Any, **options: Any
) -> None:
    """Cancel all orders of an instrument, or those of one side."""
    gate.run_or_defer(
        gate.market(instrument_id),
        lambda: Strategy.cancel_all_orders(strategy, instrument_id, *args, **options),
    )


def close_position(_gate: Gate, strategy: Any, position: Any, *_args: Any, **_options: Any) -> None:
    """Close a position by a reduce-only market order."""
    side = OrderSide.SELL if position.side == PositionSide.LONG else OrderSide.BUY
    strategy.submit_order(
        strategy.order_factory.market(
            position.instrument_id, side, position.quantity, reduce_only=True
        )
    )


def close_all_positions(
    gate: Gate,
    strategy: Any,
    instrument_id: Any,
    position_side: Any = None,
    *_args: Any,
    **_options: Any,
) -> None:
    """Close the positions of an instrument."""
    gate.market(instrument_id)
    for position in strategy.cache.positions_open(instrument_id=instrument_id):
        if position_side in (None, PositionSide.NO_POSITION_SIDE, position.side):
            strategy.close_position(position)


def market_exit(gate: Gate, strategy: Any) -> None:
    """Cancel all orders and close all positions."""
    for instrument_id in gate.orders.markets:
        strategy.cancel_all_orders(instrument_id)
        strategy.close_all_positions(instrument_id)


_ORDER_METHODS = (
    submit_order,
    submit_order_list,
    modify_order,
    modify_orders,
    cancel_order,
    cancel_orders,
    cancel_all_orders,
    close_position,
    close_all_positions,
    market_exit,
)


def _subscribe_bars(gate: Gate, bar_types: Collection[BarType]) -> Callable[..., None]:
    def subscribe_bars(strategy: Any, bar_type: Any, *args: Any, **options: Any) -> None:
        """Subscribe to bars that the session is fed with, or to bars built from them."""
        source_type = bar_type
        if bar_type.is_internally_aggregated():
            source_type = bar_type.composite() if bar_type.is_composite() else None
        if source_type not in bar_types:
            names = ", ".join(map(str, bar_types))
            raise ValueError(
                f"no bars {bar_type} in this run, only {names}; declare more with "
                "`symbols` and `bars` in the strategy's YAML"
            )
        gate.subscribed = True
        Strategy.subscribe_bars(strategy, bar_type, *args, **options)

    return subscribe_bars


def _not_served(name: str) -> Callable[..., None]:
    def refuse(_strategy: Any, *_args: Any, **_options: Any) -> None:
        raise ValueError(
            f"{name}: a run has only bars, and none before its first: use subscribe_bars, and "
            "keep the bars that are needed"
        )

    return refuse
