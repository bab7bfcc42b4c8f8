"""What stands between a strategy and the engine: every order is asked for, every bar looked at.

What `guarded` makes becomes a base of the user's class, behind it and before NautilusTrader's, so
that `self.submit_order` and `super().submit_order` both end here; the guard itself is no attribute
of the strategy. What goes past it (the base class called by its name, a closing order that
NautilusTrader makes itself) may only reduce: the engine module looks at every order and fill
afterwards, and gives no result otherwise.

The bar is looked at before the strategy sees it, in the order of time: funding that fell due inside
of it, liquidation at its worse end, funding due at its close, the day's loss, 00:00 UTC. Where the
guard closes something, the strategy sees the bar once that is filled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from functools import partial
from typing import Any

import msgspec
import numpy as np
from nautilus_trader.common import Clock
from nautilus_trader.core import UUID4
from nautilus_trader.model import (
    ClientOrderId,
    CryptoPerpetual,
    OrderDenied,
    OrderFilled,
    OrderSide,
    OrderStatus,
    OrderType,
    OrderUpdated,
    Quantity,
    TriggerType,
)
from nautilus_trader.trading import Strategy

from tbv8 import config
from tbv8.backtest.accounting import Payment
from tbv8.backtest.fills import BarFills, taker_price
from tbv8.backtest.loading import Fail, StrategyError
from tbv8.backtest.nautilus import ENGINE_DECIMALS, Ints
from tbv8.backtest.paths import STOPS, Paths
from tbv8.risk import (
    MAX_DAILY_LOSS,
    Account,
    Breach,
    Limits,
    Order,
    check_order,
    funding,
    halt_price,
    liquidation_price,
    must_halt,
    next_funding,
    next_midnight,
)

_NS = 1_000_000
_EXACT = Context(prec=60)
_NEVER = 2**63 - 1
_TYPES = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
_NOT_EMULATED = (None, TriggerType.NO_TRIGGER)
_USUAL_FUNDING_HOURS = 8

_TIMERS = (  # what takes a callback
    "set_time_alert",
    "set_time_alert_ns",
    "set_timer",
    "set_timer_ns",
    "register_default_handler",
)

LIQUIDATION = "liquidation"


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """An order that was not let through; after a halt by its rule, and until when."""

    ts_ms: int
    rule: str
    order: str
    until_ms: int | None
    numbers: dict[str, Decimal]


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """When everything was closed, and until when nothing new was opened.

    `rule` is `max_daily_loss_usd` or `liquidation`; the numbers say why, in units as a Breach's.
    """

    ts_ms: int
    until_ms: int
    rule: str
    numbers: dict[str, Decimal]


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """The bars as the guard looks at them: prices in integers of the instrument's last decimal."""

    closes_ms: Ints
    opens: Ints
    highs: Ints
    lows: Ints
    closes: Ints


