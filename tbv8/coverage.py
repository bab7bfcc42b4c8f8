"""Interval arithmetic on spans: what is held, what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tbv8.market import DAY_MS, Span


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the same time as fewest spans, in time order; touching spans become one."""
    merged: list[Span] = []
    for span in sorted(span for span in spans if span):
        if merged and span.start_ms <= merged[-1].end_ms:
            if span.end_ms > merged[-1].end_ms:
                merged[-1] = Span(merged[-1].start_ms, span.end_ms)
        else:
            merged.append(span)
    return merged


def gaps(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of `wanted` that no span of `covered` holds, in time order."""
    missing, cursor = [], wanted.start_ms
    for span in merge(covered):
        if span.start_ms >= wanted.end_ms:
            break
        if span.start_ms > cursor:
            missing.append(Span(cursor, span.start_ms))
        cursor = max(cursor, span.end_ms)
    if cursor < wanted.end_ms:
        missing.append(Span(cursor, wanted.end_ms))
    return missing


def connected_gaps(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the gaps of `wanted`, widened so that each UTC day is known as one span.

    The ledger has one span a day: a gap that would leave an unknown stretch between itself and
    what is held of the same day is widened over that stretch.
    """
    covered_spans = merge(covered)
    widened = []
    for gap in gaps(wanted, covered_spans):
        start_ms, end_ms = gap.start_ms, gap.end_ms
        midnight = start_ms // DAY_MS * DAY_MS
        before = [span.end_ms for span in covered_spans if midnight < span.end_ms <= start_ms]
        start_ms = max(before, default=start_ms)
        next_midnight = -(-end_ms // DAY_MS) * DAY_MS
        after = [span.start_ms for span in covered_spans if end_ms <= span.start_ms < next_midnight]
        widened.append(Span(start_ms, min(after, default=end_ms)))
    return merge(widened)


def missing_spans(wanted: Iterable[Span], covered: Iterable[Span]) -> list[Span]:
    """Return the spans to fetch so that all of `wanted` is held, by `connected_gaps`.

    Two wanted spans of one day are connected to each other too.
    """
    covered_spans = list(covered)
    missing: list[Span] = []
    for span in sorted(wanted):
        missing += connected_gaps(span, [*covered_spans, *missing])
    return merge(missing)


def by_day(span: Span) -> list[Span]:
    """Cut `span` at UTC midnights, in time order."""
    return [span.intersection(Span(day_ms, day_ms + DAY_MS)) for day_ms in span.days()]
