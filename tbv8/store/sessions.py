"""The journal of paper sessions: each minute before its use, and its events in one transaction.

One connection of Python's own sqlite3 reads the recorder's minutes too. A process that writes here
must not open the file by ADBC at the same time (see `tbv8.store.bars`). Every commit is on the disk
when it returns (`synchronous = FULL`).

`session_bars` has a row per minute and symbol, without prices if the venue has none.
`session_events` has the session's actions (`order`, `change`, `fill`, `payment`, `denial`, `halt`,
for an order that ended unfilled `end`), the user's commands (`command`), the venue's funding
(`rate`) and observations (`corrected`, `gap`, for each fill `priced`, and `reached`); each kind is
numbered from 0.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from tbv8.errors import DataError
from tbv8.market import DAY_MS, MINUTE_MS, ONE_MINUTE, Bar, Bbo, Series, Span, iso
from tbv8.store.database import DatabaseFiles, Query, file_problem, open_reader, translated_errors
from tbv8.store.ledger import MINUTE_DATASETS, number_columns, read_days
from tbv8.store.ticks import BusyError

BUSY_TIMEOUT_S = 1
"""The time that one attempt to commit waits for another writer; the session tries again."""

OUTPUTS = ("order", "change", "fill", "payment", "denial", "halt", "end")
"""The kinds of events that a replay must reproduce."""

CORRECTED = "corrected"
"""The kind of event for a minute that the recorder changed after its use."""

PRICED = "priced"
"""The kind of event for a fill's price at the secondary venue, numbered as the fill."""

REACHED = "reached"
"""The kind of a working limit order that a quote of the secondary venue traded through."""

COMMAND = "command"
"""The kind of event for a user's command, in effect after the minute that closes then."""

RATE = "rate"
"""The kind of a payment of funding by the venue, at the time at which the session books it."""

type Role = Literal["primary", "shadow"]

_FORTNIGHT_MS = 14 * DAY_MS
_TEMPORARY = ("locked", "busy", "full", "disk I/O", "unable to open", "readonly")
_PRICES = ("open", "high", "low", "close", "volume")


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `sessions`.

    Attributes:
        session_id: Its number.
        strategy_id: The strategy.
        role: `primary`, or `shadow` for the secondary venue.
        venue: The venue of its bars and rules.
        inputs: Digest and value of each part of its key.
        decimals: The number of decimals of each symbol's prices.
        first_ms: The open of its first minute, including the warm-up.
        counted_ms: The start of the counted span.
        done_ms: The close of the last minute with written events; `first_ms` before the first.
        state: The account after that minute.
        began_ms: The start by our clock.
        ended_ms: The end by our clock; None while the session can continue.
    """

    session_id: int
    strategy_id: str
    role: Role
    venue: str
    inputs: dict[str, Any]
    decimals: dict[str, int]
    first_ms: int
    counted_ms: int
    done_ms: int
    state: dict[str, Any]
    began_ms: int
    ended_ms: int | None = None


class SessionMinute(msgspec.Struct, frozen=True, kw_only=True):
    """One closed minute of all symbols of a session; None for a symbol without a bar.

    `seen_ms` is our clock at the time of reading, `barred` the rule that denied new positions.
    """

    ts_ms: int
    bars: Mapping[str, Bar | None]
    seen_ms: int
    barred: str | None = None

    @property
    def close_ms(self) -> int:
        """The end of the minute."""
        return self.ts_ms + MINUTE_MS


class Event(msgspec.Struct, frozen=True):
    """A row of `session_events`; `ts_ms` is the session's time, `at_ms` the time by our clock."""

    kind: str
    number: int
    ts_ms: int
    at_ms: int
    body: str


class ClosedMinutes(msgspec.Struct, frozen=True):
    """Known minutes of one series from some time on.

    `bars` are keyed by their open and complete up to `until_ms`. `next_ms` is the start of the next
    known span, after a gap; None if there is none.
    """

    bars: dict[int, Bar]
    until_ms: int
    next_ms: int | None


