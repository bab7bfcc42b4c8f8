"""The tables in SQLAlchemy Core, and their creation and migration by Alembic.

The tables of bars and of funding have triggers: when a row is added, changed or deleted, they set
the digest of its day in the ledger to NULL. tbv8 writes the digest after the rows.
"""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import (
    DDL,
    URL,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.exc import DatabaseError

from tbv8.errors import DataError
from tbv8.market import DAY_MS, Timeframe
from tbv8.store.database import BUSY_TIMEOUT_S, REVISION, file_problem, translated_errors
from tbv8.store.ledger import MINUTE_DATASETS

_PACKAGE = Path(__file__).parents[1]

USUAL_TIMEFRAMES = ("5m", "15m", "30m", "1h", "2h", "4h", "12h", "1d", "1w", "1M")
"""The timeframes whose tables the migrations create; `create_bars_table` creates others."""

metadata = MetaData()

history_coverage = Table(
    "history_coverage",
    metadata,
    Column("venue", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("dataset", String, primary_key=True),
    Column("day_ms", Integer, primary_key=True),
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    Column("bars", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("source", String, nullable=False),
    Column("digest", String),
    Column("built_from", String),
    Column("updated_ms", Integer, nullable=False),
    sqlite_with_rowid=False,
)

trades = Table(
    "trades",
    metadata,
    Column("venue", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("ts_ms", Integer, primary_key=True),
    Column("trade_id", String, primary_key=True),
    Column("price", Float, nullable=False),
    Column("size", Float, nullable=False),
    Column("side", String, nullable=False),
    Column("received_ms", Integer, nullable=False),
    # It keeps its rowid, which records the order of arrival.
)

bbo = Table(
    "bbo",
    metadata,
    Column("venue", String, nullable=False),
    Column("symbol", String, nullable=False),
    Column("ts_ms", Integer, nullable=False),
    Column("bid_price", Float),
    Column("bid_size", Float),
    Column("ask_price", Float),
    Column("ask_size", Float),
    Column("received_ms", Integer, nullable=False),
    Index("ix_bbo_series", "venue", "symbol", "ts_ms"),
)

recording_gaps = Table(
    "recording_gaps",
    metadata,
    Column("venue", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("start_ms", Integer, primary_key=True),
    Column("end_ms", Integer),
    Column("reason", String, nullable=False),
    Column("healed", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

trials = Table(
    "trials",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # the digest of all inputs
    Column("subject", String, nullable=False),  # the strategy's class and its series
    Column("variant", LargeBinary, nullable=False),  # the digest of code and values, not the span
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("sharpe", Float),
    Column("sortino", Float),
    Column("calmar", Float),
    Column("total_return", Float),
    Column("profit_factor", Float),
    Column("max_drawdown", Float),
    Column("trades", Integer, nullable=False),
    Column("fills", Integer, nullable=False),
    Column("files", String, nullable=False),  # JSON of the files that it opened; "" for none
    Column("digest", LargeBinary, nullable=False),
    Index("ix_trials_subject", "subject", "variant"),
    sqlite_with_rowid=False,
)

trial_details = Table(  # separate: blobs in `trials` would make lists 25 times slower
    "trial_details",
    metadata,
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("stats", LargeBinary, nullable=False),
    Column("equity", LargeBinary, nullable=False),
)

experiment_trials = Table(
    "experiment_trials",
    metadata,
    Column("experiment_id", String, primary_key=True),
    Column("part", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("params", String, nullable=False),
    sqlite_with_rowid=False,
)

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Integer, primary_key=True),
    Column("strategy_id", String, nullable=False),
    Column("role", String, nullable=False),
    Column("venue", String, nullable=False),
    Column("inputs", String, nullable=False),
    Column("decimals", String, nullable=False),
    Column("first_ms", Integer, nullable=False),
    Column("counted_ms", Integer, nullable=False),
    Column("done_ms", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("began_ms", Integer, nullable=False),
    Column("ended_ms", Integer),
    Index("ix_sessions_strategy", "strategy_id", "role", "ended_ms"),
)

session_bars = Table(
    "session_bars",
    metadata,
    Column("session_id", Integer, primary_key=True),
    Column("ts_ms", Integer, primary_key=True),
    Column("symbol", String, primary_key=True),
    *(Column(name, Float) for name in ("open", "high", "low", "close", "volume")),
    Column("seen_ms", Integer, nullable=False),
    Column("barred", String),
    sqlite_with_rowid=False,
)

session_events = Table(
    "session_events",
    metadata,
    Column("session_id", Integer, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("ts_ms", Integer, nullable=False),
    Column("at_ms", Integer, nullable=False),
    Column("body", String, nullable=False),
    sqlite_with_rowid=False,
)

SESSION_TABLES = (sessions, session_bars, session_events)

mark = Table(
    "mark",
    metadata,
    Column("venue", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("ts_ms", Integer, primary_key=True),
    Column("mark_price", Float, nullable=False),
    Column("open_interest", Float),
    Column("received_ms", Integer, nullable=False),
)


native_markets = Table(
    "native_markets",
    metadata,
    Column("venue", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("native", String, nullable=False),
    Column("setting", String, nullable=False),
    Column("multiplier", String, nullable=False),
    sqlite_with_rowid=False,
)


def _add_triggers(table: Table) -> None:
    """Add triggers to a table's creation: a change of a row sets its day's digest to NULL."""
    dataset = table.name
    for action, rows in (("INSERT", ("new",)), ("UPDATE", ("old", "new")), ("DELETE", ("old",))):
        trigger = f'CREATE TRIGGER "{dataset}_{action.lower()}" AFTER {action} ON "{dataset}" BEGIN'
        for row in rows:
            trigger += (
                " UPDATE history_coverage SET digest = NULL"
                f" WHERE venue = {row}.venue AND symbol = {row}.symbol AND dataset = '{dataset}'"
                f" AND day_ms = {row}.ts_ms - {row}.ts_ms %% {DAY_MS} AND digest IS NOT NULL;"
            )
        event.listen(table, "after_create", DDL(f"{trigger} END"))  # type: ignore[no-untyped-call]


def bars_table(dataset: str, into: MetaData) -> Table:
    """Define one table of bars in `into`; its creation includes its triggers."""
    table = Table(
        dataset,
        into,
        Column("venue", String, primary_key=True),
        Column("symbol", String, primary_key=True),
        Column("ts_ms", Integer, primary_key=True),
        *(
            Column(name, Float, nullable=False)
            for name in ("open", "high", "low", "close", "volume")
        ),
        *(() if dataset in MINUTE_DATASETS else (Column("minutes", Integer, nullable=False),)),
        sqlite_with_rowid=False,
    )
    _add_triggers(table)
    return table


funding = Table(
    "funding",
    metadata,
    Column("venue", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("ts_ms", Integer, primary_key=True),
    Column("rate", Float, nullable=False),
    Column("interval_hours", Integer, nullable=False),
    sqlite_with_rowid=False,
)
_add_triggers(funding)

HISTORY_BARS = bars_table("ohlcv_1m", metadata)
RECORDED_BARS = bars_table("bars_1m", metadata)


def bars_tables(connection: Connection) -> list[str]:
    """Return the names of the database's tables of bars."""
    names = inspect(connection).get_table_names()
    return [name for name in names if name == "ohlcv_1m" or name.startswith("bars_")]


def create_bars_table(db_path: Path, timeframe: Timeframe) -> None:
    """Create the table of a timeframe outside of `USUAL_TIMEFRAMES`. Repeatable."""
    engine = open_engine(db_path)
    try:
        with engine.begin() as connection:
            bars_table(timeframe.dataset, MetaData()).create(connection, checkfirst=True)
    finally:
        engine.dispose()


def open_engine(db_path: Path) -> Engine:
    """Open an engine with IMMEDIATE transactions, so that DDL is atomic and waits for writers."""
    engine = create_engine(
        URL.create("sqlite", database=str(db_path)),  # a path may hold ? and %
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
    )

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    return engine


def alembic_config(db_path: Path, *, root: Path) -> Config:
    """Return Alembic's configuration for one database.

    In a wheel, the migrations are those in the package. In a clone, the configuration is in
    pyproject.toml: in `root` if it has migrations, else beside the package.
    """
    packaged = _PACKAGE / "migrations"
    if packaged.is_dir():
        config = Config()
        config.set_main_option("script_location", str(packaged).replace("%", "%%"))
    else:
        clone = root if (root / "migrations").is_dir() else _PACKAGE.parent
        config = Config(toml_file=clone / "pyproject.toml")
    config.attributes["db_path"] = db_path
    return config


def migrate(db_path: Path, *, root: Path) -> None:
    """Create the database, or migrate it to the revision of this tbv8.

    Repeatable; it may be killed at any time.

    Raises:
        DataError: The file is damaged, locked, cannot be written, or is from a newer tbv8.
    """
    _prepare_file(db_path)
    try:
        command.upgrade(alembic_config(db_path, root=root), "head")
    except CommandError as e:
        if "Can't locate revision" not in str(e):
            raise
        raise DataError(
            f"{db_path}: comes from a newer tbv8, this one needs revision {REVISION}: "
            "update tbv8, or set another db_path in config/data.yaml"
        ) from e
    except (DatabaseError, UnicodeDecodeError) as e:
        problem = file_problem(db_path, str(getattr(e, "orig", e)))
        if problem is None:
            raise
        raise DataError(problem) from e


def _prepare_file(db_path: Path) -> None:
    """Create the folder and the file, and turn on WAL, which is impossible in a transaction."""
    try:
        db_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DataError(
            f"{db_path.parent}: cannot be created: {e.strerror}: create that folder, or set "
            "another db_path in config/data.yaml"
        ) from e
    with translated_errors(db_path):
        connection = sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_S)
        try:
            _turn_wal_on(connection)
        finally:
            connection.close()


def _turn_wal_on(connection: sqlite3.Connection) -> None:
    """Turn on WAL; wait for other processes, since SQLite itself would fail at once."""
    give_up_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as e:
            if "locked" not in str(e) or time.monotonic() >= give_up_s:
                raise
            time.sleep(0.02)
        else:
            return


def has_expected_tables(db_path: Path) -> bool:
    """Return True if the file's tables and triggers are those of tbv8, to detect damaged SQL."""
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    connection = sqlite3.connect(f"{db_path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        current = dict(connection.execute(query).fetchall())
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    finally:
        connection.close()
    built_tables = MetaData()
    for name in current.keys() - metadata.tables.keys():
        if re.fullmatch(r"bars_[0-9]+[a-z]+", name):
            bars_table(name, built_tables)
    engine = create_engine("sqlite://")
    with engine.begin() as new_database:
        metadata.create_all(new_database)
        built_tables.create_all(new_database)
        expected = new_database.exec_driver_sql(query).fetchall()
    engine.dispose()
    return all(current.get(name) == sql for name, sql in expected)
