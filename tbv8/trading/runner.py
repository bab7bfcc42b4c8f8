"""Run the engine piece by piece, raise its errors, and track the strategy's next timer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.common import logger_flush
from nautilus_trader.model import QuoteTick
from nautilus_trader.trading import Strategy

from tbv8.config import records
from tbv8.market import iso
from tbv8.trading.callbacks import Callbacks
from tbv8.trading.loading import StrategyError, is_of_strategy, strategy_error
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.units import NEVER

_NS = 1_000_000


class EngineRunner:
    """Runs the engine up to given times, and raises the errors of callbacks.

    The engine only logs an exception of a callback, and goes on. So after each run the processed
    data are counted, and an exception is raised here.

    Attributes:
        timer_ns: The time of the strategy's next timer; NEVER without one.
    """

    def __init__(
        self,
        engine: BacktestEngine,
        strategy: records.Strategy,
        loaded: Strategy,
        callbacks: Callbacks,
        markets: Sequence[SimulatedMarket],
    ) -> None:
        self.timer_ns = NEVER
        self._engine, self._strategy, self._loaded = engine, strategy, loaded
        self._callbacks, self._markets = callbacks, markets
        self._items = 0  # the number of data items given to the engine
        # bound once: they are called at each bar
        self._add_data, self._run, self._clear = engine.add_data, engine.run, engine.clear_data
        self._is_running = loaded.is_running

    def run(self, time_ns: int, data: list[Any]) -> None:
        """Run the engine up to `time_ns`, which is also the time of the data.

        Without data, only timers due before that time fire; no order expires.

        Raises:
            StrategyError: The strategy raised, or ended the run.
        """
        callbacks = self._callbacks
        if data:
            self._add_data(data, None, False, True)
            self._items += len(data)
        try:
            self._run(time_ns - 1, None, None, True)
        except RuntimeError as e:  # a strategy may stop itself in on_start
            self._raise_error(time_ns, f" ({e})")
        self._clear()
        if (
            callbacks.failure is not None
            or self._engine.iteration != self._items
            or not self._is_running()
        ):
            self._raise_error(time_ns)
        if callbacks.has_timers:
            clock = self._loaded.clock
            due = (clock.next_time_ns(name) for name in clock.timer_names())
            self.timer_ns = min((ns for ns in due if ns is not None), default=NEVER)

    def settle(self, time_ns: int, shown: Sequence[Any] = ()) -> None:
        """Move the engine's market to the last closes, execute sent orders, and show bars."""
        data: list[Any] = [m.quote(m.last, time_ns) for m in self._markets if m.last is not None]
        data += shown
        self.run(time_ns, data)

    def walk(self, market: SimulatedMarket, prices: Sequence[int], time_ns: int) -> None:
        """Move the engine's market of one symbol along a path of prices, all at one time."""
        quotes: list[QuoteTick] = [market.quote(price, time_ns) for price in prices]
        self.run(time_ns, quotes)

    def end(self, time_ns: int) -> None:
        """End the engine's run and stop the strategy.

        Raises:
            StrategyError: The strategy raised.
        """
        self._engine.end()
        if self._callbacks.failure is not None:
            self._raise_error(time_ns)

    def _raise_error(self, time_ns: int, raised: str = "") -> None:
        caught, name = self._callbacks.failure, self._strategy.strategy_id
        moment = iso(time_ns // _NS)
        if caught is None:
            logger_flush()
            raise StrategyError(
                f"{name}: the run ended at {moment}{raised}: the strategy stopped itself, or an "
                "error was logged (a line with [ERROR], before or after this one): remove the "
                "cause, or let the strategy print instead of logging an error"
            )
        error = caught.error
        if isinstance(error, KeyboardInterrupt) or not is_of_strategy(self._strategy, error):
            raise error
        when = "" if caught.callback == "on_start" else f" at the close of {moment}"
        raise strategy_error(self._strategy, error, caught.callback + when) from error
