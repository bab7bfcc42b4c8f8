"""One strategy on one venue's instrument through NautilusTrader: bars in, fills and a curve out.

The engine forgives what a result must not: it logs and goes on when a callback raises, when an
order cannot be filled, when a bar does not fit. So whatever it says at the level of an error ends
the run, and afterwards the bars are counted, every order and fill is held against what the guard
let through, every market order's price is looked up in the bars, and the engine's account is
compared with ours.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Context, Decimal, localcontext
from types import FrameType
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import LoggerConfig, LogLevel, logger_flush
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import (
    AccountType,
    BarType,
    CryptoPerpetual,
    IndexPriceUpdate,
    LiquiditySide,
    Money,
    OmsType,
    OrderFilled,
    OrderSide,
    OrderStatus,
    OrderType,
    Price,
)
from nautilus_trader.risk import RiskEngineConfig

from tbv8.config import records
from tbv8.errors import DataError
from tbv8.market import Series, iso
from tbv8.results.accounting import (
    Curve,
    Fill,
    Payment,
    Position,
    fixed_point,
    from_money,
    to_curve,
    to_positions,
)
from tbv8.trading.fills import BarFills, taker_price
from tbv8.trading.guard import Denial, Halt, Market, RiskGuard, clocks_held, guarded
from tbv8.trading.loading import (
    Caught,
    StrategyError,
    check_heard,
    forget_strategies,
    is_of_strategy,
    load_strategy,
    strategy_error,
    wrap_callbacks,
)
from tbv8.trading.nautilus import (
    ENGINE_DECIMALS,
    Floats,
    Ints,
    check_bars,
    close_times,
    column,
    gc_paused,
    price_decimals,
    to_bar_type,
    to_bars,
    to_instrument,
)

_NS = 1_000_000
_CALLBACK_S = 1.0  # that a callback may take to end once the run is to end
_CHUNK = 250_000  # bars in the engine at once: a million take 1.2 GB
_CENT = Decimal("0.01")
_EXACT = Context(prec=60)


class Asked(msgspec.Struct, frozen=True):
    """An order that the strategy sent and the guard let through."""

    ts_ms: int
    side: Literal["buy", "sell"]
    type: str
    quantity: Decimal


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did; `orders` counts them by status, `refused` by the engine's reason."""

    venue: str
    orders: dict[str, int]
    refused: dict[str, int]
    denials: tuple[Denial, ...]
    halts: tuple[Halt, ...]
    asked: tuple[Asked, ...]
    fills: tuple[Fill, ...]
    payments: tuple[Payment, ...]
    positions: tuple[Position, ...]
    curve: Curve
    start_equity: Decimal
    price_decimals: int
    size_decimals: int