def guarded(guard: RiskGuard) -> type[Strategy]:
    """Return a base class for one run's strategy, behind which every call is asked for first.

    A call that comes from a callback inside of a bar waits for the bar's close.
    """

    class Guarded(Strategy):
        """The calls of a strategy that reach the venue, each asked for first."""

        def submit_order(self, order: Any, *args: Any, **options: Any) -> None:
            """Submit the order if no limit is against it."""
            if guard.inside_bar():
                guard.wait(partial(Guarded.submit_order, self, order, *args, **options), [order])
            elif guard.may_submit([order]):
                super().submit_order(order, *args, **options)

        def submit_order_list(self, order_list: Any, *args: Any, **options: Any) -> None:
            """Submit all orders of the list, or none."""
            orders = list(getattr(order_list, "orders", order_list))
            if guard.inside_bar():
                send = partial(Guarded.submit_order_list, self, order_list, *args, **options)
                guard.wait(send, orders)
            elif guard.may_submit(orders):
                super().submit_order_list(order_list, *args, **options)

        def modify_order(
            self,
            client_order_id: Any,
            quantity: Any = None,
            price: Any = None,
            trigger_price: Any = None,
            *args: Any,
            **options: Any,
        ) -> None:
            """Modify the order if no limit is against it."""
            update = (client_order_id, quantity, price, trigger_price)

            def send() -> None:
                if guard.may_modify([update]):
                    Strategy.modify_order(self, *update, *args, **options)

            guard.at_close(send)

        def modify_orders(self, updates: Any = (), *args: Any, **options: Any) -> None:
            """Modify all of the orders, or none."""
            changes = list(updates)

            def send() -> None:
                if guard.may_modify(changes):
                    Strategy.modify_orders(self, changes, *args, **options)

            guard.at_close(send)

        def cancel_order(self, client_order_id: Any, *args: Any, **options: Any) -> None:
            """Cancel the order, or take back one that still waits."""
            if not guard.take_back([client_order_id]):
                super().cancel_order(client_order_id, *args, **options)

        def cancel_orders(self, client_order_ids: Any, *args: Any, **options: Any) -> None:
            """Cancel the orders, or take back those that still wait."""
            back = guard.take_back(client_order_ids)
            left = [order_id for order_id in client_order_ids if order_id not in back]
            if left:
                super().cancel_orders(left, *args, **options)

        def cancel_all_orders(self, *args: Any, **options: Any) -> None:
            """Cancel the orders, and take back those that still wait."""
            guard.take_back(None)
            super().cancel_all_orders(*args, **options)

        def close_position(self, *args: Any, **options: Any) -> None:
            """Close the position."""
            guard.at_close(lambda: Strategy.close_position(self, *args, **options))

        def close_all_positions(self, *args: Any, **options: Any) -> None:
            """Close all positions."""
            guard.at_close(lambda: Strategy.close_all_positions(self, *args, **options))

        def market_exit(self) -> None:
            """Cancel all orders and close all positions."""
            guard.at_close(lambda: Strategy.market_exit(self))

        def subscribe_bars(self, bar_type: Any, *args: Any, **options: Any) -> None:
            """Pass the bars on; the guard itself sees them in any case."""
            guard.listened |= bar_type == guard.bar_type or bar_type.is_internally_aggregated()
            if bar_type == guard.bar_type:
                guard.subscribed = True
            else:
                guard.expect_others()
                super().subscribe_bars(bar_type, *args, **options)

        def unsubscribe_bars(self, bar_type: Any, *args: Any, **options: Any) -> None:
            """Pass the bars on no more."""
            if bar_type == guard.bar_type:
                guard.subscribed = False
            else:
                super().unsubscribe_bars(bar_type, *args, **options)

    return Guarded


