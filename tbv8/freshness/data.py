"""Is the database of this revision, is the wanted history held, is every timeframe built?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from tbv8.coverage import merge, missing_spans
from tbv8.errors import DataError
from tbv8.freshness.state import Part, State, count_days, days_text, digest_text, from_to
from tbv8.market import DAY_MS, ONE_MINUTE, Series, Span, Timeframe
from tbv8.source import digest_source
from tbv8.store.database import REVISION, open_reader
from tbv8.store.ledger import (
    HISTORY,
    HeldDay,
    LedgerDay,
    covered,
    covers,
    read_days,
    read_held_days,
)

_AGGREGATE = Path(__file__).parent.parent / "aggregate.py"


def migration_state(db_path: Path) -> State:
    """Tell whether the database is of the revision that this code knows."""
    try:
        with open_reader(db_path):
            return State((), (Part("revision", REVISION, REVISION),))
    except DataError as e:
        return State((str(e),), (Part("revision", REVISION, None),))


def backfill_state(db_path: Path, series: Series, spans: Sequence[Span]) -> State:
    """Tell whether the ledger leaves no gap in the wanted spans of a series."""
    with open_reader(db_path) as query:
        if all(covers(query, series, HISTORY, span) for span in spans):
            held = digest_text(str(span) for span in spans)
            return State((), (Part("wanted span", held, held),))
        held_spans = covered(query, series, HISTORY)
    missing = missing_spans(spans, held_spans)
    text = f"{count_days(missing)} of {series} not held yet: {missing[0]}"
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    parts = (
        Part(
            "wanted span",
            digest_text(str(span) for span in spans),
            digest_text(str(span) for span in held_spans) if held_spans else None,
        ),
    )
    return State((text + more,), parts)


def aggregate_state(db_path: Path, series: Series, timeframe: Timeframe) -> State:
    """Tell whether every day of a timeframe was built from what its 1m days hold now."""
    with open_reader(db_path) as query:
        minutes = read_held_days(query, series, ONE_MINUTE)
        buildable = list(buildable_days(minutes, timeframe))
        built = read_days(query, series, timeframe.dataset)
    work = compare_builds(buildable, built)
    reasons = work.reasons(series, timeframe)
    if work.days or work.unfounded:
        reasons = (*_refusals(minutes, series), *reasons)
    return State(
        reasons,
        (
            Part(
                "1m bars",
                digest_text(str(day.made_of) for day in buildable),
                digest_text((day.built_from or "").partition("/")[0] for day in built),
            ),
            Part("aggregate.py", build_code(), ", ".join(sorted({_code(day) for day in built}))),
        ),
    )


class Buildable(msgspec.Struct, frozen=True):
    """A UTC day in which bars of a timeframe open, all of whose time is known.

    `span` is the time that its bars fill, `made_of` the sha256 over the digests of its 1m days;
    None when one of them was changed outside of tbv8.
    """

    day_ms: int
    span: Span
    made_of: str | None


class Builds(msgspec.Struct, frozen=True, kw_only=True):
    """The days of a timeframe that are not what their 1m days would give now."""

    absent: tuple[Buildable, ...] = ()
    changed: tuple[Buildable, ...] = ()
    other_code: tuple[Buildable, ...] = ()
    edited: tuple[Buildable, ...] = ()
    unfounded: tuple[int, ...] = ()

    @property
    def days(self) -> list[Buildable]:
        """All days to build, by time."""
        every = (*self.absent, *self.changed, *self.other_code, *self.edited)
        return sorted(every, key=lambda day: day.day_ms)

    def reasons(self, series: Series, timeframe: Timeframe) -> tuple[str, ...]:
        """Say in words what is to be done and why; not of days whose 1m days were edited."""
        name = f"{timeframe.dataset} of {series}"
        groups = (
            (self.absent, f"not built yet in {name}"),
            (
                [day for day in self.changed if day.made_of is not None],
                f"built in {name} from 1m bars that changed since",
            ),
            (self.other_code, f"built in {name} by another aggregate.py"),
            (self.edited, f"changed in {name} outside of tbv8"),
        )
        reasons = [
            f"{days_text(len(days))} {what}: {from_to([day.day_ms for day in days])}"
            for days, what in groups
            if days
        ]
        if self.unfounded:
            reasons.append(
                f"{days_text(len(self.unfounded))} of {name} whose 1m bars are gone: "
                f"{from_to(self.unfounded)}"
            )
        return tuple(reasons)


def buildable_days(minutes: Sequence[HeldDay], timeframe: Timeframe) -> Iterator[Buildable]:
    """Yield the days of a timeframe that the held 1m days make, by time."""
    digests = {day.ledger.day_ms: day.ledger.digest for day in minutes}
    for known in merge(day.ledger.span for day in minutes):
        whole = timeframe.whole(known)
        for day_ms in whole.days():
            start_ms = timeframe.ceil(max(day_ms, whole.start_ms))
            end_ms = timeframe.ceil(min(day_ms + DAY_MS, whole.end_ms))
            if start_ms < min(end_ms, day_ms + DAY_MS):
                span = Span(start_ms, end_ms)
                yield Buildable(day_ms, span, _made_of([digests[d] for d in span.days()]))


def compare_builds(buildable: Iterable[Buildable], built: Iterable[LedgerDay]) -> Builds:
    """Compare what the 1m days would give now with what was built."""
    code = build_code()
    past = {day.day_ms: day for day in built}
    absent, changed, other_code, edited = [], [], [], []
    for day in buildable:
        was = past.pop(day.day_ms, None)
        if was is None:
            absent.append(day)
        elif was.built_from is None or was.span != day.span or not _same_minutes(was, day):
            changed.append(day)
        elif _code(was) != code:
            other_code.append(day)
        elif was.digest is None:
            edited.append(day)
    return Builds(
        absent=tuple(absent),
        changed=tuple(changed),
        other_code=tuple(other_code),
        edited=tuple(edited),
        unfounded=tuple(past),
    )


def built_from(day: Buildable) -> str:
    """Return what the ledger keeps of a built day's inputs."""
    return f"{day.made_of}/{build_code()}"


def build_code() -> str:
    """Return the digest of the code that decides what a bar is."""
    return digest_source(_AGGREGATE)


def _refusals(minutes: Sequence[HeldDay], series: Series) -> Iterator[str]:
    """Say which 1m days nothing can be built from, since they were changed outside of tbv8."""
    edited: dict[str, list[int]] = {}
    for day in minutes:
        if day.ledger.digest is None:
            edited.setdefault(day.dataset, []).append(day.ledger.day_ms)
    for dataset, days in edited.items():
        was = "was" if len(days) == 1 else "were"
        yield (
            f"{days_text(len(days))} of {dataset} of {series} {was} changed outside of tbv8: "
            f"{from_to(days)}: refused until `doit verify --repair`"
        )


def _same_minutes(was: LedgerDay, day: Buildable) -> bool:
    return day.made_of is not None and (was.built_from or "").startswith(f"{day.made_of}/")


def _code(day: LedgerDay) -> str:
    return (day.built_from or "").partition("/")[2]


def _made_of(digests: Sequence[str | None]) -> str | None:
    if any(digest is None for digest in digests):
        return None
    return digest_text(map(str, digests))
