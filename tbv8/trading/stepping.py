"""The steps of a session, one after another: the account and the engine at each close.

A step that cannot change the account costs a few comparisons. One that reaches an order is planned
by matching.py, and its fills are requested from the engine one by one. The order at one instant:
the steps' fills, liquidation, funding, the day's loss, the new day, requests deferred to the close,
the end of the warm-up, the strategy (docs/orders.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tbv8.market import iso
from tbv8.trading.gate import Gate
from tbv8.trading.matching import PlannedEvent
from tbv8.trading.orders import Orders
from tbv8.trading.runner import EngineRunner
from tbv8.trading.schedule import Interval, Schedule
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.simulation import Simulation

_NS = 1_000_000


class Stepper:
    """Runs a session's intervals one by one. It is on the hot path of every run.

    Args:
        markets: The session's symbols, in order.
        orders: Their orders, and the clock of the session.
        gate: Requests deferred to a close.
        simulation: The account's funding, liquidation, day and warm-up.
        runner: The engine.
    """

    def __init__(
        self,
        markets: Sequence[SimulatedMarket],
        orders: Orders,
        gate: Gate,
        simulation: Simulation,
        runner: EngineRunner,
    ) -> None:
        self._markets, self._orders, self._gate = markets, orders, gate
        self._simulation, self._runner = simulation, runner
        self._interrupted = False

    def interrupt(self) -> None:
        """End the run at the next step with a KeyboardInterrupt."""
        self._interrupted = True

    def run(self, schedule: Schedule) -> None:
        """Run the intervals of a schedule; those that may change the account instant by instant."""
        for interval in schedule.intervals():
            if not self._may_change_account(interval):
                self._skip(interval)
                continue
            for instant in schedule.instants(interval):
                if self._may_change_account(instant):
                    self._run_instant(instant)
                else:
                    self._skip(instant)

    def _may_change_account(self, interval: Interval) -> bool:
        """Return True if an interval may change the account."""
        time_ns, ranges, _, _, _ = interval
        simulation, markets = self._simulation, self._markets
        if (
            time_ns >= simulation.due_ns
            or time_ns >= self._runner.timer_ns
            or self._gate.deferred
            or self._interrupted
        ):
            return True
        for market in markets:
            if time_ns >= market.ends_ns:
                return True
        for number, _, high, low, _, _ in ranges:
            market = markets[number]
            if (
                low <= market.highest_below
                or high >= market.lowest_above
                or low <= market.low_alarm
                or high >= market.high_alarm
            ):
                return True
        return False

    def _skip(self, interval: Interval) -> None:
        """Go to the close of an interval that does not change the account."""
        time_ns, ranges, shown, _, _ = interval
        for number, _, _, _, close, closes_ns in ranges:
            market = self._markets[number]
            market.last = close
            if closes_ns == time_ns and shown:
                market.closed_ns = time_ns
        self._orders.step_ns = time_ns
        if shown:
            self._runner.settle(time_ns, shown)
            if self._simulation.has_changed():
                self._orders.set_prices()
                self._simulation.set_alarms()

    def _run_instant(self, instant: Interval) -> None:
        """Run an instant that may change the account."""
        if self._interrupted:
            raise KeyboardInterrupt
        gate, simulation, runner = self._gate, self._simulation, self._runner
        time_ns, ranges, shown, _, _ = instant
        ts_ms = time_ns // _NS
        self._orders.step_ns = time_ns
        self._orders.set_prices()
        simulation.pass_time(time_ns)
        ends_ns = min(market.ends_ns for market in self._markets)
        closed = [self._markets[number] for number, *_ in ranges]
        must_settle = min(ends_ns, runner.timer_ns) <= time_ns or gate.has_deferred(closed)
        before_ns = min(market.first_expiry(time_ns) for market in closed)
        if ends_ns <= time_ns and runner.timer_ns < time_ns:
            runner.run(time_ns, [])  # no timer inside of a step sees its fills, or orders' ends
        happened, liquidation = self._walk(instant, before_ns)
        self._orders.expire_unsent()
        self._orders.set_prices()
        if not liquidation:
            simulation.pay_funding(ts_ms)
        if must_settle or happened or simulation.unbooked:
            runner.settle(time_ns)
        if liquidation:
            market, planned, margin = liquidation
            simulation.liquidate(market, planned, ts_ms)
            runner.settle(time_ns)
            simulation.charge_margin(market, margin, ts_ms)
            simulation.pay_funding(ts_ms)
        elif simulation.must_halt():
            simulation.halt_for_loss(ts_ms)
            runner.settle(time_ns)
        simulation.start_day(ts_ms)
        if simulation.unbooked:
            runner.settle(time_ns)
        while gate.has_deferred(closed):
            gate.run_next(closed)
            runner.settle(time_ns)
        simulation.begin_counting(ts_ms)
        if simulation.unbooked:
            runner.settle(time_ns)
        for market in closed:
            market.closed_ns = time_ns
        if shown:
            runner.settle(time_ns, shown)
        simulation.set_alarms()

    def _walk(
        self, instant: Interval, before_ns: int
    ) -> tuple[bool, tuple[SimulatedMarket, PlannedEvent, Decimal] | None]:
        """Walk the engine through the planned fills of the steps, symbol by symbol.

        Returns:
            True if anything was planned; and for a liquidation, after which no symbol fills, its
            symbol, its event in the plan and the maintenance margin.
        """
        time_ns, ranges, _, _, _ = instant
        happened, liquidation = False, None
        for number, *prices, _ in ranges:
            market = self._markets[number]
            planned = [] if liquidation else self._simulation.plan(market, prices, time_ns)
            if planned:
                happened = True
                if path := [event.path_price for event in planned if event.order_id]:
                    self._orders.walking = market
                    self._runner.walk(market, path, before_ns - 1)
                    self._orders.walking = None
                if planned[-1].kind == "liquidation":
                    liquidation = market, planned[-1], self._simulation.margin_of(market)
            unfilled = market.close_step(prices[3])
            assert not unfilled, f"the engine requested no {unfilled} at {iso(time_ns // _NS)}"
        return happened, liquidation
