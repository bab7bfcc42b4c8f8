"""`doit verify --against rest` of the venues that are recorded: one real process, their servers."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

from tbv8.backfill.fill import backfill
from tbv8.market import MINUTE_MS, Series, Span
from tests.builders import history_venue
from tests.e2e.conftest import Project
from tests.servers.live_market import VenueClock
from tests.servers.live_venues import LIVE_VENUES, serve


def test_live_venues_are_compared_with_what_they_say(project: Project, migrated_db: Path) -> None:
    # given two hours of each, and a server each that speaks for it
    shutil.copy(migrated_db, project.db_path)
    now_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    span = Span(now_ms - 120 * MINUTE_MS, now_ms)
    clock = VenueClock(start_ms=now_ms, speed=0)
    with ExitStack() as stack:
        for name in LIVE_VENUES:
            server = stack.enter_context(serve(name, clock=clock, rate=2, history_minutes=300))
            config = project.root / f"config/venues/{name}.yaml"
            shipped = config.read_text(encoding="utf-8")
            config.write_text(re.sub("(?m)^rest_url: .*", f"rest_url: {server.rest_url}", shipped))
            venue = history_venue(name, server.rest_url)
            series = Series(name, "BTC/USDT")
            backfill(project.db_path, series, [span], venue=venue, now_ms=now_ms)

        # when
        whole = project.doit("verify", "--against", "rest", "--seed", "1")
        project.sql(f"UPDATE ohlcv_1m SET volume = 7 WHERE ts_ms = {span.start_ms}")
        changed = project.doit("verify", "--against", "rest", "--seed", "1", code=1)

    # then
    assert whole.stdout.endswith("random hours with REST (--seed 1): no differences\n")
    assert whole.stdout.split()[1] in ("6", "9")  # two hours of each, or three with their parts
    for name in LIVE_VENUES:
        assert f"ohlcv_1m {name}:BTC/USDT " in changed.stdout
    assert changed.stdout.endswith("(--seed 1): 3 differences\n")
