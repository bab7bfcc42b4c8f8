"""The recorder as a process and beside others: signals, kills, locks, full buffers, metrics."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tbv8.errors import ConfigError, DataError, VenueError
from tbv8.recorder.run import RecorderOptions, record
from tests.builders import ROOT, rows
from tests.recorder.rig import QUICK, check, gaps_in, recording, venue, wait_until
from tests.servers.live_faults import Fault
from tests.servers.live_server import LiveServer

CHILD = """
import sys
from pathlib import Path
from tbv8.recorder.run import RecorderOptions, record
from tests.recorder.rig import QUICK, venue

class Server:
    ws_url, rest_url = sys.argv[2:4]

venues = [venue("hyperliquid", Server, {"BTC/USDT": "BTC"})]
for_s = float(sys.argv[4]) if len(sys.argv) > 4 else None
record(Path(sys.argv[1]), venues, RecorderOptions(pace=QUICK, for_s=for_s))
"""


@contextmanager
def process(db_path: Path, server: LiveServer, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CHILD, str(db_path), server.ws_url, server.rest_url, *more]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def trades(db_path: Path) -> int:
    return len(rows(db_path, "SELECT 1 FROM trades"))


def quotes(db_path: Path) -> int:
    return len(rows(db_path, "SELECT 1 FROM bbo"))


def await_rows(db_path: Path, *, more: int = 5) -> None:
    """Return when so many trades and quotes more are committed; what ends then has both."""
    before = trades(db_path), quotes(db_path)
    wait_until(lambda: trades(db_path) >= before[0] + more and quotes(db_path) >= before[1] + more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_recorder_after_it_wrote_all_rows(
    db_path: Path, hyperliquid: LiveServer, number: signal.Signals
) -> None:
    with process(db_path, hyperliquid) as child:
        await_rows(db_path, more=20)
        child.send_signal(number)
        output, _ = child.communicate(timeout=60)

    assert child.returncode == 0, output
    assert "recorded" in output
    assert "Traceback" not in output
    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))


def test_the_recorder_stops_after_the_given_time(db_path: Path, hyperliquid: LiveServer) -> None:
    with process(db_path, hyperliquid, "3") as child:
        output, _ = child.communicate(timeout=60)

    assert child.returncode == 0, output
    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))


def test_after_a_kill_the_next_run_lists_the_gap(db_path: Path, hyperliquid: LiveServer) -> None:
    with process(db_path, hyperliquid) as child:
        await_rows(db_path, more=20)
        child.kill()
    killed_ms = hyperliquid.clock.now_ms()
    stored = rows(db_path, "SELECT max(received_ms) FROM trades")[0][0]
    assert killed_ms - stored < 5000  # a busy machine's; `doit bench record` has the figure

    with recording(db_path, [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]) as running:
        await_rows(db_path, more=20)
        assert running.error is None

    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    gaps = gaps_in(db_path, "hyperliquid", "bbo")
    assert any(gap.start_ms <= killed_ms < gap.end_ms for gap in gaps)


def test_a_second_recorder_is_refused_and_the_first_goes_on(
    db_path: Path, hyperliquid: LiveServer
) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with recording(db_path, venues) as running:
        with pytest.raises(DataError, match=r"another recorder \(process \d+\) is writing to it"):
            record(db_path, venues, RecorderOptions(pace=QUICK))
        await_rows(db_path)
        assert running.error is None


def test_a_locked_database_causes_no_loss(db_path: Path, hyperliquid: LiveServer) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with recording(db_path, venues) as running:
        await_rows(db_path)
        with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            wait_until(lambda: running.handle.status().waiting > 50)
            other.execute("ROLLBACK")
        wait_until(lambda: running.handle.status().waiting < 50)

    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    assert len(gaps_in(db_path, "hyperliquid", "trades")) == 1


def test_a_full_disk_causes_no_loss(db_path: Path, hyperliquid: LiveServer) -> None:
    with process(db_path, hyperliquid) as child:
        await_rows(db_path)
        before = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
        # No file may grow beyond what the database has: writes fail as on a full disk.
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (db_path.stat().st_size, before[1]))
        assert child.stdout is not None
        for line in child.stdout:
            if "in memory" in line:  # of one row, or more
                break
        stuck = trades(db_path)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, before)
        wait_until(lambda: trades(db_path) > stuck + 50)
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=60)

    assert child.returncode == 0, output
    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    assert len(gaps_in(db_path, "hyperliquid", "trades")) == 1  # from the end of the run on


WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("CREATE TABLE bulk (n INTEGER)")
print("writing", flush=True)
while True:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO bulk WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 50000) SELECT i FROM n"
    )
    time.sleep(0.4)
    connection.execute("COMMIT")
    time.sleep(0.05)
"""


