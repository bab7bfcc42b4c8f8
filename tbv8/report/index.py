"""The page `data/results/index.html`: stored data, gaps, results, and stale tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tbv8.market import Series, Span
from tbv8.page.charts import Chart, draw, label_text, line, value_axis
from tbv8.page.html import (
    Child,
    Html,
    PageSection,
    color_keys,
    element,
    page,
    section,
    table,
    tiles,
)
from tbv8.page.plotly import PLOTLY_FILE, has_plotly
from tbv8.page.words import NONE, length_cell, minute, number, part_of
from tbv8.report.experiments import ExperimentStatus, draw_experiments
from tbv8.report.graph import NOT_NEEDED, Node, draw_graph
from tbv8.report.heatmap import draw_coverage
from tbv8.report.months import SeriesMonths, read_coverage
from tbv8.report.results import StoredResult, read_results
from tbv8.report.sessions import SessionStatus, session_lines
from tbv8.report.status import ProjectStatus
from tbv8.store.database import Query, open_reader
from tbv8.text import counted

_MAX_GAPS = 500  # listed
_MAX_POINTS = 16_000  # of all curves together
_COLORS = 10
_MIXED = "SIMULATED: rows marked (simulated) are of a synthetic market."


class RecordingGap(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table `recording_gaps`; `end_ms` is None while the gap lasts."""

    venue: str
    symbol: str
    channel: str
    start_ms: int
    end_ms: int | None
    reason: str
    healed: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the page, as of `now_ms`; `paper_folder` is relative to the page.

    `shares_plotly`: the page loads plotly.min.js from the results folder.
    """

    status: ProjectStatus
    coverage: Sequence[SeriesMonths]
    recording_gaps: Sequence[RecordingGap]
    results: Sequence[StoredResult]
    tasks: Sequence[Node]
    now_ms: int
    experiments: Sequence[ExperimentStatus] = ()
    paper_folder: str = "../paper"
    shares_plotly: bool = False


def read_report(
    status: ProjectStatus,
    tasks: Sequence[Node],
    wanted: Mapping[Series, Sequence[Span]],
    *,
    db_path: Path,
    results_path: Path,
    now_ms: int,
) -> Report:
    """Return the contents of the page; a database with a problem is not read.

    Args:
        status: The present status.
        tasks: The graph of tasks with the reasons of stale ones.
        wanted: The spans of history to fetch, by series.
        db_path: The database.
        results_path: The folder of all results.
        now_ms: The clock.
    """
    coverage: list[SeriesMonths] = []
    recording_gaps: list[RecordingGap] = []
    if status.database.problem is None:
        with open_reader(db_path) as query:
            stored = [(Series(s.venue, s.symbol), s.dataset) for s in status.series]
            coverage = read_coverage(query, stored, wanted)
            recording_gaps = _read_gaps(query)
    return Report(
        status=status,
        coverage=coverage,
        recording_gaps=recording_gaps,
        results=read_results(results_path, max_points=_MAX_POINTS),
        tasks=tasks,
        now_ms=now_ms,
        experiments=status.experiments,
        paper_folder=os.path.relpath(db_path.parent / "paper", results_path),
        shares_plotly=has_plotly(results_path),
    )


def _read_gaps(query: Query) -> list[RecordingGap]:
    return [
        RecordingGap(
            venue=str(venue),
            symbol=str(symbol),
            channel=str(channel),
            start_ms=start_ms,
            end_ms=end_ms,
            reason=str(reason),
            healed=bool(healed),
        )
        for venue, symbol, channel, start_ms, end_ms, reason, healed in query(
            "SELECT venue, symbol, channel, CAST(start_ms AS INTEGER), CAST(end_ms AS INTEGER),"
            " reason, healed FROM recording_gaps"
            " ORDER BY start_ms DESC, venue, symbol, channel LIMIT ?",
            (_MAX_GAPS,),
        )
    ]


def report_page(report: Report) -> str:
    """Return the page as HTML."""
    idle = {node.name for node in report.tasks if node.is_idle}
    idle_series = {
        row.series
        for row in report.coverage
        if f"backfill:{row.series.venue}:{row.series.symbol}" in idle
    }
    coverage = ("coverage", "Stored bars", draw_coverage(report.coverage, idle_series))
    sections: list[PageSection] = [_strategies(report)]
    if report.experiments:
        sections.append(("experiments", "Experiments", draw_experiments(report.experiments)))
    if report.status.sessions:
        sections.append(_sessions(report))
    sections += [_tasks(report), coverage, _recorder(report)]
    links = [element("a", title, href=f"#{id_}") for id_, title, _ in sections]
    is_simulated = any(result.summary.get("simulated") for result in report.results) or any(
        series.simulated for series in report.status.series
    )
    return page(
        "tbv8 report",
        _header(report),
        element("nav", links, aria_label="Parts of this page"),
        _tiles(report),
        [section(id_, title, content) for id_, title, content in sections],
        banner=_MIXED if is_simulated else None,
        plotly_path=PLOTLY_FILE if report.shares_plotly else None,
    )


def _header(report: Report) -> Html:
    database = report.status.database
    facts = (
        f"{database.path}: {database.size / 1e6:,.1f} MB, revision {database.revision}"
        if database.problem is None
        else database.problem
    )
    return element(
        "header",
        element("h1", "tbv8 report"),
        element("p", facts, class_="facts" if database.problem is None else "warn"),
        element("p", f"As of {minute(report.now_ms)} UTC, by doit report", class_="facts"),
    )


def _tiles(report: Report) -> Html:
    status = report.status
    fresh = sum(strategy.fresh for strategy in status.strategies)
    stale = sum(node.is_stale for node in report.tasks)
    needed = sum(node.is_needed for node in report.tasks)
    idle = sum(node.is_idle for node in report.tasks)
    recorded = sum(gap.gaps for gap in status.recorder_gaps)
    filled = sum(gap.healed for gap in status.recorder_gaps)
    open_gaps = sum(gap.open for gap in status.recorder_gaps)
    gaps = sum(series.gaps for series in status.series)
    verb = "is" if idle == 1 else "are"
    note = f"; {counted(idle, 'other task')} {verb} stale, not needed by a backtest" if idle else ""
    markets = {(series.venue, series.symbol) for series in status.series}
    counts = [
        ("Fresh results", f"{fresh:,} of {len(status.strategies):,}", "strategies in config/"),
        (
            "Tasks that doit would run",
            f"{stale:,}",
            f"of the {needed:,} that the backtests need{note}",
        ),
        (
            "Series",
            f"{len(markets):,}",
            f"in {counted(len(status.series), 'dataset')}: {counted(gaps, 'gap')}",
        ),
        (
            "Recorder gaps",
            f"{recorded:,}",
            f"{filled:,} filled later, {recorded - filled - open_gaps:,} lost, {open_gaps:,} going "
            "on"
            if recorded
            else "the recorder has missed nothing"
            if status.ticks
            else "nothing was recorded",
        ),
    ]
    return tiles(counts)


# Strategies.


class _StrategyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy, a result, or both."""

    strategy_id: str
    market: str
    state: str
    lookahead: str
    reasons: tuple[str, ...]
    result: StoredResult | None


