"""The journal of paper sessions: minutes are written before their use, events after it.

The same connection reads the recorder's minutes. Every commit is on the disk when it returns
(`synchronous = FULL`).

`session_bars` has a row per minute and symbol, without prices if the venue has no bar.
`session_events` has the session's actions (`order`, `change`, `fill`, `payment`, `denial`, `halt`,
and `end` for an order that ended unfilled), the user's commands (`command`), the venue's funding
(`rate`), and observations (`corrected`, `gap`, `reached`, and `priced` for each fill). The events
of each kind are numbered from 0.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from tbv8.errors import DataError
from tbv8.market import DAY_MS, MINUTE_MS, ONE_MINUTE, Bar, Bbo, Series, Span, iso
from tbv8.store.database import (
    BusyError,
    DatabaseFiles,
    Query,
    file_problem,
    is_temporary,
    open_live_writer,
)
from tbv8.store.ledger import MINUTE_DATASETS, number_columns, read_days

OUTPUTS = ("order", "change", "fill", "payment", "denial", "halt", "end")
"""The kinds of events that a replay of the session must reproduce."""

CORRECTED = "corrected"
"""The kind of event for a minute that the recorder changed after the session used it."""

PRICED = "priced"
"""The kind of event for a fill's price at the secondary venue; it has the fill's number."""

REACHED = "reached"
"""The kind of event for a working limit order whose price a quote of the secondary venue passed."""

COMMAND = "command"
"""The kind of event for a user's command; it takes effect after the minute that closes then."""

RATE = "rate"
"""The kind of event for a venue's funding payment; its time is that of the session's booking."""

type Role = Literal["primary", "shadow"]

_FORTNIGHT_MS = 14 * DAY_MS
_PRICES = ("open", "high", "low", "close", "volume")


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `sessions`.

    Attributes:
        session_id: The number of the session.
        strategy_id: The strategy.
        role: `primary`, or `shadow` for the secondary venue.
        venue: The venue of its bars and trading rules.
        inputs: The digest and the value of each part of its key.
        decimals: The number of decimals of each symbol's prices.
        first_ms: The open of its first minute, including the warm-up.
        counted_ms: The start of the counted span, after the warm-up.
        done_ms: The close of the last minute with written events; `first_ms` before the first.
        state: The account after that minute.
        began_ms: The time of its start, by our clock.
        ended_ms: The time of its end, by our clock; None while the session can continue.
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
    """One closed minute of all symbols of a session.

    Args:
        ts_ms: The open of the minute.
        bars: The bar of each symbol; None for a symbol without a bar.
        seen_ms: The time when the session read it, by our clock.
        barred: The rule that denies new positions in this minute, and its numbers, as text; None
            for none.
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
    """A row of `session_events`.

    Args:
        kind: The kind of event.
        number: The number within its kind, from 0.
        ts_ms: The session's time.
        at_ms: The time of the writing, by our clock.
        body: The facts of the event, as JSON.
    """

    kind: str
    number: int
    ts_ms: int
    at_ms: int
    body: str


class ClosedMinutes(msgspec.Struct, frozen=True):
    """The known minutes of one series from some time on.

    Args:
        bars: The bars by their opens.
        until_ms: The time up to which `bars` are complete.
        next_ms: The start of the next known span after a gap; None if there is none.
    """

    bars: dict[int, Bar]
    until_ms: int
    next_ms: int | None


class Journal:
    """An open connection for one session and one thread; made by `open_journal`."""

    def __init__(self, db_path: Path, connection: sqlite3.Connection) -> None:
        self._db_path, self._connection = db_path, connection
        self._files = DatabaseFiles(db_path)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._translated():
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn sqlite3's errors about the file into DataErrors, temporary ones into BusyErrors."""
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as e:
            if (problem := file_problem(self._db_path, str(e))) is None:
                raise
            if is_temporary(e):
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
            history: The closed minutes from `first_ms` on.
            rates: The events of the known funding in these minutes.
            ends: The session that this one replaces; None for none.
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
                    _json(session.inputs),
                    _json(session.decimals),
                    session.first_ms,
                    session.counted_ms,
                    session.done_ms,
                    _json(session.state),
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
                "UPDATE sessions SET inputs = ? WHERE session_id = ?", (_json(inputs), session_id)
            )

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
        """Write the events of the minutes up to `done_ms`, and the account after them."""
        with self._writing() as connection:
            _insert_events(connection, session_id, events)
            connection.execute(
                "UPDATE sessions SET done_ms = ?, state = ? WHERE session_id = ?",
                (done_ms, _json(state), session_id),
            )

    def block_minutes(self, session_id: int, barred: str, *, from_ms: int) -> None:
        """Bar the minutes from a time on from opening positions; `barred` is the reason."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE session_bars SET barred = ? WHERE session_id = ? AND ts_ms >= ?",
                (barred, session_id, from_ms),
            )

    def count_events(self, session_id: int) -> dict[str, int]:
        """Return the number of events of each kind."""
        return dict(
            self.query(
                "SELECT kind, max(number) + 1 FROM session_events WHERE session_id = ?"
                " GROUP BY kind",
                (session_id,),
            )
        )


def read_sessions(query: Query, strategy_id: str | None = None) -> list[StoredSession]:
    """Return the sessions of one strategy, or of all, newest first."""
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
    """Return the minutes of a session that open in `[from_ms, until_ms)`, by time."""
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
            minute.bars[symbol] = bar  # type: ignore[index]  # still private to this function
    return list(minutes.values())


def iter_minutes(query: Query, session: StoredSession) -> Iterator[SessionMinute]:
    """Yield all minutes of a session by time; it reads a fortnight at once."""
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
    """Return the events of a session, kind by kind, each by number.

    Args:
        query: The query function of an open database.
        session_id: The session.
        kinds: The kinds of events.
        first: The lowest number of an event.
        last: The largest number of events per kind, of which the last ones are returned; None for
            all.
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
    """Return the known minutes of a series in `[from_ms, until_ms)`, up to the first gap.

    A minute comes from the history or the recorder, whichever reaches further.

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

    Returns:
        For each minute the symbol, the used bar, and the present bar.
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
    """Return the last quote before a span, if there is one, and the quotes in it, by time."""
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
    """Return the time of the first quote in a span that reaches a limit price; None if none does.

    An offer at the limit or below reaches a buy order, a bid at it or above a sell order.
    """
    through = "ask_price <= ?" if buy else "bid_price >= ?"
    ((ts_ms,),) = query(
        "SELECT min(ts_ms) FROM bbo WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?"
        f" AND {through}",
        (series.venue, series.symbol, span.start_ms, span.end_ms, float(limit)),
    )
    return None if ts_ms is None else int(ts_ms)


def missed_quotes(query: Query, series: Series, at_ms: int) -> bool:
    """Return True if a recording gap of quotes covers a time."""
    return bool(
        query(
            "SELECT 1 FROM recording_gaps WHERE venue = ? AND symbol = ? AND channel = 'bbo'"
            " AND start_ms <= ? AND (end_ms IS NULL OR end_ms > ?) LIMIT 1",
            (series.venue, series.symbol, at_ms, at_ms),
        )
    )


def shortest_delay_ms(query: Query, series: Series, span: Span) -> int | None:
    """Return the shortest time from a trade at the venue to its arrival here, by two clocks.

    It is negative if our clock is behind the venue's, and None if no trade of `span` is stored.
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
    pragmas = ("synchronous = FULL", "cache_size = -4096")
    with open_live_writer(db_path, pragmas) as connection:
        yield Journal(db_path, connection)


def _columns(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in _PRICES)


def _json(value: Any) -> str:
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
