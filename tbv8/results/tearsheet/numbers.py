"""The tables of statistics, beside buy and hold and the shadow."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import msgspec

from tbv8.market import FEWEST_DAYS, HOUR_MS
from tbv8.page.html import element, table
from tbv8.page.words import NONE, length, number
from tbv8.results.read import Account, Result
from tbv8.results.statistics import measure_curve
from tbv8.results.tearsheet.exposure import HoldAtExposure, average_position
from tbv8.results.tearsheet.part import (
    Part,
    caption,
    percent,
    signed_percent,
    two_places,
    whole,
)


def numbers_part(result: Result, exposed: HoldAtExposure) -> Part:
    """Return the tables of statistics."""
    primary, shadow, share = result.primary, result.shadow, number(exposed.share, ".3g")
    at_share = {}
    if exposed.equity is not None:
        at_share = msgspec.to_builtins(measure_curve(primary.curve.times_ms, exposed.equity))
    runs = {primary.venue: _of_run(primary, exposed.share)}
    beside = {
        **runs,
        "buy and hold": primary.numbers["buy_and_hold"],
        f"hold {share} ×": at_share,
    }
    if shadow:
        name, numbers = f"{shadow.venue}, shadow", _of_run(shadow, average_position(shadow.curve))
        runs[name] = beside[name] = numbers
    gains, risks, trading, costs = (
        element(
            "div",
            table(
                [title, *columns],
                [
                    [name, *(form(of[key]) if key in of else "" for of in columns.values())]
                    for name, key, form in rows
                ],
            ),
        )
        for title, columns, rows in (
            ("Return", beside, _GAINS),
            ("Risk", beside, _RISKS),
            ("Trading", runs, _TRADING),
            ("Costs and account, USD", runs, _COSTS),
        )
    )
    parts = ", in equal parts in every symbol" if len(result.summary.symbols) > 1 else ""
    words = (
        "Marked to market at the close of every bar, after fees, slippage and funding; a year has "
        f"365 days. Buy and hold invests the whole balance at the first close{parts}; hold "
        f"{share} × keeps the strategy's average share of equity in the market, at no cost."
    )
    if result.summary.days < FEWEST_DAYS:
        words += f" {NONE}: not shown for less than {FEWEST_DAYS} days, or not defined."
    tables = [
        element("div", [gains, risks], class_="columns stacked" if shadow else "columns"),
        element("div", [trading, costs], class_="columns"),
    ]
    return "numbers", "Numbers", [caption(words), tables]


def _of_run(run: Account, average: float | None) -> dict[str, Any]:
    added = {"average_position": average, "before_costs": run.stats.before_costs}
    return {**run.numbers, **added}


type _Row = tuple[str, str, Callable[[Any], str]]
"""A row's name, the key of its number, and that number's format."""


def _known(form: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a format with `NONE` for None."""
    return lambda value: NONE if value is None else form(value)


_day_return = _known(lambda day: signed_percent(day["return"]))
_day_date = _known(operator.itemgetter("date"))
_date = _known(operator.itemgetter(slice(10)))
_hours = _known(lambda hours: length(round(hours * HOUR_MS)))
_days = _known(lambda days: number(days, ",.1f"))

_GAINS: tuple[_Row, ...] = (
    ("Return", "return", signed_percent),
    ("CAGR", "cagr", signed_percent),
    ("Volatility, a year", "volatility", percent),
    ("Sharpe ratio", "sharpe", two_places),
    ("probability that it is above 0", "probabilistic_sharpe", percent),
    ("Sortino ratio", "sortino", two_places),
    ("Calmar ratio", "calmar", two_places),
    ("Best day", "best_day", _day_return),
    ("", "best_day", _day_date),
    ("Worst day", "worst_day", _day_return),
    ("", "worst_day", _day_date),
)
_RISKS: tuple[_Row, ...] = (
    ("Max drawdown", "max_drawdown", percent),
    ("peak", "max_drawdown_start", _date),
    ("bottom", "max_drawdown_bottom", _date),
    ("recovered", "max_drawdown_end", _date),
    ("days to recovery, or to the end", "max_drawdown_days", _days),
    ("Exposure, share of time", "exposure", percent),
    ("Average position, share of equity", "average_position", percent),
    ("Turnover, times a year", "turnover", two_places),
)
_TRADING: tuple[_Row, ...] = (
    ("Round trips, from flat to flat", "trades", whole),
    ("Entries, including increases", "entries", whole),
    ("Exits, including partial ones", "exits", whole),
    ("Win rate", "win_rate", percent),
    ("Profit factor", "profit_factor", two_places),
    ("Expectancy of a round trip, USD", "expectancy", two_places),
    ("Average time held", "average_holding_hours", _hours),
    ("Fills", "fills", whole),
)
_COSTS: tuple[_Row, ...] = (
    ("Profit or loss before costs", "before_costs", two_places),
    ("Fees", "fees", two_places),
    ("Slippage", "slippage", two_places),
    ("Funding paid", "funding", two_places),
    ("Margin lost in liquidations", "lost_margin", two_places),
    ("Equity at the start", "start_equity", two_places),
    ("Equity at the end", "end_equity", two_places),
    ("Profit or loss", "pnl", two_places),
    ("of it unrealised at the end", "unrealized_pnl", two_places),
)
