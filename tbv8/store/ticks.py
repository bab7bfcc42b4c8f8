"""The recorder's writes: ticks, 1m bars, funding and gaps, one transaction per batch.

The bars of minutes are written in order, and each extends the ledger row of its UTC day, which has
one span. A new trade that arrives after the bar of its minute is folded into that bar.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tbv8.coverage import by_day, merge
from tbv8.errors import DataError
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Bar, Bbo, Series, Span, Trade, iso, iso_day
from tbv8.store.database import (
    COMMIT_TIMEOUT_S,
    BusyError,
    DatabaseFiles,
    Query,
    file_problem,
    is_temporary,
    open_live_writer,
    open_reader,
    translated_errors,
)
from tbv8.store.ledger import (
    FUNDING,
    HISTORY,
    RECORDED,
    UPSERT_DAY,
    LedgerDay,
    columns_of,
    digest_rows,
    missing_hours,
    read_days,
)
from tbv8.store.natives import UPSERT, NativeMarket

WAL_LIMIT_BYTES = 64 * 2**20
"""The size to which SQLite truncates the WAL after a checkpoint."""

NOT_RUNNING = "recorder not running"
"""The reason of the gap between two runs of the recorder."""

_JOINED_MS = HOUR_MS  # the age of fetched bars up to which a first recording continues them
_BAR = "ts_ms, open, high, low, close, volume"


class TradeRow(NamedTuple):
    """A row of `trades`; `received_ms` is the time of arrival, by our clock."""

    venue: str
    symbol: str
    ts_ms: int
    trade_id: str
    price: float
    size: float
    side: str
    received_ms: int


class QuoteRow(NamedTuple):
    """A row of `bbo`; prices and sizes are None for an empty side."""

    venue: str
    symbol: str
    ts_ms: int
    bid_price: float | None
    bid_size: float | None
    ask_price: float | None
    ask_size: float | None
    received_ms: int


class MarkRow(NamedTuple):
    """A row of `mark`: mark price and open interest at a minute."""

    venue: str
    symbol: str
    ts_ms: int
    mark_price: float
    open_interest: float | None
    received_ms: int


class BarRow(NamedTuple):
    """A row of `bars_1m`, without venue and symbol."""

    ts_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `recording_gaps`: a span of one channel without complete data, on the venue's clock.

    Args:
        series: The series.
        channel: `trades`, `bbo`, `mark`, or `bars_1m` for minutes that were not built from trades.
        start_ms: The start.
        end_ms: The end; None while the gap lasts.
        reason: The reason, for the user.
        healed: True if the missing data was fetched later.
    """

    series: Series
    channel: str
    start_ms: int
    end_ms: int | None
    reason: str
    healed: bool = False


class RecordedMinute(msgspec.Struct, frozen=True, kw_only=True):
    """The bar of a complete minute: built from live trades, or the venue's own (`refilled`).

    An impossible bar is not stored; its minute counts as missing at the venue.
    """

    series: Series
    bar: Bar
    refilled: bool = False


class PaidSpan(msgspec.Struct, frozen=True):
    """A span and all of its funding payments, as rows (ts_ms, rate, interval_hours)."""

    series: Series
    span: Span
    rows: tuple[tuple[int, float, int], ...]


class Batch(msgspec.Struct):
    """The rows of one transaction.

    Args:
        trades: New trades.
        late: Trades that may be duplicates of stored ones, or whose bar may be written already.
        folds: New trades whose minute bar has already been emitted.
        bbo: The changes of the best bid and offer.
        minutes: Bars, by time within a series, each adjacent to the stored part of its day.
        gaps: New and changed gaps, by series, channel and start.
        marks: Mark prices.
        paid: Funding, by time within a series, each span adjacent to the stored part of its day.
    """

    trades: list[TradeRow] = []
    late: list[TradeRow] = []
    folds: list[TradeRow] = []
    bbo: list[QuoteRow] = []
    minutes: list[RecordedMinute] = []
    gaps: dict[tuple[Series, str, int], Gap] = {}
    marks: list[MarkRow] = []
    paid: list[PaidSpan] = []

    def __len__(self) -> int:
        ticks = len(self.trades) + len(self.late) + len(self.folds) + len(self.bbo)
        slow = len(self.marks) + len(self.paid)
        return ticks + len(self.minutes) + len(self.gaps) + slow


class CommitResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a commit.

    Args:
        trades: The number of new trades.
        bbo: The number of quotes.
        without_bar: The new late trades whose minute has no bar yet.
        warnings: Lines for the user.
    """

    trades: int
    bbo: int
    without_bar: tuple[TradeRow, ...]
    warnings: tuple[str, ...] = ()


class RecordedState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a series in the database when a recorder starts; None for no data.

    Args:
        trade_ms: The time of the newest trade.
        bbo: The newest quote.
        minute_ms: The open of the next minute to record: the end of the recorded ones, or before
            the first, the start of the oldest unhealed gap, or the end of the fetched bars if that
            is less than an hour ago.
        close: The close of the last recorded bar.
        open_gaps: The gaps without an end; for minutes, also gaps that may still be healed.
        strays: Such gaps that begin implausibly far ahead of our clock.
        ended: The reason for the end of the last run, and so for the gap since then.
    """

    trade_ms: int | None = None
    bbo: Bbo | None = None
    minute_ms: int | None = None
    close: float | None = None
    open_gaps: tuple[Gap, ...] = ()
    strays: tuple[Gap, ...] = ()
    ended: str = NOT_RUNNING


def trade_row(trade: Trade, received_ms: int) -> TradeRow:
    """Return the row of a trade."""
    return TradeRow(
        trade.venue,
        trade.symbol,
        trade.ts_ms,
        trade.trade_id,
        trade.price,
        trade.size,
        trade.side,
        received_ms,
    )


def bbo_row(bbo: Bbo, received_ms: int) -> QuoteRow:
    """Return the row of a quote."""
    return QuoteRow(
        bbo.venue,
        bbo.symbol,
        bbo.ts_ms,
        bbo.bid_price,
        bbo.bid_size,
        bbo.ask_price,
        bbo.ask_size,
        received_ms,
    )


def read_polled(db_path: Path, series: Series) -> tuple[int | None, int | None]:
    """Return the end of a series' known funding and its last mark minute; None without any."""
    with open_reader(db_path) as query:
        ((mark_ms,),) = query(
            "SELECT CAST(max(ts_ms) AS INTEGER) FROM mark WHERE venue = ? AND symbol = ?",
            (series.venue, series.symbol),
        )
        return _covered_until(query, series, FUNDING), mark_ms


def _covered_until(query: Query, series: Series, dataset: str) -> int | None:
    """Return the end of a dataset's fetched history; None without any."""
    ((end_ms,),) = query(
        "SELECT CAST(max(end_ms) AS INTEGER) FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND dataset = ?",
        (series.venue, series.symbol, dataset),
    )
    return None if end_ms is None else int(end_ms)


def read_recorded_state(db_path: Path, series: Series, *, now_ms: int) -> RecordedState:
    """Return the state of a series after the recorder's last run.

    Rows dated a day or more ahead of their arrival, or of our clock (`now_ms`), are ignored.

    Raises:
        DataError: The database is absent, damaged, locked, or of another revision.
    """
    with open_reader(db_path) as query:
        return query_recorded_state(query, series, now_ms=now_ms)


