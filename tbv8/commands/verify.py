"""`doit verify`: compare the ledger with the rows, or the rows with the venue's own bars."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from doit.exceptions import InvalidCommand

from tbv8.commands.base import (
    JSON,
    SERIES,
    ProjectCommand,
    choose_series,
    print_json,
    whole_number,
)
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.freshness.state import days_text
from tbv8.market import Series, Span
from tbv8.store.database import open_reader
from tbv8.store.ledger import HISTORY
from tbv8.text import counted
from tbv8.venues.registry import find_venue

if TYPE_CHECKING:
    from tbv8.store.bars import BarStore
    from tbv8.store.verify import DayProblem

_SAMPLE = "50"


class Verify(ProjectCommand):
    """Compare the ledger with the rows, or the rows with the venue's own bars."""

    doc_purpose = "recompute the ledger's digests and counts from the rows, and report differences"
    doc_usage = ""
    doc_description = (
        "Exits with 1 if a problem is left. --repair drops damaged days that can be fetched or "
        "built again; the next run does so, if they are in use. Damaged recorded and imported days "
        "are only reported. --give-up drops those too, for good, and lists recorded ones in "
        "recording_gaps. --against rest compares random hours of ohlcv_1m with the venue's own "
        "REST bars instead."
    )
    cmd_options = (
        JSON,
        *SERIES,
        {
            "name": "dataset",
            "long": "dataset",
            "type": str,
            "default": "",
            "help": "only this table, such as ohlcv_1m or bars_5m",
        },
        {
            "name": "repair",
            "long": "repair",
            "type": bool,
            "default": False,
            "help": "drop damaged days that can be fetched or built again",
        },
        {
            "name": "give_up",
            "long": "give-up",
            "type": bool,
            "default": False,
            "help": "with --repair: also drop damaged days that cannot be restored, permanently",
        },
        {
            "name": "against",
            "long": "against",
            "type": str,
            "default": "",
            "help": "`rest`: compare with the venue's own bars",
        },
        {
            "name": "sample",
            "long": "sample",
            "type": str,
            "default": "",
            "help": f"the number of hours to compare [default: {_SAMPLE}]",
        },
        {
            "name": "seed",
            "long": "seed",
            "type": str,
            "default": "",
            "help": "the seed that chooses the hours: the same seed chooses the same hours",
        },
    )

    def _execute(
        self,
        as_json: bool,
        venue: str,
        symbol: str,
        dataset: str,
        repair: bool,
        give_up: bool,
        against: str,
        sample: str,
        seed: str,
        pos_args: Sequence[str],
    ) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: choose with --venue, --symbol and --dataset")
        project: Project = self.loader.namespace["PROJECT"]
        if give_up and not repair:
            raise InvalidCommand("--give-up: needs --repair: add it")
        for option, value in (("--sample", sample), ("--seed", seed)):
            if value and not against:
                raise InvalidCommand(f"{option}: needs --against rest: add it")
        options = _Options(venue, symbol, dataset, repair, give_up)
        if against:
            comparison = _compare(project, options, against, sample=sample, seed=seed)
            return _print_comparison(comparison, as_json)
        return _verify(project, as_json, options)


class _Options(msgspec.Struct, frozen=True):
    """The options of `verify`: the rows to check ("" for all), and the damaged days to drop."""

    venue: str
    symbol: str
    dataset: str
    repair: bool
    give_up: bool


class _HourComparison(msgspec.Struct, frozen=True):
    """Stored hours compared with the venue's, and their differences."""

    hours: int
    seed: int
    differences: list[DayProblem]


def _verify(project: Project, as_json: bool, options: _Options) -> int:
    from tbv8.store.bars import open_bars
    from tbv8.store.verify import drop, give_up, verify

    all_problems: list[DayProblem] = []
    dropped_days = lost_days = 0
    with open_reader(project.db_path):
        pass  # refuses a database of another revision
    with open_bars(project.db_path) as store:
        for name, series in _selected_series(project, store, options):
            with store.transaction("DEFERRED"):
                problems = list(verify(store, name, series))
            all_problems += problems
            if not as_json:
                verdict = counted(len(problems), "problem") if problems else "no problems"
                print(f"{name} {series}: {verdict}")
        remaining = all_problems
        if options.repair:
            remaining = drop(store, all_problems, can_fetch=partial(_can_fetch, project))
            dropped_days = _days(all_problems) - _days(remaining)
        if options.give_up:
            give_up(store, remaining)
            lost_days, remaining = _days(remaining), []
    if as_json:
        listed = [msgspec.to_builtins(problem) for problem in all_problems]
        print_json({"problems": listed, "dropped_days": dropped_days + lost_days})
        return 1 if remaining else 0
    for problem in all_problems:
        print(f"    {problem}")
    if dropped_days:
        print(
            f"dropped {days_text(dropped_days)}: the next run fetches or builds those in use again"
        )
    if lost_days:
        print(f"dropped {days_text(lost_days)} permanently")
    if options.repair and remaining:
        is_imported = any(problem.dataset == HISTORY for problem in remaining)
        cure = "import their files again, " if is_imported else ""
        print(
            f"{days_text(_days(remaining))} cannot be fetched or built again: "
            f"{cure}restore a copy of the database, or drop them with "
            "`doit verify --repair --give-up`"
        )
    if all_problems and not options.repair:
        print("`doit verify --repair` drops the days that can be fetched or built again")
    return 1 if remaining else 0


