"""A recorder beside `doit prune`, and one that starts after everything old was dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.market import MINUTE_MS
from tbv8.store.database import open_reader
from tbv8.store.prune import find_old, prune, stored_ticks
from tests.builders import rows
from tests.recorder.rig import check, gaps_in, recording, venue, wait_until
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer


def prune_all(db_path: Path, before_ms: int) -> int:
    with open_reader(db_path) as query:
        found = [find_old(query, *one, before_ms=before_ms) for one in stored_ticks(query)]
    return sum(prune(db_path, old, advance=lambda _: None) for old in found if old)


def minutes(db_path: Path) -> int:
    return len(rows(db_path, "SELECT 1 FROM bars_1m"))


@pytest.mark.parametrize("clock", [25.0], indirect=True)
def test_a_recorder_dedupes_and_knows_its_gap_when_all_but_a_minute_was_dropped(
    db_path: Path, hyperliquid: LiveServer, clock: VenueClock
) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]

    with recording(db_path, venues, local_ms=lambda: int(clock.true_ms())):
        wait_until(lambda: minutes(db_path) >= 2)
        dropped_beside = prune_all(db_path, int(clock.true_ms()) - MINUTE_MS)
        known = minutes(db_path)
        wait_until(lambda: minutes(db_path) >= known + 1)
    ended_ms = int(clock.true_ms())
    dropped_after = prune_all(db_path, ended_ms)
    left = rows(db_path, "SELECT count(DISTINCT ts_ms / 60000) FROM trades")
    with recording(db_path, venues, local_ms=lambda: int(clock.true_ms())):
        known = minutes(db_path)
        wait_until(lambda: minutes(db_path) >= known + 2)

    assert dropped_beside > 100
    assert dropped_after > 100
    assert left == [(1,)]
    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    for channel in ("trades", "bbo"):
        over = [gap for gap in gaps_in(db_path, "hyperliquid", channel) if gap.end_ms > ended_ms]
        assert over
        assert over[0].start_ms < ended_ms
