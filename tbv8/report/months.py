"""The ledger by calendar months: stored minutes, minutes missing at the venue, and gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from tbv8.coverage import by_month, gaps, merge
from tbv8.market import (
    DAY_MS,
    MAX_MS,
    MINUTE_MS,
    Series,
    Span,
    iso_day,
    parse_dataset,
)
from tbv8.store.database import Query
from tbv8.store.ledger import FUNDING, HISTORY, MINUTE_DATASETS, NOT_LISTED, RECORDED


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """One month of a series in minutes, without time before the listing or not configured."""

    name: str
    stored: int
    outage: int
    gap: int

    @property
    def minutes(self) -> int:
        """The sum of all three."""
        return self.stored + self.outage + self.gap


class SeriesMonths(msgspec.Struct, frozen=True):
    """One series of one dataset, month by month."""

    series: Series
    dataset: str
    months: tuple[Month, ...]


class _LedgerSpans(msgspec.Struct):
    """The covered spans, merged; the spans before the listing; the missing minutes by month."""

    spans: list[Span] = []
    unlisted: list[Span] = []
    missing: dict[str, int] = {}


def read_coverage(
    query: Query,
    stored: Iterable[tuple[Series, str]],
    wanted: Mapping[Series, Sequence[Span]],
) -> list[SeriesMonths]:
    """Return the months of every stored or configured series.

    A gap of history is a wanted span that is not covered; a gap of a recording is a span between
    two recorded ones; a gap of built bars is a span with 1m bars that is not built.

    Args:
        query: The query function of an open database.
        stored: The series and datasets in the ledger.
        wanted: The spans of history to fetch, by series.
    """
    ledgers = {
        (series, dataset): _read_ledger_spans(query, series, dataset) for series, dataset in stored
    }
    for series in wanted:
        ledgers.setdefault((series, HISTORY), _LedgerSpans())
    coverage = []
    for (series, dataset), ledger in sorted(ledgers.items(), key=_order):
        windows = merge([*ledger.spans, *_expected_spans(series, dataset, ledgers, wanted)])
        coverage.append(SeriesMonths(series, dataset, tuple(_months(ledger, windows))))
    return coverage


def _order(item: tuple[tuple[Series, str], _LedgerSpans]) -> tuple[int, int, str, Series]:
    (series, dataset), _ = item
    if dataset == FUNDING:
        return 2, 0, dataset, series
    if dataset in MINUTE_DATASETS:
        return 0, MINUTE_DATASETS.index(dataset), dataset, series
    return 1, parse_dataset(dataset).fixed_ms or 31 * 24 * 60 * MINUTE_MS, dataset, series


def _read_ledger_spans(query: Query, series: Series, dataset: str) -> _LedgerSpans:
    """Read the spans of a series from the ledger, faster than by SQLite's window functions."""
    ends: tuple[list[list[int]], list[list[int]]] = ([], [])
    missing: dict[str, int] = {}
    for start_ms, end_ms, missing_count, unlisted in query(
        # Limited to the day and the last bar that begins in it, since a user may edit the ledger.
        "SELECT max(CAST(start_ms AS INTEGER), day_ms),"
        " min(CAST(end_ms AS INTEGER), day_ms + ?), CAST(missing AS INTEGER), source = ?"
        " FROM history_coverage WHERE venue = ? AND symbol = ? AND dataset = ?"
        " AND typeof(day_ms) = 'integer' AND day_ms >= 0 AND day_ms < ? ORDER BY day_ms",
        (32 * DAY_MS, NOT_LISTED, series.venue, series.symbol, dataset, MAX_MS),
    ):
        if start_ms >= end_ms:
            continue
        stretches = ends[unlisted]
        if stretches and start_ms <= stretches[-1][1]:
            stretches[-1][1] = end_ms
        else:
            stretches.append([start_ms, end_ms])
        if missing_count and not unlisted:
            name = _name(start_ms)
            minutes = 60 * missing_count if dataset == FUNDING else missing_count
            missing[name] = missing.get(name, 0) + minutes
    spans, unlisted_spans = (merge(Span(*pair) for pair in pairs) for pairs in ends)
    return _LedgerSpans(spans, unlisted_spans, missing)


def _expected_spans(
    series: Series,
    dataset: str,
    ledgers: Mapping[tuple[Series, str], _LedgerSpans],
    wanted: Mapping[Series, Sequence[Span]],
) -> Iterable[Span]:
    ledger = ledgers[series, dataset]
    if dataset == HISTORY:
        spans = merge(wanted.get(series, ()))
        return [part for span in spans for part in gaps(span, ledger.unlisted)]
    if dataset in (RECORDED, FUNDING):
        ends = [*ledger.spans[:1], *ledger.spans[-1:]]
        return [Span(ends[0].start_ms, ends[-1].end_ms)] if ends else []
    minutes = [ledgers[series, name].spans for name in MINUTE_DATASETS if (series, name) in ledgers]
    whole = (parse_dataset(dataset).whole(span) for span in merge(s for m in minutes for s in m))
    return [span for span in whole if span]


def _months(ledger: _LedgerSpans, windows: Sequence[Span]) -> Iterator[Month]:
    known_by_month = dict(_minutes_by_month(ledger.spans))
    for name, minutes in _minutes_by_month(windows):
        known_minutes = known_by_month.get(name, 0)
        outage = min(ledger.missing.get(name, 0), known_minutes)
        yield Month(
            name=name, stored=known_minutes - outage, outage=outage, gap=minutes - known_minutes
        )


def _minutes_by_month(spans: Sequence[Span]) -> list[tuple[str, int]]:
    """Return the number of minutes of merged spans by month."""
    minutes: dict[str, int] = {}
    for span in spans:
        for month in by_month(span):
            name = _name(month.start_ms)
            minutes[name] = minutes.get(name, 0) + month.minutes
    return list(minutes.items())


def _name(ts_ms: int) -> str:
    return iso_day(ts_ms)[:-3]