def query_recorded_state(query: Query, series: Series, *, now_ms: int) -> RecordedState:
    """Return the result of `read_recorded_state` from an open database."""
    latest_ms = now_ms + DAY_MS
    key = (series.venue, series.symbol)
    trade = query(
        "SELECT ts_ms FROM trades WHERE venue = ? AND symbol = ? AND ts_ms < received_ms + ?"
        " ORDER BY ts_ms DESC LIMIT 1",
        (*key, DAY_MS),
    )
    bbo = query(
        "SELECT ts_ms, bid_price, bid_size, ask_price, ask_size FROM bbo"
        " WHERE venue = ? AND symbol = ? AND ts_ms < received_ms + ?"
        " ORDER BY ts_ms DESC, rowid DESC LIMIT 1",
        (*key, DAY_MS),
    )
    days = read_days(query, series, RECORDED, Span(0, latest_ms))
    minute_ms = max((day.end_ms for day in days), default=None)
    close = minute_ms and query(
        "SELECT close FROM bars_1m WHERE venue = ? AND symbol = ? AND ts_ms < ?"
        " ORDER BY ts_ms DESC LIMIT 1",
        (*key, minute_ms),
    )
    if minute_ms is None:
        ((minute_ms,),) = query(
            "SELECT min(start_ms) FROM recording_gaps"
            " WHERE venue = ? AND symbol = ? AND channel = ? AND healed = 0 AND start_ms < ?",
            (*key, RECORDED, latest_ms),
        )
    if minute_ms is None:
        fetched_ms = _covered_until(query, series, HISTORY)
        if fetched_ms is not None and fetched_ms >= now_ms - _JOINED_MS:
            minute_ms = fetched_ms
    gaps = query(
        "SELECT channel, start_ms, end_ms, reason FROM recording_gaps WHERE venue = ?"
        " AND symbol = ? AND healed = 0 AND (end_ms IS NULL OR channel = ? AND end_ms > ?)"
        " ORDER BY start_ms",
        (*key, RECORDED, minute_ms or 0),
    )
    lasting = [
        Gap(series=series, channel=channel, start_ms=start_ms, end_ms=end_ms, reason=reason)
        for channel, start_ms, end_ms, reason in gaps
    ]
    return RecordedState(
        trade_ms=trade[0][0] if trade else None,
        bbo=Bbo(*key, *bbo[0]) if bbo else None,
        minute_ms=minute_ms,
        close=close[0][0] if close else None,
        open_gaps=tuple(gap for gap in lasting if gap.start_ms < latest_ms),
        strays=tuple(gap for gap in lasting if gap.start_ms >= latest_ms),
    )


