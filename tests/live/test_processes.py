"""A session, its shadow and a recorder as processes, killed while the venues go on."""

from __future__ import annotations

import csv
import json
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tbv8.live.check import check_replay
from tbv8.live.output import ProcessReport
from tbv8.market import MINUTE_MS, Bar, parse_time
from tbv8.store.database import open_reader
from tbv8.store.sessions import read_minutes, read_session
from tests.builders import rows
from tests.live.fast import (
    Recorder,
    beside,
    fast_venues,
    kill_a_host,
    make_plans,
    now_ms,
    set_clock,
    watch_fast,
)
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.mexc import mexc_market, mexc_server

SPEED = 40.0  # a minute takes 1.5 s
MINUTES = 7
PAID_MS = parse_time("2026-03-02T16:00:00Z")  # funding, by both venues


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def until(minutes: int) -> Callable[[str, ProcessReport], None]:
    """Return what ends a watched session, as a user does, after so many minutes of the primary."""
    left = minutes

    def count(role: str, report: ProcessReport) -> None:
        nonlocal left
        left -= role == "primary" and report.kind == "minute"
        if left == 0:
            signal.raise_signal(signal.SIGTERM)

    return count


def used(db_path: Path, role: str) -> list[Bar]:
    """Return the bars that a session used."""
    with open_reader(db_path) as query:
        session = read_session(query, "test_v1", role)  # type: ignore[arg-type]
        assert session is not None
        minutes = read_minutes(query, session.session_id)
    times = [minute.ts_ms for minute in minutes]
    assert times == list(range(times[0], times[0] + len(times) * MINUTE_MS, MINUTE_MS))
    return [bar for minute in minutes if (bar := minute.bars["BTC/USDT"]) is not None]


def check_bars(db_path: Path, role: str, server: LiveServer, native: str) -> None:
    """Compare what a session used with what really happened, but for what was corrected since."""
    true = {bar.ts_ms: bar for bar in server.truth(native).bars}
    for bar in used(db_path, role):
        assert (bar.open, bar.high, bar.low, bar.close) == true[bar.ts_ms][1:5], bar


@pytest.mark.slow  # the soak beside it kills longer, test_host at any call
@pytest.mark.timeout(150)
def test_killed_at_random_it_goes_on_from_its_journal(db_path: Path, tmp_path: Path) -> None:
    clock = VenueClock(start_ms=PAID_MS - 3 * MINUTE_MS, speed=SPEED)
    set_clock(clock.now_ms(), SPEED)
    hyperliquid = hyperliquid_market("BTC", rate=1, quote_rate=1)
    mexc = mexc_market("BTC_USDT", rate=1, quote_rate=1)
    chance, kills = random.Random(5), 0
    with (
        hyperliquid_server([hyperliquid], clock=clock) as one,
        mexc_server([mexc], clock=clock) as two,
    ):
        for server in (one, two):
            server.control(options={"limits": False})
        configs = make_plans(db_path, stale_ms=60 * MINUTE_MS, clock_ms=60_000)
        recorder = Recorder(db_path, fast_venues({"BTC": one, "BTC_USDT": two}))

        used_minutes = threading.Semaphore(0)
        count = until(MINUTES)

        def on_report(role: str, report: ProcessReport) -> None:
            if report.kind == "minute":
                used_minutes.release()
            count(role, report)

        def disturb(over: threading.Event) -> None:
            """Kill after some of the minutes, so that a slow machine gets somewhere, too."""
            nonlocal kills
            while not over.is_set():
                if used_minutes.acquire(timeout=0.2) and chance.random() < 0.3:
                    over.wait(chance.uniform(0, 0.7))
                    if chance.random() < 0.2:
                        recorder.kill()
                        recorder.start()
                    kills += kill_a_host(chance)

        try:
            with beside(disturb):
                watch_fast(configs, 100, on_report=on_report)
        finally:
            recorder.kill()
        said = check_replay(configs)

        check_bars(db_path, "primary", one, "BTC")
        check_bars(db_path, "shadow", two, "BTC_USDT")

    assert kills >= 2
    assert "the same bytes in" in said
    assert len(used(db_path, "primary")) >= MINUTES - 2  # the first may be nobody's
    assert now_ms() > clock.now_ms() - 60_000
    charged = rows(db_path, "SELECT ts_ms, body FROM session_events WHERE kind = 'rate'")
    assert {json.loads(body)["hours"] for _, body in charged} == {1, 8}
    assert {json.loads(body)["ts_ms"] for _, body in charged} == {PAID_MS}
    assert all(PAID_MS <= ts_ms <= PAID_MS + 3 * MINUTE_MS for ts_ms, _ in charged)
    folder = configs["primary"].folder
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    with (folder / "shadow" / "orders.csv").open(encoding="utf-8", newline="") as file:
        priced = list(csv.DictReader(file))
    assert summary["priced"]["fills"] == len(priced)
    assert summary["shadow"]["venue"] == "mexc"
    assert (folder / "tearsheet.html").stat().st_size > 10_000