def _strategies(report: Report) -> PageSection:
    rows = list(_rows(report))
    with_curves = [row for row in rows if row.result and row.result.curve]
    places = {row.strategy_id: at for at, row in enumerate(with_curves)}
    content: list[Child] = []
    if with_curves:
        content.append(draw(_curves(with_curves)))
    heads = [
        "chart",
        "strategy",
        "state",
        "look-ahead",
        "return",
        "Sharpe ratio",
        "max drawdown",
        "buy and hold",
        "round trips",
        "return a year (CAGR)",
        "fees, USD",
        "span",
    ]
    if rows:
        cells = [_cells(row, places.get(row.strategy_id)) for row in rows]
        content.append(table(heads, cells, words=4, sortable=True, id_="strategies-table"))
    else:
        content.append(element("p", "No strategies and no results.", class_="dim"))
    content.append(_stale_reasons([row for row in rows if row.reasons]))
    note = (
        "Numbers of the primary run, after all costs; buy and hold is of the same span and market. "
        "Spans and markets differ: compare with care. Click a heading to sort."
    )
    return "strategies", "Strategies", [element("p", note, class_="note"), content]


def _rows(report: Report) -> Iterator[_StrategyRow]:
    """Yield the configured strategies, those with errors, then results without a config file."""
    results = {result.strategy_id: result for result in report.results}
    for strategy in report.status.strategies:
        result = results.pop(strategy.strategy_id, None)
        simulated = " (simulated)" if strategy.simulated else ""
        problem = (result.problem,) if result and result.problem else ()
        yield _StrategyRow(
            strategy_id=strategy.strategy_id,
            market=f"{', '.join(strategy.symbols)} {strategy.timeframe} of "
            f"{strategy.market_data_venue}{simulated}",
            state="fresh" if strategy.fresh else "stale" if result else "no result",
            lookahead=strategy.lookahead_text,
            reasons=(*problem, *strategy.reasons),
            result=result,
        )
    for left_out in report.status.left_out:
        result = results.pop(left_out.strategy_id, None)
        yield _StrategyRow(
            strategy_id=left_out.strategy_id,
            market=_market(result) if result else "",
            state=left_out.state,
            lookahead="",
            reasons=(left_out.reason,),
            result=result,
        )
    for result in results.values():
        yield _StrategyRow(
            strategy_id=result.strategy_id,
            market=_market(result),
            state="not configured",
            lookahead="",
            reasons=(
                *((result.problem,) if result.problem else ()),
                "its YAML file is gone from config/strategies: delete the folder "
                f"data/results/{result.strategy_id} to remove the result",
            ),
            result=result,
        )


