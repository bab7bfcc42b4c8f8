"""The states of tasks: fresh, or stale with reasons; light to import, since each start does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tbv8.config.records import Experiment, Project, Venue
from tbv8.coverage import missing_spans
from tbv8.errors import DataError, Tbv8Error, VenueError
from tbv8.freshness.data import backfill_state
from tbv8.freshness.state import State
from tbv8.manifest import read_manifest
from tbv8.market import Series, Span
from tbv8.results.folder import check_replaceable
from tbv8.store.database import Query, open_reader
from tbv8.store.ledger import FUNDING, HISTORY, NOT_LISTED, has_days, read_covered_spans, read_days
from tbv8.store.natives import NativeMarket, is_changed, read_native
from tbv8.text import counted
from tbv8.venues.registry import find_venue


def symbols_state(project: Project, venue_series: Sequence[Series]) -> State:
    """Return the state of the check of a venue's symbols: stale while a series has no history."""
    names = ", ".join(series.symbol for series in without_history(project, venue_series))
    return State((f"no history is stored yet of {names}",) if names else ())


def without_history(project: Project, venue_series: Sequence[Series]) -> list[Series]:
    """Return the series without any history."""
    try:
        with open_reader(project.db_path) as query:
            return [series for series in venue_series if not has_days(query, series, (HISTORY,))]
    except Tbv8Error:  # no database yet: `migrate` runs first and reports any error
        return list(venue_series)


def funding_state(project: Project, series: Series, spans: Sequence[Span]) -> State:
    """Return the state of a series' funding: complete, or stale with the cost of fetching it."""
    state = backfill_state(project.db_path, series, spans, FUNDING)
    state = _with_market_check(project, series, state)
    if not state.reasons or (source := find_venue(series.venue).funding) is None:
        return state
    with open_reader(project.db_path) as query:
        gaps = missing_spans(spans, read_covered_spans(query, series, FUNDING))
    cost = source.cost(gaps, project.now_ms)
    return State((*state.reasons[:-1], f"{state.reasons[-1]}; {cost}"), state.parts)


def history_reach(series: Series, venue: Venue) -> str:
    """Return a line about the age of a venue's oldest bars, or about the failure to fetch it."""
    from tbv8.backfill.sessions import reach

    try:
        return reach(series, venue=venue) or ""
    except VenueError as e:
        return str(e)


def series_state(project: Project, series: Series, spans: Sequence[Span], recheck: bool) -> State:
    """Return the state of a series' 1m bars: complete, or stale with the cost of fetching them."""
    venue = project.venues[series.venue]
    source, files = venue.history, None
    if source is not None and source.files is not None:
        try:
            files = source.files(venue.symbols[series.symbol] or series.symbol)
        except DataError as e:  # the action reports it too
            return State((str(e),))
    state = backfill_state(project.db_path, series, spans, files=files)
    state = _with_market_check(project, series, state)
    reasons = state.reasons
    if reasons and source is not None:
        with open_reader(project.db_path) as query:
            gaps = missing_spans(spans, read_covered_spans(query, series, HISTORY))
        if gaps:
            reasons = (*reasons[:-1], f"{reasons[-1]}; {source.cost(gaps, project.now_ms)}")
    if recheck:
        with open_reader(project.db_path) as query:
            missing = _count_missing(query, series, spans)
        if missing:
            reasons = (*reasons, f"--recheck: {counted(missing, 'minute')} missing at the venue")
    return State(reasons, state.parts)


def market_state(project: Project, series: Series) -> State:
    """Return the state of a series that cannot be fetched: stale if it is of another market."""
    return _with_market_check(project, series, State(()))


def _with_market_check(project: Project, series: Series, state: State) -> State:
    """Return a state, with a reason if the venue's file has another market than the stored rows."""
    venue = project.venues[series.venue]
    configured = NativeMarket(
        native="",  # its full name takes a session with the venue
        setting=venue.market_name(venue.symbols[series.symbol]),
        multiplier=venue.multiplier(series.symbol),
    )
    with open_reader(project.db_path) as query:
        stored = read_native(query, series)
    if not is_changed(stored, configured, any_name=venue.has_files):
        return state
    reason = (
        f"the stored rows of {series} are of {stored}, config/venues/{venue.name}.yaml has another "
        "market"
    )
    return State((reason, *state.reasons), state.parts)


def _count_missing(query: Query, series: Series, spans: Sequence[Span]) -> int:
    return sum(
        day.missing
        for day in read_days(query, series, HISTORY)
        if day.source != NOT_LISTED and any(day.span.intersection(span) for span in spans)
    )


def folder_state(folder: Path) -> State:
    """Return the state of a result's folder: stale if it may not be replaced."""
    try:
        check_replaceable(folder)
    except DataError as e:
        return State((str(e),))
    return State(())


def result_state(folder: Path) -> State:
    """Return the state of a result to reproduce: stale if there is none."""
    return State(() if read_manifest(folder) else ("there is no result to reproduce",))


def new_trials_reasons(experiment: Experiment) -> tuple[str, ...]:
    """Return the reason to run a new experiment, known before there is a database."""
    from tbv8.experiments.state import new_trials_text  # not needed by `doit list`

    return (new_trials_text(experiment),)


def trials_state(db_path: Path, experiment: Experiment, *, results_path: Path) -> State:
    """Return the state of an experiment's result: current, or stale with the reasons."""
    from tbv8.experiments.state import experiment_state  # not needed by `doit list`

    return experiment_state(db_path, experiment, results_path=results_path)
