"""A session that is driven by a Script of the simulator: the same orders in both worlds."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from nautilus_trader.model import (
    BarType,
    ClientOrderId,
    InstrumentId,
    OrderSide,
    Price,
    Quantity,
    TimeInForce,
)
from nautilus_trader.trading import Strategy

from tbv8.config import files, records
from tbv8.market import Series, Span, parse_timeframe
from tbv8.trading.bars import Bars
from tbv8.trading.records import Run
from tbv8.trading.session import Session
from tests.trading.simulator import Books, Fill, Order, Rules, Script, Shown, Step

NS = 1_000_000
VENUE = "hyperliquid"
SIDES = {"buy": OrderSide.BUY, "sell": OrderSide.SELL}


@dataclass(frozen=True, kw_only=True)
class DrivenConfig:
    """What a session gives, and the script; `inside` reads what no strategy may."""

    instrument_ids: tuple[InstrumentId, ...]
    bar_types: tuple[BarType, ...]
    max_positions: tuple[Decimal, ...]
    script: Any
    inside: Any


class Driven(Strategy):
    """Does what a Script asks for; it is the script's World."""

    config: DrivenConfig

    def __init__(self, config: DrivenConfig) -> None:
        super().__init__(config)
        self.script: Script = config.script
        self.orders: dict[str, Order] = {}
        self.sent: list[Any] = []
        self.in_timer = False

    def on_start(self) -> None:
        for bar_type in self.config.bar_types:
            self.subscribe_bars(bar_type)

    # World

    @property
    def time_ms(self) -> int:
        """Return the step's close on fills inside of it, as the simulator does."""
        orders = self.config.inside["orders"]
        walking = orders.walking is not None and not self.in_timer
        return (orders.step_ns if walking else self.clock.timestamp_ns()) // NS

    def instrument(self, symbol: str) -> Any:
        instrument_id = next(i for i in self.config.instrument_ids if i.symbol.value == symbol)
        return self.cache.instrument(instrument_id)

    def position(self, symbol: str) -> Decimal:
        instrument = self.instrument(symbol)
        held = Decimal(self.portfolio.net_position(instrument.id))  # summed up in floats
        return round(held, instrument.size_precision)

    def last(self, symbol: str) -> Decimal | None:
        """Return the close of the last step whose path is walked; no bar may have shown it."""
        orders, closes = self.config.inside["orders"], self.config.inside["closes"][symbol]
        order = [market.symbol for market in orders.markets.values()]
        under_way = None if orders.walking is None else order.index(orders.walking.symbol)
        walked = under_way is None or order.index(symbol) < under_way
        inside = self.in_timer and self.clock.timestamp_ns() < orders.step_ns
        now_ns = self.clock.timestamp_ns() if inside else orders.step_ns
        find = bisect_right if walked and not inside else bisect_left
        at = find(closes, now_ns, key=lambda close: close[0])
        return closes[at - 1][1] if at else None

    def open_orders(self) -> list[str]:
        working = self.config.inside["orders"].book.working
        return [name for name in self.orders if name in working]

    def send(self, order: Order) -> None:
        self.submit_order(self.made(order))

    def send_list(self, orders: Sequence[Order]) -> None:
        children = {o.parent: tuple(c.id for c in orders if c.parent == o.parent) for o in orders}
        self.submit_order_list([self.made(order, children.get(order.id, ())) for order in orders])

    def cancel(self, id: str) -> None:
        self.cancel_order(ClientOrderId(id))

    def modify(
        self,
        id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        trigger: Decimal | None = None,
    ) -> None:
        instrument = self.instrument(self.orders[id].symbol)
        self.modify_order(
            ClientOrderId(id),
            None if quantity is None else self.quantity(instrument, quantity),
            None if price is None else self.price(instrument, price),
            None if trigger is None else self.price(instrument, trigger),
        )

    def set_timer(self, name: str, at_ms: int) -> None:
        self.clock.set_time_alert_ns(name, at_ms * NS, self.on_alert)

    def on_alert(self, event: Any) -> None:
        self.in_timer = True
        self.script.on_timer(self, event.name)
        self.in_timer = False

    # Callbacks

    def on_bar(self, bar: Any) -> None:
        label = self.config.inside["labels"][bar.bar_type]
        shown = Shown(*label, bar.ts_event // NS)
        self.script.on_bar(self, shown, bar.close.as_decimal())

    def on_order_filled(self, event: Any) -> None:
        name = event.client_order_id.value
        order = self.orders.get(name)
        fill = Fill(
            self.config.inside["orders"].step_ns // NS,
            event.instrument_id.symbol.value,
            name if order else None,
            "buy" if event.order_side == OrderSide.BUY else "sell",
            order.kind if order else "market",
            event.last_qty.as_decimal(),
            event.last_px.as_decimal(),
            event.commission.as_decimal(),
            "",
            self.position(event.instrument_id.symbol.value),
            "",
        )
        self.script.on_fill(self, fill)

    # Orders in NautilusTrader's terms

    @staticmethod
    def quantity(instrument: Any, value: Decimal) -> Quantity:
        own = -int(value.normalize().as_tuple().exponent)  # a part of a lot is the gate's to refuse
        return Quantity.from_decimal_dp(value, max(instrument.size_precision, own))

    @staticmethod
    def price(instrument: Any, value: Decimal) -> Price:
        return Price.from_decimal_dp(value, instrument.price_precision)

    def made(self, order: Order, children: Sequence[str] = ()) -> Any:
        self.orders[order.id] = order
        instrument, factory = self.instrument(order.symbol), self.order_factory
        common: list[Any] = [
            instrument.id,
            SIDES[order.side],
            self.quantity(instrument, order.quantity),
        ]
        options: dict[str, Any] = {
            "reduce_only": order.reduce_only,
            "client_order_id": ClientOrderId(order.id),
            "time_in_force": getattr(TimeInForce, order.time_in_force),
        }
        if order.expire_ms is not None and order.kind != "market":
            options["expire_time"] = order.expire_ms * NS
        if order.kind in ("limit", "stop_limit"):
            options["post_only"] = order.post_only
        prices = [
            self.price(instrument, price)
            for price in (order.price, order.trigger)
            if price is not None
        ]
        made = getattr(factory, order.kind)(*common, *prices, **options)
        links: dict[str, Any] = {}
        if children:
            links = {"contingency_type": "OTO", "linked_order_ids": list(children)}
        if order.contingency:
            links = {"contingency_type": order.contingency, "linked_order_ids": list(order.linked)}
        if order.parent:
            links["parent_order_id"] = order.parent
        self.sent.append(type(made).from_dict(made.to_dict() | links) if links else made)
        return self.sent[-1]


def strategy_of(
    rules: Rules, script: Script, *, timeframe: str, bars: Sequence[str], detail: files.Detail
) -> records.Strategy:
    """Return the records for the simulator's rules."""
    symbols = tuple(rules.markets)
    instruments = {
        symbol: files.Instrument(
            tick_size=market.tick,
            lot_size=market.lot,
            maker_fee=market.maker_fee,
            taker_fee=market.taker_fee,
            max_leverage=market.max_leverage,
            min_notional_usd=market.min_notional,
            funding_rate_8h=rules.funding_rate_8h,
            funding_hours=rules.funding_hours,
        )
        for symbol, market in rules.markets.items()
    }
    most = {symbol: market.max_position for symbol, market in rules.markets.items()}
    loss = Decimal(10**12) if rules.max_daily_loss is None else rules.max_daily_loss
    start_ms = rules.start_ms or 0
    return records.Strategy(
        strategy_id="driven",
        path=Path("config/strategies/driven.yaml"),
        symbol=symbols[0],
        symbols=symbols,
        timeframe=parse_timeframe(timeframe),
        bars=tuple(parse_timeframe(each) for each in bars),
        module="driven",
        class_name="Driven",
        params={"script": script, "inside": {}},
        routing=files.Routing(primary=VENUE),
        risk=records.Risk(
            max_positions=most, max_daily_loss_usd=loss, max_leverage=rules.max_leverage
        ),
        source=Series("sample", symbols[0]),
        span=Span(start_ms, 10**13),
        warm_up_ms=1 if rules.start_ms is not None else 0,
        detail=detail,
        instruments={VENUE: instruments},
        starting_balance_usd=rules.balance,
        slippage_ticks=rules.slippage_ticks,
    )


def tables(
    steps: Sequence[Step], shown: Sequence[Shown], strategy: records.Strategy
) -> tuple[Bars, dict[str, int]]:
    """Return steps and shown bars as a session takes them, and the decimals of the prices."""
    by_symbol: dict[str, list[Step]] = {symbol: [] for symbol in strategy.symbols}
    for step in sorted(steps, key=lambda step: step.close_ms):
        by_symbol[step.symbol].append(step)
    step_tables, decimals = {}, {}
    for symbol, own in by_symbol.items():
        rows = [(s.close_ms - strategy.step.fixed_ms, s.open, s.high, s.low, s.close) for s in own]
        step_tables[symbol] = _table(rows)
        places = [-int(p.normalize().as_tuple().exponent) for row in rows for p in row[1:]]
        tick = strategy.instruments[VENUE][symbol].tick_size.normalize().as_tuple().exponent
        decimals[symbol] = max([0, -int(tick), *places])
    shown_tables = {}
    for symbol in strategy.symbols:
        closes = {step.close_ms: step.close for step in by_symbol[symbol]}
        times = sorted(closes)
        for timeframe in strategy.timeframes:
            ends = sorted(
                {s.close_ms for s in shown if (s.symbol, s.timeframe) == (symbol, timeframe.text)}
            )
            rows = []
            for end in ends:
                last = closes[max(time for time in times if time <= end)]
                rows.append((end - (timeframe.fixed_ms or 0), last, last, last, last))
            shown_tables[symbol, timeframe] = _table(rows)
    return Bars(shown=shown_tables, steps=step_tables), decimals


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    prices = {
        name: pa.array([float(value) for value in column], pa.float64())
        for name, column in zip(("open", "high", "low", "close"), columns[1:], strict=True)
    }
    volume = pa.array([1.0] * len(rows), pa.float64())
    return pa.table({"ts_ms": pa.array(columns[0], pa.int64()), **prices, "volume": volume})


def drive(
    steps: Sequence[Step], shown: Sequence[Shown], script: Script, rules: Rules, **how: Any
) -> Books:
    """Run a script through a session, see `run_script`; return the simulator's Books."""
    return run_script(steps, shown, script, rules, **how)[1]


def run_script(
    steps: Sequence[Step],
    shown: Sequence[Shown],
    script: Script,
    rules: Rules,
    *,
    timeframe: str,
    bars: Sequence[str] = (),
    detail: files.Detail = "none",
    pieces: Callable[[Bars], Iterable[Bars]] = lambda bars: [bars],
) -> tuple[Run, Books]:
    """Run a script through a session; return the run, and as much of the simulator's Books."""
    strategy = strategy_of(rules, script, timeframe=timeframe, bars=bars, detail=detail)
    fed, decimals = tables(steps, shown, strategy)
    inside: dict[str, Any] = {}
    strategy = msgspec.structs.replace(strategy, params={"script": script, "inside": inside})
    with Session(strategy, VENUE, price_decimals=decimals) as session:
        orders = session._orders
        inside |= {
            "orders": orders,
            "closes": {
                symbol: sorted((s.close_ms * NS, s.close) for s in steps if s.symbol == symbol)
                for symbol in strategy.symbols
            },
            "labels": {bar_type: (s, t.text) for (s, t), bar_type in session._bar_types.items()},
        }
        for piece in pieces(fed):
            session.feed(piece)
        run = session.end(stop=False)
        names = {number: name for name, number in orders.numbers.items()}
        states = {order.client_order_id.value: _state(order) for order in session._loaded.sent}
        states |= {
            name: _state(order)
            for name in orders.numbers
            if (order := session._engine.cache.order(ClientOrderId(name)))
        }
        states |= orders.ended_unsent | dict.fromkeys(orders.unsent_children, "working")
        cash, positions = orders.book.cash, dict(orders.book.positions)
    sent = set(orders.submitted)
    books = Books(cash=cash, positions=positions, states=states)
    for fill in run.fills:
        name = names[fill.order_id]
        books.fills.append(
            Fill(
                fill.ts_ms,
                fill.symbol,
                name if name in sent else None,
                fill.side,
                fill.type,
                fill.quantity,
                fill.price,
                fill.fee,
                fill.liquidity,
                fill.position,
                fill.at,
            )
        )
    books.denials = [(denial.ts_ms, denial.rule, denial.order) for denial in run.denials]
    books.halts = [(halt.ts_ms, halt.rule) for halt in run.halts]
    books.payments = [(p.ts_ms, p.kind, -p.amount) for p in run.payments]
    return run, books


def _state(order: Any) -> str:
    """Return an order's state in the simulator's words."""
    name: str = order.status.name.lower()
    return "working" if name in ("accepted", "triggered") else name
