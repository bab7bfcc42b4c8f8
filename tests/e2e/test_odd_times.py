"""Whatever times the database holds, who only looks at it ends in lines, not in a traceback."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tbv8.market import Bar, Bbo, Series, Trade
from tbv8.store.ticks import Batch, Gap, RecordedMinute, bbo_row, open_ticks, trade_row
from tests.e2e.conftest import Project

BTC = Series("hyperliquid", "BTC/USDT")
NOON = 1_790_000_040_000
COLUMNS = {
    "trades": ("ts_ms", "received_ms"),
    "bbo": ("ts_ms", "received_ms"),
    "recording_gaps": ("start_ms", "end_ms"),
    "history_coverage": ("day_ms", "start_ms", "end_ms", "updated_ms"),
    "ohlcv_1m": ("ts_ms",),
    "bars_1m": ("ts_ms",),
    "bars_5m": ("ts_ms",),
}
ODD = (2**53 - 1, "abc")
ODDER = (-1, 2**63 - 1, -(2**63), 1.5, "", None)

# One process for all: it takes a second to start. Each change is taken back by a copy of the file.
SCRIPT = """
import contextlib, importlib.metadata, io, shutil, signal, sqlite3, sys, traceback
from pathlib import Path
import doit.plugin
from doit.doit_cmd import DoitMain

plugins = importlib.metadata.entry_points()  # takes pydoit 20 ms at each command
doit.plugin.entry_points_impl = lambda: plugins.select

good, db = Path("good.sqlite"), Path("data/tbv8.sqlite")
tables, odd = eval(sys.argv[1])

class TooSlow(BaseException): pass

def stop(*_):
    raise TooSlow

signal.signal(signal.SIGALRM, stop)
for table, column, value in ((t, c, v) for t in tables for c in tables[t] for v in odd):
    shutil.copy(good, db)
    with contextlib.closing(sqlite3.connect(db)) as connection:
        last = f"(SELECT max({column}) FROM {table})"
        try:
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = {last}", (value,))
        except sqlite3.IntegrityError:
            continue  # the table refuses it
        connection.commit()
    looks = [["status", "--json"], ["report"], ["verify"], ["plan"]]
    if table not in ("recording_gaps", "history_coverage"):
        looks.append(["export", "--dataset", table])
    for look in looks:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            signal.alarm(20)
            try:
                DoitMain().run(look)
            except (Exception, TooSlow):
                traceback.print_exc(file=said)
            signal.alarm(0)
        if "Traceback" in said.getvalue():
            where = [line for line in said.getvalue().splitlines() if "tbv8/" in line]
            print(look, table, column, repr(value), said.getvalue()[-300:], where[-1:])
"""


@pytest.fixture(scope="module")
def recorded(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the finished project with a recording too."""
    root = tmp_path_factory.mktemp("odd") / "clone"
    shutil.copytree(finished.root, root)
    project = Project(root)
    gaps = [
        Gap(series=BTC, channel="trades", start_ms=NOON, end_ms=NOON + 5000, reason="r"),
        Gap(series=BTC, channel="bbo", start_ms=NOON, end_ms=None, reason="r"),
    ]
    batch = Batch(
        trades=[trade_row(Trade(*_key(), NOON, "1", 5.0, 1.0, "buy"), NOON)],
        bbo=[bbo_row(Bbo(*_key(), NOON, 1.0, 1.0, None, None), NOON)],
        minutes=[
            RecordedMinute(series=BTC, bar=Bar(NOON + at * 60_000, 5.0, 5.0, 5.0, 5.0, 1.0))
            for at in range(10)
        ],
        gaps={(gap.series, gap.channel, gap.start_ms): gap for gap in gaps},
    )
    with open_ticks(project.db_path) as store:
        store.commit(batch, now_ms=NOON)
        store.shrink_wal()
    shutil.copy(project.db_path, root / "good.sqlite")
    return project


def _key() -> tuple[str, str]:
    return BTC.venue, BTC.symbol


@pytest.mark.parametrize("odd", [ODD, pytest.param(ODDER, marks=pytest.mark.slow)], ids=str)
def test_no_time_in_the_database_ends_in_a_traceback(
    recorded: Project, odd: tuple[object, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, repr((COLUMNS, odd))],
        cwd=recorded.root,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
