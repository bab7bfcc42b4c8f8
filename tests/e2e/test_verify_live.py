"""`doit verify --against rest` of the venues that are recorded: one real process, two servers."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tbv8.backfill import backfill
from tbv8.market import MINUTE_MS, Series, Span
from tests.builders import history_venue
from tests.e2e.conftest import Project
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_market import VenueClock
from tests.servers.mexc import mexc_market, mexc_server


def test_mexc_and_hyperliquid_are_compared_with_what_they_say(
    project: Project, migrated_db: Path
) -> None:
    # given two hours of each, and a server each that speaks for it
    shutil.copy(migrated_db, project.db_path)
    now_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    span = Span(now_ms - 120 * MINUTE_MS, now_ms)
    clock = VenueClock(start_ms=now_ms, speed=0)
    mexc_there = mexc_market("BTC_USDT", rate=2, history_minutes=300)
    hyperliquid_there = hyperliquid_market("BTC", rate=2, history_minutes=300)
    with (
        mexc_server([mexc_there], clock=clock) as mexc,
        hyperliquid_server([hyperliquid_there], clock=clock) as hyperliquid,
    ):
        project.edit("config/venues/mexc.yaml", "https://api.mexc.com", mexc.rest_url)
        project.edit(
            "config/venues/hyperliquid.yaml",
            "https://api.hyperliquid.xyz\n",
            f"{hyperliquid.rest_url}\n",
        )
        for name, server in (("mexc", mexc), ("hyperliquid", hyperliquid)):
            venue = history_venue(name, server.rest_url)
            series = Series(name, "BTC/USDT")
            backfill(project.db_path, series, [span], venue=venue, now_ms=now_ms)

        # when
        whole = project.doit("verify", "--against", "rest", "--seed", "1")
        project.sql(f"UPDATE ohlcv_1m SET volume = 7 WHERE ts_ms = {span.start_ms}")
        changed = project.doit("verify", "--against", "rest", "--seed", "1", code=1)

    # then
    assert whole.stdout.endswith("random hours with REST (--seed 1): no differences\n")
    assert whole.stdout.split()[1] in ("4", "6")  # two hours of each, or three with their parts
    assert "ohlcv_1m hyperliquid:BTC/USDT " in changed.stdout
    assert "ohlcv_1m mexc:BTC/USDT " in changed.stdout
    assert changed.stdout.endswith("(--seed 1): 2 differences\n")
