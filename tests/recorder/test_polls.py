"""The channels `funding` and `mark`: what REST tells, once an hour and once a minute."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Series, parse_time
from tbv8.store.bars import open_bars
from tbv8.store.ledger import FUNDING
from tbv8.store.verify import verify
from tests.builders import ledger_in, rows
from tests.recorder.rig import gaps_in, recording, venue, wait_until
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES, serve

FROM = parse_time("2026-03-01T15:59:20Z")
HOUR = parse_time("2026-03-01T16:00:00Z")


def server_of(name: str, clock: VenueClock) -> LiveServer:
    return serve(name, clock=clock, rate=1, quote_rate=1, funding_days=3)


@pytest.mark.parametrize("name", LIVE_VENUES)
def test_funding_is_recorded_as_it_is_paid_and_marks_once_a_minute(
    db_path: Path, name: str
) -> None:
    hours, series = LIVE_VENUES[name].funding_hours, Series(name, "BTC/USDT")
    clock = VenueClock(start_ms=FROM, speed=60)
    with server_of(name, clock) as server:
        one = venue(
            name, server, {"BTC/USDT": LIVE_VENUES[name].native}, channels=("funding", "mark")
        )

        def recorded(table: str) -> list[Any]:
            return rows(db_path, f"SELECT ts_ms FROM {table} ORDER BY ts_ms")

        with recording(db_path, [one], local_ms=clock.now_ms) as running:
            wait_until(lambda: (HOUR,) in recorded("funding") and len(recorded("mark")) > 2)
            status = running.handle.status()
        [market] = server.markets.values()
        truth = [
            (rate.time_ms // HOUR_MS * HOUR_MS, float(rate.rate), hours)
            for rate in market.rates(hours=hours)
        ]

    assert status.venues[0].has_sent
    assert rows(db_path, "SELECT ts_ms, rate, interval_hours FROM funding ORDER BY ts_ms") == [
        row for row in truth if HOUR // DAY_MS * DAY_MS <= row[0] <= HOUR
    ]
    [(source, missing)] = ledger_in(db_path, series, FUNDING, columns="source, missing")
    assert (source, missing) == ("record", 0)
    with open_bars(db_path) as store:
        assert list(verify(store, FUNDING, series)) == []
    marks = rows(db_path, "SELECT ts_ms, mark_price, open_interest FROM mark ORDER BY ts_ms")
    assert all(ts_ms % MINUTE_MS == 0 and price > 0 for ts_ms, price, _ in marks)
    # MEXC's is a million contracts of 0.0001 BTC, Bybit's of one side.
    interest = {"bybit": 55_000.25, "hyperliquid": 30_000.0, "mexc": 100.0}[name]
    assert {row[2] for row in marks} == {interest}
    assert rows(db_path, "SELECT count(*) FROM trades") == [(0,)]


def test_a_second_run_lists_the_minutes_between_and_fills_the_hours(db_path: Path) -> None:
    clock = VenueClock(start_ms=FROM - 2 * HOUR_MS, speed=60)
    with server_of("hyperliquid", clock) as server:
        one = venue("hyperliquid", server, {"BTC/USDT": "BTC"}, channels=("funding", "mark"))
        for _ in range(2):
            before = len(rows(db_path, "SELECT 1 FROM mark"))
            with recording(db_path, [one], local_ms=clock.now_ms):
                wait_until(lambda before=before: len(rows(db_path, "SELECT 1 FROM mark")) > before)
                wait_until(lambda: rows(db_path, "SELECT 1 FROM funding"))
            clock.advance(3 * HOUR_MS)

    marks = [row[0] for row in rows(db_path, "SELECT ts_ms FROM mark ORDER BY ts_ms")]
    holes = [
        (before + MINUTE_MS, after)
        for before, after in pairwise(marks)
        if after - before > MINUTE_MS
    ]
    assert [(gap.start_ms, gap.end_ms) for gap in gaps_in(db_path, "hyperliquid", "mark")] == holes
    assert holes
    paid = [row[0] for row in rows(db_path, "SELECT ts_ms FROM funding ORDER BY ts_ms")]
    assert {after - before for before, after in pairwise(paid)} == {HOUR_MS}