@contextmanager
def session_lock(db_path: Path, name: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a session during the block; it ends with the process in any case.

    Args:
        db_path: The database.
        name: The strategy's id, or another name of the session.
        wait_s: The time to wait for a process that is ending.

    Raises:
        DataError: Another process holds it, or the lock file cannot be written.
    """
    path = db_path.with_name(f"{db_path.name}.paper.{name}.lock")
    try:
        lock = path.open("a+")
    except OSError as e:
        raise DataError(f"{path}: cannot be written: {e.strerror}: make it writable") from e
    until_s = time.monotonic() + wait_s
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                if time.monotonic() < until_s:
                    time.sleep(0.05)
                    continue
                lock.seek(0)
                owner = lock.read().strip() or "unknown"
                raise DataError(
                    f"{name}: its session is already running (process {owner}): end that process "
                    f"by Ctrl-C or `kill {owner}` (`doit stop` ends its trading, not the process)"
                ) from e
            break
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def is_locked(path: Path) -> bool:
    """Return True if a process holds the lock of the file at a path."""
    try:
        with path.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def session_runs(db_path: Path, strategy_id: str) -> bool:
    """Return True if a process runs the session of a strategy."""
    return is_locked(db_path.with_name(f"{db_path.name}.paper.{strategy_id}.lock"))


def recorder_runs(db_path: Path) -> bool:
    """Return True if a recorder writes to the database."""
    return is_locked(db_path.with_name(f"{db_path.name}.recorder.lock"))


def recorder_owner(db_path: Path) -> str:
    """Return the process that is, or was last, the recorder of the database; "" for none."""
    lock = db_path.with_name(f"{db_path.name}.recorder.lock")
    return lock.read_text("utf-8", errors="replace").strip() if lock.exists() else ""


class Journal:
    """An open connection for one session; created by `open_journal`, for use in one thread."""

    def __init__(self, db_path: Path, connection: sqlite3.Connection) -> None:
        self._db_path, self._connection = db_path, connection
        self._files = DatabaseFiles(db_path)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._translated():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the driver's errors; a temporary one becomes a BusyError."""
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as e:
            if (problem := file_problem(self._db_path, str(e))) is None:
                raise
            is_temporary = isinstance(e, sqlite3.OperationalError)
            if is_temporary and any(word in str(e) for word in _TEMPORARY):
                raise BusyError(problem.replace(" for a minute", "")) from e
            raise DataError(problem) from e

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Commit at the end, or roll back on an exception.

        Raises:
            BusyError: The database is locked, or its disk is full; nothing was written.
            MovedError: The database was removed, moved or replaced.
            DataError: It is damaged.
        """
        self._files.check()
        connection = self._connection
        with self._translated():
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have rolled back by itself
                    connection.execute("ROLLBACK")
                raise

    # Sessions.

    def begin(
        self,
        session: StoredSession,
        history: Sequence[SessionMinute],
        rates: Sequence[Event],
        *,
        ends: StoredSession | None,
    ) -> StoredSession:
        """Write a new session and the minutes of its warm-up; return it with its number.

        Args:
            session: The session; its `session_id` is ignored.
            history: Closed minutes from `first_ms` on.
            rates: The known funding of that time.
            ends: The previous session, which this one ends.
        """
        with self._writing() as connection:
            if ends is not None:
                connection.execute(
                    "UPDATE sessions SET ended_ms = ? WHERE session_id = ?",
                    (session.began_ms, ends.session_id),
                )
            number = connection.execute(
                "INSERT INTO sessions (strategy_id, role, venue, inputs, decimals, first_ms,"
                " counted_ms, done_ms, state, began_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    session.strategy_id,
                    session.role,
                    session.venue,
                    _text(session.inputs),
                    _text(session.decimals),
                    session.first_ms,
                    session.counted_ms,
                    session.done_ms,
                    _text(session.state),
                    session.began_ms,
                ),
            ).lastrowid
            assert number is not None
            _insert_minutes(connection, number, history)
            _insert_events(connection, number, rates)
        return msgspec.structs.replace(session, session_id=number)

    def write_inputs(self, session_id: int, inputs: Mapping[str, Any]) -> None:
        """Replace the parts of a session's key."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE sessions SET inputs = ? WHERE session_id = ?", (_text(inputs), session_id)
            )

    # Minutes and events.

    def write_minutes(
        self, session_id: int, minutes: Sequence[SessionMinute], notes: Sequence[Event] = ()
    ) -> None:
        """Write minutes before their use, and observations about them."""
        with self._writing() as connection:
            _insert_minutes(connection, session_id, minutes)
            _insert_events(connection, session_id, notes)

    def write_events(
        self,
        session_id: int,
        events: Sequence[Event],
        *,
        done_ms: int,
        state: Mapping[str, Any],
    ) -> None:
        """Write the events of minutes that close until `done_ms`, and the account after them."""
        with self._writing() as connection:
            _insert_events(connection, session_id, events)
            connection.execute(
                "UPDATE sessions SET done_ms = ?, state = ? WHERE session_id = ?",
                (done_ms, _text(state), session_id),
            )

    def block_minutes(self, session_id: int, rule: str, *, from_ms: int) -> None:
        """Forbid the minutes that open from a time on to open positions."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE session_bars SET barred = ? WHERE session_id = ? AND ts_ms >= ?",
                (rule, session_id, from_ms),
            )

    def count_events(self, session_id: int) -> dict[str, int]:
        """Return the number of events by kind."""
        return dict(
            self.query(
                "SELECT kind, max(number) + 1 FROM session_events WHERE session_id = ?"
                " GROUP BY kind",
                (session_id,),
            )
        )


def read_sessions(query: Query, strategy_id: str | None = None) -> list[StoredSession]:
    """Return sessions, the newest first; of one strategy, or of all."""
    condition, values = ("WHERE strategy_id = ?", [strategy_id]) if strategy_id else ("", [])
    columns = StoredSession.__struct_fields__
    rows = query(
        f"SELECT {', '.join(columns)} FROM sessions {condition} ORDER BY session_id DESC", values
    )
    return [_to_session(dict(zip(columns, row, strict=True))) for row in rows]


def _to_session(values: dict[str, Any]) -> StoredSession:
    texts = {name: json.loads(values[name]) for name in ("inputs", "decimals", "state")}
    return StoredSession(**{**values, **texts})


def read_session(query: Query, strategy_id: str, role: Role) -> StoredSession | None:
    """Return the session of a strategy that can continue; None if there is none."""
    for session in read_sessions(query, strategy_id):
        if session.role == role and session.ended_ms is None:
            return session
    return None


def read_minutes(
    query: Query, session_id: int, *, from_ms: int = 0, until_ms: int = 2**62
) -> list[SessionMinute]:
    """Return the minutes of a session that open in a span, in order."""
    rows = query(
        f"SELECT ts_ms, symbol, {', '.join(_PRICES)}, seen_ms, barred FROM session_bars"
        " WHERE session_id = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms, symbol",
        (session_id, from_ms, until_ms),
    )
    minutes: dict[int, SessionMinute] = {}
    for ts_ms, symbol, *prices, seen_ms, barred in rows:
        bar = None if prices[0] is None else Bar(ts_ms, *prices)
        minute = minutes.get(ts_ms)
        if minute is None:
            bars: dict[str, Bar | None] = {symbol: bar}
            minutes[ts_ms] = SessionMinute(ts_ms=ts_ms, bars=bars, seen_ms=seen_ms, barred=barred)
        else:
            minute.bars[symbol] = bar  # type: ignore[index]  # it is not given away yet
    return list(minutes.values())


def iter_minutes(query: Query, session: StoredSession) -> Iterator[SessionMinute]:
    """Yield all minutes of a session in order, read a fortnight at a time."""
    ((last_ms,),) = query(
        "SELECT max(ts_ms) FROM session_bars WHERE session_id = ?", (session.session_id,)
    )
    if last_ms is None:
        return
    for from_ms in range(session.first_ms, last_ms + 1, _FORTNIGHT_MS):
        until_ms = from_ms + _FORTNIGHT_MS
        yield from read_minutes(query, session.session_id, from_ms=from_ms, until_ms=until_ms)


def read_events(
    query: Query,
    session_id: int,
    kinds: Sequence[str],
    *,
    first: int = 0,
    last: int | None = None,
) -> list[Event]:
    """Return events of a session by kind, each kind in order.

    Args:
        query: The query function of an open database.
        session_id: The session.
        kinds: The kinds of events.
        first: The number of the first event.
        last: The maximum number of events per kind, counted from the end; None for all.
    """
    events = []
    for kind in kinds:
        rows = query(
            "SELECT kind, number, ts_ms, at_ms, body FROM session_events"
            " WHERE session_id = ? AND kind = ? AND number >= ? ORDER BY number DESC LIMIT ?",
            (session_id, kind, first, -1 if last is None else last),
        )
        events += [Event(*row) for row in reversed(rows)]
    return events


def read_closed_minutes(
    query: Query, series: Series, *, from_ms: int, until_ms: int
) -> ClosedMinutes:
    """Return the known closed minutes of a series from a time on, fetched or recorded.

    Raises:
        DataError: A bar is impossible.
    """
    span = Span(from_ms, until_ms)
    parts = [
        (day.span, dataset)
        for dataset in MINUTE_DATASETS
        for day in read_days(query, series, dataset, Span(from_ms, until_ms + DAY_MS))
        if day.span.end_ms > from_ms
    ]
    bars: dict[int, Bar] = {}
    cursor = from_ms
    while True:
        candidates = [(s, name) for s, name in parts if s.start_ms <= cursor < s.end_ms]
        if not candidates or cursor >= until_ms:
            break
        longest, dataset = max(candidates, key=lambda candidate: candidate[0].end_ms)
        part = Span(cursor, longest.end_ms).intersection(span)
        for row in query(
            f'SELECT {number_columns(("ts_ms", *_PRICES))} FROM "{dataset}"'
            " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms",
            (series.venue, series.symbol, part.start_ms, part.end_ms),
        ):
            bar = Bar(*row)
            bars[bar.ts_ms] = bar
            if not bar.is_possible:
                raise DataError(
                    f"{dataset} {series} {iso(bar.ts_ms)}: the bar's prices are impossible: run "
                    "`doit verify` to find the damaged bars"
                )
        cursor = part.end_ms
    later = [s.start_ms for s, _ in parts if s.start_ms > cursor]
    return ClosedMinutes(bars, ONE_MINUTE.floor(cursor), min(later, default=None))


def read_corrections(
    query: Query, session: StoredSession, symbols: Iterable[str], *, since_ms: int
) -> list[tuple[str, Bar, Bar]]:
    """Return the minutes whose recorded bar has changed since the session used it.

    Each comes with its symbol, the used bar, and the present one.
    """
    corrections = []
    for symbol in symbols:
        rows = query(
            f"SELECT b.ts_ms, {_columns('b')}, {_columns('r')}"
            " FROM session_bars b JOIN bars_1m r ON r.venue = ? AND r.symbol = b.symbol"
            " AND r.ts_ms = b.ts_ms WHERE b.session_id = ? AND b.symbol = ? AND b.ts_ms >= ?"
            f" AND b.open IS NOT NULL AND ({_columns('b')}) IS NOT ({_columns('r')})"
            " ORDER BY b.ts_ms",
            (session.venue, session.session_id, symbol, since_ms),
        )
        for ts_ms, *values in rows:
            corrections.append((symbol, Bar(ts_ms, *values[:5]), Bar(ts_ms, *values[5:])))
    return corrections


def read_quotes(query: Query, series: Series, span: Span) -> list[Bbo]:
    """Return the last quote before a span, if any, and the quotes within it, by time."""
    columns = "venue, symbol, ts_ms, bid_price, bid_size, ask_price, ask_size"
    condition, key = "WHERE venue = ? AND symbol = ?", (series.venue, series.symbol)
    before = query(
        f"SELECT {columns} FROM bbo {condition} AND ts_ms < ?"
        " ORDER BY ts_ms DESC, rowid DESC LIMIT 1",
        (*key, span.start_ms),
    )
    within = query(
        f"SELECT {columns} FROM bbo {condition} AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms, rowid",
        (*key, span.start_ms, span.end_ms),
    )
    return [Bbo(*row) for row in (*before, *within)]


def first_quote_beyond(
    query: Query, series: Series, span: Span, limit: Decimal, *, buy: bool
) -> int | None:
    """Return the time of the first quote in a span beyond a limit price; None if there is none."""
    through = "ask_price <= ?" if buy else "bid_price >= ?"
    ((ts_ms,),) = query(
        "SELECT min(ts_ms) FROM bbo WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?"
        f" AND {through}",
        (series.venue, series.symbol, span.start_ms, span.end_ms, float(limit)),
    )
    return None if ts_ms is None else int(ts_ms)


def missed_quotes(query: Query, series: Series, at_ms: int) -> bool:
    """Return True if the recorder missed the quotes at some time."""
    return bool(
        query(
            "SELECT 1 FROM recording_gaps WHERE venue = ? AND symbol = ? AND channel = 'bbo'"
            " AND start_ms <= ? AND (end_ms IS NULL OR end_ms > ?) LIMIT 1",
            (series.venue, series.symbol, at_ms, at_ms),
        )
    )


def shortest_delay_ms(query: Query, series: Series, span: Span) -> int | None:
    """Return the shortest delay of a trade from the venue's time to its arrival by our clock.

    It is negative if our clock is behind the venue's, and None if no trade was recorded live.
    """
    ((delay_ms,),) = query(
        "SELECT min(received_ms - ts_ms) FROM trades"
        " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?",
        (series.venue, series.symbol, span.start_ms, span.end_ms),
    )
    return None if delay_ms is None else int(delay_ms)


@contextmanager
def open_journal(db_path: Path) -> Iterator[Journal]:
    """Open the database for one session.

    Raises:
        DataError: The database is absent, damaged, locked, or of another revision.
    """
    with open_reader(db_path):
        pass
    with translated_errors(db_path):
        connection = sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    with closing(connection):
        with translated_errors(db_path):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -4096")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # opens the files
        yield Journal(db_path, connection)


def _columns(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in _PRICES)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _insert_minutes(
    connection: sqlite3.Connection, session_id: int, minutes: Sequence[SessionMinute]
) -> None:
    empty = (None,) * len(_PRICES)
    connection.executemany(
        f"INSERT INTO session_bars (session_id, ts_ms, symbol, {', '.join(_PRICES)}, seen_ms,"
        " barred) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                session_id,
                minute.ts_ms,
                symbol,
                *((bar.open, bar.high, bar.low, bar.close, bar.volume) if bar else empty),
                minute.seen_ms,
                minute.barred,
            )
            for minute in minutes
            for symbol, bar in minute.bars.items()
        ],
    )


def _insert_events(
    connection: sqlite3.Connection, session_id: int, events: Sequence[Event]
) -> None:
    connection.executemany(
        "INSERT INTO session_events (session_id, kind, number, ts_ms, at_ms, body)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(session_id, e.kind, e.number, e.ts_ms, e.at_ms, e.body) for e in events],
    )
