"""The series, timeframes and funding that the configuration needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doit.exceptions import InvalidDodoFile

from tbv8.config.document import unknown
from tbv8.config.records import Project, Strategy
from tbv8.errors import Tbv8Error
from tbv8.market import MINUTE_MS, ONE_MINUTE, Series, Span, Timeframe
from tbv8.store.database import open_reader
from tbv8.store.ledger import has_days
from tbv8.venues.registry import find_venue


def wanted_history(project: Project, series: Series) -> list[Span]:
    """Return the wanted spans of a series that can be fetched; empty without a history source."""
    source = project.venues[series.venue].history
    available = source.span(project.now_ms) if source else None
    spans = project.wanted.get(series, []) if available else []
    return [part for span in spans if available and (part := span.intersection(available))]


def wanted_funding(project: Project) -> dict[Series, list[Span]]:
    """Return the spans of funding to fetch, by series: for the history venue and for strategies.

    Each is a minute longer than its run, so that a payment at the end of the run is included.
    """
    requested = {series: list(spans) for series, spans in project.wanted.items()}
    for strategy in project.strategies.values():
        if strategy.funding != "fixed" and not strategy.simulated:
            for name in filter(None, (strategy.routing.primary, strategy.routing.secondary)):
                for symbol in strategy.symbols:
                    spans = requested.setdefault(Series(name, symbol), [])
                    if strategy.run_span not in spans:
                        spans.append(strategy.run_span)
    funding: dict[Series, list[Span]] = {}
    now_ms = ONE_MINUTE.floor(project.now_ms)
    for series, spans in requested.items():
        source, venue = find_venue(series.venue).funding, project.venues.get(series.venue)
        if source and venue and series.symbol in venue.symbols:
            wider = [Span(span.start_ms, span.end_ms + MINUTE_MS) for span in spans]
            parts = [part for span in wider if (part := span.intersection(source.span(now_ms)))]
            if parts:
                funding[series] = parts
    return funding


def funding_sources(project: Project, strategy: Strategy) -> list[Series]:
    """Return the series whose funding a run depends on: of the history venue, else the primary.

    The history venue has funding if it trades perpetuals. Stored funding of other venues is used
    too, but not fetched.
    """
    if strategy.funding != "history":
        return []
    wanted = wanted_funding(project)
    for venue in (strategy.source.venue, strategy.routing.primary):
        if sources := [s for symbol in strategy.symbols if (s := Series(venue, symbol)) in wanted]:
            return sources
    return []


def default_series(project: Project) -> list[Series]:
    """Return the series of the history venue and of strategies, and recorded ones with data."""
    series = dict.fromkeys(project.wanted)
    recorded = [
        Series(venue.name, symbol)
        for venue in project.venues.values()
        if venue.enabled
        for symbol in venue.symbols
    ]
    if recorded and project.db_path.is_file():
        try:
            with open_reader(project.db_path, timeout_s=1) as query:
                series |= dict.fromkeys(s for s in recorded if has_days(query, s))
        except Tbv8Error:  # `migrate` runs first and reports any error of the database
            pass
    return list(series)


def select_builds(
    project: Project,
    defaults: Mapping[Series, list[Timeframe]],
    venue: str,
    symbol: str,
    timeframes: Sequence[Timeframe],
) -> dict[Series, list[Timeframe]]:
    """Return the series and timeframes that the options of `aggregate` choose; by default, all."""
    if venue and venue not in project.venues:
        project.check_file("venue", venue)
        raise InvalidDodoFile(f"--venue: {unknown('venue', venue, project.venues)}")
    series = list(defaults)
    if venue:
        series = [Series(venue, name) for name in project.venues[venue].symbols]
    if symbol:
        symbols = {s.symbol for s in series}
        if symbol not in symbols:
            raise InvalidDodoFile(f"--symbol: {unknown('symbol', symbol, symbols)}")
        series = [s for s in series if s.symbol == symbol]
    return {s: list(timeframes) or defaults.get(s) or project.timeframes_of(s) for s in series}
