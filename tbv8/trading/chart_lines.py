"""The lines of a strategy in the price chart: a value for each bar of its timeframe."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from nautilus_trader.model import Bar, BarType
from nautilus_trader.trading import Strategy

from tbv8.config import records
from tbv8.market import Timeframe
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import ChartLines

_NS = 1_000_000
_GAP = float("nan")


class ChartLineLog:
    """The values of a strategy's `chart_lines`, read after `on_bar`.

    Args:
        strategy: The strategy's config.
        loaded: The strategy.
        bar_types: The types of its bars, by symbol and timeframe.
    """

    def __init__(
        self,
        strategy: records.Strategy,
        loaded: Strategy,
        bar_types: Mapping[tuple[str, Timeframe], BarType],
    ) -> None:
        self._strategy_id, self._loaded = strategy.strategy_id, loaded
        self._bar_type = bar_types[strategy.symbol, strategy.timeframe]
        self._is_only = len(bar_types) == 1
        self._columns: list[tuple[Callable[[float], None], Callable[[], float | None]]] | None = (
            None
        )
        self._closes_ms = array("q")
        self._values: dict[str, array[float]] = {}

    def add(self, bar: Bar) -> None:
        """Read the lines at a bar's close; a line without a value yet has a gap."""
        if not self._is_only and bar.bar_type != self._bar_type:
            return
        if self._columns is None:
            self._columns = self._open_columns()
        if self._columns:
            self._closes_ms.append(bar.ts_event // _NS)
            for append, read in self._columns:
                value = read()
                append(_GAP if value is None else float(value))

    def chart_lines(self, *, since_ms: int) -> ChartLines | None:
        """Return the values at closes after a time; None if the strategy draws nothing."""
        first = bisect_right(self._closes_ms, since_ms)
        if first == len(self._closes_ms):
            return None
        values = {name: column[first:] for name, column in self._values.items()}
        return ChartLines(closes_ms=self._closes_ms[first:], values=values)

    def _open_columns(self) -> list[tuple[Callable[[float], None], Callable[[], float | None]]]:
        """Return two functions per line: one that appends a value, one that reads it."""
        named = getattr(self._loaded, "chart_lines", {})
        if not isinstance(named, Mapping):
            raise self._error(f"is {named!r}: write a dict of names and indicators")
        readers = {str(name): self._reader(name, source) for name, source in named.items()}
        self._values = {name: array("d") for name in readers}
        return [(self._values[name].append, reader) for name, reader in readers.items()]

    def _reader(self, name: Any, source: Any) -> Callable[[], float | None]:
        if not isinstance(name, str) or not name.isprintable() or name in ("", "ts_ms"):
            raise self._error(f"has the key {name!r}: write a name, as `fast` or `strength/RSI`")
        if hasattr(source, "value") and hasattr(source, "initialized"):
            return lambda: source.value if source.initialized else None
        if callable(source):
            reader: Callable[[], float | None] = source
            return reader
        raise self._error(
            f"has {source!r} as {name!r}: write an indicator with a `value`, or a function without "
            "arguments that returns a number or None"
        )

    def _error(self, problem: str) -> StrategyError:
        return StrategyError(f"{self._strategy_id}: self.chart_lines {problem}")
