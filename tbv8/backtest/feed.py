"""Run a session over all of its bars at once."""

from __future__ import annotations

from collections.abc import Mapping

from tbv8.config import records
from tbv8.errors import DataError
from tbv8.market import Series
from tbv8.results.marks import without_warm_up
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import price_decimals
from tbv8.trading.records import Run
from tbv8.trading.session import Session


def run_session(
    strategy: records.Strategy,
    venue: str,
    bars: Bars,
    *,
    stop: bool = True,
    decimals: Mapping[str, int] | None = None,
    with_chart_lines: bool = False,
) -> Run:
    """Run a strategy over bars by the rules of one of its venues.

    Args:
        strategy: The strategy, with all inherited settings.
        venue: Its primary or secondary venue.
        bars: All bars of its symbols and timeframes.
        stop: False ends without the strategy's `on_stop`, as if more bars were to come.
        decimals: The decimals of each symbol's prices if `bars` are a part of a longer run; None
            finds them in `bars`.
        with_chart_lines: True to keep the values of the strategy's `chart_lines`.

    Raises:
        ConfigError: The strategy's config class refuses its params.
        DataError: A bar is impossible.
        StrategyError: The strategy raised, ended the run, or went past the gate.
    """
    decimals = find_decimals(strategy, venue, bars) if decimals is None else decimals
    with Session(
        strategy, venue, price_decimals=decimals, with_chart_lines=with_chart_lines
    ) as session:
        session.feed(bars)
        return session.end(stop=stop)


def find_decimals(strategy: records.Strategy, venue: str, bars: Bars) -> dict[str, int]:
    """Return the fewest decimals that write every price and the tick of each symbol exactly."""
    rules = strategy.instruments[venue]
    decimals = dict.fromkeys(strategy.symbols, 0)
    tables = [*bars.steps.items(), *((symbol, table) for (symbol, _), table in bars.shown.items())]
    for symbol, table in {id(table): (symbol, table) for symbol, table in tables}.values():
        needed = price_decimals(table, rules[symbol].tick_size)
        decimals[symbol] = max(decimals[symbol], needed)
    return decimals


def require_bars(strategy: records.Strategy, bars: Bars) -> None:
    """Refuse a run without bars.

    Raises:
        DataError: A symbol has no bars of a timeframe, or none after the warm-up.
    """
    tables = bars.shown | {(symbol, strategy.step): table for symbol, table in bars.steps.items()}
    for (symbol, timeframe), table in tables.items():
        span = strategy.run_span
        if table.num_rows and timeframe == strategy.timeframe:
            table, span = without_warm_up(strategy, table), strategy.span
        if not table.num_rows:
            raise DataError(
                f"{Series(strategy.source.venue, symbol)} has no {timeframe} bars in {span}: widen "
                "start_date and end_date"
            )
