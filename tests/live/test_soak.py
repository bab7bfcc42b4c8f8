"""Half an hour of random faults, kills and stops: what was used is true, and can be given again."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tbv8.live.check import check_replay
from tbv8.live.output import ProcessReport
from tbv8.market import MINUTE_MS
from tests.builders import rows
from tests.live.fast import (
    Recorder,
    beside,
    fast_venues,
    hosts,
    kill_a_host,
    make_plans,
    now_ms,
    set_clock,
    watch_fast,
)
from tests.live.test_processes import used
from tests.recorder.test_soak import FAULTS
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_market import VenueClock
from tests.servers.mexc import mexc_market, mexc_server

SECONDS = float(os.environ.get("TBV8_SOAK_S", "1800"))
SPEED = 10.0


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_after_random_faults_a_session_can_be_replayed(
    db_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clock = VenueClock(speed=SPEED)
    set_clock(clock.now_ms(), SPEED)
    chance, done, memory = random.Random(11), Counter[str](), dict[str, float]()
    seen: Counter[str] = Counter()
    with (
        hyperliquid_server([hyperliquid_market("BTC", rate=2, quote_rate=2)], clock=clock) as one,
        mexc_server([mexc_market("BTC_USDT", rate=2, quote_rate=2)], clock=clock) as two,
    ):
        servers = {"BTC": one, "BTC_USDT": two}
        for server in servers.values():
            server.control(options={"limits": False})
        configs = make_plans(db_path, stale_ms=5 * MINUTE_MS, clock_ms=20_000)
        stop_path = configs["primary"].stop_path
        recorder = Recorder(db_path, fast_venues(servers))

        def disturb(over: threading.Event) -> None:
            began_s = time.monotonic()
            while not over.wait(chance.uniform(3, 20)):
                if time.monotonic() - began_s > SECONDS - 60:
                    for server in servers.values():
                        server.behave()
                    stop_path.unlink(missing_ok=True)
                    return
                what = chance.choice(
                    ("fault", "fault", "fault", "host", "recorder", "both", "stop")
                )
                done[what] += 1
                if what == "fault":
                    chance.choice(list(servers.values())).fault(chance.choice(FAULTS))
                if what in ("recorder", "both"):
                    recorder.kill()
                    over.wait(chance.uniform(0, 6))
                    recorder.start()
                if what in ("host", "both"):
                    kill_a_host(chance)
                if what == "stop":
                    stop_path.write_text(chance.choice(("", "close")))
                    over.wait(chance.uniform(0, 8))
                    stop_path.unlink(missing_ok=True)
                half = "early" if time.monotonic() - began_s < SECONDS / 3 else "late"
                memory[half] = max(_resident_mb(pid) for pid in hosts() or [os.getpid()])

        def count(role: str, report: ProcessReport) -> None:
            seen[f"{role} {report.kind}"] += 1

        try:
            with beside(disturb):
                watch_fast(configs, SECONDS, results_s=300, on_report=count)
        finally:
            recorder.kill()
        said = check_replay(configs)
        for role, native in (("primary", "BTC"), ("shadow", "BTC_USDT")):
            _check_bars(db_path, role, servers[native].truth(native).bars)  # type: ignore[attr-defined]

    minutes = len(used(db_path, "primary"))
    with capsys.disabled():
        print(f"\n{said}\n{dict(done)}\n{dict(seen)}")
        kinds = rows(db_path, "SELECT kind, count(*) FROM session_events GROUP BY kind")
        barred = rows(db_path, "SELECT barred, count(*) FROM session_bars GROUP BY barred")
        print(dict(kinds), dict(barred), f"MB {memory}, {db_path.stat().st_size / 1e6:.1f} MB")
    assert seen["primary differs"] == seen["primary failed"] == seen["shadow differs"] == 0
    assert SECONDS * SPEED < 2 * 3600 or dict(kinds)["rate"] > 1
    assert minutes > (SECONDS - 90) * SPEED / 60 * 0.8
    assert memory.get("late", 0) < memory.get("early", 1e9) * 1.2 + 20
    assert now_ms() > clock.now_ms() - 60_000


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _check_bars(db_path: Path, role: str, true: list[tuple[float, ...]]) -> None:
    """Compare what was used with what happened, but for what the recorder corrected since."""
    corrected = {
        json.loads(body)["used"]["ts_ms"]
        for (body,) in rows(db_path, "SELECT body FROM session_events WHERE kind = 'corrected'")
    }
    expected = {int(bar[0]): tuple(bar[1:5]) for bar in true}
    for bar in used(db_path, role):
        if bar.ts_ms not in corrected:
            assert (bar.open, bar.high, bar.low, bar.close) == expected[bar.ts_ms], (role, bar)