def _market(result: StoredResult) -> str:
    """Return the symbols, timeframe and venue of a result."""
    summary = result.summary
    listed = summary.get("symbols")
    symbols = listed if isinstance(listed, list) else [summary.get("symbol", "?")]
    timeframe, venue = (summary.get(name, "?") for name in ("timeframe", "market_data_venue"))
    simulated = " (simulated)" if summary.get("simulated") else ""
    return f"{', '.join(map(str, symbols))} {timeframe} of {venue}{simulated}"


def _sessions(report: Report) -> PageSection:
    heads = [
        "strategy",
        "venue",
        "state",
        "since",
        "last minute",
        "position",
        "equity, USD",
        "day's loss, USD",
        "limit of the loss, USD",
        "fills",
        "denials",
        "halts",
    ]
    sessions = report.status.sessions
    cells = [_session_cells(session, report.paper_folder) for session in sessions]
    lines = [text for session in sessions for text in session_lines(session)]
    note = (
        "Each session runs the engine of backtests on live minutes; no order reaches a venue. doit "
        "replay compares a session with its journal."
    )
    content: list[Child] = [table(heads, cells, words=5, id_="sessions-table")]
    if lines:
        content.append(element("ul", [element("li", text) for text in lines]))
    return "sessions", "Paper sessions", [element("p", note, class_="note"), content]


def _session_cells(session: SessionStatus, folder: str) -> list[Child]:
    name: Child = session.title
    if session.role == "primary" and session.has_tearsheet:
        href = f"{quote(folder)}/{quote(session.strategy_id)}/tearsheet.html"
        name = element("a", session.strategy_id, href=href)
    states = {"running": "pill", "stopped": "pill stale", "stale": "pill stale"}
    positions = ", ".join(f"{size} {symbol}" for symbol, size in session.positions.items() if size)
    equity = session.equity
    return [
        name,
        session.venue,
        element("span", session.state, class_=states.get(session.state, "pill gone")),
        minute(session.counted_ms),
        NONE if equity is None else minute(session.done_ms),
        positions or "none",
        NONE if equity is None else number(float(equity), ",.2f"),
        number(float(session.day_loss), ",.2f"),
        number(float(session.day_loss_limit), ",.2f"),
        number(session.fills, ",.0f"),
        number(session.denials, ",.0f"),
        number(session.halts, ",.0f"),
    ]


def _curves(rows: Sequence[_StrategyRow]) -> Chart:
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for at, row in enumerate(rows):
        curve = row.result.curve if row.result else None
        assert curve
        columns |= {f"t{at}": curve.t, f"y{at}": curve.percent}
        traces.append(
            line(
                label_text(row.strategy_id),
                f"y{at}",
                f"--c{at % _COLORS}",
                x=f"@t{at}",
                line={"color": f"--c{at % _COLORS}", "width": 1.5, "dash": _dash(at)},
                hovertemplate="%{y:+.2f} %",
            )
        )
    times = [time for at in range(len(rows)) for time in columns[f"t{at}"]]
    return Chart(
        id="strategies-chart",
        label="Return of each strategy since its start, in percent",
        columns=columns,
        traces=traces,
        layout={"yaxis": value_axis(ticksuffix=" %"), "showlegend": True},
        span=(min(times), max(times)),
        height=380,
    )


def _dash(at: int) -> str:
    """Return the line style of a curve: dotted once all colours are used."""
    return "dot" if at // _COLORS % 2 else "solid"


