"""The tables of statistics, beside buy and hold and the shadow."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tbv8.market import DAY_MS, HOUR_MS, MIN_DAYS
from tbv8.page.html import element, table
from tbv8.page.words import NONE, length, number
from tbv8.results.read import Account, Result
from tbv8.results.statistics import measure_curve
from tbv8.results.summary import carried_words
from tbv8.results.tearsheet.exposure import HoldAtExposure, average_position
from tbv8.results.tearsheet.part import (
    PERCENT,
    SIGNED_PERCENT,
    TWO_PLACES,
    WHOLE,
    Part,
    caption,
)


def numbers_part(result: Result, exposed: HoldAtExposure) -> Part:
    """Return the tables of statistics."""
    primary, shadow = result.primary, result.shadow
    at_share = {}
    if exposed.equity is not None:
        days = result.summary.days_with_bars or 0
        measured = measure_curve(primary.curve.times_ms, exposed.equity, days=days)
        at_share = msgspec.to_builtins(measured)
    runs = {primary.venue: _of_run(primary)}
    beside = {
        **runs,
        "buy and hold": _with_recovery(primary.numbers["buy_and_hold"]),
        exposed.name: _with_recovery(at_share),
    }
    if shadow:
        name, numbers = f"{shadow.venue}, shadow", _of_run(shadow)
        runs[name] = beside[name] = numbers
    gains, risks, trading, costs = (
        element(
            "div",
            table(
                [title, *columns],
                [
                    [name, *(_text(of[key], form) if key in of else "" for of in columns.values())]
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
    note = (
        "All numbers are after fees, slippage and funding. The drawdown uses the equity at every "
        "bar's close; volatility, Sharpe and Sortino use daily returns (UTC) and a year of 365 "
        f"days. Buy and hold invests the whole balance at the first close{parts}. "
        f"The column '{exposed.name}' is a second benchmark: it keeps the strategy's mean "
        f"position, {exposed.percent} of the equity, long minus short, in the same market at no "
        "cost."
    )
    if result.summary.is_short:
        note += f" A dash stands for a number that needs {MIN_DAYS} days, or is not defined."
    for run in result.runs:
        note += "".join(f" {run.venue}: {text}." for text in carried_words(run.stats))
    tables = [
        element("div", [gains, risks], class_="columns stacked" if shadow else "columns"),
        element("div", [trading, costs], class_="columns"),
    ]
    return "numbers", "Numbers", [caption(note), tables]


def _of_run(run: Account) -> dict[str, Any]:
    added = {
        "average_position": average_position(run),
        "net_position": average_position(run, is_net=True),
        "before_costs": run.stats.before_costs,
    }
    return {**_with_recovery(run.numbers), **added}


def _with_recovery(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers with the day on which the largest drawdown ended, or `not yet`."""
    if not numbers.get("max_drawdown_start"):
        return {**numbers, "recovery": None} if numbers else {}
    return {**numbers, "recovery": numbers["max_drawdown_end"] or "not yet"}


type _Row = tuple[str, str, str | Callable[[Any], str]]
"""A row's name, the key of its value, and that value's format."""


def _text(value: Any, form: str | Callable[[Any], str]) -> str:
    if isinstance(form, str):
        return number(value, form)
    return NONE if value is None else form(value)


def _day_return(day: Mapping[str, Any]) -> str:
    return f"{day['return']:{SIGNED_PERCENT}}"


def _days(value: float) -> str:
    return length(round(value * DAY_MS))


def _hours(value: float) -> str:
    return length(round(value * HOUR_MS))


_day_date = operator.itemgetter("date")
_date = operator.itemgetter(slice(10))

_GAINS: tuple[_Row, ...] = (
    ("Return", "return", SIGNED_PERCENT),
    ("Return a year (CAGR)", "cagr", SIGNED_PERCENT),
    ("Volatility, a year", "volatility", PERCENT),
    ("Sharpe ratio", "sharpe", TWO_PLACES),
    ("Probability that the true Sharpe ratio is above 0", "probabilistic_sharpe", PERCENT),
    ("Sortino ratio", "sortino", TWO_PLACES),
    ("Calmar ratio", "calmar", TWO_PLACES),
    ("Best day", "best_day", _day_return),
    ("Date of the best day", "best_day", _day_date),
    ("Worst day", "worst_day", _day_return),
    ("Date of the worst day", "worst_day", _day_date),
)
_RISKS: tuple[_Row, ...] = (
    ("Max drawdown", "max_drawdown", PERCENT),
    ("Peak before the max drawdown", "max_drawdown_start", _date),
    ("Bottom of the max drawdown", "max_drawdown_bottom", _date),
    ("Recovery from the max drawdown", "recovery", _date),
    ("Time in the max drawdown", "max_drawdown_days", _days),
    ("Time with a position", "exposure", PERCENT),
    ("Average position, long plus short, share of equity", "average_position", PERCENT),
    ("Average position, long minus short, share of equity", "net_position", SIGNED_PERCENT),
    ("Turnover a year, as a multiple of the equity", "turnover", TWO_PLACES),
)
_TRADING: tuple[_Row, ...] = (
    ("Round trips, closed or turned", "trades", WHOLE),
    ("Entries, including increases", "entries", WHOLE),
    ("Exits, including partial ones", "exits", WHOLE),
    ("Win rate", "win_rate", PERCENT),
    ("Profit factor", "profit_factor", TWO_PLACES),
    ("Expectancy of a round trip, USD", "expectancy", TWO_PLACES),
    ("Average time of a round trip", "average_holding_hours", _hours),
    ("Fills", "fills", WHOLE),
)
_COSTS: tuple[_Row, ...] = (
    ("Profit or loss before costs", "before_costs", TWO_PLACES),
    ("Fees", "fees", TWO_PLACES),
    ("Slippage and rounding to the tick", "slippage", TWO_PLACES),
    ("Funding paid", "funding", TWO_PLACES),
    ("Margin lost in liquidations", "lost_margin", TWO_PLACES),
    ("Equity at the start", "start_equity", TWO_PLACES),
    ("Equity at the end", "end_equity", TWO_PLACES),
    ("Profit or loss after costs", "pnl", TWO_PLACES),
    ("Unrealized profit or loss at the end", "unrealized_pnl", TWO_PLACES),
)