class TickStore:
    """An open connection for the recorder, for one thread at a time; made by `open_ticks`."""

    def __init__(self, db_path: Path, connection: sqlite3.Connection) -> None:
        self._db_path, self._connection = db_path, connection
        self._files = DatabaseFiles(db_path)

    def check_files(self) -> None:
        """Check that the open file is still the one at the database's path.

        Raises:
            MovedError: The file was removed, moved or replaced.
        """
        self._files.check()

    def has_its_database(self) -> bool:
        """Return True if the opened database is still at its path; the WAL does not matter."""
        return self._files.has_database()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with translated_errors(self._db_path):
            return self._connection.execute(sql, values).fetchall()

    def write_native(self, series: Series, market: NativeMarket) -> None:
        """Write the market of a series' rows."""
        with translated_errors(self._db_path):
            self._connection.execute(UPSERT, market.row(series))

    def commit(self, batch: Batch, *, now_ms: int) -> CommitResult:
        """Write a batch in one transaction, all or nothing.

        Raises:
            BusyError: The database is locked, or its disk is full.
            DataError: The database is damaged.
        """
        try:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                written = self._write(batch, now_ms)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as e:
            problem = file_problem(self._db_path, str(e))
            if problem and is_temporary(e):
                raise BusyError(f"{self._db_path}: {e}") from e
            raise DataError(problem or f"{self._db_path}: {e}") from e
        except (sqlite3.DatabaseError, UnicodeDecodeError) as e:
            if (problem := file_problem(self._db_path, str(e))) is None:
                raise
            raise DataError(problem) from e
        return written

    def shrink_wal(self) -> None:
        """Checkpoint and truncate the WAL, unless a reader prevents it."""
        with suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.execute(f"PRAGMA busy_timeout = {COMMIT_TIMEOUT_S * 1000}")

    def _write(self, batch: Batch, now_ms: int) -> CommitResult:
        execute, executemany = self._connection.execute, self._connection.executemany
        new = executemany(_INSERT_TRADE, batch.trades).rowcount if batch.trades else 0
        new_late = [row for row in batch.late if execute(_INSERT_TRADE, row).rowcount == 1]
        if batch.bbo:
            executemany("INSERT INTO bbo VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch.bbo)
        if batch.marks:
            executemany("INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?, ?, ?)", batch.marks)
        for paid in batch.paid:
            self._write_paid(paid, now_ms)
        self._write_gaps(batch.gaps.values())
        warnings = self._write_minutes(batch.minutes, now_ms) if batch.minutes else []
        without_bar, fold_warnings = self._fold(new_late, batch.folds, now_ms)
        if batch.folds:
            new_late_rows = set(new_late)
            without_bar = tuple(row for row in without_bar if row in new_late_rows)
        return CommitResult(
            trades=new + len(new_late),
            bbo=len(batch.bbo),
            without_bar=without_bar,
            warnings=(*warnings, *fold_warnings),
        )

    def _write_gaps(self, gaps: Any) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO recording_gaps"
            " (venue, symbol, channel, start_ms, end_ms, reason, healed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    gap.series.venue,
                    gap.series.symbol,
                    gap.channel,
                    gap.start_ms,
                    gap.end_ms,
                    gap.reason,
                    int(gap.healed),
                )
                for gap in gaps
            ],
        )

    def _write_paid(self, paid: PaidSpan, now_ms: int) -> None:
        """Write funding and the ledger of its days; a day with a NULL digest keeps it."""
        series = paid.series
        key = (series.venue, series.symbol)
        days = {day.day_ms: day for day in read_days(self.query, series, FUNDING, paid.span)}
        self._connection.executemany(
            "INSERT OR REPLACE INTO funding VALUES (?, ?, ?, ?, ?)",
            [(*key, *row) for row in paid.rows],
        )
        for part in by_day(paid.span):
            day_ms = part.start_ms // DAY_MS * DAY_MS
            prior = days.get(day_ms)
            day_span, *apart = merge([part, prior.span] if prior else [part])
            if apart:
                continue  # meanwhile a backfill has stored another part of the day
            rows = self.query(
                "SELECT ts_ms, rate, interval_hours FROM funding"
                " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms",
                (*key, day_span.start_ms, day_span.end_ms),
            )
            digest = digest_rows(rows, columns_of(FUNDING).values())
            sources = [*(prior.source.split("; ") if prior else ()), "record"]
            day = LedgerDay(
                day_ms=day_ms,
                start_ms=day_span.start_ms,
                end_ms=day_span.end_ms,
                bars=len(rows),
                missing=missing_hours([(ts_ms, hours) for ts_ms, _rate, hours in rows], day_span),
                source="; ".join(dict.fromkeys(sources)),
                digest=None if prior and prior.digest is None else digest,
            )
            self._connection.execute(UPSERT_DAY, day.row(series, FUNDING, updated_ms=now_ms))

    def _write_minutes(self, minutes: Sequence[RecordedMinute], now_ms: int) -> list[str]:
        days: dict[tuple[Series, int], list[RecordedMinute]] = {}
        for minute in minutes:
            day_ms = minute.bar.ts_ms // DAY_MS * DAY_MS
            days.setdefault((minute.series, day_ms), []).append(minute)
        warnings = []
        for (series, day_ms), of_day in days.items():
            day = _RecordedDay(self._connection, series, day_ms)
            for minute in of_day:
                day.append(minute.bar, "rest" if minute.refilled else "record")
            warnings += day.write(now_ms)
        return warnings

    def _fold(
        self, new_late: Sequence[TradeRow], folds: Sequence[TradeRow], now_ms: int
    ) -> tuple[tuple[TradeRow, ...], list[str]]:
        """Fold new trades into bars that are already written.

        The bar of a refilled minute includes all its trades. So does the bar of a minute whose
        trades `tbv8.store.prune` has dropped: its trades in `new_late` are replays.

        Returns:
            The trades whose minute has no bar yet, and warnings for the user.
        """
        known_new = set(folds)
        minutes: dict[tuple[Series, int], list[TradeRow]] = {}
        for trade in (*new_late, *folds):
            open_ms = trade.ts_ms // MINUTE_MS * MINUTE_MS
            minutes.setdefault((Series(trade.venue, trade.symbol), open_ms), []).append(trade)
        days: dict[tuple[Series, int], _RecordedDay] = {}
        without_bar: list[TradeRow] = []
        for (series, open_ms), arrivals in sorted(minutes.items()):
            key = (series, open_ms // DAY_MS * DAY_MS)
            if key not in days:
                days[key] = _RecordedDay(self._connection, *key)
            if open_ms not in days[key].bars:
                without_bar += arrivals
            elif not self._was_refilled(series, open_ms):
                first_ms, last_ms = self._earlier_trades(series, open_ms, arrivals)
                has_trades = days[key].bars[open_ms].volume > 0
                if first_ms <= last_ms or not has_trades or known_new.intersection(arrivals):
                    days[key].fold(open_ms, arrivals, first_ms, last_ms)
        return tuple(without_bar), [w for day in days.values() for w in day.write(now_ms)]

    def _was_refilled(self, series: Series, open_ms: int) -> bool:
        return bool(
            self._connection.execute(
                "SELECT 1 FROM recording_gaps WHERE venue = ? AND symbol = ? AND channel = ?"
                " AND start_ms <= ? AND (end_ms IS NULL OR end_ms > ?) LIMIT 1",
                (series.venue, series.symbol, RECORDED, open_ms, open_ms),
            ).fetchone()
        )

    def _earlier_trades(
        self, series: Series, open_ms: int, arrivals: Sequence[TradeRow]
    ) -> tuple[int, int]:
        """Return the times of a minute's first and last trade, without `arrivals`."""
        arrival_keys = {(trade.ts_ms, trade.trade_id) for trade in arrivals}
        times = [
            ts_ms
            for ts_ms, trade_id in self._connection.execute(
                "SELECT ts_ms, trade_id FROM trades"
                " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?",
                (series.venue, series.symbol, open_ms, open_ms + MINUTE_MS),
            )
            if (ts_ms, trade_id) not in arrival_keys
        ]
        return min(times, default=open_ms + MINUTE_MS), max(times, default=open_ms - 1)


_INSERT_TRADE = (
    "INSERT INTO trades (venue, symbol, ts_ms, trade_id, price, size, side, received_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


class _RecordedDay:
    """The recorded bars of one UTC day and its ledger row, for use in one transaction."""

    def __init__(self, connection: sqlite3.Connection, series: Series, day_ms: int) -> None:
        self._connection, self._series, self._day_ms = connection, series, day_ms
        self._key = (series.venue, series.symbol)
        rows = connection.execute(
            f"SELECT {_BAR} FROM bars_1m"
            " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms",
            (*self._key, day_ms, day_ms + DAY_MS),
        )
        self.bars = {bar.ts_ms: bar for bar in map(BarRow._make, rows)}
        ledger = connection.execute(
            "SELECT start_ms, end_ms, source, digest FROM history_coverage"
            " WHERE venue = ? AND symbol = ? AND dataset = ? AND day_ms = ?",
            (*self._key, RECORDED, day_ms),
        ).fetchone()
        self._ledger_span: tuple[int, int] | None = None
        self._sources: list[str] = []
        self._unusable: list[int] = []
        self._matches_ledger, self._changed = not self.bars, False
        if ledger:
            start_ms, end_ms, source, digest = ledger
            self._ledger_span, self._sources = (start_ms, end_ms), source.split("; ")
            self._matches_ledger = digest == digest_rows(self.bars.values())

    def append(self, bar: Bar, source: str) -> None:
        """Write the bar of the next minute; a minute already in the ledger is ignored.

        Raises:
            ValueError: The day's span would have a hole.
        """
        start_ms, end_ms = self._ledger_span or (bar.ts_ms, bar.ts_ms)
        if start_ms <= bar.ts_ms < end_ms:
            return
        if bar.ts_ms != end_ms:
            raise ValueError(f"{self._series}: a minute at {bar.ts_ms} does not follow {end_ms}")
        self._ledger_span = (start_ms, end_ms + MINUTE_MS)
        self._changed = True
        if not bar.is_possible:
            self._unusable.append(bar.ts_ms)
            source = f"unusable {iso(bar.ts_ms)}"
        if source not in self._sources:
            self._sources.append(source)
        if not bar.is_possible:
            return
        row = BarRow(bar.ts_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)
        before = self.bars.get(bar.ts_ms - MINUTE_MS)
        if bar.volume == 0 and before:  # a late trade may have changed that close since
            row = _flat(bar.ts_ms, before.close)
        self._connection.execute(
            f"INSERT OR REPLACE INTO bars_1m (venue, symbol, {_BAR})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*self._key, *row),
        )
        self.bars[bar.ts_ms] = row

    def fold(self, open_ms: int, trades: Sequence[TradeRow], first_ms: int, last_ms: int) -> None:
        """Add trades to the bar of a minute, and move the flat bars after it to its close.

        Args:
            open_ms: The minute.
            trades: The new trades.
            first_ms: The time of the first stored trade of the minute without these.
            last_ms: The time of the last one; before `first_ms` if there is none.
        """
        _ts, first, high, low, last, volume = self.bars[open_ms]
        arrivals = sorted(trades, key=lambda trade: trade.ts_ms)
        prices = [trade.price for trade in arrivals]
        if first_ms > last_ms:  # without other trades, the bar is flat at the previous close
            first, high, low = prices[0], prices[0], prices[0]
        if arrivals[0].ts_ms < first_ms:
            first = prices[0]
        if arrivals[-1].ts_ms >= last_ms:
            last = prices[-1]
        volume = round(sum((trade.size for trade in arrivals), volume), 10)
        self._replace(BarRow(open_ms, first, max(high, *prices), min(low, *prices), last, volume))
        open_ms += MINUTE_MS
        while open_ms in self.bars and self.bars[open_ms].volume == 0:
            self._replace(_flat(open_ms, last))
            open_ms += MINUTE_MS

    def _replace(self, bar: BarRow) -> None:
        if bar != self.bars[bar.ts_ms]:
            ts_ms, *values = bar
            self._connection.execute(
                "UPDATE bars_1m SET open = ?, high = ?, low = ?, close = ?, volume = ?"
                " WHERE venue = ? AND symbol = ? AND ts_ms = ?",
                (*values, *self._key, ts_ms),
            )
            self.bars[ts_ms] = bar
            self._changed = True

    def write(self, now_ms: int) -> list[str]:
        """Write the ledger row if a bar has changed; return warnings for the user.

        A day whose rows did not match its digest gets a NULL digest.
        """
        if not self._changed or self._ledger_span is None:
            return []
        start_ms, end_ms = self._ledger_span
        digest = digest_rows(self.bars[ts_ms] for ts_ms in sorted(self.bars))
        day = LedgerDay(
            day_ms=self._day_ms,
            start_ms=start_ms,
            end_ms=end_ms,
            bars=len(self.bars),
            missing=(end_ms - start_ms) // MINUTE_MS - len(self.bars),
            source="; ".join(self._sources),
            digest=digest if self._matches_ledger else None,
        )
        self._connection.execute(UPSERT_DAY, day.row(self._series, RECORDED, updated_ms=now_ms))
        name = f"{RECORDED} {self._series}"
        warnings = [
            f"{name}: the venue's own bar of {iso(ts_ms)} is impossible and counts as missing"
            for ts_ms in self._unusable
        ]
        if not self._matches_ledger:
            date = iso_day(self._day_ms)
            warnings.append(f"{name}: rows of {date} were changed outside of tbv8")
        return warnings


def _flat(ts_ms: int, price: float) -> BarRow:
    """Return the bar of a minute without a trade."""
    return BarRow(ts_ms, price, price, price, price, 0.0)


@contextmanager
def open_ticks(db_path: Path) -> Iterator[TickStore]:
    """Open the database for a recorder; the connection may move between threads.

    Raises:
        DataError: The database is absent, damaged, locked, or of another revision.
    """
    pragmas = (
        "synchronous = NORMAL",
        "cache_size = -32768",
        f"journal_size_limit = {WAL_LIMIT_BYTES}",
    )
    with open_live_writer(db_path, pragmas, one_thread=False) as connection:
        yield TickStore(db_path, connection)
