"""Halts and denied orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tbv8.page.html import Child, Html, element, table
from tbv8.page.words import part_of
from tbv8.results.read import Result
from tbv8.results.summary import Event
from tbv8.results.tearsheet.part import Part, moment
from tbv8.risk.checks import RULES
from tbv8.risk.rules.halted import MAX_DAILY_LOSS

_EVENTS = 200  # listed of each kind


def events_part(result: Result) -> Part:
    """Return the lists of halts and denied orders."""
    lists = [
        _event_list(f"{run.title}: {name}", count, events, row, ("time", "rule", head, "reason"))
        for run in result.runs
        for name, count, events, row, head in (
            ("halts", len(run.stats.halts), run.stats.halts, _halt_row, "until"),
            ("denials", sum(run.stats.denied.values()), run.stats.denials, _denial_row, "order"),
        )
        if events
    ]
    none = element("p", "No order was denied and trading was never halted.", class_="dim")
    return "risk", "Risk events", lists or none


def _event_list(
    title: str,
    count: int,
    events: Sequence[Event],
    row: Callable[[Event], list[Child]],
    heads: Sequence[str],
) -> Html:
    listed = events[:_EVENTS]
    return element(
        "details",
        element("summary", f"{title}: {part_of(len(listed), count, 'first')}"),
        table(heads, map(row, listed), words=4),
    )


def _halt_row(halt: Event) -> list[Child]:
    assert halt.until is not None
    return [moment(halt.time), halt.rule, moment(halt.until), _why_halted(halt)]


def _denial_row(denial: Event) -> list[Child]:
    return [moment(denial.time), denial.rule, denial.order, _why_denied(denial)]


def _why_halted(halt: Event) -> str:
    values = _numbers_of(halt)
    if halt.rule == MAX_DAILY_LOSS:
        return (
            f"equity fell from {values['day_start_usd']} at 00:00 UTC to "
            f"{values['equity_usd']} USD: the day's loss reached {values['limit_usd']} USD"
        )
    return (
        f"{values['position']} liquidated at {values['liquidation_price']}, "
        f"equity left {values['equity_usd']} USD"
    )


def _why_denied(denial: Event) -> str:
    values = _numbers_of(denial)
    if denial.until is not None:
        by_loss = denial.rule == MAX_DAILY_LOSS
        why = (
            f"the day's loss reached {values['limit_usd']} USD" if by_loss else f"by {denial.rule}"
        )
        return f"halted until {moment(denial.until)} UTC: {why}"
    numbers = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
    words = RULES[denial.rule].explanation if denial.rule in RULES else ""
    return f"{words}: {numbers}" if words and numbers else words or numbers


def _numbers_of(event: Event) -> dict[str, str]:
    return {name: f"{float(value):,.8g}" for name, value in event.numbers.items()}
