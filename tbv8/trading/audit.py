"""After a run: does the engine's own account agree with ours, and did every order pass the gate?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import OrderFilled, OrderStatus, PositionSide, Price

from tbv8.config import records
from tbv8.trading.gate import Gate, past_limits
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import Carried, Market, Run

_CENT = Decimal("0.01")


def check_run(engine: BacktestEngine, strategy: records.Strategy, gate: Gate) -> list[Any]:
    """Return the orders of the engine, first sent first, once nothing is wrong with them.

    Raises:
        StrategyError: An order went past the gate, or the cache was changed.
        AssertionError: The engine and the book disagree: a fault of ours.
    """
    orders = engine.cache.orders()
    for order in orders:
        name = order.client_order_id.value
        if name not in gate.numbers:
            raise past_limits(strategy.strategy_id, name)
        if order.status == OrderStatus.SUBMITTED:
            raise AssertionError(f"{gate.numbers[name]} was never answered: {order}")
    if len(orders) != len(gate.numbers) - len(gate.held) - len(gate.dropped):
        raise StrategyError(
            f"{strategy.strategy_id}: the cache was emptied in the run: leave it as it is"
        )
    orders.sort(key=lambda order: int(gate.numbers[order.client_order_id.value][2:]))
    _take_last_fills(strategy, orders, gate)
    _check_account(engine, strategy, gate)
    return orders


def _take_last_fills(strategy: records.Strategy, orders: Sequence[Any], gate: Gate) -> None:
    """Book what was filled after the strategy had stopped, when no callback reports it."""
    booked = Counter(fill.order_id for fill in gate.fills)
    for order in orders:
        if order.client_order_id.value in gate.book.working:
            fills = [event for event in order.events() if isinstance(event, OrderFilled)]
            for event in fills[booked[gate.numbers[order.client_order_id.value]] :]:
                if event.ts_event < gate.step_ns:
                    raise StrategyError(
                        f"{strategy.strategy_id}: its fills are not those that the venue made (a "
                        "callback was changed in the run): leave them as they are"
                    )
                gate.on_filled(event)


def _check_account(engine: BacktestEngine, strategy: records.Strategy, gate: Gate) -> None:
    """Compare the engine's balance and positions, at the last prices, with the book."""
    instruments = [market.instrument for market in gate.markets.values()]
    account: Any = engine.cache.account_for_venue(instruments[0].id.venue)
    if account is None:
        raise StrategyError(
            f"{strategy.strategy_id}: the cache was emptied in the run: leave it as it is"
        )
    equity = account.balance_total(instruments[0].quote_currency).as_decimal()
    held = dict.fromkeys(gate.book.positions, Decimal(0))
    for position in engine.cache.positions_open():
        market = gate.markets[position.instrument_id]
        last = gate.book.prices[market.symbol]  # off the tick, where make_price would put it
        price = Price.from_decimal_dp(last, market.units.price_decimals)
        equity += position.unrealized_pnl(price).as_decimal()
        quantity = position.quantity.as_decimal()
        held[market.symbol] += quantity if position.side == PositionSide.LONG else -quantity
    if held != gate.book.positions:
        raise StrategyError(
            f"{strategy.strategy_id}: its positions are not those that the venue made (the cache "
            "or the callbacks were changed): leave them as they are"
        )
    if abs(equity - gate.book.equity) >= _CENT:
        raise AssertionError(f"the engine's account holds {equity} USD, ours {gate.book.equity}")


def collect(
    strategy: records.Strategy,
    venue: str,
    gate: Gate,
    orders: Sequence[Any],
    carried: Carried | None,
) -> Run:
    """Return what a session did, of which the audit has found nothing wrong."""
    book = gate.book
    since_ms = carried.ts_ms if carried else 0
    counted = [
        order
        for order in orders
        if (sent := gate.submitted.get(order.client_order_id.value)) is None
        or sent.ts_ms >= since_ms
    ]
    statuses = Counter(order.status.name.lower() for order in counted)
    statuses["denied"] += len(book.denials)
    statuses["canceled"] += len(gate.dropped)
    statuses["waiting for a parent"] += len(gate.held)
    return Run(
        venue=venue,
        markets=tuple(
            Market(
                symbol=market.symbol,
                price_decimals=market.units.price_decimals,
                size_decimals=market.units.size_decimals,
            )
            for market in gate.markets.values()
        ),
        start_equity=strategy.starting_balance_usd,
        carried=carried,
        submitted=tuple(sent for sent in gate.submitted.values() if sent.ts_ms >= since_ms),
        orders=dict(sorted((+statuses).items())),
        refused=dict(sorted(Counter(map(_reason, filter(_is_refused, counted))).items())),
        fills=tuple(gate.fills),
        payments=tuple(book.payments),
        denials=tuple(book.denials),
        halts=tuple(book.halts),
        changed=tuple(order for order in gate.changed if order.ts_ms >= since_ms),
    )


def _is_refused(order: Any) -> bool:
    return order.status in (OrderStatus.DENIED, OrderStatus.REJECTED)


def _reason(order: Any) -> str:
    """Return why the engine refused an order, without its id."""
    reason = str(order.last_event.reason).split(":")[0]
    return reason.replace(f" {order.client_order_id}", "")
