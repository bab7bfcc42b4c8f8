"""Paper sessions as `doit status` and `doit report` show them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal

import msgspec

from tbv8.config.records import Project
from tbv8.market import MINUTE_MS, iso
from tbv8.store.database import Query
from tbv8.store.locks import session_runs
from tbv8.store.sessions import PRICED, StoredSession, read_sessions
from tbv8.text import counted

_ROW_BYTES = 95  # of a minute: five numbers, three times, a name, the tree


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One paper session that can continue.

    Attributes:
        strategy_id: The strategy.
        role: `primary`, or `shadow` for the secondary venue.
        venue: The venue of its bars and rules.
        state: `running`, `stopped`, `stale`, `differs` or `not running`.
        has_process: True if a process runs it.
        problem: The difference from its replay; None without one.
        counted_ms: The start of the counted span.
        done_ms: The close of the last minute that it used.
        lag_s: The time since then.
        positions: The positions by symbol, in base units.
        equity: The equity in USD; None before the first minute.
        day_loss: The loss since 00:00 UTC, in USD.
        day_loss_limit: The loss that closes all positions.
        halted_until_ms: The end of a halt, until which no position is opened; None without a halt.
        orders: The number of sent orders.
        fills: The number of fills.
        denials: The number of denied orders.
        halts: The number of halts.
        barred_minutes: The number of minutes that could open no position, by rule.
        missing_minutes: The number of minutes that were not recorded.
        corrected: The number of minutes that the recorder changed after their use.
        priced: The number of fills priced by the secondary's quotes; None without a secondary.
        priced_cost: The extra cost of these fills there, in USD.
        size: The approximate size of its journal in bytes.
        has_tearsheet: True once its page is written: minutes after its start, or at its end.
        closes: True after `doit stop --close`, until `doit start`.
    """

    strategy_id: str
    role: str
    venue: str
    state: str
    has_process: bool
    problem: str | None
    counted_ms: int
    done_ms: int
    lag_s: float
    positions: dict[str, Decimal]
    equity: Decimal | None
    day_loss: Decimal
    day_loss_limit: Decimal
    halted_until_ms: int | None
    orders: int
    fills: int
    denials: int
    halts: int
    barred_minutes: dict[str, int]
    missing_minutes: int
    corrected: int
    priced: int | None
    priced_cost: Decimal
    size: int
    has_tearsheet: bool = False
    closes: bool = False

    @property
    def title(self) -> str:
        """The strategy's id, with a note for the shadow."""
        return self.strategy_id if self.role == "primary" else f"{self.strategy_id} (shadow)"


def read_session_states(query: Query, project: Project) -> Iterator[SessionStatus]:
    """Yield the sessions of configured strategies that can continue, by strategy and role."""
    stored = [session for session in read_sessions(query) if session.ended_ms is None]
    for session in sorted(stored, key=lambda session: (session.strategy_id, session.role)):
        if session.strategy_id in project.paper_strategies:
            yield _status(query, project, session)


