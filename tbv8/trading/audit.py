"""Check after a run that every order passed the gate, and that engine and book agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import OrderFilled, OrderStatus, PositionSide, Price

from tbv8.config import records
from tbv8.trading.loading import StrategyError
from tbv8.trading.orders import Orders
from tbv8.trading.records import CarriedAccount, ChartLines, MarketDecimals, Run
from tbv8.trading.reports import Reports
from tbv8.trading.terms import id_of

_CENT = Decimal("0.01")


def check_run(engine: BacktestEngine, reports: Reports) -> list[Any]:
    """Check the engine's orders and account, and return the orders in the order of sending.

    Raises:
        StrategyError: An order went past the gate, or the cache was changed.
        AssertionError: The engine and the book disagree: a fault of ours.
    """
    orders, engine_orders = reports.orders, engine.cache.orders()
    for order in engine_orders:
        if id_of(order) not in orders.numbers:
            raise orders.bypass_error(id_of(order))
        if order.status == OrderStatus.SUBMITTED:
            raise AssertionError(f"{orders.numbers[id_of(order)]} has no outcome: {order}")
    unsent = len(orders.unsent_children) + len(orders.ended_unsent)
    if len(engine_orders) != len(orders.numbers) - unsent:
        raise _error(orders, "the cache was emptied in the run: leave it as it is")
    engine_orders.sort(key=lambda order: int(orders.numbers[id_of(order)][2:]))
    _book_last_fills(engine_orders, reports)
    _check_account(engine, orders)
    return engine_orders


def _error(orders: Orders, problem: str) -> StrategyError:
    return StrategyError(f"{orders.strategy_id}: {problem}")


def _book_last_fills(engine_orders: Sequence[Any], reports: Reports) -> None:
    """Book fills after the strategy's stop: no callback reports these."""
    orders = reports.orders
    booked = Counter(fill.order_id for fill in orders.fills)
    for order in engine_orders:
        if id_of(order) in orders.book.working:
            fills = [event for event in order.events() if isinstance(event, OrderFilled)]
            for event in fills[booked[orders.numbers[id_of(order)]] :]:
                if event.ts_event < orders.step_ns:
                    raise _error(
                        orders,
                        "its fills are not those that the venue made (a callback was changed in "
                        "the run): leave them as they are",
                    )
                reports.on_filled(event)


def _check_account(engine: BacktestEngine, orders: Orders) -> None:
    """Compare the engine's balance and positions, at the last prices, with the book."""
    instruments = [market.instrument for market in orders.markets.values()]
    account: Any = engine.cache.account_for_venue(instruments[0].id.venue)
    if account is None:
        raise _error(orders, "the cache was emptied in the run: leave it as it is")
    equity = account.balance_total(instruments[0].quote_currency).as_decimal()
    positions = dict.fromkeys(orders.book.positions, Decimal(0))
    for position in engine.cache.positions_open():
        market = orders.markets[position.instrument_id]
        last = orders.book.prices[market.symbol]  # off the tick, where make_price would put it
        price = Price.from_decimal_dp(last, market.units.price_decimals)
        equity += position.unrealized_pnl(price).as_decimal()
        quantity = position.quantity.as_decimal()
        positions[market.symbol] += quantity if position.side == PositionSide.LONG else -quantity
    if positions != orders.book.positions:
        raise _error(
            orders,
            "its positions are not those that the venue made (the cache or the callbacks were "
            "changed): leave them as they are",
        )
    if abs(equity - orders.book.equity) >= _CENT:
        raise AssertionError(f"the engine's account holds {equity} USD, ours {orders.book.equity}")


def make_run(
    strategy: records.Strategy,
    venue: str,
    orders: Orders,
    engine_orders: Sequence[Any],
    carried: CarriedAccount | None,
    lines: ChartLines | None,
) -> Run:
    """Return a session's run."""
    book = orders.book
    since_ms = carried.ts_ms if carried else 0
    counted = [
        order
        for order in engine_orders
        if (sent := orders.submitted.get(id_of(order))) is None or sent.ts_ms >= since_ms
    ]
    statuses = Counter(order.status.name.lower() for order in counted)
    statuses["denied"] += len(book.denials)
    statuses.update(orders.ended_unsent.values())
    statuses["waiting for a parent"] += len(orders.unsent_children)
    return Run(
        venue=venue,
        markets=tuple(
            MarketDecimals(
                symbol=market.symbol,
                price_decimals=market.units.price_decimals,
                size_decimals=market.units.size_decimals,
            )
            for market in orders.markets.values()
        ),
        start_equity=strategy.starting_balance_usd,
        carried=carried,
        submitted=tuple(sent for sent in orders.submitted.values() if sent.ts_ms >= since_ms),
        orders=dict(sorted((+statuses).items())),
        refused=dict(sorted(Counter(map(_reason, filter(_is_refused, counted))).items())),
        fills=tuple(orders.fills),
        payments=tuple(sorted(book.payments, key=lambda payment: payment.ts_ms)),  # late ones
        denials=tuple(book.denials),
        halts=tuple(book.halts),
        changed=tuple(order for order in orders.changed if order.ts_ms >= since_ms),
        tags={fill.order_id: fill.tags for fill in orders.fills if fill.tags},
        chart_lines=lines,
    )


def _is_refused(order: Any) -> bool:
    return order.status in (OrderStatus.DENIED, OrderStatus.REJECTED)


def _reason(order: Any) -> str:
    """Return the engine's reason for rejecting an order, without its id."""
    reason = str(order.last_event.reason).split(":")[0]
    return reason.replace(f" {order.client_order_id}", "")
