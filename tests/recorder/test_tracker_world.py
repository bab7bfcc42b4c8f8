"""Whatever happens: every trade once or in a gap, every minute whole or listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbv8.market import MINUTE_MS, Span
from tbv8.store.bars import open_bars
from tbv8.store.ledger import EMPTY_DIGEST
from tbv8.store.verify import verify
from tests.builders import naive_digest, rows
from tests.recorder.world import BTC, Knobs, World, _values

type Event = Callable[[World], None]

EVENTS: dict[str, Event] = {
    "drop": World.drop,
    "kill": World.kill,
    "restart": World.restart,
    "half open": World.half_open,
    "trades stall": lambda world: world.stall("trades"),
    "quotes stall": lambda world: world.stall("bbo"),
    "unreadable": lambda world: world.tracker.mark_unreadable(world.venue_ms, world._last_frame_ms),
    "rest down": lambda world: setattr(world, "rest_up", False),
    "rest up": lambda world: setattr(world, "rest_up", True),
    "network down": lambda world: (setattr(world, "network_up", False), world.drop())[0],
    "network up": lambda world: setattr(world, "network_up", True),
    "quiet": lambda world: setattr(world.knobs, "rate", 0.02),
    "busy": lambda world: setattr(world.knobs, "rate", 4.0),
}


def check(world: World) -> None:
    """Compare the database with the truth, row by row."""
    world.stop()
    world.close()
    world.forgiven |= world.on_the_way()
    _check_trades(world)
    _check_quotes(world)
    _check_bars(world)


def gaps_in(world: World, channel: str, *, healed: int | None = None) -> list[Span]:
    found = rows(
        world.db_path,
        "SELECT start_ms, end_ms, healed FROM recording_gaps WHERE channel = ?",
        (channel,),
    )
    return [
        Span(start_ms, 2**62 if end_ms is None else end_ms)
        for start_ms, end_ms, done in found
        if healed in (None, done)
    ]


def _check_trades(world: World) -> None:
    found = rows(world.db_path, "SELECT ts_ms, trade_id, price, size, side FROM trades")
    truth = {(t.ts_ms, t.trade_id, t.price, t.size, t.side) for t in world.trades}
    assert set(found) <= truth
    unhealed = gaps_in(world, "trades", healed=0)
    first_ms = min((row[0] for row in found), default=2**62)
    for row in truth - set(found):
        known = row[0] < first_ms or any(g.start_ms <= row[0] < g.end_ms for g in unhealed)
        forgiven = row[0] < world.began_ms or row[:2] in world.forgiven
        assert known or forgiven, (row, unhealed)


def _check_quotes(world: World) -> None:
    columns = "ts_ms, bid_price, bid_size, ask_price, ask_size"
    found = rows(world.db_path, f"SELECT {columns} FROM bbo ORDER BY ts_ms, rowid")
    assert len(set(found)) == len(found)
    truth = {(q.ts_ms, *_values(q)) for q in world.quotes}
    assert set(found) <= truth
    gaps = gaps_in(world, "bbo")
    before: tuple[float | None, ...] | None = None
    stored = {row[0] for row in found}
    for quote in sorted(world.quotes, key=lambda q: q.ts_ms):
        if quote.ts_ms in stored:
            before = _values(quote)
        elif quote.ts_ms >= world.began_ms and _values(quote) != before:
            assert any(g.start_ms <= quote.ts_ms < g.end_ms for g in gaps), (quote, gaps)


def _check_bars(world: World) -> None:
    found = rows(
        world.db_path, "SELECT ts_ms, open, high, low, close, volume FROM bars_1m ORDER BY ts_ms"
    )
    ledger = rows(
        world.db_path,
        "SELECT start_ms, end_ms, bars, missing, digest FROM history_coverage"
        " WHERE dataset = 'bars_1m' ORDER BY day_ms",
    )
    known = [Span(start_ms, end_ms) for start_ms, end_ms, *_ in ledger]
    truth = [bar for span in known for bar in world.true_bars(span)]
    assert [row[0] for row in found] == [bar[0] for bar in truth]
    unknowable = _unknowable_minutes(world, truth)
    for row, bar in zip(found, truth, strict=True):
        assert row == bar or row[0] in unknowable
    for start_ms, end_ms, bars, missing, digest in ledger:
        of_day = [row for row in found if start_ms <= row[0] < end_ms]
        assert (bars, missing) == (len(of_day), 0)
        assert digest == (naive_digest(of_day) if of_day else EMPTY_DIGEST)
    if known:
        unhealed = gaps_in(world, "bars_1m", healed=0)
        ended = [gap for gap in unhealed if gap.end_ms < 2**62]
        stored = {row[0] for row in found}
        last_ms = world.now_ms // MINUTE_MS * MINUTE_MS - MINUTE_MS
        for open_ms in range(known[0].start_ms, last_ms, MINUTE_MS):
            listed = any(g.start_ms <= open_ms < g.end_ms for g in unhealed)
            given_up = any(g.start_ms <= open_ms < g.end_ms for g in ended)
            assert not (open_ms in stored and given_up), open_ms
            assert open_ms in stored or listed or open_ms >= world.waiting_from_ms, open_ms
    with open_bars(world.db_path) as store:
        assert list(verify(store, "bars_1m", BTC)) == []


def _unknowable_minutes(world: World, truth: list[tuple[float, ...]]) -> set[float]:
    """Return minutes with a late trade that nobody could know of, and the flat ones behind them."""
    stored = set(rows(world.db_path, "SELECT ts_ms, trade_id FROM trades"))
    missing = {ts_ms // MINUTE_MS * MINUTE_MS for ts_ms, _id in world.forgiven - stored}
    found: set[float] = set()
    for ts_ms, *_prices, volume in truth:
        if ts_ms in missing or (volume == 0 and ts_ms - MINUTE_MS in found):
            found.add(ts_ms)
    return found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    rate=st.sampled_from([0.05, 1.0, 6.0]),
    page=st.sampled_from([10, 100]),
    skew_ms=st.integers(-500, 500),
    kept_minutes=st.sampled_from([None, None, 4]),
    script=st.lists(
        st.tuples(st.sampled_from(sorted(EVENTS)), st.integers(200, 70_000)),
        min_size=1,
        max_size=8,
    ),
)
def test_the_database_equals_the_truth_except_in_listed_gaps(
    migrated_db: Path,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    rate: float,
    page: int,
    skew_ms: int,
    kept_minutes: int | None,
    script: list[tuple[str, int]],
) -> None:
    db_path = Path(copy(migrated_db, tmp_path_factory.mktemp("world") / "tbv8.sqlite"))
    knobs = Knobs(seed=seed, rate=rate, page=page, skew_ms=skew_ms, kept_minutes=kept_minutes)
    world = World(db_path, knobs)

    world.step(20_000)
    for name, ms in script:
        EVENTS[name](world)
        world.step(ms)
    world.rest_up = world.network_up = True
    world.late_share = 0.0
    world.step(150_000)

    check(world)