def _cells(row: _StrategyRow, at: int | None) -> list[Child]:
    stats = row.result.stats if row.result else {}
    buy_and_hold = stats.get("buy_and_hold")
    hold_return = buy_and_hold.get("return") if isinstance(buy_and_hold, dict) else None
    box: Child = ""
    if at is not None:
        box = [
            element(
                "input",
                type="checkbox",
                checked=True,
                data_curves=f"strategies-chart:{at}",
                aria_label=f"draw {row.strategy_id}",
            ),
            " ",
            element(
                "span",
                class_="swatch" if _dash(at) == "solid" else "swatch dotted",
                style=f"background-color:var(--c{at % _COLORS})",
            ),
        ]
    name: Child = row.strategy_id
    if row.result and row.result.has_tearsheet:
        name = element("a", row.strategy_id, href=f"{quote(row.strategy_id)}/tearsheet.html")
    states = {"fresh": "pill", "stale": "pill stale"}
    return [
        box,
        [name, element("span", row.market, class_="below")],
        element("span", row.state, class_=states.get(row.state, "pill gone")),
        row.lookahead,
        number(stats.get("return"), "+,.2%"),
        number(stats.get("sharpe"), ",.2f"),
        number(stats.get("max_drawdown"), ",.2%"),
        number(hold_return, "+,.2%"),
        number(stats.get("trades"), ",.0f"),
        number(stats.get("cagr"), "+,.2%"),
        number(stats.get("fees"), ",.2f"),
        _span(row),
    ]


def _span(row: _StrategyRow) -> Child:
    span = row.result.summary.get("span") if row.result else None
    if not isinstance(span, dict):
        return NONE
    first, *last = (str(day)[:10] for day in span.values())
    days = [f"{first} to", *last] if last else [first]
    parts = [
        [" " if at else None, element("span", day, class_="day")] for at, day in enumerate(days)
    ]
    return element("span", parts, class_="fold")


def _stale_reasons(rows: Sequence[_StrategyRow]) -> Child:
    if not rows:
        return None
    return [
        element("h3", "Missing, stale or damaged results, and why"),
        [
            element(
                "details",
                element("summary", f"{row.strategy_id}: {row.reasons[0]}"),
                element("ul", [element("li", reason) for reason in row.reasons]),
            )
            if len(row.reasons) > 1
            else element("p", f"{row.strategy_id}: {row.reasons[0]}")
            for row in rows
        ],
    ]


# The graph.


def _tasks(report: Report) -> PageSection:
    idle = [node for node in report.tasks if node.is_idle]
    content: list[Child] = []
    if not report.tasks:
        text = "Stale tasks are unknown until the database can be read."
        content.append(element("p", text, class_="dim"))
    else:
        keys = [("--ok", "fresh"), ("--warn", "stale")]
        if idle:
            keys.append(("--axis", NOT_NEEDED))
        content += [
            color_keys(keys),
            element("div", draw_graph(report.tasks), class_="scroll graph", tabindex=0),
        ]
    note = [
        "Each task is to the right of the tasks that it depends on. ",
        element("code", "doit"),
        " runs the stale tasks that the backtests need, and every task that depends on one that "
        "ran. Point at a task for its reasons, or type ",
        element("code", "doit plan"),
        ".",
    ]
    return "tasks", "Graph of tasks", [element("p", note, class_="note"), content]


# Gaps of the recorder.


def _recorder(report: Report) -> PageSection:
    status = report.status
    if not status.recorder_gaps:
        text = "No gaps: the recorder missed nothing, or never ran."
        return "recorder", "Recorder gaps", element("p", text, class_="dim")
    streams = [
        [
            gap.venue,
            gap.symbol,
            gap.channel,
            f"{gap.gaps:,}",
            f"{gap.healed:,}",
            f"{gap.open:,}",
            length_cell(round(gap.lost_s * 1000)),
        ]
        for gap in status.recorder_gaps
    ]
    heads = ["venue", "symbol", "channel", "gaps", "filled", "going on", "time lost"]
    total = sum(gap.gaps for gap in status.recorder_gaps)
    rows = [
        [
            minute(gap.start_ms),
            minute(gap.end_ms) if gap.end_ms is not None else "lasts",
            gap.venue,
            gap.symbol,
            gap.channel,
            "filled" if gap.healed else "going on" if gap.end_ms is None else "lost",
            length_cell((gap.end_ms or report.now_ms) - gap.start_ms),
            gap.reason,
        ]
        for gap in report.recording_gaps
    ]
    count_text = part_of(len(rows), total, "newest")
    return (
        "recorder",
        "Recorder gaps",
        [
            element(
                "p", "Spans that were not received; filled: fetched afterwards.", class_="note"
            ),
            table(heads, streams, words=3, sortable=True, id_="streams-table"),
            element(
                "details",
                element("summary", f"Single gaps: {count_text}"),
                table(
                    ["from", "to", "venue", "symbol", "channel", "state", "length", "reason"],
                    rows,
                    words=6,
                    sortable=True,
                    id_="gaps-table",
                ),
            ),
        ],
    )
