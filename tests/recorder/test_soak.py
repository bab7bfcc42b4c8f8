"""Ten minutes of random faults at both venues; run on request with `-m slow`."""

from __future__ import annotations

import os
import random
import resource
import time
from pathlib import Path

import pytest

from tests.builders import rows
from tests.recorder.rig import check, recording, venue, wait_until
from tests.servers.live_faults import Fault
from tests.servers.live_process import running_process

SECONDS = float(os.environ.get("TBV8_SOAK_S", "600"))

FAULTS = [
    Fault(kind="drop", how="rst"),
    Fault(kind="drop", how="fin"),
    Fault(kind="drop", how="close"),
    Fault(kind="half_open"),
    Fault(kind="refuse", how="reset", seconds=3),
    Fault(kind="refuse", how="hang", seconds=3),
    Fault(kind="refuse", how="refused", seconds=5),
    Fault(kind="replay", count=50),
    Fault(kind="duplicate", times=20),
    Fault(kind="reorder", channel="trades", times=5),
    Fault(kind="late", seconds=2, times=5),
    Fault(kind="malformed"),
    Fault(kind="corrupt", channel="trades", times=1),
    Fault(kind="corrupt", channel="bbo", times=1),
    Fault(kind="unknown"),
    Fault(kind="error", body="Internal error"),
    Fault(kind="no_pong", seconds=5),
    Fault(kind="no_ack", seconds=5),
    Fault(kind="stall", channel="trades", seconds=40),
    Fault(kind="stall", channel="bbo", seconds=40),
    Fault(kind="rest", status=500, times=5),
    Fault(kind="rest", how="slow", seconds=3, times=5),
    Fault(kind="rest", how="reset", times=5),
]


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_after_random_faults_every_event_is_stored_once_or_in_a_listed_gap(
    db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(7)
    coins = ("BTC", "ETH")
    options = ("--symbols", ",".join(coins), "--rate", "20")
    with (
        running_process("tests.servers.hyperliquid", *options) as hyperliquid,
        running_process("tests.servers.mexc", *options) as mexc,
    ):
        natives = {"hyperliquid": "{}", "mexc": "{}_USDT"}
        servers = {"hyperliquid": hyperliquid, "mexc": mexc}
        venues = [
            venue(name, server, {f"{c}/USDT": natives[name].format(c) for c in coins})  # type: ignore[arg-type]
            for name, server in servers.items()
        ]
        with recording(db_path, venues) as running:
            wait_until(lambda: not running.handle.status().problems, seconds=30)
            half = 0.0
            began_s = time.monotonic()
            while (ran_s := time.monotonic() - began_s) < SECONDS:
                fault = chance.choice(FAULTS)
                servers[chance.choice(list(servers))].fault(fault)
                time.sleep(chance.uniform(1, 12) + (fault.seconds or 0) / 4)
                half = half or (_resident_mb() if ran_s > SECONDS / 2 else 0.0)
            for server in servers.values():
                server.behave()
            wait_until(lambda: not running.handle.status().problems, seconds=90)
            wait_until(
                lambda: all(s.minutes_waiting <= 1 for s in running.handle.status().streams),
                seconds=200,
            )
            end = _resident_mb()
            status = running.handle.status()

        for name, server in servers.items():
            for coin in coins:
                truth = server.truth(natives[name].format(coin))
                check(db_path, name, truth, symbol=f"{coin}/USDT")

    with capsys.disabled():
        gaps = rows(
            db_path,
            "SELECT channel, reason, healed, count(*), sum(end_ms - start_ms) / 1000"
            " FROM recording_gaps GROUP BY 1, 2, 3",
        )
        print(f"\n{status.trades:,} trades, {status.bbo:,} bbo, {status.minutes} minutes")
        print(f"reconnects {[v.reconnects for v in status.venues]}, MB {half:.0f} -> {end:.0f}")
        for gap in gaps:
            print(*gap)
    assert end < half * 1.2 + 20