class _Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is made of."""

    strategy: records.Strategy
    venue: str
    instrument: CryptoPerpetual
    bar_type: BarType
    bars: pa.Table
    closes_ms: Ints

    @property
    def rules(self) -> records.Instrument:
        return self.strategy.instruments[self.venue][self.strategy.symbol]

    @property
    def closes(self) -> Floats:
        return column(self.bars, "close")


def run_strategy(
    strategy: records.Strategy,
    venue: str,
    bars: pa.Table,
    *,
    stop: bool = True,
    places: int | None = None,
) -> Run:
    """Run `strategy` with the rules of `venue` over the bars of its source.

    Args:
        strategy: With all that it inherits.
        venue: Its primary or secondary one.
        bars: Those of its source.
        stop: False leaves the run after the last bar, as if more were to come: the strategy's
            `on_stop` is not called.
        places: The decimals of prices; else as many as these bars need.

    Raises:
        DataError: There are no bars, or some that no market makes.
        StrategyError: The strategy raised, went past the guard, or ended the run early.
    """
    if not bars.num_rows:
        raise DataError(
            f"{strategy.source} has no {strategy.timeframe} bars in {strategy.span}: widen "
            "start_date and end_date"
        )
    check_bars(bars)
    rules = strategy.instruments[venue][strategy.symbol]
    series = Series(venue, strategy.symbol)
    places = price_decimals(bars, rules.tick_size) if places is None else places
    stage = _Stage(
        strategy=strategy,
        venue=venue,
        instrument=to_instrument(series, rules, price_decimals=places),
        bar_type=to_bar_type(series, strategy.timeframe),
        bars=bars,
        closes_ms=close_times(bars, strategy.timeframe),
    )
    market = Market(
        closes_ms=stage.closes_ms,
        opens=fixed_point(column(bars, "open"), places),
        highs=fixed_point(column(bars, "high"), places),
        lows=fixed_point(column(bars, "low"), places),
        closes=fixed_point(column(bars, "close"), places),
    )
    fill_model = BarFills(
        stage.instrument,
        slippage_ticks=strategy.slippage_ticks,
        opens=market.opens,
        closes_ns=stage.closes_ms * _NS,
    )
    engine = _make_engine(stage, fill_model)
    try:
        guard = RiskGuard(strategy, rules, stage.instrument, stage.bar_type, market, fill_model)
        with clocks_held(guard), localcontext(Context()):  # which is the strategy's own to change
            caught = _add_strategy(engine, stage, guard)
            _feed(engine, stage, guard, caught, stop=stop)
        _check_complete(engine, stage, guard, caught)
        if stop and not guard.passed and not guard.denials:
            check_heard(strategy, guard.loaded, listened=guard.listened)
        with localcontext(_EXACT), gc_paused():
            return _collect(engine, stage, guard)
    finally:
        engine.dispose()


def _add_strategy(engine: BacktestEngine, stage: _Stage, guard: RiskGuard) -> list[Caught]:
    forget_strategies()
    loaded = load_strategy(stage.strategy, stage.venue, behind=guarded(guard))
    caught = wrap_callbacks(loaded, guard)
    engine.add_strategy(loaded)
    guard.join(loaded)
    guard.fill_model.clock_ns = guard.clock_ns
    return caught


def _make_engine(stage: _Stage, fill_model: BarFills) -> BacktestEngine:
    strategy, rules = stage.strategy, stage.rules
    money = stage.instrument.quote_currency
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggerConfig(stdout_level=LogLevel.ERROR, is_colored=False),
            shutdown_on_error=True,
            run_analysis=False,
            # ours is the guard; this one denies the 101st order of a second, and any of an account
            # whose cash is below 0, also the one that would close its position
            risk_engine=RiskEngineConfig(bypass=True),
        )
    )
    engine.add_venue(
        venue=stage.instrument.id.venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money.from_decimal(strategy.starting_balance_usd, money)],
        base_currency=money,
        default_leverage=min(strategy.risk.max_leverage, rules.max_leverage),
        fee_model=MakerTakerFeeModel(rules.maker_fee, rules.taker_fee),
        fill_model=fill_model,
        reject_stop_orders=False,
    )
    engine.add_instrument(stage.instrument)
    return engine


def _feed(
    engine: BacktestEngine, stage: _Stage, guard: RiskGuard, caught: list[Caught], *, stop: bool
) -> None:
    """Feed the bars in chunks until the last, or until something ends the run.

    After the last bar comes one more thing that nobody listens to: an error at the last bar ends
    the run before it.
    """
    for first in range(0, stage.bars.num_rows, _CHUNK):
        chunk = stage.bars.slice(first, _CHUNK)
        closes_ms = stage.closes_ms[first : first + _CHUNK]
        engine.add_data(to_bars(chunk, stage.bar_type, stage.instrument, closes_ms=closes_ms))
        _run_on(engine, int(closes_ms[0]) * _NS, guard, caught)
        if caught or engine.iteration != first + chunk.num_rows:
            return
    end_ns = int(stage.closes_ms[-1]) * _NS + 1  # when what a bar leaves to do is done
    last = Price(float(stage.closes[-1]), stage.instrument.price_precision)
    engine.add_data([IndexPriceUpdate(stage.instrument.id, last, end_ns, end_ns)])
    _run_on(engine, end_ns, guard, caught)
    if stop:
        engine.end()


def _run_on(engine: BacktestEngine, start_ns: int, guard: RiskGuard, caught: list[Caught]) -> None:
    try:
        with _signals_held(guard.interrupt):
            engine.run(start=start_ns, streaming=True)
    except RuntimeError:
        if not caught:
            raise
    engine.clear_data()


@contextmanager
def _signals_held(interrupt: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM end the block by `interrupt`; what they raise comes after it.

    The engine runs Python between its own steps, where it would take their exception for an error.
    A callback that does not end within a second gets it nevertheless.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    raised: list[BaseException] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        if not arrived:
            arrived.append(number)
            interrupt()
            signal.signal(signal.SIGALRM, lose_patience)
            signal.setitimer(signal.ITIMER_REAL, _CALLBACK_S)

    def lose_patience(_number: int, _frame: FrameType | None) -> None:
        release()
        try:
            signal.raise_signal(arrived[0])
        except BaseException as e:
            raised.append(e)
            raise

    def release() -> None:
        if arrived:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, hold)
    signal.signal(signal.SIGTERM, hold)
    try:
        yield
    finally:
        if raised:  # by then they are released, and SIGALRM may be the process's last word
            raise raised[0]
        release()
        if arrived:
            signal.raise_signal(arrived[0])


def _check_complete(
    engine: BacktestEngine, stage: _Stage, guard: RiskGuard, caught: list[Caught]
) -> None:
    seen, wanted = min(engine.iteration, guard.bars_seen), stage.bars.num_rows
    if guard.bars_seen > wanted:
        raise StrategyError(
            f"{stage.strategy.strategy_id}: it called self.on_bar() itself, which is how a bar is "
            "delivered: put what it does into a method of another name, and call that"
        )
    if caught:
        error, callback = caught[0].error, caught[0].callback
        if isinstance(error, KeyboardInterrupt) or not is_of_strategy(error):
            raise error
        at = f", after the bar that closed at {iso(int(stage.closes_ms[seen - 1]))}" if seen else ""
        raise strategy_error(stage.strategy, error, callback + at) from error
    if seen != wanted or engine.iteration != wanted + 1:
        logger_flush()
        raise StrategyError(
            f"{stage.strategy.strategy_id}: the run ended after {seen} of {wanted} bars, by the "
            "error logged above or because the strategy stopped itself: mend what it says, or log "
            "it as a warning"
        )


def _collect(engine: BacktestEngine, stage: _Stage, guard: RiskGuard) -> Run:
    orders = sorted(engine.cache.orders(), key=_sequence)
    _check_orders(stage, orders, guard)
    fills = tuple(_fills(orders, guard))
    _check_told(stage, guard, fills)
    _check_limits(stage, fills)
    _check_prices(stage, fills)
    start = stage.strategy.starting_balance_usd
    payments = tuple(guard.payments)
    curve = to_curve(fills, payments, start=start, closes_ms=stage.closes_ms, closes=stage.closes)
    _check_account(engine, stage, curve, payments)
    statuses = Counter(order.status.name.lower() for order in orders)
    statuses["denied"] += len(guard.denials)
    return Run(
        venue=stage.venue,
        orders=dict(sorted((+statuses).items())),
        refused=dict(sorted(Counter(_refusals(orders)).items())),
        denials=tuple(guard.denials),
        halts=tuple(guard.halts),
        asked=tuple(_asked(orders, guard)),
        fills=fills,
        payments=payments,
        positions=tuple(to_positions(fills)),
        curve=curve,
        start_equity=start,
        price_decimals=stage.instrument.price_precision,
        size_decimals=stage.instrument.size_precision,
    )


def _asked(orders: list[Any], guard: RiskGuard) -> Iterator[Asked]:
    """Yield what the strategy sent, with the quantity that it was sent with."""
    for order in orders:
        name = order.client_order_id.value
        if name in guard.forced:
            continue
        if name in guard.passed:
            change = guard.passed[name].change
        else:
            quantity = order.init_event.quantity.as_decimal()
            change = quantity if order.is_buy else -quantity
        side: Literal["buy", "sell"] = "buy" if change > 0 else "sell"
        yield Asked(order.ts_init // _NS, side, order.order_type.name.lower(), abs(change))


def _sequence(order: Any) -> tuple[int, int, str]:
    """Sort by time of making; of one instant by the running number at the end of the id."""
    name = order.client_order_id.value
    return order.ts_init, len(name), name


def _fills(orders: list[Any], guard: RiskGuard) -> Iterator[Fill]:
    executed = [
        (event, f"O-{number}", order)
        for number, order in enumerate(orders, start=1)
        for event in _events(order)
        if isinstance(event, OrderFilled)
    ]
    # the running number at the end of a trade id orders the executions of one instant
    executed.sort(key=lambda each: (each[0].ts_event, int(each[0].trade_id.value.split("-")[-1])))
    position = Decimal(0)
    for event, order_id, order in executed:
        quantity = event.last_qty.as_decimal()
        position += quantity if event.order_side == OrderSide.BUY else -quantity
        yield Fill(
            ts_ms=event.ts_event // _NS,
            order_id=order_id,
            side="buy" if event.order_side == OrderSide.BUY else "sell",
            type=_type(event, guard),
            quantity=quantity,
            price=event.last_px.as_decimal(),
            fee=event.commission.as_decimal() if event.commission else Decimal(0),
            liquidity="maker" if event.liquidity_side == LiquiditySide.MAKER else "taker",
            position=position,
            trigger=_trigger(order, guard),
        )


def _trigger(order: Any, guard: RiskGuard) -> Decimal | None:
    if order.order_type == OrderType.STOP_MARKET:
        trigger: Decimal = order.trigger_price.as_decimal()
        return trigger
    raw = guard.triggers.get(order.client_order_id.value)
    return None if raw is None else Decimal(raw).scaleb(-ENGINE_DECIMALS)


def _events(order: Any) -> list[Any]:
    """Return the events among which an order's fills are: all, or the last where that is the one.

    Each costs 5 µs to bring over from the engine.
    """
    if not order.filled_qty.raw:
        return []
    if len(order.trade_ids) == 1 and order.status == OrderStatus.FILLED:
        return [order.last_event]
    events: list[Any] = order.events()
    return events


def _type(event: OrderFilled, guard: RiskGuard) -> str:
    name: str = event.order_type.name.lower()
    return guard.forced.get(event.client_order_id.value, name)


def _refusals(orders: list[Any]) -> Iterator[str]:
    for order in orders:
        if order.status in (OrderStatus.DENIED, OrderStatus.REJECTED):
            reason = str(order.last_event.reason).split(":")[0]
            yield reason.replace(f" {order.client_order_id}", "")


def _check_orders(stage: _Stage, orders: list[Any], guard: RiskGuard) -> None:
    """Refuse a run with an order that the guard did not see, unless it can only reduce."""
    for number, order in enumerate(orders, start=1):
        if order.status == OrderStatus.SUBMITTED and order.parent_order_id is None:
            raise AssertionError(f"O-{number} was never answered: {order}")
        name = order.client_order_id.value
        if name not in guard.passed and name not in guard.forced and not order.is_reduce_only:
            raise StrategyError(
                f"{stage.strategy.strategy_id}: order O-{number} of "
                f"{iso(order.ts_init // _NS)} ({order.quantity} {order.side.name.lower()}) went "
                "past the risk limits: send it with self.submit_order"
            )

    for name in guard.past:
        raise StrategyError(
            f"{stage.strategy.strategy_id}: order {name} was made larger past the risk limits: "
            "change it with self.modify_order"
        )


def _check_told(stage: _Stage, guard: RiskGuard, fills: tuple[Fill, ...]) -> None:
    """Refuse a run whose guard was told of other fills; of those after `on_stop` nobody is told."""
    told, untold = fills[: guard.fills], fills[guard.fills :]
    position = told[-1].position if told else Decimal(0)
    if (
        len(told) < guard.fills
        or position != guard.account.position
        or any(fill.ts_ms < stage.closes_ms[-1] for fill in untold)
    ):
        raise StrategyError(
            f"{stage.strategy.strategy_id}: its fills are not those that the venue made (the cache "
            "or the callbacks were changed): leave them as they are"
        )


def _check_limits(stage: _Stage, fills: tuple[Fill, ...]) -> None:
    """Refuse a run in which a fill took the position beyond the limit."""
    limit = stage.strategy.risk.max_positions[stage.strategy.symbol]
    for fill in fills:
        before = fill.position - fill.change
        if abs(fill.position) > limit and abs(fill.position) > abs(before):
            raise StrategyError(
                f"{stage.strategy.strategy_id}: {fill.order_id} took the position to "
                f"{fill.position} at {iso(fill.ts_ms)}, beyond the limit of {limit}: send orders "
                "with self.submit_order and modify them with self.modify_order"
            )


def _check_prices(stage: _Stage, fills: tuple[Fill, ...]) -> None:
    """Compare every price with the bar: a market order's exactly, the others with its ends."""
    market = [fill for fill in fills if fill.type == "market"]
    at = np.searchsorted(stage.closes_ms, [fill.ts_ms for fill in market], side="right") - 1
    for fill, close in zip(market, stage.closes[at].tolist(), strict=True):
        price = taker_price(
            Price(close, stage.instrument.price_precision).raw,
            buy=fill.side == "buy",
            tick=stage.instrument.price_increment.raw,
            slippage_ticks=stage.strategy.slippage_ticks,
        )
        if int(fill.price.scaleb(ENGINE_DECIMALS)) != price:
            raise AssertionError(
                f"{fill.order_id} was filled at {fill.price} when the bar closed at {close}"
            )
    at = np.searchsorted(stage.closes_ms, [fill.ts_ms for fill in fills], side="right") - 1
    highs, lows = column(stage.bars, "high")[at], column(stage.bars, "low")[at]
    prices = np.array([float(fill.price) for fill in fills])
    buys = np.array([fill.side == "buy" for fill in fills], dtype=bool)
    wrong = np.flatnonzero(np.where(buys, prices < lows, prices > highs))
    if wrong.size:
        fill, bar = fills[wrong[0]], (lows[wrong[0]], highs[wrong[0]])
        raise AssertionError(f"{fill.order_id} was filled at {fill.price}, better than its {bar}")


def _check_account(
    engine: BacktestEngine, stage: _Stage, curve: Curve, payments: tuple[Payment, ...]
) -> None:
    """Compare the engine's balance, plus what its open position would bring, with our equity.

    The engine knows nothing of funding.
    """
    account: Any = engine.cache.account_for_venue(stage.instrument.id.venue)
    if account is None:
        raise StrategyError(
            f"{stage.strategy.strategy_id}: the cache was emptied in the run: leave it as it is"
        )
    theirs = account.balance_total(stage.instrument.quote_currency).as_decimal()
    last = Price(float(curve.price[-1]), stage.instrument.price_precision)
    for position in engine.cache.positions_open():
        theirs += position.unrealized_pnl(last).as_decimal()
    theirs -= sum((payment.amount for payment in payments), Decimal(0))
    ours = from_money(curve.equity[-1])
    if abs(theirs - ours) >= _CENT:
        raise AssertionError(f"the engine's account holds {theirs} USD, ours {ours}")
