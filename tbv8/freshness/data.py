"""Freshness of the database: its revision, its history, and its built timeframes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from tbv8.config.source import digest_source
from tbv8.coverage import missing_spans
from tbv8.errors import NotMigratedError
from tbv8.freshness.state import Part, State, count_days, days_text, digest_text, from_to
from tbv8.market import DAY_MS, ONE_MINUTE, Series, Span, Timeframe
from tbv8.store.database import REVISION, open_reader
from tbv8.store.ledger import (
    FUNDING,
    HISTORY,
    RECORDED,
    BuiltDay,
    LedgerDay,
    MinuteDay,
    StoredDay,
    is_covered,
    join_spans,
    read_built_days,
    read_covered_spans,
    read_days,
    read_minute_days,
    read_outdated_spans,
    read_stored_days,
)

_AGGREGATE = Path(__file__).parent.parent / "aggregate.py"


def migration_state(db_path: Path) -> State:
    """Compare the database's revision with the one that this code expects.

    Raises:
        DataError: It is damaged or locked.
    """
    try:
        with open_reader(db_path):
            return State((), (Part("revision", REVISION, REVISION),))
    except NotMigratedError as e:
        reason = str(e).removesuffix(": run `doit migrate`")  # this task itself
        return State((reason,), (Part("revision", REVISION, None),))


def backfill_state(
    db_path: Path,
    series: Series,
    spans: Sequence[Span],
    dataset: str = HISTORY,
    *,
    files: Mapping[str, Span] | None = None,
) -> State:
    """Check that the ledger has no gap in the configured spans of a series.

    Args:
        db_path: The database.
        series: The series.
        spans: The configured spans.
        dataset: `ohlcv_1m` or `funding`.
        files: For a history of files, the span of each present file by its source in the ledger:
            each day must have been read from one of them.
    """
    with open_reader(db_path) as query:
        if files is not None and (changed := read_outdated_spans(query, series, files)):
            days = from_to([span.start_ms // DAY_MS * DAY_MS for span in changed])
            text = (
                f"{days_text(len(changed))} of {series} read from other files than the present ones"
            )
            prior = digest_text(sorted({day.source for day in read_days(query, series, HISTORY)}))
            return State(
                (f"{text}: {days}",),
                (Part("files", digest_text(sorted(files)), prior),),
            )
        if all(is_covered(query, series, dataset, span) for span in spans):
            digest = digest_text(str(span) for span in spans)
            return State((), (Part("wanted span", digest, digest),))
        stored_spans = read_covered_spans(query, series, dataset)
    missing = missing_spans(spans, stored_spans)
    name = f"the funding of {series}" if dataset == FUNDING else str(series)
    text = f"{count_days(missing)} of {name} not stored yet: {missing[0]}"
    hidden_text = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    parts = (
        Part(
            "wanted span",
            digest_text(str(span) for span in spans),
            digest_text(str(span) for span in stored_spans) if stored_spans else None,
        ),
    )
    return State((text + hidden_text,), parts)


def aggregate_state(db_path: Path, series: Series, timeframe: Timeframe) -> State:
    """Check that every day of a timeframe was built from its present 1m bars."""
    code = build_code()
    with open_reader(db_path) as query:
        buildable = list(_buildable(read_minute_days(query, series), timeframe))
        if _are_built(buildable, read_built_days(query, series, timeframe.dataset)):
            minutes_digest = digest_text(str(day.minutes_digest) for day in buildable)
            built_by = Part("aggregate.py", code, code if buildable else "")
            return State((), (Part("1m bars", minutes_digest, minutes_digest), built_by))
        minutes = read_stored_days(query, series, ONE_MINUTE)
        built = read_days(query, series, timeframe.dataset)
    builds = find_stale_days(buildable, built)
    reasons = builds.reasons(series, timeframe)
    if builds.days or builds.without_minutes:
        reasons = (*edit_problems(minutes, series), *reasons)
    return State(
        reasons,
        (
            Part(
                "1m bars",
                digest_text(str(day.minutes_digest) for day in buildable),
                digest_text((day.built_from or "").partition("/")[0] for day in built),
            ),
            Part("aggregate.py", code, ", ".join(sorted({_code(day) for day in built}))),
        ),
    )


class BuildableDay(msgspec.Struct, frozen=True):
    """A UTC day of a timeframe whose 1m bars are complete.

    `[start_ms, end_ms)` is the span of its bars. `minutes_digest` is the sha256 over the digests of
    its 1m days; None if a 1m day was changed outside of tbv8.
    """

    day_ms: int
    start_ms: int
    end_ms: int
    minutes_digest: str | None

    @property
    def span(self) -> Span:
        """The span of its bars."""
        return Span(self.start_ms, self.end_ms)


class StaleDays(msgspec.Struct, frozen=True, kw_only=True):
    """The days of a timeframe to build or to remove, by reason."""

    absent: tuple[BuildableDay, ...] = ()
    changed: tuple[BuildableDay, ...] = ()
    by_other_code: tuple[BuildableDay, ...] = ()
    edited: tuple[BuildableDay, ...] = ()
    without_minutes: tuple[int, ...] = ()

    @property
    def days(self) -> list[BuildableDay]:
        """All days to build, by time."""
        days = (*self.absent, *self.changed, *self.by_other_code, *self.edited)
        return sorted(days, key=lambda day: day.day_ms)

    def reasons(self, series: Series, timeframe: Timeframe) -> tuple[str, ...]:
        """Return the reasons to build, as text; days whose 1m bars were edited are left out."""
        name = f"{timeframe.dataset} of {series}"
        groups = (
            (self.absent, f"not built yet in {name}"),
            (
                [day for day in self.changed if day.minutes_digest is not None],
                f"built in {name} from 1m bars that have changed",
            ),
            (self.by_other_code, f"built in {name} by another aggregate.py"),
            (self.edited, f"changed in {name} outside of tbv8"),
        )
        reasons = [
            f"{days_text(len(days))} {state}: {from_to([day.day_ms for day in days])}"
            for days, state in groups
            if days
        ]
        if self.without_minutes:
            reasons.append(
                f"{days_text(len(self.without_minutes))} of {name} whose 1m bars are gone: "
                f"{from_to(self.without_minutes)}"
            )
        return tuple(reasons)


def buildable_days(minutes: Iterable[StoredDay], timeframe: Timeframe) -> Iterator[BuildableDay]:
    """Yield the days of a timeframe that can be built from 1m days, by time."""
    days = (day.ledger for day in minutes)
    minute_days = [(day.day_ms, day.start_ms, day.end_ms, day.digest or "") for day in days]
    return _buildable(minute_days, timeframe)


def _buildable(minute_days: Sequence[MinuteDay], timeframe: Timeframe) -> Iterator[BuildableDay]:
    length = timeframe.fixed_ms
    if length and DAY_MS % length == 0:  # no bar reaches over midnight: each day by itself
        for day_ms, start_ms, end_ms, digest in minute_days:
            midnight_ms = day_ms + DAY_MS
            if start_ms != day_ms or end_ms != midnight_ms:
                start_ms = -(-max(start_ms, day_ms) // length) * length
                end_ms = min(end_ms, midnight_ms) // length * length
            if start_ms < end_ms:
                yield BuildableDay(day_ms, start_ms, end_ms, _digest_minutes(digest))
        return
    digests = {day_ms: digest for day_ms, _, _, digest in minute_days}
    parts = ((max(start, day), min(end, day + DAY_MS)) for day, start, end, _ in minute_days)
    for span in join_spans(part for part in parts if part[0] < part[1]):
        whole = timeframe.whole(span)
        start_ms = whole.start_ms
        while start_ms < whole.end_ms:
            day_ms = start_ms // DAY_MS * DAY_MS
            end_ms = timeframe.ceil(min(day_ms + DAY_MS, whole.end_ms))
            touched = [digests[touched_ms] for touched_ms in Span(start_ms, end_ms).days()]
            yield BuildableDay(day_ms, start_ms, end_ms, _digest_minutes(*touched))
            start_ms = end_ms


def _are_built(buildable: Sequence[BuildableDay], built: Sequence[BuiltDay]) -> bool:
    """Return True if `find_stale_days` would find nothing to do, in a fraction of its time."""
    code = build_code()
    return len(buildable) == len(built) and all(
        day.minutes_digest is not None
        and prior == (day.day_ms, day.start_ms, day.end_ms, f"{day.minutes_digest}/{code}")
        for day, prior in zip(buildable, built, strict=True)
    )


def find_stale_days(buildable: Iterable[BuildableDay], built: Iterable[LedgerDay]) -> StaleDays:
    """Compare the built days with the days that can be built now."""
    code = build_code()
    prior_days = {day.day_ms: day for day in built}
    absent, changed, by_other_code, edited = [], [], [], []
    for day in buildable:
        prior = prior_days.pop(day.day_ms, None)
        if prior is None:
            absent.append(day)
        elif prior.built_from is None or prior.span != day.span or not _same_minutes(prior, day):
            changed.append(day)
        elif _code(prior) != code:
            by_other_code.append(day)
        elif prior.digest is None:
            edited.append(day)
    return StaleDays(
        absent=tuple(absent),
        changed=tuple(changed),
        by_other_code=tuple(by_other_code),
        edited=tuple(edited),
        without_minutes=tuple(prior_days),
    )


def built_from(day: BuildableDay) -> str:
    """Return the ledger's `built_from` of a day: the digests of its minutes and of the code."""
    return f"{day.minutes_digest}/{build_code()}"


