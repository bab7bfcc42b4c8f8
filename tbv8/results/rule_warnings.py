"""Warnings about suspicious rules of the venues whose rules a result used."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tbv8.config import records
from tbv8.config.venues import percent_text
from tbv8.trading.bars import Bars
from tbv8.trading.coarse_ticks import find_coarse_ticks, median_closes


def rule_warnings(
    strategy: records.Strategy, bars: Bars, venues: Collection[str]
) -> tuple[str, ...]:
    """Return the warnings about rates that look like percent, and about coarse ticks."""
    ticks = (
        f"{coarse.venue}: the {coarse.symbol} tick of {coarse.text}"
        for coarse in find_coarse_ticks(strategy, median_closes(strategy, bars))
        if coarse.venue in venues
    )
    return (*rate_warnings(strategy, venues), *ticks)


def rate_warnings(strategy: records.Strategy, venues: Collection[str]) -> Iterator[str]:
    """Yield a warning about each fee and each charged funding rate that looks like percent."""
    names = ["maker_fee", "taker_fee"]
    if strategy.funding == "fixed":
        names.append("funding_rate_8h")
    for venue in venues:
        for symbol, rules in strategy.instruments[venue].items():
            for name in names:
                if text := percent_text(getattr(rules, name)):
                    yield f"{venue}: the {symbol} {name} of {text}"
