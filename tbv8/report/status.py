"""The stored data, the recorder's gaps and the figures of results, as records; quick to read.

The numbers of bars come from the ledger, so no rows are counted. Of trades and quotes only the
first and the last time are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.records import Project, Strategy
from tbv8.coverage import missing_spans
from tbv8.errors import DataError
from tbv8.freshness.verdict import read_verdict
from tbv8.manifest import read_summary_json
from tbv8.market import Series, Span, iso, parse_time
from tbv8.report.experiments import ExperimentStatus, read_experiments
from tbv8.report.sessions import SessionStatus, read_session_states
from tbv8.store.database import REVISION, Query, open_any_revision, revision, wrong_revision
from tbv8.store.ledger import FUNDING, HISTORY, is_covered, read_covered_spans
from tbv8.store.prune import RECORDED_TABLES, TRADES_AND_QUOTES, stored_ticks
from tbv8.venues.registry import find_venue

COUNTED_ROWS = 1_000_000
"""Tables with more rows are not counted: their number is that of all rows ever written since the
oldest one, with those that `doit prune` has dropped since."""

_LOCK_TIMEOUT_S = 2.0  # a status should not wait for a locked database
_BAR_BYTES = 58  # a row of bars without venue and symbol: five numbers, a time, a header
_RATE_BYTES = 24
_PAGES_FILLED = 0.88  # measured by dbstat, of half a year written a month at a time


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """The database file: its size and its WAL's in bytes, its revision, and the one of this tbv8.

    `problem` is the reason why it cannot be read, with the cure; None if it can.
    """

    path: str
    size: int
    wal_size: int
    revision: str | None
    known_revision: str
    problem: str | None


class SeriesStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One series of bars.

    Attributes:
        venue: The venue.
        symbol: The symbol.
        dataset: The table.
        first_ms: The open of the first stored bar; None without bars.
        last_ms: The open of the last stored bar.
        bars: The number of stored bars.
        missing: The number of minutes that the venue itself does not have; hours for funding.
        gaps: The number of unknown spans: to be fetched for configured history, else between known
            spans.
        edited_days: The number of days changed outside of tbv8.
        size: The approximate size of its rows in bytes.
        simulated: True for a synthetic market.
    """

    venue: str
    symbol: str
    dataset: str
    first_ms: int | None
    last_ms: int | None
    bars: int
    missing: int
    gaps: int
    edited_days: int
    size: int
    simulated: bool


class TickStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Trades, quotes or mark prices of a series: the times of the first and the last one."""

    venue: str
    symbol: str
    dataset: str
    first_ms: int
    last_ms: int


class GapStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The recorder's gaps in one channel of a series.

    Attributes:
        venue: The venue.
        symbol: The symbol.
        channel: `trades`, `bbo` or `bars_1m`.
        gaps: The number of gaps.
        healed: The number of gaps that were filled afterwards.
        open: The number of gaps without an end yet.
        lost_s: The total length of the ended gaps that were not filled.
        newest_ms: The start of the newest unfilled gap.
        newest_end_ms: The end of that gap; None while it is open.
        reason: The reason of that gap.
    """

    venue: str
    symbol: str
    channel: str
    gaps: int
    healed: int
    open: int
    lost_s: float
    newest_ms: int | None = None
    newest_end_ms: int | None = None
    reason: str | None = None


class StrategyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy's result: fresh, or stale for `reasons`; and its numbers, None if not available.

    Symbols, timeframe, venue and `simulated` are those of the result, which may differ from the
    config's; without a result they are the config's. `symbol` is the first of `symbols`;
    `simulated` is True for a synthetic market. `start_ms` and `end_ms` are the result's span.
    `lookahead` is True if the look-ahead check of this result passed, and None if there was none.
    """

    strategy_id: str
    symbol: str
    symbols: tuple[str, ...]
    timeframe: str
    market_data_venue: str
    fresh: bool
    reasons: tuple[str, ...]
    simulated: bool
    numbers: dict[str, float | None]
    start_ms: int | None = None
    end_ms: int | None = None
    lookahead: bool | None = None
    has_result: bool = False

    @property
    def state(self) -> str:
        """`fresh`, `stale`, or `no result`."""
        if not self.has_result:
            return "no result"
        return "fresh" if self.fresh else "stale"

    @property
    def lookahead_text(self) -> str:
        """The outcome of the result's look-ahead check, as text."""
        return {True: "passed", False: "FAILED", None: "not checked"}[self.lookahead]


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy that cannot be loaded: its state, and the error of its file."""

    strategy_id: str
    state: str
    reason: str


class ProjectStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole status; `tick_rows` are the numbers of trades and quotes, see `COUNTED_ROWS`."""

    database: Database
    series: tuple[SeriesStatus, ...]
    ticks: tuple[TickStatus, ...]
    tick_rows: dict[str, int]
    recorder_gaps: tuple[GapStatus, ...]
    strategies: tuple[StrategyStatus, ...]
    experiments: tuple[ExperimentStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


_BACKTEST, _EXPERIMENT = "backtest:", "experiment:"

NUMBERS = ("return", "cagr", "sharpe", "max_drawdown", "trades")
"""The headline numbers of a result's primary run, by their keys in summary.json."""

type ReadStale = Callable[[], Mapping[str, Sequence[str]]]
"""A function that returns the reasons of stale results, by task."""


def read_status(
    project: Project,
    wanted: Mapping[Series, Sequence[Span]],
    read_stale: ReadStale,
    *,
    funding: Mapping[Series, Sequence[Span]] | None = None,
) -> ProjectStatus:
    """Return the status of the database and the results; an unreadable database is a `problem`.

    It waits at most two seconds for a locked database.

    Args:
        project: The configuration.
        wanted: The spans of history to fetch, by series.
        read_stale: Returns the reasons of stale results; called only if the database is readable.
        funding: The spans of funding to fetch, by series.
    """
    database = Database(
        path=str(project.db_path),
        size=_size(project.db_path),
        wal_size=_size(project.db_path.with_name(f"{project.db_path.name}-wal")),
        revision=None,
        known_revision=REVISION,
        problem=None,
    )
    contents = _Contents()
    try:
        with open_any_revision(project.db_path, timeout_s=_LOCK_TIMEOUT_S) as query:
            current = revision(query)
            database = replace(database, revision=current)
            if current != REVISION:
                raise DataError(wrong_revision(project.db_path, current))
            spans = {HISTORY: wanted, FUNDING: funding or {}}
            contents = _read_contents(query, spans, project)
        stale = read_stale()
    except DataError as e:
        problem = str(e).replace(" for a minute", "")  # the wait was shorter
        database = replace(database, problem=problem)
        names = [*map(_BACKTEST.__add__, project.strategies)]
        names += map(_EXPERIMENT.__add__, project.experiments)
        stale = dict.fromkeys(names, (problem,))
    problems = {(problem.kind, problem.name): problem for problem in project.problems}
    return ProjectStatus(
        database=database,
        series=contents.series,
        ticks=contents.ticks,
        tick_rows=contents.tick_rows,
        recorder_gaps=contents.recorder_gaps,
        strategies=tuple(_read_strategies(project, _below(stale, _BACKTEST))),
        experiments=tuple(
            read_experiments(
                project.results_path,
                project.experiments,
                _below(stale, _EXPERIMENT),
                {
                    name: problem
                    for (kind, name), problem in problems.items()
                    if kind == "experiment"
                },
            )
        ),
        sessions=contents.sessions,
        left_out=tuple(
            LeftOut(strategy_id=name, state=problem.state, reason=str(problem.error))
            for (kind, name), problem in problems.items()
            if kind == "strategy"
        ),
    )


def _below(stale: Mapping[str, Sequence[str]], group: str) -> dict[str, Sequence[str]]:
    """Return the reasons of a group's tasks, by the rest of their names."""
    return {
        task.removeprefix(group): reasons
        for task, reasons in stale.items()
        if task.startswith(group)
    }


def to_json(status: ProjectStatus) -> dict[str, Any]:
    """Return the status as JSON values: each `<what>_ms` as `<what>`, a time in ISO text."""
    value: dict[str, Any] = _without_ms(
        msgspec.to_builtins(status, builtin_types=(Decimal,), enc_hook=str)
    )
    return value


def _without_ms(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_without_ms(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    if not isinstance(value, dict):
        return value
    return {
        key.removesuffix("_ms"): iso(item)
        if key.endswith("_ms") and item is not None
        else _without_ms(item)
        for key, item in value.items()
    }


class _Contents(msgspec.Struct, frozen=True, kw_only=True):
    series: tuple[SeriesStatus, ...] = ()
    ticks: tuple[TickStatus, ...] = ()
    tick_rows: dict[str, int] = {}
    recorder_gaps: tuple[GapStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()


type WantedSpans = Mapping[str, Mapping[Series, Sequence[Span]]]
"""The spans to fetch, by dataset and series."""


def _read_contents(query: Query, wanted: WantedSpans, project: Project) -> _Contents:
    names = query("SELECT name FROM sqlite_master WHERE type = 'table'", ())
    tables = {str(name) for (name,) in names}
    return _Contents(
        series=tuple(sorted(_read_series(query, wanted, tables), key=_order)),
        ticks=tuple(_read_ticks(query)),
        tick_rows={name: _count_rows(query, name) for name in TRADES_AND_QUOTES},
        recorder_gaps=tuple(_read_gaps(query)),
        sessions=tuple(read_session_states(query, project)),
    )


def _order(series: SeriesStatus) -> tuple[str, str, bool, int, str]:
    """Return a sort key: by venue and symbol, 1m bars first, then by the number of bars."""
    is_built = series.dataset not in (HISTORY, "bars_1m", FUNDING)
    return series.venue, series.symbol, is_built, -series.bars, series.dataset


def _read_series(query: Query, wanted: WantedSpans, tables: set[str]) -> Iterator[SeriesStatus]:
    waiting = {name: dict(spans) for name, spans in wanted.items()}
    for venue, symbol, dataset, bars, missing, unknown_ms, edited in query(
        "SELECT venue, symbol, dataset, sum(bars), sum(missing),"
        " max(end_ms) - min(start_ms) - sum(end_ms - start_ms), sum(digest IS NULL)"
        " FROM history_coverage GROUP BY venue, symbol, dataset",
        (),
    ):
        series = Series(str(venue), str(symbol))
        spans = waiting.get(dataset, {}).pop(series, None)
        holes = len(read_covered_spans(query, series, dataset)) - 1 if unknown_ms else 0
        first_ms, last_ms = (
            _first_and_last(query, dataset, series) if dataset in tables else (None, None)
        )
        yield _series_status(
            series,
            str(dataset),
            first_ms=first_ms,
            last_ms=last_ms,
            bars=bars,
            missing=missing,
            gaps=_count_gaps(query, series, dataset, spans) if spans else holes,
            edited_days=edited,
        )
    for series, spans in waiting[HISTORY].items():
        gaps = _count_gaps(query, series, HISTORY, spans)
        yield _series_status(series, HISTORY, gaps=gaps)


def _series_status(
    series: Series,
    dataset: str,
    *,
    gaps: int,
    first_ms: int | None = None,
    last_ms: int | None = None,
    bars: int = 0,
    missing: int = 0,
    edited_days: int = 0,
) -> SeriesStatus:
    names = len(series.venue.encode()) + len(series.symbol.encode())
    row_bytes = names + (_RATE_BYTES if dataset == FUNDING else _BAR_BYTES)
    return SeriesStatus(
        venue=series.venue,
        symbol=series.symbol,
        dataset=dataset,
        first_ms=first_ms,
        last_ms=last_ms,
        bars=bars,
        missing=missing,
        gaps=gaps,
        edited_days=edited_days,
        size=round(bars * row_bytes / _PAGES_FILLED),
        simulated=find_venue(series.venue).simulated,
    )


def _count_gaps(query: Query, series: Series, dataset: str, spans: Sequence[Span]) -> int:
    if all(is_covered(query, series, dataset, span) for span in spans):
        return 0
    return len(missing_spans(spans, read_covered_spans(query, series, dataset)))


def _first_and_last(
    query: Query, table: str, series: Series
) -> tuple[int, int] | tuple[None, None]:
    """Return the first and the last time of a series, by two index lookups."""
    of_series = f'FROM "{table}" WHERE venue = ? AND symbol = ?'
    key = (series.venue, series.symbol)
    ((first_ms, last_ms),) = query(  # a user may have typed text there
        f"SELECT CAST((SELECT min(ts_ms) {of_series}) AS INTEGER),"
        f" CAST((SELECT max(ts_ms) {of_series}) AS INTEGER)",
        (*key, *key),
    )
    return (int(first_ms), int(last_ms)) if first_ms is not None else (None, None)


def _read_ticks(query: Query) -> Iterator[TickStatus]:
    for table, series in stored_ticks(query, RECORDED_TABLES):
        first_ms, last_ms = _first_and_last(query, table, series)
        if first_ms is not None and last_ms is not None:
            yield TickStatus(
                venue=series.venue,
                symbol=series.symbol,
                dataset=table,
                first_ms=first_ms,
                last_ms=last_ms,
            )


def _count_rows(query: Query, table: str) -> int:
    """Return the number of a table's rows; of a large table, of all row ids in use or dropped."""
    ((first, last),) = query(
        f"SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})", ()
    )
    count = 0 if first is None else int(last) - int(first) + 1
    if 0 < count <= COUNTED_ROWS:
        ((count,),) = query(f"SELECT count(*) FROM {table}", ())
    return int(count)


def _read_gaps(query: Query) -> Iterator[GapStatus]:
    for venue, symbol, channel, gaps, healed, open_count, lost_ms in query(
        "SELECT venue, symbol, channel, count(*), sum(healed), sum(end_ms IS NULL),"
        " total((end_ms - start_ms) * (healed = 0))"
        " FROM recording_gaps GROUP BY venue, symbol, channel",
        (),
    ):
        newest = query(
            "SELECT CAST(start_ms AS INTEGER), CAST(end_ms AS INTEGER), reason FROM recording_gaps"
            " WHERE venue = ? AND symbol = ? AND channel = ? AND healed = 0"
            " ORDER BY start_ms DESC LIMIT 1",
            (venue, symbol, channel),
        )
        newest_ms, newest_end_ms, reason = newest[0] if newest else (None, None, None)
        yield GapStatus(
            venue=venue,
            symbol=symbol,
            channel=channel,
            gaps=gaps,
            healed=healed,
            open=open_count,
            lost_s=lost_ms / 1000,
            newest_ms=newest_ms,
            newest_end_ms=newest_end_ms,
            reason=reason,
        )


def _read_strategies(
    project: Project, stale: Mapping[str, Sequence[str]]
) -> Iterator[StrategyStatus]:
    for strategy in project.strategies.values():
        summary = read_summary_json(project.results_path / strategy.strategy_id) or {}
        primary = summary.get("primary")
        if not isinstance(primary, dict):
            primary = {}
        verdict = read_verdict(project.results_path, strategy.strategy_id)
        yield StrategyStatus(
            strategy_id=strategy.strategy_id,
            **_market(strategy, summary),
            fresh=strategy.strategy_id not in stale,
            reasons=tuple(stale.get(strategy.strategy_id, ())),
            numbers={name: _number(primary.get(name)) for name in NUMBERS},
            start_ms=_time_ms(summary, "start"),
            end_ms=_time_ms(summary, "end"),
            lookahead=verdict.passed if verdict else None,
            has_result=(project.results_path / strategy.strategy_id / "summary.json").exists(),
        )


def _market(strategy: Strategy, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status' fields about the market: the result's, or the config's without a result."""
    symbols, simulated = summary.get("symbols"), summary.get("simulated")
    names = ("symbol", "timeframe", "market_data_venue")
    texts = {name: str(summary[name]) for name in names if name in summary}
    if len(texts) == len(names) and isinstance(symbols, list) and isinstance(simulated, bool):
        return {**texts, "symbols": tuple(map(str, symbols)), "simulated": simulated}
    return {
        "symbol": strategy.symbol,
        "symbols": strategy.symbols,
        "timeframe": strategy.timeframe.text,
        "market_data_venue": strategy.source.venue,
        "simulated": strategy.simulated,
    }


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time_ms(summary: Mapping[str, Any], name: str) -> int | None:
    span = summary.get("span")
    with suppress(ValueError):
        return parse_time(str(span[name])) if isinstance(span, dict) and name in span else None
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