def build_code() -> str:
    """Return the digest of the code that builds bars."""
    return digest_source(_AGGREGATE)


def edit_problems(minutes: Iterable[StoredDay], series: Series) -> Iterator[str]:
    """Yield a message for each dataset with 1m days that were changed outside of tbv8."""
    edited: dict[str, list[int]] = {}
    for day in minutes:
        if day.ledger.digest is None:
            edited.setdefault(day.dataset, []).append(day.ledger.day_ms)
    for dataset, days in edited.items():
        verb = "was" if len(days) == 1 else "were"
        cure = (
            "refused, since recorded data cannot be fetched again: restore a copy of the database, "
            "or drop the day with `doit verify --repair --give-up`"
            if dataset == RECORDED
            else "refused until `doit verify --repair`"
        )
        yield (
            f"{days_text(len(days))} of {dataset} of {series} {verb} changed outside of tbv8: "
            f"{from_to(days)}: {cure}"
        )


def _same_minutes(prior: LedgerDay, day: BuildableDay) -> bool:
    return day.minutes_digest is not None and (prior.built_from or "").startswith(
        f"{day.minutes_digest}/"
    )


def _code(day: LedgerDay) -> str:
    return (day.built_from or "").partition("/")[2]


@lru_cache(maxsize=2**13)  # the days of 22 years: the same for each timeframe of a series
def _digest_minutes(*digests: str) -> str | None:
    return digest_text(digests) if all(digests) else None