def test_beside_a_bulk_writer_and_a_reader_nothing_is_lost_and_the_wal_stays_small(
    db_path: Path, hyperliquid: LiveServer
) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with recording(db_path, venues) as running:
        await_rows(db_path)
        command = [sys.executable, "-c", WRITER, str(db_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "writing\n"
            with closing(sqlite3.connect(db_path)) as reader:
                for _ in range(3):
                    reader.execute("BEGIN")
                    stored = reader.execute("SELECT count(*) FROM trades").fetchone()
                    await_rows(db_path, more=20)
                    assert reader.execute("SELECT count(*) FROM trades").fetchone() == stored
                    reader.rollback()
            other.kill()
        wait_until(lambda: running.handle.status().waiting < 20)

    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    assert len(gaps_in(db_path, "hyperliquid", "trades")) == 1  # from the end of the run on
    wal = db_path.with_name(f"{db_path.name}-wal")
    assert not wal.exists() or wal.stat().st_size == 0


def test_a_full_buffer_drops_events_and_lists_them_as_a_gap(
    db_path: Path, hyperliquid: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with recording(db_path, venues, buffer_rows=40) as running:
        await_rows(db_path)
        with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            wait_until(lambda: running.handle.status().dropped > 20)
            assert running.handle.status().problems
            other.execute("ROLLBACK")
        await_rows(db_path, more=20)

    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    reasons = rows(db_path, "SELECT reason FROM recording_gaps WHERE channel = 'trades'")
    assert any("buffer full" in reason for (reason,) in reasons)
    assert "the buffer was full and dropped " in capsys.readouterr().out


def test_metrics_and_healthz_show_a_stale_stream(db_path: Path, hyperliquid: LiveServer) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with recording(db_path, venues, metrics_port=0) as running:
        url = f"http://127.0.0.1:{running.handle.metrics_port}"
        await_rows(db_path)
        text = urlopen(f"{url}/metrics", timeout=30).read().decode()
        assert urlopen(f"{url}/healthz", timeout=30).read() == b"ok\n"
        hyperliquid.fault(Fault(kind="refuse", how="refused", seconds=30), Fault(kind="drop"))
        wait_until(lambda: running.handle.status().problems)
        with pytest.raises(HTTPError, match="503"):
            urlopen(f"{url}/healthz", timeout=30)

    labels = '{channel="trades",symbol="BTC/USDT",venue="hyperliquid"}'
    assert f"tbv8_stream_up{labels} 1.0" in text
    assert "tbv8_trades_written_total" in text


def test_a_taken_metrics_port_is_an_error(db_path: Path, hyperliquid: LiveServer) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with pytest.raises(ConfigError, match=r"--metrics-port: port .* cannot be opened"):
        record(db_path, venues, RecorderOptions(pace=QUICK, metrics_port=hyperliquid.port))
    with pytest.raises(ConfigError, match=r"port 65536 cannot be opened \(beyond 65535\)"):
        record(db_path, venues, RecorderOptions(pace=QUICK, metrics_port=65536))


def test_venues_that_cannot_be_recorded_are_refused(db_path: Path) -> None:
    with pytest.raises(ConfigError, match="no venue is enabled"):
        record(
            db_path,
            [venue("mexc", None, {"BTC/USDT": "BTC_USDT"}, enabled=False)],
            RecorderOptions(),
        )
    with pytest.raises(ConfigError, match=r"sample\.yaml: enabled: tbv8 cannot record this venue"):
        record(db_path, [venue("sample", None, {"BTC/USDT": "BTC/USDT"})], RecorderOptions())


class Nobody:
    """A venue that cannot be reached: nothing listens on these ports."""

    ws_url, rest_url = "ws://127.0.0.1:9/ws", "http://127.0.0.1:9"


def test_a_run_without_any_data_is_an_error(
    db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    venues = [
        venue("hyperliquid", Nobody, {"BTC/USDT": "BTC"}),
        venue("mexc", Nobody, {"BTC/USDT": "BTC_USDT"}),
    ]

    with pytest.raises(VenueError) as refused:
        record(db_path, venues, RecorderOptions(pace=QUICK, for_s=1.2))

    assert str(refused.value) == (
        "hyperliquid and mexc sent no data in 1 s, nothing was recorded: see the lines above; "
        "check the network, and the symbols and URLs in config/venues/hyperliquid.yaml and "
        "config/venues/mexc.yaml"
    )
    assert "recorded 0 trades" in capsys.readouterr().out


def test_data_from_one_venue_is_a_success(
    db_path: Path, hyperliquid: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    venues = [
        venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"}),
        venue("mexc", Nobody, {"BTC/USDT": "BTC_USDT"}),
    ]

    record(db_path, venues, RecorderOptions(pace=QUICK, for_s=3))

    assert trades(db_path)
    assert "; mexc SENT NO DATA" in capsys.readouterr().out


def test_a_stop_by_the_user_before_any_data_is_no_error(db_path: Path) -> None:
    with recording(db_path, [venue("hyperliquid", Nobody, {"BTC/USDT": "BTC"})]) as running:
        wait_until(lambda: running.handle.status().venues[0].failed)
