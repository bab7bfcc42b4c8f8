"""A session that is fed with everything at once."""

from __future__ import annotations

from collections.abc import Mapping

from tbv8.config import records
from tbv8.errors import DataError
from tbv8.market import Series
from tbv8.results.marks import counted_bars
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import price_decimals
from tbv8.trading.records import Run
from tbv8.trading.session import Session


def run_at_once(
    strategy: records.Strategy,
    venue: str,
    bars: Bars,
    *,
    stop: bool = True,
    decimals: Mapping[str, int] | None = None,
    with_lines: bool = False,
) -> Run:
    """Run a strategy over bars by the rules of one of its venues.

    Args:
        strategy: With all that it inherits.
        venue: Its primary or secondary venue.
        bars: All that it reads.
        stop: False leaves the run after the last bar, as if more were to come.
        decimals: Those of each symbol's prices, where the bars are a part of others.
        with_lines: Keep the values of the strategy's `chart_lines`.

    Raises:
        ConfigError: The strategy's own class refuses its params.
        DataError: Bars cannot be.
        StrategyError: The strategy raised, or did what gives no result.
    """
    decimals = decimals_of(strategy, venue, bars) if decimals is None else decimals
    with Session(strategy, venue, price_decimals=decimals, with_lines=with_lines) as session:
        session.feed(bars)
        return session.end(stop=stop)


def decimals_of(strategy: records.Strategy, venue: str, bars: Bars) -> dict[str, int]:
    """Return the fewest decimals that write every price and the tick of each symbol exactly."""
    rules = strategy.instruments[venue]
    decimals = dict.fromkeys(strategy.symbols, 0)
    tables = [*bars.steps.items(), *((symbol, table) for (symbol, _), table in bars.shown.items())]
    for symbol, table in {id(table): (symbol, table) for symbol, table in tables}.values():
        needed = price_decimals(table, rules[symbol].tick_size)
        decimals[symbol] = max(decimals[symbol], needed)
    return decimals


def check_held(strategy: records.Strategy, bars: Bars) -> None:
    """Refuse a run without bars.

    Raises:
        DataError: A symbol has none of a timeframe, or none is left behind the warm-up.
    """
    tables = bars.shown | {(symbol, strategy.step): table for symbol, table in bars.steps.items()}
    for (symbol, timeframe), table in tables.items():
        span = strategy.run_span
        if table.num_rows and timeframe == strategy.timeframe:
            table, span = counted_bars(strategy, table), strategy.span
        if not table.num_rows:
            raise DataError(
                f"{Series(strategy.source.venue, symbol)} has no {timeframe} bars in {span}: widen "
                "start_date and end_date"
            )
