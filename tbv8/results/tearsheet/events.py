"""Halts and denied orders."""

from __future__ import annotations

from tbv8.page.html import Child, element
from tbv8.results.read import Result
from tbv8.results.summary import Event
from tbv8.results.tearsheet.part import Part, events_list, moment
from tbv8.risk.checks import RULES
from tbv8.risk.rules.halted import MAX_DAILY_LOSS


def events_part(result: Result) -> Part:
    """Return the lists of halts and denied orders."""
    lists = []
    for run in result.runs:
        halts, denials = run.stats.halts, run.stats.denials
        if halts:
            heads = ("time", "rule", "until", "reason")
            lists.append(events_list(f"{run.title}: halts", len(halts), halts, heads, _halt_row))
        if denials:
            heads, count = ("time", "rule", "order", "reason"), sum(run.stats.denied.values())
            lists.append(events_list(f"{run.title}: denials", count, denials, heads, _denial_row))
    none = element("p", "No order was denied and trading was never halted.", class_="dim")
    return "risk", "Risk events", lists or none


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
    rule = RULES.get(denial.rule)
    if rule is None:
        return ", ".join(f"{name} {value}" for name, value in _numbers_of(denial).items())
    reason = rule.reason(denial.numbers)
    if denial.until is not None:
        return f"halted until {moment(denial.until)} UTC: {reason}"
    return f"{reason} ({rule.cure})" if rule.cure else reason


def _numbers_of(event: Event) -> dict[str, str]:
    return {name: f"{float(value):,.8g}" for name, value in event.numbers.items()}
