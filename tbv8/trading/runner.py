"""The engine, run piece by piece: data in, errors out, and when the next timer is due."""

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
from tbv8.trading.resting import RestingOrders
from tbv8.trading.units import NEVER

_NS = 1_000_000


class EngineRunner:
    """Runs the engine up to given moments, and raises what went wrong there.

    The engine forgives what a result must not: it logs and goes on when a callback raises. So
    after each run its data are counted, and what callbacks raised is raised here.

    Attributes:
        timer_ns: When the strategy's next timer is due; NEVER where there is none.
    """

    def __init__(
        self,
        engine: BacktestEngine,
        strategy: records.Strategy,
        loaded: Strategy,
        callbacks: Callbacks,
        markets: Sequence[RestingOrders],
    ) -> None:
        self.timer_ns = NEVER
        self._engine, self._strategy, self._loaded = engine, strategy, loaded
        self._callbacks, self._markets = callbacks, markets
        self._items = 0  # of data that the engine should have seen
        # bound once: they are called at each bar
        self._add_data, self._run, self._clear = engine.add_data, engine.run, engine.clear_data
        self._is_running = loaded.is_running

    def run(self, time_ns: int, data: list[Any]) -> None:
        """Let the engine go on to `time_ns`, the time of the data, which are in their order.

        Without data the timers fire that are due before it, and no order ends.

        Raises:
            StrategyError: The strategy raised, or ended the run.
        """
        callbacks = self._callbacks
        if data:
            self._add_data(data, None, False, True)
            self._items += len(data)
        try:
            self._run(time_ns - 1, None, None, True)
        except RuntimeError as e:  # as where a strategy stops itself in on_start
            self._raise_error(time_ns, f" ({e})")
        self._clear()
        if (
            callbacks.caught is not None
            or self._engine.iteration != self._items
            or not self._is_running()
        ):
            self._raise_error(time_ns)
        if callbacks.has_timers:
            clock = self._loaded.clock
            due = (clock.next_time_ns(name) for name in clock.timer_names())
            self.timer_ns = min((ns for ns in due if ns is not None), default=NEVER)

    def settle(self, time_ns: int, shown: Sequence[Any] = ()) -> None:
        """Move the engine's market to the last closes, carry out what was sent, and show bars."""
        data: list[Any] = [m.quote(m.last, time_ns) for m in self._markets if m.last is not None]
        data += shown
        self.run(time_ns, data)

    def walk(self, market: RestingOrders, prices: Sequence[int], time_ns: int) -> None:
        """Move the engine's market of one symbol along a path, all of it at one moment."""
        quotes: list[QuoteTick] = [market.quote(price, time_ns) for price in prices]
        self.run(time_ns, quotes)

    def end(self, time_ns: int) -> None:
        """End the engine's run: the strategy is stopped.

        Raises:
            StrategyError: The strategy raised.
        """
        self._engine.end()
        if self._callbacks.caught is not None:
            self._raise_error(time_ns)

    def _raise_error(self, time_ns: int, raised: str = "") -> None:
        caught, name = self._callbacks.caught, self._strategy.strategy_id
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
        at = "" if caught.callback == "on_start" else f", at the close of {moment}"
        raise strategy_error(self._strategy, error, caught.callback + at) from error
