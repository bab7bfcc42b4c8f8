"""One strategy on one venue. Bars are fed in pieces, and any split gives the same run.

A session never holds a future bar. stepping.py runs the account and the engine over the bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from decimal import Decimal, localcontext
from types import TracebackType
from typing import Self

from tbv8.config import files, records
from tbv8.market import Series
from tbv8.risk.book import Book
from tbv8.risk.events import EXACT, Breach
from tbv8.risk.limits import Limits, MarketLimits
from tbv8.trading.audit import check_run, make_run
from tbv8.trading.bars import Bars
from tbv8.trading.callbacks import Callbacks, guard_clocks
from tbv8.trading.chart_lines import ChartLineLog
from tbv8.trading.fill_source import FillSource
from tbv8.trading.gate import Gate
from tbv8.trading.gated import make_gated_base
from tbv8.trading.interrupts import defer_signals
from tbv8.trading.loading import check_subscribed, forget_strategies, load_strategy
from tbv8.trading.nautilus import decimals, infrequent_gc, to_bar_type, to_instrument
from tbv8.trading.orders import Orders
from tbv8.trading.records import STOP, CarriedAccount, Events, RestingLimit, Run
from tbv8.trading.reports import Reports
from tbv8.trading.runner import EngineRunner
from tbv8.trading.schedule import Schedule, schedules
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.simulation import Simulation
from tbv8.trading.stepping import Stepper
from tbv8.trading.units import FEE_DECIMALS, Ratio, Units, maintenance_ratio
from tbv8.trading.venue import Payments, make_engine

_NS = 1_000_000


class Session:
    """A run of one strategy under one venue's rules.

    Use it as a context manager. A process can have one at a time, in one thread.

    Args:
        strategy: The strategy's config.
        venue: Its primary or secondary venue.
        price_decimals: The decimals of each symbol's prices; bars with more are rounded.
        with_chart_lines: True to keep the values of the strategy's `chart_lines`.
        awaits_funding: True if each payment has a time of booking, as in a live session.
    """

    def __init__(
        self,
        strategy: records.Strategy,
        venue: str,
        *,
        price_decimals: Mapping[str, int],
        with_chart_lines: bool = False,
        awaits_funding: bool = False,
    ) -> None:
        self.strategy, self.venue = strategy, venue
        rules = strategy.instruments[venue]
        self._markets = _markets(strategy, venue, price_decimals)
        self._bar_types = {
            (symbol, timeframe): to_bar_type(Series(venue, symbol), timeframe)
            for symbol in strategy.symbols
            for timeframe in (strategy.timeframe, *strategy.bars)
        }
        balance = strategy.starting_balance_usd
        self._book = Book(
            limits=_limits(strategy, rules),
            cash=balance,
            day_start=balance,
            midnight_ms=0,
            positions=dict.fromkeys(strategy.symbols, Decimal(0)),
        )
        markets = {market.instrument.id: market for market in self._markets}
        self._orders = Orders(strategy.strategy_id, self._book, markets)
        self._gate = Gate(self._orders)
        source = FillSource(self._orders)
        self._reports = Reports(self._orders, source)
        self._simulation = Simulation(
            self._book,
            self._orders,
            self._markets,
            rules,
            counted_from_ms=strategy.counted_span.start_ms if strategy.warm_up_ms else None,
            starting_balance=balance,
            awaits_funding=awaits_funding,
        )
        currency = self._markets[0].instrument.quote_currency
        self._payments = Payments(self._simulation.unbooked, currency)
        instruments = [market.instrument for market in self._markets]
        self._engine = make_engine(instruments, source, self._payments, balance=balance)
        self._begun = False
        self._add_strategy(with_chart_lines=with_chart_lines)

    def _add_strategy(self, *, with_chart_lines: bool) -> None:
        forget_strategies(self.strategy)
        orders = self._orders
        base = make_gated_base(self._gate, self._bar_types.values())
        base.funding_rate = staticmethod(self._simulation.funding_rate)  # type: ignore[attr-defined]
        self._loaded = load_strategy(self.strategy, self.venue, base=base)
        self._chart_lines = ChartLineLog(self.strategy, self._loaded, self._bar_types)
        hooks, followers = (
            self._reports.hooks(),
            {"on_bar": self._chart_lines.add} if with_chart_lines else {},
        )
        self._callbacks = Callbacks(self._loaded, hooks, orders.deliver_events, followers)
        self._engine.add_strategy(self._loaded)
        orders.attach(self._loaded)
        self._runner = EngineRunner(
            self._engine, self.strategy, self._loaded, self._callbacks, self._markets
        )
        self._stepper = Stepper(self._markets, orders, self._gate, self._simulation, self._runner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._engine.dispose()
        # the class and its callbacks refer to each other: the garbage collector could drop the
        # strategy in another thread, and NautilusTrader's objects must be dropped in their own
        self._callbacks.release()
        self._orders.detach()

    def feed(self, bars: Bars) -> None:
        """Run the session over further bars; all must close after the earlier ones.

        Raises:
            DataError: A bar is impossible, or closes too early.
            StrategyError: The strategy raised, or ended the run.
        """
        with ExitStack() as stack:
            self._enter_run(stack)
            charged = bars.funding.get(self.venue, {})
            self._simulation.add_funding(charged, self._orders.step_ns // _NS)
            for schedule in schedules(
                bars,
                step=self.strategy.step,
                markets=self._markets,
                bar_types=self._bar_types,
                after_ms=self._orders.step_ns // _NS,
            ):
                if not self._begun:
                    self._simulation.begin(int(schedule.closes_ns[0]) // _NS)
                    self._start(schedule)
                    self._begun = True
                self._stepper.run(schedule)

    def _start(self, schedule: Schedule) -> None:
        """Start the strategy before the first close; the engine needs data to start."""
        number, opened = int(schedule.markets[0]), int(schedule.prices[0][0])
        self._runner.walk(self._markets[number], [opened], int(schedule.closes_ns[0]) - 1)

    def end(self, *, stop: bool = True) -> Run:
        """Return the finished run; nothing can be fed after it.

        Args:
            stop: False ends without the strategy's `on_stop`, as if more bars were to come.

        Raises:
            StrategyError: The strategy raised, or went past the gate.
        """
        if stop:
            with ExitStack() as stack:
                self._enter_run(stack)
                self._pass_time(self.strategy.counted_span.end_ms)
                self._runner.end(self._orders.step_ns)
            if not self._orders.submitted and not self._book.denials:
                check_subscribed(self.strategy, self._loaded, subscribed=self._gate.subscribed)
        orders = check_run(self._engine, self._reports)
        carried = self._simulation.carried
        lines = self._chart_lines.chart_lines(since_ms=carried.ts_ms if carried else 0)
        return make_run(self.strategy, self.venue, self._orders, orders, carried, lines)

    def _pass_time(self, until_ms: int) -> None:
        """Charge the funding that is due after the last close, up to a time."""
        self._orders.set_prices()
        self._simulation.pass_time((until_ms + 1) * _NS)
        if self._simulation.unbooked:
            self._runner.settle(self._orders.step_ns)

    @property
    def book(self) -> Book:
        """The account at the last instant; for reading only."""
        self._orders.set_prices()  # an instant at which nothing happens to the account sets none
        return self._book

    @property
    def is_counting(self) -> bool:
        """True if the warm-up has ended, or there was none."""
        return not self.strategy.warm_up_ms or self._simulation.carried is not None

    @property
    def carried(self) -> CarriedAccount | None:
        """The account at the end of the warm-up; None during it, or without one."""
        return self._simulation.carried

    def events(self) -> Events:
        """Return the events since the warm-up, each list in its own order."""
        carried = self._simulation.carried
        return self._orders.events(since_ms=carried.ts_ms if carried else 0)

    def resting_limits(self) -> list[RestingLimit]:
        """Return the resting limit orders, without children that wait for a parent."""
        return self._orders.resting_limits()

    def block_entries(self, block: Breach | None) -> None:
        """Deny orders that open a position, by a rule; None allows them again."""
        self._book.blocked_by = block

    def cancel_orders(self, *, close: bool) -> None:
        """Cancel every order at the last instant, and close every position if asked.

        Raises:
            StrategyError: The strategy raised.
        """
        if not self._begun:
            return
        with ExitStack() as stack:
            self._enter_run(stack)
            if close:
                self._orders.close_all(tag=STOP)
            else:
                self._orders.cancel_all(STOP)
            self._runner.settle(self._orders.step_ns)
            self._simulation.set_alarms()

    def _enter_run(self, stack: ExitStack) -> None:
        stack.enter_context(defer_signals(self._stepper.interrupt))
        stack.enter_context(guard_clocks(self._callbacks))
        stack.enter_context(localcontext(EXACT))
        stack.enter_context(infrequent_gc())


def _markets(
    strategy: records.Strategy, venue: str, price_decimals: Mapping[str, int]
) -> list[SimulatedMarket]:
    """Return the session's markets in order, with one scale of money for all."""
    rules = strategy.instruments[venue]
    places = {s: (price_decimals[s], decimals(rules[s].lot_size)) for s in strategy.symbols}
    money_decimals = max(FEE_DECIMALS, *(prices + sizes for prices, sizes in places.values()))
    markets = []
    for symbol, (prices, sizes) in places.items():
        instrument_rules = rules[symbol]
        tick = int(instrument_rules.tick_size.scaleb(prices))
        units = Units(
            price_decimals=prices,
            size_decimals=sizes,
            money_decimals=money_decimals,
            tick=tick,
            slippage=strategy.slippage_ticks * tick,
            maker=Ratio.of(instrument_rules.maker_fee),
            taker=Ratio.of(instrument_rules.taker_fee),
            maintenance=maintenance_ratio(instrument_rules.max_leverage),
            max_position=int(strategy.risk.max_positions[symbol].scaleb(sizes)),
        )
        instrument = to_instrument(Series(venue, symbol), instrument_rules, price_decimals=prices)
        markets.append(SimulatedMarket(symbol, instrument, units))
    return markets


def _limits(strategy: records.Strategy, rules: Mapping[str, files.Instrument]) -> Limits:
    return Limits(
        max_daily_loss_usd=strategy.risk.max_daily_loss_usd,
        max_leverage=strategy.risk.max_leverage,
        markets={
            symbol: MarketLimits(
                tick_size=rules[symbol].tick_size,
                lot_size=rules[symbol].lot_size,
                min_notional_usd=rules[symbol].min_notional_usd,
                max_position=strategy.risk.max_positions[symbol],
                max_leverage=rules[symbol].max_leverage,
            )
            for symbol in strategy.symbols
        },
    )