@contextmanager
def clocks_held(guard: RiskGuard) -> Iterator[None]:
    """While the block lasts, let nobody move a clock, and catch what the callbacks of timers raise.

    A strategy's clock is the engine's, which moves it by itself. Set forward, the engine's next
    step panics and aborts the process; set back, what follows is dated wrongly. Of an error in a
    timer's callback the engine tells in its own log only.
    """

    def set_time(_clock: Clock, _to_time_ns: int) -> None:
        raise RuntimeError(
            "clock.set_time() in a run: the bars move the clock; to be called at a later time, use "
            "set_time_alert_ns() or set_timer_ns()"
        )

    def caught(given: Any) -> Any:
        def run(event: Any) -> None:
            try:
                given(event)
            except BaseException as e:  # noqa: BLE001  # it is raised after the run
                guard.fail("a timer's callback", e)

        return run if callable(given) else given

    def catching(own: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            own(*map(caught, args), **{name: caught(value) for name, value in options.items()})

        return call

    before = {name: getattr(Clock, name) for name in ("set_time", *_TIMERS)}
    held = {name: catching(own) for name, own in before.items()} | {"set_time": set_time}
    try:
        for name, method in held.items():
            setattr(Clock, name, method)
        yield
    finally:
        for name, own in before.items():
            setattr(Clock, name, own)


class RiskGuard:
    """One run's account, limits and working orders, from what the strategy is told."""

    def __init__(
        self,
        strategy: config.Strategy,
        rules: config.Instrument,
        instrument: CryptoPerpetual,
        bar_type: Any,
        market: Market,
        fill_model: BarFills,
    ) -> None:
        self.limits = Limits(
            max_position=strategy.risk.max_position,
            max_daily_loss_usd=strategy.risk.max_daily_loss_usd,
            max_leverage=strategy.risk.max_leverage,
            venue_leverage=rules.max_leverage,
            tick_size=rules.tick_size,
            lot_size=rules.lot_size,
        )
        self.rate_8h = rules.funding_rate_8h
        self.funding_hours = rules.funding_hours or _USUAL_FUNDING_HOURS
        self.instrument = instrument
        self._places = instrument.price_precision
        self._maintenance = self.limits.maintenance
        self.bar_type = bar_type
        self.market = market
        self.fill_model = fill_model
        self.slippage_ticks = strategy.slippage_ticks
        self.account = Account(strategy.starting_balance_usd, Decimal(0))
        self.subscribed = False
        self.listened = False  # whether it ever asked for bars that there are

        self.denials: list[Denial] = []
        self.halts: list[Halt] = []
        self.payments: list[Payment] = []
        self.passed: dict[str, Order] = {}
        self.forced: dict[str, str] = {}
        self.fills = 0  # of which it was told
        self.triggers: dict[str, int] = {}  # of those that have one; in engine integers
        self.past: list[str] = []  # orders that were changed past the guard

        self._working: dict[str, Order] = {}
        self._waiting: list[tuple[set[str], Callable[[], None]]] = []
        self._paths = Paths(self)
        fill_model.inside_bar = self.inside_bar
        fill_model.is_too_early = self._paths.is_too_early
        self._untold: list[OrderDenied] = []
        self._late_changes: set[str] = set()
        self._late = False  # what is sent now was asked for inside of the bar
        self._closing: dict[str, Decimal] = {}  # what is closed by force, until it is filled
        self._postponed: list[Any] = []  # bars to show when it is
        self._sizes: dict[str, list[Decimal]] = {}  # to which orders may be changed, in order
        self._entered_ms = 0  # when the position was last added to
        self._day_start = self.account.cash
        self._halted: Halt | None = None  # the one that lasts

        self._closes_ns: list[int] = [*(market.closes_ms * _NS).tolist(), _NEVER]
        self._lows = memoryview(np.ascontiguousarray(market.lows))
        self._minus_highs = memoryview(np.ascontiguousarray(-market.highs))
        self.at = -1  # the bar that closed last
        self.clock_ns: Callable[[], int] = int  # the strategy's, once it is registered
        self._others = False  # whether the strategy asked for bars of another kind
        begin_ms = int(market.closes_ms[0]) - 1
        self._midnight_ms = next_midnight(begin_ms)
        due_ms = next_funding(begin_ms, self.funding_hours)
        self._funding_ms = due_ms if self.rate_8h else _NEVER
        self._edge, self._alarm = self._lows, -_NEVER
        self._interrupted = False
        self._set_due()

    @property
    def _next_ns(self) -> int:
        """When the bar closes that is under way."""
        return self._closes_ns[self.at + 1]

    def join(self, loaded: Strategy) -> None:
        """Take the strategy whose class is derived from what `guarded` made."""
        self.loaded = loaded
        self.clock_ns = loaded.clock.timestamp_ns

    def expect_others(self) -> None:
        """Be ready for bars that are not the strategy's own kind."""
        self._others = True

    @property
    def bars_seen(self) -> int:
        """How many bars were looked at."""
        return self.at + 1

    # What the strategy is told, told here first.

    def before(self) -> dict[str, Callable[..., Any]]:
        """Return what to call before single callbacks."""
        return {
            "on_start": self._on_start,
            "on_order_accepted": self._on_accept,
            "on_order_filled": self._on_fill,
            "on_order_canceled": self._on_end,
            "on_order_expired": self._on_end,
            "on_order_rejected": self._on_end,
            "on_order_denied": self._on_end,
            "on_order_updated": self._on_change,
            "on_order_modify_rejected": self._on_change,
        }

    def on_bar(self, own: Callable[[Any], Any] | None, fail: Fail) -> Callable[[Any], Any]:
        """Return `on_bar`: look at the bar, then let the strategy see it.

        It is called for every bar of every run, and written for speed.
        """
        resting, waiting, untold = self._paths.orders, self._waiting, self._untold
        shown, closing = own or _ignore, self._closing

        def show(bar: Any) -> None:
            try:
                shown(bar)
            except BaseException as e:  # noqa: BLE001  # it is raised after the run
                fail("on_bar", e)

        def on_bar(bar: Any) -> None:
            try:
                if self._others and bar.bar_type != self.bar_type:
                    if closing:
                        self._postponed.append(bar)
                        return
                    shown(bar)
                    self.after()
                    return
                at = self.at = self.at + 1
                if at >= self._due_at or self._edge[at] <= self._alarm:
                    self._look(at)
                if resting or waiting:
                    self._end_bar()
                if closing:
                    self._postponed.append(bar)
                    return
                if self.subscribed:
                    shown(bar)
                if untold:
                    self.after()
            except BaseException as e:  # noqa: BLE001  # it is raised after the run
                fail("on_bar", e)

        self._show, self.fail = show, fail
        return on_bar

    def _on_start(self) -> None:
        Strategy.subscribe_bars(self.loaded, self.bar_type)

    def _on_fill(self, event: OrderFilled) -> None:
        self.fills += 1
        ts_ns = event.ts_event
        self._pass_time(ts_ns // _NS, self.at)
        quantity, held = event.last_qty.as_decimal(), self.account.position
        change = quantity if event.is_buy else quantity.copy_negate()
        fee = event.commission.as_decimal() if event.commission else Decimal(0)
        position = _EXACT.add(held, change)
        if position.copy_abs() > held.copy_abs() or (position > 0) != (held > 0):
            self._entered_ms = ts_ns // _NS
        paid = _EXACT.fma(change, event.last_px.as_decimal(), fee)
        self.account = Account(_EXACT.subtract(self.account.cash, paid), position)
        name = _name(event)
        self._closing.pop(name, None)
        order = self._working.get(name)
        if order is not None and order.change == change:
            del self._working[name]
        elif order is not None:
            left = _EXACT.subtract(order.change, change)
            self._working[name] = msgspec.structs.replace(order, change=left)
        if self._paths.orders:
            self._paths.on_fill(name, inside=ts_ns == self._next_ns)
        self._set_prices()

    def _on_end(self, event: Any) -> None:
        name = _name(event)
        self._working.pop(name, None)
        self._closing.pop(name, None)
        self._paths.on_end(name)

    def _on_accept(self, event: Any) -> None:
        if _name(event) in self._closing:
            self._take_as_reached(_name(event))

    def _on_change(self, event: Any) -> None:
        name = _name(event)
        order = self.loaded.cache.order(event.client_order_id)
        if name not in self._working or order is None:
            return
        size, asked = order.quantity.as_decimal(), self._sizes.get(name, [])
        left, known = order.leaves_qty.as_decimal(), self._working[name]
        if not isinstance(event, OrderUpdated):
            del asked[:1]
        elif size in asked:
            del asked[: asked.index(size) + 1]
        elif left > known.change.copy_abs() and not known.reduce_only:
            self.past.append(name)
        most = max([left, *(_EXACT.subtract(s, order.filled_qty.as_decimal()) for s in asked)])
        self._working[name] = _to_order(order, most, None, None)
        if order.order_type == OrderType.MARKET:
            return
        self._paths.add(order)
        if name in self._late_changes:
            self._late_changes.discard(name)
            if self._paths.was_reached(name):
                self._take_as_reached(name)

    # What waits for the bar's close.

    def at_close(self, send: Callable[[], None]) -> None:
        """Send now, or at the close of the bar that is under way."""
        if self.inside_bar():
            self.wait(send, ())
        else:
            send()

    def wait(self, send: Callable[[], None], orders: Iterable[Any]) -> None:
        """Send at the close of the bar that is under way, unless the orders are taken back."""
        self._waiting.append(({_name(order) for order in orders}, send))

    def inside_bar(self) -> bool:
        """Tell whether a bar is under way: the clock is at its close, and we have not seen it."""
        return self.clock_ns() == self._next_ns

    def take_back(self, client_order_ids: Iterable[Any] | None) -> list[Any]:
        """Forget orders that wait, all when none are named; return those that did wait."""
        if client_order_ids is None:
            self._waiting[:] = [(names, send) for names, send in self._waiting if not names]
            return []
        back = []
        for client_order_id in client_order_ids:
            kept = [entry for entry in self._waiting if client_order_id.value not in entry[0]]
            if len(kept) < len(self._waiting):
                self._waiting[:] = kept
                back.append(client_order_id)
        return back

    def _end_bar(self) -> None:
        for name in self._paths.end_bar():
            self._take_as_reached(name)
        waiting = self._waiting[:]
        self._waiting.clear()
        self._late = True
        for _names, send in waiting:
            try:
                send()
            except RuntimeError as e:
                raise StrategyError(f"what was asked for inside of a bar failed: {e}") from e
        self._late = False

    def after(self) -> None:
        """Show the strategy the bars that had to wait, and tell it what was denied."""
        while self._postponed and not self._closing:
            bar = self._postponed.pop(0)
            if self.subscribed or bar.bar_type != self.bar_type:
                self._show(bar)
        if self._untold:
            self._tell_denied()

    def _tell_denied(self) -> None:
        """Tell the strategy of the orders that were denied, as the engine would."""
        while self._untold:
            event = self._untold.pop(0)
            self.loaded.on_order_denied(event)
            self.loaded.on_order_event(event)

    # May it go?

    def may_submit(self, orders: Sequence[Any]) -> bool:
        """Let all orders go, or deny all; those that go are working from now on."""
        asked: list[Order] = []
        for order in orders:
            risk_order = _to_order(order, order.quantity.as_decimal(), None, None)
            breach = (
                self._unknown(order)
                or self._check(risk_order, asked, ())
                or self._in_the_market(order)
            )
            if breach is not None:
                for each in orders:
                    self._deny(each, breach)
                return False
            asked.append(risk_order)
        for order, risk_order in zip(orders, asked, strict=True):
            name = _name(order)
            self.passed[name] = self._working[name] = risk_order
            if order.order_type != OrderType.MARKET:
                self._paths.add(order, late=self._late)
                if self._late and order.parent_order_id is None:
                    self._take_late(order, risk_order.change)
        return True

    def _take_late(self, order: Any, change: Decimal) -> None:
        """Take an order that was asked for inside of the bar, if the bar reached it.

        A stop goes off when the venue has it; a limit that the market is beyond gets no better.
        """
        if order.order_type == OrderType.LIMIT:
            if self._was_inside(order.price.as_decimal()):
                self.fill_model.forced[_name(order)] = order.price.raw
        elif self._paths.was_reached(_name(order)) and self._reduces(buy=order.is_buy):
            held = self._expected().position
            self._closing[_name(order)] = max(change, -held) if held > 0 else min(change, -held)

    def may_modify(self, updates: Sequence[tuple[Any, Any, Any, Any]]) -> bool:
        """Let all updates of working orders go, or deny all; the larger quantity counts."""
        changed: dict[str, Order] = {}
        sizes: dict[str, Decimal] = {}
        for client_order_id, quantity, price, trigger_price in updates:
            order = self.loaded.cache.order(client_order_id)
            if order is None or order.is_closed:
                return not self._late  # the engine says what is wrong with it
            size = order.quantity if quantity is None else quantity
            left = order.leaves_qty.as_decimal()
            if quantity is not None:
                left = _EXACT.subtract(quantity.as_decimal(), order.filled_qty.as_decimal())
            if left <= 0:
                return True
            asked = _to_order(order, left, price, trigger_price)
            name = order.client_order_id.value
            breach = self._check(asked, changed.values(), (*changed, name))
            if breach is not None:
                self.denials.append(self._denial(order, breach))
                return False
            now = self._working.get(name, asked)
            changed[name] = max(asked, now, key=lambda o: o.change.copy_abs())
            sizes[name] = size.as_decimal()
        self._working |= changed
        for name, value in sizes.items():
            self._sizes.setdefault(name, []).append(value)
            if self._late:
                self._late_changes.add(name)
        return True

    def _check(
        self, asked: Order, others: Iterable[Order], without: Iterable[str]
    ) -> Breach | None:
        left_out = set(without)
        working = [order for name, order in self._working.items() if name not in left_out]
        return check_order(
            asked,
            self._expected(),
            [*working, *others],
            self.limits,
            price=self._price() if self.at >= 0 else None,
            halted=self._halted.rule if self._halted else None,
        )

    def _expected(self) -> Account:
        """Return the account once what is closed by force is filled, at the last price."""
        if not self._closing:
            return self.account
        change = sum(self._closing.values(), Decimal(0))
        cash = _EXACT.subtract(self.account.cash, _EXACT.multiply(change, self._price()))
        return Account(cash, _EXACT.add(self.account.position, change))

    def _unknown(self, order: Any) -> Breach | None:
        """Refuse what is not simulated in full, and what was sent before."""
        kind, name = order.order_type, _name(order)
        rule = None
        if name in self.passed or name in self.forced or order.status != OrderStatus.INITIALIZED:
            rule = "duplicate_order"
        elif order.instrument_id != self.instrument.id:
            rule = "instrument"
        elif kind not in _TYPES:
            rule = "order_type"
        elif order.is_quote_quantity:
            rule = "quote_quantity"
        elif order.exec_algorithm_id is not None:
            rule = "exec_algorithm"
        elif kind != OrderType.MARKET and order.emulation_trigger not in _NOT_EMULATED:
            rule = "emulation_trigger"
        return Breach(rule, {}) if rule else None

    def _in_the_market(self, order: Any) -> Breach | None:
        """Refuse a stop that would go off at once, as most venues do."""
        if order.order_type not in STOPS or self.at < 0:
            return None
        trigger, price = order.trigger_price.as_decimal(), self._price()
        if self._late and self._reduces(buy=order.is_buy) and self._was_inside(trigger):
            return None  # it would have gone off inside of the bar
        beyond = trigger <= price if order.side == OrderSide.BUY else trigger >= price
        numbers = {"trigger": trigger, "price": price}
        return Breach("stop_in_market", numbers) if beyond else None

    def _was_inside(self, price: Decimal) -> bool:
        """Tell whether a price lies within the bar that closed last."""
        low, high = self.market.lows[self.at], self.market.highs[self.at]
        return self._to_price(low) <= price <= self._to_price(high)

    def _reduces(self, *, buy: bool) -> bool:
        """Tell whether buying, or selling, brings the position nearer to zero."""
        position = self._expected().position
        return position < 0 if buy else position > 0

    def _deny(self, order: Any, breach: Breach) -> None:
        self.denials.append(self._denial(order, breach))
        event = OrderDenied(
            order.trader_id,
            order.strategy_id,
            order.instrument_id,
            order.client_order_id,
            str(breach),
            UUID4(),
            self.clock_ns(),
            self.clock_ns(),
        )
        if order.status == OrderStatus.INITIALIZED:
            order.apply(event)
        if _name(order) not in self.passed:
            self._untold.append(event)

    def _denial(self, order: Any, breach: Breach) -> Denial:
        side = "buy" if order.side == OrderSide.BUY else "sell"
        halt = self._halted
        return Denial(
            ts_ms=self.clock_ns() // _NS,
            rule=breach.rule,
            order=f"{side} {order.order_type.name.lower()} {order.quantity}",
            until_ms=halt.until_ms if halt and halt.rule == breach.rule else None,
            numbers=breach.numbers,
        )

    # What the bars bring.

    def interrupt(self) -> None:
        """End the run at the close of its next bar; for a signal's handler, at any moment."""
        self._interrupted = True
        self._due_at = 0

    def _look(self, at: int) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        with localcontext(_EXACT):
            self._look_at(at, int(self.market.closes_ms[at]))

    def _look_at(self, at: int, ts_ms: int) -> None:
        assert not self._closing, "a forced close was not filled"
        self._pass_time(ts_ms, at - 1)
        liquidated = self._liquidate(at)
        if not liquidated and self._funding_ms == ts_ms:
            self._pay_funding(at)
        if not liquidated and self._halted is None:
            equity = self.account.equity(self._price())
            if must_halt(equity, self._day_start, self.limits):
                limit = self.limits.max_daily_loss_usd
                self._halt(ts_ms, MAX_DAILY_LOSS, equity, {"limit_usd": limit})
                self._close()
        if self._midnight_ms == ts_ms:
            self._start_day(at)
        self._set_prices()

    def _halt(self, ts_ms: int, rule: str, equity: Decimal, numbers: dict[str, Decimal]) -> None:
        loss = _EXACT.subtract(self._day_start, equity)
        money = {"equity_usd": equity, "day_start_usd": self._day_start, "loss_usd": loss}
        self._halted = Halt(
            ts_ms=ts_ms, until_ms=next_midnight(ts_ms), rule=rule, numbers=money | numbers
        )
        self.halts.append(self._halted)

    def _pass_time(self, before_ms: int, at: int) -> None:
        """Do what fell due before a time, at the price of the bar that had closed last."""
        while (due_ms := min(self._funding_ms, self._midnight_ms)) < before_ms:
            if self._funding_ms == due_ms:
                self._pay_funding(at)
            if self._midnight_ms == due_ms:
                self._start_day(at)

    def _pay_funding(self, at: int) -> None:
        ts_ms, hours = self._funding_ms, self.funding_hours
        self._funding_ms = next_funding(ts_ms, hours)
        self._set_due()
        if not self.account.position:
            return
        price = self._to_price(self.market.closes[at])
        paid = funding(self.account.position, price, rate_8h=self.rate_8h, hours=hours)
        self.account = Account(_EXACT.subtract(self.account.cash, paid), self.account.position)
        self.payments.append(Payment(ts_ms, paid))

    def _start_day(self, at: int) -> None:
        midnight_ms = self._midnight_ms
        self._midnight_ms = next_midnight(midnight_ms)
        self._set_due()
        price = self._to_price(self.market.closes[at]) if at >= 0 else Decimal(0)
        self._day_start = self.account.equity(price)
        if self._halted and midnight_ms >= self._halted.until_ms:
            self._halted = None

    def _liquidate(self, at: int) -> bool:
        price = liquidation_price(self.account, self._maintenance)
        if price is None or price <= 0:
            return False
        long = self.account.position > 0
        exact = price.scaleb(self._places)
        end = int(self.market.lows[at] if long else self.market.highs[at])
        if (end > exact) if long else (end < exact):
            return False
        opened = int(self.market.opens[at])
        held_before = self._entered_ms < int(self.market.closes_ms[at])
        gap = held_before and (opened < exact if long else opened > exact)
        at_price = self._to_price(opened) if gap else price
        rounding = ROUND_FLOOR if long else ROUND_CEILING
        raw = int(at_price.scaleb(ENGINE_DECIMALS).to_integral_value(rounding))
        ts_ms = int(self.market.closes_ms[at])
        numbers = {"position": self.account.position, "liquidation_price": price}
        self._halt(ts_ms, LIQUIDATION, self.account.equity(at_price), numbers)
        self._close(raw)
        return True

    def _close(self, raw_price: int | None = None) -> None:
        """Cancel every order and close the position: at the market, or at a price."""
        self._waiting.clear()
        Strategy.cancel_all_orders(self.loaded, self.instrument.id)
        if self.account.position:
            kind = "market" if raw_price is None else LIQUIDATION
            self._force(-self.account.position, kind, raw_price)

    def _take_as_reached(self, name: str) -> None:
        """Cancel a stop that the last bar reached, and fill a market order of ours in its place."""
        self._closing.pop(name, None)
        order = self.loaded.cache.order(ClientOrderId(name))
        if order is None or order.is_closed or not self._reduces(buy=order.is_buy):
            return
        left = min(order.leaves_qty.as_decimal(), self._expected().position.copy_abs())
        limited = order.order_type == OrderType.STOP_LIMIT
        price = order.price if limited else order.trigger_price
        Strategy.cancel_order(self.loaded, order.client_order_id)
        change = left if order.is_buy else left.copy_negate()
        self._force(change, order.order_type.name.lower(), price.raw, as_taker=not limited)

    def _force(
        self, change: Decimal, kind: str, raw_price: int | None, *, as_taker: bool = True
    ) -> None:
        """Send a reducing market order of our own, filled as a taker at a price if one is given."""
        order = self.loaded.order_factory.market(
            self.instrument.id,
            OrderSide.BUY if change > 0 else OrderSide.SELL,
            Quantity.from_decimal_dp(change.copy_abs(), self.instrument.size_precision),
            reduce_only=True,
        )
        self.forced[_name(order)] = kind
        self._closing[_name(order)] = change
        if raw_price is not None and as_taker:
            self.triggers[_name(order)] = raw_price
            raw_price = taker_price(
                raw_price,
                buy=change > 0,
                tick=self.instrument.price_increment.raw,
                slippage_ticks=self.slippage_ticks,
            )
        if raw_price is not None:
            self.fill_model.forced[_name(order)] = raw_price
        Strategy.submit_order(self.loaded, order)

    def _price(self) -> Decimal:
        return self._to_price(self.market.closes[self.at])

    def _to_price(self, units: Any) -> Decimal:
        return _EXACT.scaleb(Decimal(int(units)), -self._places)

    def _set_due(self) -> None:
        """Set the bar at whose close something falls due, whatever the prices."""
        due_ms = min(self._funding_ms, self._midnight_ms)
        self._due_at = int(np.searchsorted(self.market.closes_ms, due_ms))
        if self._interrupted:
            self._due_at = 0

    def _set_prices(self) -> None:
        """Set the price at which a bar must be looked at, for what is held now.

        `_edge` are the ends of the bars that are worse for us, as numbers that fall: lows while we
        are long, the negatives of highs while we are short.
        """
        self._alarm = -_NEVER
        long = self.account.position > 0
        price = liquidation_price(self.account, self._maintenance)
        if price is None:
            if self._halted is None and must_halt(self.account.cash, self._day_start, self.limits):
                self._alarm = _NEVER  # flat with the day's loss: halt at the next close
            return
        if self._halted is None:
            loss = halt_price(self.account, self._day_start, self.limits)
            price = loss if loss is not None and (loss > price) == long else price
        units = _EXACT.scaleb(price, self._places)
        self._edge = self._lows if long else self._minus_highs
        self._alarm = math.floor(units) if long else -math.ceil(units)


def _ignore(_bar: Any) -> None:
    """Stand for an `on_bar` that a strategy does not have."""


def _name(thing: Any) -> str:
    """Return the id of an order, or of the order that an event is about."""
    name: str = thing.client_order_id.value
    return name


def _to_order(order: Any, left: Decimal, price: Any, trigger_price: Any) -> Order:
    """Return what of an order may still be filled, in the words of risk.py."""
    change = left if order.is_buy else left.copy_negate()
    if order.order_type == OrderType.MARKET:
        return Order(change, order.is_reduce_only)
    given = [price or getattr(order, "price", None)]
    given.append(trigger_price or getattr(order, "trigger_price", None))
    prices = tuple(value.as_decimal() for value in given if value is not None)
    return Order(change, order.is_reduce_only, prices)
