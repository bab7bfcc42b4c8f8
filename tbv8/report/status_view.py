"""The status as tables: aligned columns, bold headings on a terminal, plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tbv8.market import MINUTE_MS, iso
from tbv8.page.words import length
from tbv8.report.experiments import ExperimentStatus
from tbv8.report.sessions import SessionStatus, session_lines
from tbv8.report.status import (
    COUNTED_ROWS,
    GapStatus,
    LeftOut,
    ProjectStatus,
    SeriesStatus,
    StrategyStatus,
    TickStatus,
)
from tbv8.text import counted, printable

_WIDTH = 100_000  # columns: rich would cut wider rows, such as those of 200 symbols
_MAX_REASON = 70  # characters, on a terminal
_MAX_REASONS = 2  # of a task
_MAX_ROWS = 40  # of a table; longer ones have a row per kind
_MAX_INCOMPLETE = 10
_ALIKE_MS = 5 * MINUTE_MS  # gaps that begin and end within it have one cause


def print_status(status: ProjectStatus, *, every_series: bool = False) -> None:
    """Print every table; one without rows as a line.

    Args:
        status: The status.
        every_series: True for a row per series, however many there are.
    """
    # a terminal wraps long lines; rich would fold the numbers in their cells
    console = Console(file=sys.stdout, width=_WIDTH, markup=False, highlight=False)
    _print_lines(console, _database_lines(status))
    if status.database.problem is None:
        simulated = sorted({row.venue for row in status.series if row.simulated})
        bars = f"Bars ({', '.join(simulated)}: simulated)" if simulated else "Bars"
        max_rows = sys.maxsize if every_series else _MAX_ROWS
        series = [row for row in status.series if row.dataset != "funding"]
        funding = [row for row in status.series if row.dataset == "funding"]
        if len(status.series) <= max_rows:
            _print_table(console, bars, _SERIES_COLUMNS, _series_rows(series), "none yet")
            _print_table(console, "Funding", _FUNDING_COLUMNS, _funding_rows(funding), "none yet")
            _print_lines(console, _LEGEND if status.series else ())
        else:
            _print_table(console, bars, _KIND_COLUMNS, _kind_rows(series), "none yet")
            _print_table(console, "Funding", _KIND_COLUMNS, _kind_rows(funding), "none yet")
            _print_incomplete(console, status.series)
        if len(status.ticks) <= max_rows:
            ticks = (_TICK_COLUMNS, _tick_rows(status))
        else:
            ticks = (_TICK_KIND_COLUMNS, _tick_kind_rows(status))
        _print_table(console, "Trades and quotes", *ticks, "none recorded")
        gaps = status.recorder_gaps
        if len(gaps) <= max_rows:
            rows = [_gap_row(gap) for gap in gaps]
            _print_table(console, "Recorder gaps", _GAP_COLUMNS, rows, "none")
        else:
            _print_table(console, "Recorder gaps", _GAP_KIND_COLUMNS, _gap_kind_rows(gaps), "none")
        _print_lines(console, _newest_gaps(gaps, sys.maxsize if every_series else _MAX_INCOMPLETE))
    if status.sessions:
        rows = [_session_row(session) for session in status.sessions]
        _print_table(console, "Paper sessions", _SESSION_COLUMNS, rows, "none")
        _print_lines(
            console, (line for session in status.sessions for line in session_lines(session))
        )
    strategies = [_strategy_row(strategy) for strategy in status.strategies]
    strategies += [_left_out_row(strategy) for strategy in status.left_out]
    _print_table(console, "Strategies", _STRATEGY_COLUMNS, strategies, "none")
    _print_lines(console, _stale_lines(status))
    if status.experiments:
        rows = [_experiment_row(experiment) for experiment in status.experiments]
        _print_table(console, "Experiments", _EXPERIMENT_COLUMNS, rows, "none")
        _print_lines(console, _stale_experiments(status))


_SERIES_COLUMNS = (
    "venue",
    "symbol",
    "dataset",
    "first",
    "last",
    ">bars",
    ">missing minutes",
    ">gaps",
    ">size ~",
)
_TICK_COLUMNS = ("venue", "symbol", "dataset", "first", "last")
_LEGEND = (
    "missing minutes have no bar, missing hours lack a due payment; gaps are spans not stored yet",
)
_FUNDING_COLUMNS = (
    "venue",
    "symbol",
    "first",
    "last",
    ">payments",
    ">missing hours",
    ">gaps",
)
_KIND_COLUMNS = (
    "venue", "dataset", ">symbols", "first", "last", ">behind", ">bars", ">missing minutes",
    ">gaps", ">size ~",
)  # fmt: skip
_TICK_KIND_COLUMNS = ("venue", "dataset", ">symbols", "first", "last")
_GAP_KIND_COLUMNS = ("venue", "channel", ">symbols", ">gaps", ">filled", ">going on", ">time lost")
_GAP_COLUMNS = ("venue", "symbol", "channel", ">gaps", ">filled", ">going on", ">time lost")
_STRATEGY_COLUMNS = (
    *("strategy", "bars", "span", "state", "look-ahead"),
    *(">return", ">Sharpe", ">max drawdown", ">trades"),
)


_EXPERIMENT_COLUMNS = (
    *("experiment", "state", ">trials", ">failed", ">return", ">Sharpe", ">DSR", ">tries"),
    *(">PBO", ">out of sample"),
)


_SESSION_COLUMNS = (
    "strategy",
    "at",
    "state",
    "since",
    "last minute",
    ">ago",
    ">position",
    ">equity",
    ">day's loss",
    ">limit",
    ">fills",
    ">denials",
    ">halts",
    ">journal ~",
)


def _session_row(session: SessionStatus) -> list[str]:
    positions = ", ".join(f"{size} {name}" for name, size in session.positions.items() if size)
    return [
        session.title,
        session.venue,
        session.state,
        _time(session.counted_ms),
        _time(session.done_ms) if session.equity is not None else "none yet",
        length(round(session.lag_s * 1000)) if session.equity is not None else "",
        positions or "none",
        "-" if session.equity is None else f"{session.equity:,.2f}",
        f"{session.day_loss:,.2f}",
        f"{session.day_loss_limit:,.2f}",
        f"{session.fills:,}",
        f"{session.denials:,}",
        f"{session.halts:,}",
        _bytes(session.size),
    ]


def _database_lines(status: ProjectStatus) -> list[str]:
    database = status.database
    if database.problem is not None:
        return [database.problem]
    wal = f" and {_bytes(database.wal_size)} of WAL" if database.wal_size else ""
    return [f"{database.path}: {_bytes(database.size)}{wal}, revision {database.revision}"]


def _series_rows(series: Iterable[SeriesStatus]) -> list[list[str]]:
    return [
        [
            row.venue,
            row.symbol,
            row.dataset,
            _time(row.first_ms)[:10],
            _time(row.last_ms),
            f"{row.bars:,}",
            f"{row.missing:,}",
            f"{row.gaps:,}{_edited(row)}",
            _bytes(row.size),
        ]
        for row in series
    ]


def _funding_rows(series: Iterable[SeriesStatus]) -> list[list[str]]:
    return [
        [
            row.venue,
            row.symbol,
            _time(row.first_ms)[:10],
            _time(row.last_ms),
            f"{row.bars:,}",
            f"{row.missing:,}",
            f"{row.gaps:,}{_edited(row)}",
        ]
        for row in series
    ]


def _edited(row: SeriesStatus) -> str:
    return f", {counted(row.edited_days, 'day')} edited" if row.edited_days else ""


def _kinds[Row: (SeriesStatus, TickStatus)](
    group: Iterable[Row],
) -> dict[tuple[str, str], list[Row]]:
    """Return rows by kind: venue and dataset."""
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in group:
        kinds.setdefault((row.venue, row.dataset), []).append(row)
    return kinds


def _behind(group: Sequence[SeriesStatus]) -> list[SeriesStatus]:
    """Return the series that end before the newest of their kind."""
    last_ms = max((row.last_ms or 0 for row in group), default=0)
    return [row for row in group if (row.last_ms or 0) < last_ms]


def _kind_rows(series: Iterable[SeriesStatus]) -> list[list[str]]:
    return [
        [
            venue,
            dataset,
            f"{len(group):,}",
            _time(min((row.first_ms for row in group if row.first_ms is not None), default=None))[
                :10
            ],
            _time(max((row.last_ms for row in group if row.last_ms is not None), default=None)),
            f"{len(_behind(group)):,}",
            f"{sum(row.bars for row in group):,}",
            f"{sum(row.missing for row in group):,}",
            f"{sum(row.gaps for row in group):,}",
            _bytes(sum(row.size for row in group)),
        ]
        for (venue, dataset), group in _kinds(series).items()
    ]


def _print_incomplete(console: Console, series: Iterable[SeriesStatus]) -> None:
    """Print the incomplete series, the worst first, up to a limit."""
    incomplete = {
        (row.venue, row.symbol, row.dataset): row
        for group in _kinds(series).values()
        for row in (*_behind(group), *(row for row in group if row.gaps or row.edited_days))
    }
    if not incomplete:
        return
    rows = incomplete.values()
    worst = sorted(rows, key=lambda row: (-row.edited_days, -row.gaps, row.last_ms or 0))
    shown = worst[:_MAX_INCOMPLETE]
    _print_table(console, "Behind, or with gaps", _SERIES_COLUMNS, _series_rows(shown), "none")
    if len(worst) > len(shown):
        rest = len(worst) - len(shown)
        lines = [f"and {rest:,} more: `doit status --venue {worst[0].venue}` shows each series"]
        _print_lines(console, lines)


def _tick_kind_rows(status: ProjectStatus) -> list[list[str]]:
    rows = [
        [
            venue,
            dataset,
            f"{len(group):,}",
            _time(min(row.first_ms for row in group)),
            _time(max(row.last_ms for row in group)),
        ]
        for (venue, dataset), group in _kinds(status.ticks).items()
    ]
    for dataset, count in status.tick_rows.items():
        if count:
            rows.append(["", dataset, "", _rows_text(count), "in total"])
    return rows


def _rows_text(count: int) -> str:
    if count > COUNTED_ROWS:  # counting takes seconds
        return f"{count:,} rows less those pruned"
    return counted(count, "row")


def _gap_kind_rows(gaps: Iterable[GapStatus]) -> list[list[str]]:
    kinds: dict[tuple[str, str], list[GapStatus]] = {}
    for gap in gaps:
        kinds.setdefault((gap.venue, gap.channel), []).append(gap)
    return [
        [
            venue,
            channel,
            f"{len(group):,}",
            f"{sum(gap.gaps for gap in group):,}",
            f"{sum(gap.healed for gap in group):,}",
            f"{sum(gap.open for gap in group):,}",
            length(round(sum(gap.lost_s for gap in group) * 1000)),
        ]
        for (venue, channel), group in kinds.items()
    ]


def _tick_rows(status: ProjectStatus) -> list[list[str]]:
    rows = [
        [row.venue, row.symbol, row.dataset, _time(row.first_ms), _time(row.last_ms)]
        for row in status.ticks
    ]
    for dataset, count in status.tick_rows.items():
        if count:
            rows.append(["", "", dataset, _rows_text(count), "in total"])
    return rows


def _gap_row(gap: GapStatus) -> list[str]:
    return [
        gap.venue,
        gap.symbol,
        gap.channel,
        f"{gap.gaps:,}",
        f"{gap.healed:,}",
        f"{gap.open:,}",
        length(round(gap.lost_s * 1000)),
    ]


def _newest_gaps(gaps: Iterable[GapStatus], max_shown: int) -> Iterator[str]:
    """Yield a line for each cause of newest unfilled gaps, the newest first, with their series."""
    unfilled = (gap for gap in gaps if gap.newest_ms is not None)
    groups: list[list[GapStatus]] = []
    for gap in sorted(unfilled, key=lambda gap: -(gap.newest_ms or 0)):
        group = next((group for group in groups if _is_alike(group[0], gap)), None)
        if group is None:
            groups.append([gap])
        else:
            group.append(gap)
    for group in groups[:max_shown]:
        channels: dict[str, list[str]] = {}
        for gap in sorted(group, key=lambda gap: (gap.venue, gap.symbol, gap.channel)):
            channels.setdefault(f"{gap.venue}:{gap.symbol}", []).append(gap.channel)
        shown = [f"{name} {' '.join(names)}" for name, names in channels.items()][:max_shown]
        hidden_text = (
            f" and {len(channels) - len(shown):,} more series" if len(channels) > len(shown) else ""
        )
        start_ms = min(gap.newest_ms or 0 for gap in group)
        end_ms = max(gap.newest_end_ms or 0 for gap in group)
        until = _time(end_ms or None) or "now"
        noun = "newest unfilled gap" if len(group) == 1 else "newest unfilled gaps"
        series = f"{', '.join(shown)}{hidden_text}"
        yield f"{noun}: {_time(start_ms)} .. {until}, {group[0].reason}: {series}"


def _is_alike(gap: GapStatus, other: GapStatus) -> bool:
    """Return True if the newest unfilled gaps of two channels likely have one cause."""

    def is_near(one_ms: int | None, other_ms: int | None) -> bool:
        if one_ms is None or other_ms is None:
            return one_ms is other_ms
        return abs(one_ms - other_ms) < _ALIKE_MS

    return (
        gap.reason == other.reason
        and is_near(gap.newest_ms, other.newest_ms)
        and is_near(gap.newest_end_ms, other.newest_end_ms)
    )


def _stale_lines(status: ProjectStatus) -> Iterator[str]:
    for strategy in status.strategies:
        if strategy.reasons and strategy.reasons != (status.database.problem,):
            task = f"backtest:{strategy.strategy_id}"
            yield f"{strategy.strategy_id}: {_reasons_text(strategy.reasons, task)}"


def _reasons_text(reasons: Sequence[str], task: str) -> str:
    """Return the first reasons why a task would run, and the command that shows all."""
    shown = [_shortened(reason) for reason in reasons[:_MAX_REASONS]]
    if hidden := len(reasons) - len(shown):
        shown.append(f"{hidden:,} more: `doit why {task}`")
    elif shown != list(reasons):
        shown.append(f"`doit why {task}`")
    return "; ".join(shown)


def _strategy_row(strategy: StrategyStatus) -> list[str]:
    numbers = strategy.numbers
    simulated = ", simulated" if strategy.simulated else ""
    symbols = ", ".join(strategy.symbols)
    return [
        strategy.strategy_id,
        f"{symbols} {strategy.timeframe} of {strategy.market_data_venue}{simulated}",
        " .. ".join(
            _time(ms)[:10] for ms in (strategy.start_ms, strategy.end_ms) if ms is not None
        ),
        strategy.state,
        strategy.lookahead_text,
        _number(numbers["return"], "+.2%"),
        _number(numbers["sharpe"], ".2f"),
        _number(numbers["max_drawdown"], ".2%"),
        _number(numbers["trades"], ",.0f"),
    ]


def _left_out_row(strategy: LeftOut) -> list[str]:
    cells = {name: "-" if name.startswith(">") else "" for name in _STRATEGY_COLUMNS}
    return list((cells | {"strategy": strategy.strategy_id, "state": strategy.state}).values())


def _stale_experiments(status: ProjectStatus) -> Iterator[str]:
    for experiment in status.experiments:
        would_run = experiment.state in ("stale", "no result")  # of the others a WARNING tells
        if would_run and experiment.reasons not in ((), (status.database.problem,)):
            name = experiment.experiment_id
            yield f"{name}: {_reasons_text(experiment.reasons, f'experiment:{name}')}"


def _experiment_row(experiment: ExperimentStatus) -> list[str]:
    numbers = experiment.numbers
    return [
        experiment.experiment_id,
        experiment.state,
        _number(numbers["trials"], ",.0f"),
        _number(numbers["failed"], ",.0f"),
        _number(numbers["return"], "+.2%"),
        _number(numbers["sharpe"], ".2f"),
        _number(numbers["deflated_sharpe"], ".0%"),
        _number(numbers["tries"], ",.0f"),
        _number(numbers["probability_of_overfitting"], ".0%"),
        _number(numbers["out_of_sample_return"], "+.2%"),
    ]


def _print_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(printable(line), soft_wrap=True)


def _print_table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str
) -> None:
    """Print rows under a title, or a line with `empty`; `>` marks a column of numbers."""
    if not rows:
        _print_lines(console, ["", f"{title}: {empty}"])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_bold(console))
    for name in columns:
        number = name.startswith(">")
        table.add_column(
            name.lstrip(">"),
            justify="right" if number else "left",
            no_wrap=True,
        )
    above: Sequence[str] = ()
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in _unrepeated(row, above, columns)))
        above = row
    console.print()
    console.print(title, style=_bold(console))
    console.print(table)


def _bold(console: Console) -> str:
    return "" if console.no_color else "bold"


def _unrepeated(row: Sequence[str], above: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return a row with its venue and symbol blank if they are those of the row above."""
    repeated = 0
    while (
        repeated < 2
        and columns[0] == "venue"
        and row[: repeated + 1] == list(above[: repeated + 1])
    ):
        repeated += 1
    return [*[""] * repeated, *row[repeated:]]


def _time(ts_ms: int | None) -> str:
    return "" if ts_ms is None else iso(ts_ms).replace("T", " ").rpartition(":")[0]


def _bytes(size: int) -> str:
    """Return `1.2 GB`, `400 MB`, `0 kB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:,.{1 if size < 10 * unit else 0}f} {name}"
    return f"{size / 1000:,.0f} kB"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _shortened(reason: str) -> str:
    """Return a reason, cut on a terminal: a file or a pipe gets the whole text."""
    if len(reason) <= _MAX_REASON or not sys.stdout.isatty():
        return reason
    return f"{reason[: _MAX_REASON - 3]}..."
