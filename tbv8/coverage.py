"""Interval arithmetic on spans: covered spans and gaps. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tbv8.market import DAY_MS, Span, parse_timeframe

_MONTH = parse_timeframe("1M")


def merge(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans as disjoint spans, in time order; adjacent spans are joined."""
    merged: list[Span] = []
    for span in sorted(span for span in spans if span):
        if merged and span.start_ms <= merged[-1].end_ms:
            if span.end_ms > merged[-1].end_ms:
                merged[-1] = Span(merged[-1].start_ms, span.end_ms)
        else:
            merged.append(span)
    return merged


def gaps(wanted: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of `wanted` outside of `covered`, in time order."""
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
    """Return the gaps of `wanted`, widened so that each UTC day is covered by one span.

    The ledger has one span per day. A gap that does not touch the covered part of its day is
    widened until it does.
    """
    covered_spans = merge(covered)
    return merge(connected(gap, covered_spans) for gap in gaps(wanted, covered_spans))


def connected(span: Span, covered: Iterable[Span]) -> Span:
    """Return `span`, widened to touch the covered parts of its first and last day."""
    covered_spans = list(covered)
    midnight = span.start_ms // DAY_MS * DAY_MS
    before = [past.end_ms for past in covered_spans if midnight < past.end_ms <= span.start_ms]
    next_midnight = -(-span.end_ms // DAY_MS) * DAY_MS
    after = [
        later.start_ms for later in covered_spans if span.end_ms <= later.start_ms < next_midnight
    ]
    return Span(max(before, default=span.start_ms), min(after, default=span.end_ms))


def missing_spans(wanted: Iterable[Span], covered: Iterable[Span]) -> list[Span]:
    """Return the spans to fetch so that all of `wanted` is covered, by `connected_gaps`.

    Two wanted spans of one day are connected to each other too.
    """
    covered_spans = list(covered)
    missing: list[Span] = []
    for span in sorted(wanted):
        missing += connected_gaps(span, [*covered_spans, *missing])
    return merge(missing)


def by_month(span: Span) -> list[Span]:
    """Split `span` at the ends of calendar months, in time order."""
    parts, start_ms = [], span.start_ms
    while start_ms < span.end_ms:
        end_ms = min(_MONTH.close(_MONTH.floor(start_ms)), span.end_ms)
        parts.append(Span(start_ms, end_ms))
        start_ms = end_ms
    return parts


def by_day(span: Span) -> list[Span]:
    """Split `span` at UTC midnights, in time order."""
    return [span.intersection(Span(day_ms, day_ms + DAY_MS)) for day_ms in span.days()]
