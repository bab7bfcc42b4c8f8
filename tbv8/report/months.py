"""The ledger by calendar months: how much of each is held, missing at the venue, or not known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

import msgspec

from tbv8.coverage import gaps, merge
from tbv8.market import MINUTE_MS, Series, Span, parse_dataset
from tbv8.store.database import Query
from tbv8.store.ledger import HISTORY, MINUTE_DATASETS, NOT_LISTED, RECORDED


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """One month of a series in minutes; what was not wanted, or before its listing, is in none."""

    name: str
    held: int
    outage: int
    gap: int

    @property
    def minutes(self) -> int:
        """How many there are in all."""
        return self.held + self.outage + self.gap


class Coverage(msgspec.Struct, frozen=True):
    """One series of one dataset, month by month."""

    series: Series
    dataset: str
    months: tuple[Month, ...]


class _Known(msgspec.Struct):
    spans: list[Span] = []
    unlisted: list[Span] = []
    missing: dict[int, int] = {}


def read_coverage(query: Query, wanted: Mapping[Series, Sequence[Span]]) -> list[Coverage]:
    """Return what is known of every series that is held or wanted.

    A gap is what is wanted of history and not known; between what was recorded, what was not; of
    built bars what the 1m bars would give and is not built.
    """
    known = _read_known(query)
    for series in wanted:
        known.setdefault((series, HISTORY), _Known())
    for one in known.values():
        one.spans = merge(one.spans)
    found = []
    for (series, dataset), one in sorted(known.items(), key=_order):
        windows = merge([*one.spans, *_expected(series, dataset, known, wanted)])
        months = tuple(_months(one, windows))
        found.append(Coverage(series, dataset, months))
    return found


def _order(item: tuple[tuple[Series, str], _Known]) -> tuple[int, int, str, Series]:
    (series, dataset), _ = item
    if dataset in MINUTE_DATASETS:
        return 0, MINUTE_DATASETS.index(dataset), dataset, series
    return 1, parse_dataset(dataset).fixed_ms or 31 * 24 * 60 * MINUTE_MS, dataset, series


def _read_known(query: Query) -> dict[tuple[Series, str], _Known]:
    known: dict[tuple[Series, str], _Known] = {}
    # days that touch are one stretch; before the listing is a stretch of its own
    for venue, symbol, dataset, unlisted, start_ms, end_ms in query(
        "SELECT venue, symbol, dataset, unlisted, min(start_ms), max(end_ms) FROM ("
        " SELECT *, sum(begins) OVER (PARTITION BY venue, symbol, dataset, unlisted"
        " ORDER BY day_ms) AS stretch FROM ("
        "  SELECT venue, symbol, dataset, day_ms, start_ms, end_ms, source = ? AS unlisted,"
        "  start_ms > coalesce(lag(end_ms) OVER (PARTITION BY venue, symbol, dataset, source = ?"
        "  ORDER BY day_ms), -1) AS begins FROM history_coverage))"
        " GROUP BY venue, symbol, dataset, unlisted, stretch",
        (NOT_LISTED, NOT_LISTED),
    ):
        one = known.setdefault((Series(str(venue), str(symbol)), str(dataset)), _Known())
        (one.unlisted if unlisted else one.spans).append(Span(int(start_ms), int(end_ms)))
    for venue, symbol, dataset, day_ms, missing in query(
        "SELECT venue, symbol, dataset, day_ms, missing FROM history_coverage"
        " WHERE missing > 0 AND source <> ?",
        (NOT_LISTED,),
    ):
        one = known[Series(str(venue), str(symbol)), str(dataset)]
        one.missing[int(day_ms)] = int(missing)
    return known


def _expected(
    series: Series,
    dataset: str,
    known: Mapping[tuple[Series, str], _Known],
    wanted: Mapping[Series, Sequence[Span]],
) -> Iterable[Span]:
    one = known[series, dataset]
    if dataset == HISTORY:
        asked = merge(wanted.get(series, ()))
        return [part for span in asked for part in gaps(span, one.unlisted)]
    if dataset == RECORDED:
        ends = [*one.spans[:1], *one.spans[-1:]]
        return [Span(ends[0].start_ms, ends[-1].end_ms)] if ends else []
    minutes = [known[series, name].spans for name in MINUTE_DATASETS if (series, name) in known]
    whole = (parse_dataset(dataset).whole(span) for span in merge(s for m in minutes for s in m))
    return [span for span in whole if span]


def _months(one: _Known, windows: Sequence[Span]) -> Iterator[Month]:
    missing = {
        name: sum(count for _, count in counts)
        for name, counts in groupby(sorted(one.missing.items()), key=lambda item: _name(item[0]))
    }
    known = dict(_by_month(one.spans))
    for name, minutes in _by_month(windows):
        held = known.get(name, 0)
        outage = min(missing.get(name, 0), held)
        yield Month(name=name, held=held - outage, outage=outage, gap=minutes - held)


def _by_month(spans: Sequence[Span]) -> list[tuple[str, int]]:
    """Return how many minutes of merged spans lie in each month that they touch."""
    minutes: dict[str, int] = {}
    for span in spans:
        for month in _split(span):
            name = _name(month.start_ms)
            minutes[name] = minutes.get(name, 0) + month.minutes
    return list(minutes.items())


def _split(span: Span) -> Iterator[Span]:
    start_ms = span.start_ms
    while start_ms < span.end_ms:
        at = datetime.fromtimestamp(start_ms // 1000, tz=UTC)
        following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
        end_ms = min(int(following.timestamp()) * 1000, span.end_ms)
        yield Span(start_ms, end_ms)
        start_ms = end_ms


def _name(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms // 1000, tz=UTC).strftime("%Y-%m")