def _status(query: Query, project: Project, session: StoredSession) -> SessionStatus:
    strategy = project.paper_strategies[session.strategy_id]
    barred = query(
        "SELECT substr(barred, 1, instr(barred || ' ', ' ') - 1), count(DISTINCT ts_ms)"
        " FROM session_bars WHERE session_id = ? AND barred IS NOT NULL GROUP BY 1",
        (session.session_id,),
    )
    ((rows, missing),) = query(
        "SELECT count(*), total(open IS NULL) FROM session_bars WHERE session_id = ?",
        (session.session_id,),
    )
    ((corrected,),) = query(
        "SELECT count(*) FROM session_events WHERE session_id = ? AND kind = 'corrected'",
        (session.session_id,),
    )
    ((priced, cost),) = query(
        "SELECT count(json_extract(body, '$.quoted')), total(json_extract(body, '$.cost_usd'))"
        " FROM session_events WHERE session_id = ? AND kind = ?",
        (session.session_id, PRICED),
    )
    shadowed = strategy.routing.mode == "PRIMARY_LIVE_SECONDARY_SHADOW"
    problem = _problem(project, session.strategy_id)
    state, lag_ms = session.state, max(0, project.now_ms - session.done_ms)
    return SessionStatus(
        strategy_id=session.strategy_id,
        role=session.role,
        venue=session.venue,
        state=_state(project, session, lag_ms, problem),
        has_process=session_runs(project.db_path, session.strategy_id),
        problem=problem,
        counted_ms=session.counted_ms,
        done_ms=session.done_ms,
        lag_s=lag_ms / 1000,
        positions={name: Decimal(size) for name, size in state.get("positions", {}).items()},
        equity=Decimal(state["equity"]) if session.done_ms > session.first_ms else None,
        day_loss=Decimal(state.get("day_loss", 0)),
        day_loss_limit=strategy.risk.max_daily_loss_usd,
        halted_until_ms=state.get("halted_until_ms"),
        orders=state.get("orders", 0),
        fills=state.get("fills", 0),
        denials=state.get("denials", 0),
        halts=state.get("halts", 0),
        barred_minutes={str(rule): count for rule, count in barred},
        missing_minutes=int(missing),
        corrected=corrected,
        priced=priced if shadowed and session.role == "primary" else None,
        priced_cost=round(Decimal(cost), 8),
        size=rows * _ROW_BYTES,
        has_tearsheet=(project.paper_folder(session.strategy_id) / "tearsheet.html").is_file(),
        closes=_closes(project, session.strategy_id),
    )


def _state(project: Project, session: StoredSession, lag_ms: int, problem: str | None) -> str:
    strategy = project.paper_strategies[session.strategy_id]
    if problem is not None:
        return "differs"
    if project.stop_file(session.strategy_id).exists():
        return "stopped"
    if not session_runs(project.db_path, session.strategy_id):
        return "not running"
    since_ms = max(session.counted_ms, session.done_ms)
    is_late = project.now_ms - since_ms > project.stale_after_ms(strategy) + MINUTE_MS
    return "stale" if is_late and lag_ms else "running"


def _problem(project: Project, strategy_id: str) -> str | None:
    with suppress(OSError):
        return project.differs_file(strategy_id).read_text("utf-8", errors="replace").strip()
    return None


def _closes(project: Project, strategy_id: str) -> bool:
    with suppress(OSError):
        return "close" in project.stop_file(strategy_id).read_text("utf-8", errors="replace")
    return False


def _future(status: SessionStatus) -> str:
    """Return the fate of the positions of a session that is stopped or does not run."""
    stop = f"`doit stop {status.strategy_id} --close`"
    paper = f"`doit paper:{status.strategy_id}`"
    if status.has_process:
        return f", and {stop} is pending: the session closes it at the next close that it reads"
    if status.closes:
        return f" while no session runs, and {stop} is pending: the next {paper} closes it"
    return f" while no session runs: {paper} continues with it; to close it, run {stop} first"


def session_lines(status: SessionStatus) -> Iterator[str]:
    """Yield further lines about a session: its problem, positions, halts and corrections."""
    name = status.title
    if status.problem is not None:
        yield f"{name}: {status.problem}"
    positions = " and ".join(
        f"{size} {symbol}" for symbol, size in status.positions.items() if size
    )
    if positions and (status.closes or not status.has_process):
        yield f"{name}: holds {positions}{_future(status)}"
    if status.halted_until_ms is not None:
        yield f"{name}: halted until {iso(status.halted_until_ms)}"
    for rule, count in sorted(status.barred_minutes.items()):
        minutes = counted(count, "minute")
        yield f"{name}: {minutes} so far in which no position could be opened ({rule})"
    if status.missing_minutes:
        yield f"{name}: {counted(status.missing_minutes, 'minute')} not recorded"
    if status.priced:
        yield (
            f"{name}: {counted(status.priced, 'fill')} priced by the secondary's quotes: "
            f"{status.priced_cost:+,.2f} USD extra cost there"
        )
    if status.corrected:
        yield (
            f"{name}: the recorder corrected {counted(status.corrected, 'bar')} after use, "
            "without effect on the session"
        )