def _compare(
    project: Project, options: _Options, against: str, *, sample: str, seed: str
) -> _HourComparison:
    from tbv8.backfill.compare import compare, draw_hours
    from tbv8.store.bars import open_bars

    if against != "rest":
        raise InvalidCommand(f"--against: {unknown('source', against, ['rest'])}")
    if options.repair or options.dataset not in ("", HISTORY):
        raise InvalidCommand(f"--against compares {HISTORY} only, and repairs nothing")
    count = whole_number("--sample", sample or _SAMPLE, minimum=1)
    number = whole_number("--seed", seed, minimum=0) if seed else secrets.randbelow(10**6)
    with open_reader(project.db_path):
        pass
    with open_bars(project.db_path) as store:
        fetchable = {
            series: span
            for name, series in _selected_series(project, store, options)
            if name == HISTORY
            and _has_api(project, series)
            and (span := _fetchable(project, series))
        }
        if not fetchable:
            raise InvalidCommand(
                "--against rest: no stored history of a venue with an API: it compares real venues "
                "only, neither simulated markets nor files"
            )
        hours = draw_hours(store, fetchable, count=count, seed=number)
        differences = [
            difference
            for series, spans in hours.items()
            for difference in compare(store, series, spans, venue=project.venues[series.venue])
        ]
    return _HourComparison(sum(map(len, hours.values())), number, differences)


def _print_comparison(comparison: _HourComparison, as_json: bool) -> int:
    if as_json:
        print_json(msgspec.to_builtins(comparison))
    else:
        for difference in comparison.differences:
            print(f"    {difference}")
        count = len(comparison.differences)
        verdict = counted(count, "difference") if count else "no differences"
        print(
            f"compared {comparison.hours} random hours with REST (--seed {comparison.seed}): "
            f"{verdict}"
        )
    return 1 if comparison.differences else 0


def _selected_series(
    project: Project, store: BarStore, options: _Options
) -> list[tuple[str, Series]]:
    """Return the stored datasets and series selected by the options.

    Raises:
        InvalidCommand: A name is neither stored nor configured.
    """
    from tbv8.store.verify import stored_datasets, stored_series

    stored = stored_series(store)
    chosen = choose_series(
        project, (series for _, series in stored), venue=options.venue, symbol=options.symbol
    )
    datasets = {*stored_datasets(store), *(name for name, _ in stored)}
    if options.dataset and options.dataset not in datasets:
        raise InvalidCommand(f"--dataset: {unknown('dataset', options.dataset, datasets)}")
    return [
        (name, series)
        for name, series in stored
        if series in chosen and options.dataset in ("", name)
    ]


def _can_fetch(project: Project, dataset: str, series: Series, span: Span) -> bool:
    """Return True if a dataset's history of a series can be fetched over a span."""
    fetchable = _fetchable(project, series, dataset)
    return fetchable is not None and fetchable.contains(span)


def _has_api(project: Project, series: Series) -> bool:
    """Return True if the history of a series comes from a venue, not from a generator or files."""
    venue = project.venues.get(series.venue)
    source = venue.history if venue else None
    is_simulated = find_venue(series.venue).simulated
    return source is not None and source.files is None and not is_simulated


def _fetchable(project: Project, series: Series, dataset: str = HISTORY) -> Span | None:
    """Return the span that can be fetched of a series; None without a history source."""
    venue = project.venues.get(series.venue)
    source = venue.history_of(dataset) if venue else None
    if venue is None or source is None or series.symbol not in venue.symbols:
        return None
    return source.span(project.now_ms)


def _days(problems: Sequence[DayProblem]) -> int:
    return len({(problem.dataset, problem.series, problem.day_ms) for problem in problems})
