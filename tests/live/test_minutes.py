"""The bars that a session makes of its minutes."""

from __future__ import annotations

import random
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.aggregate import aggregate
from tbv8.live.minutes import Builder, join_minutes, minutes_to_bars, to_table
from tbv8.market import MINUTE_MS, Bar, parse_timeframe
from tbv8.store.sessions import SessionMinute
from tests.builders import MONDAY, ROOT
from tests.live.rig import START_MS, World, ema, whole

TIMEFRAMES = [parse_timeframe(name) for name in ("3m", "5m", "1h", "1w", "1M")]
VOLUMES = st.one_of(
    st.just(0.0),
    st.floats(1e-8, 1e10).map(lambda volume: round(volume, 8)),
    st.integers(1, 10**15).map(float),
)


def table(volumes: list[float], seed: int, gaps: int) -> pa.Table:
    """Return minutes with some of them missing, from shortly before the end of a month."""
    chance = random.Random(seed)
    bars, ts_ms = [], MONDAY - 7 * MINUTE_MS
    for volume in volumes:
        prices = sorted(round(chance.uniform(90, 110), 2) for _ in range(4))
        opened, closed = chance.sample(prices, 2)
        bars.append(Bar(ts_ms, opened, prices[3], prices[0], closed, volume))
        ts_ms += MINUTE_MS * chance.choice([1] * 9 + [1 + gaps])
    return to_table(bars)


@given(
    st.lists(VOLUMES, min_size=1, max_size=150),
    st.integers(0, 10**6),
    st.integers(0, 300),
    st.sampled_from(TIMEFRAMES),
)
def test_bars_equal_aggregated_bars_to_the_last_bit(
    volumes: list[float], seed: int, gaps: int, timeframe: object
) -> None:
    minutes = table(volumes, seed, gaps)

    assert minutes_to_bars(minutes, timeframe).equals(aggregate(minutes, timeframe))  # type: ignore[arg-type]


@pytest.mark.parametrize("volumes", [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]])
def test_minutes_without_trades_count_only_where_a_bar_has_nothing_else(
    volumes: list[float],
) -> None:
    minutes = to_table(
        [
            Bar(MONDAY + n * MINUTE_MS, 10.0 * n + 5, 10.0 * n + 9, 10.0 * n + 1, 10.0 * n + 6, v)
            for n, v in enumerate(volumes)
        ]
    )

    (bar,) = minutes_to_bars(minutes, TIMEFRAMES[0]).to_pylist()

    only = [n for n, v in enumerate(volumes) if v] or [0, 1, 2]
    assert bar == {
        "ts_ms": MONDAY,
        "open": 10.0 * only[0] + 5,
        "high": 10.0 * only[-1] + 9,
        "low": 10.0 * only[0] + 1,
        "close": 10.0 * only[-1] + 6,
        "volume": sum(volumes),
        "minutes": 3,
    }


def test_minute_by_minute_the_bars_are_those_of_all_at_once_and_none_is_a_part(
    world: World,
) -> None:
    # given a session that begins two minutes into a bar of three, and ten into one of fifteen
    strategy, first_ms = ema(bars=(parse_timeframe("15m"),)), START_MS + 10 * MINUTE_MS
    minutes = [
        SessionMinute(ts_ms=bar.ts_ms, bars={"BTC/USDT": bar}, seen_ms=0)
        for bar in world.bars()[10:100]
    ]

    one_by_one = Builder(strategy, first_ms)
    found = join_minutes(strategy, [one_by_one.build([minute]) for minute in minutes])
    at_once = join_minutes(strategy, [Builder(strategy, first_ms).build(minutes)])

    expected = whole(world, strategy, first_ms, START_MS + 100 * MINUTE_MS)
    assert found.steps == at_once.steps == expected.steps
    assert found.shown == at_once.shown == expected.shown
    assert found.shown["BTC/USDT", TIMEFRAMES[0]]["ts_ms"][0].as_py() == START_MS + 12 * MINUTE_MS


def test_a_session_loads_no_library_that_it_does_not_need_and_nothing_that_sends() -> None:
    code = "import sys, tbv8.live.host; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, text=True
    )

    modules = set(ended.stdout.split())
    loaded = {name.partition(".")[0] for name in modules}
    assert "nautilus_trader" in loaded
    assert not loaded & {"polars", "plotly", "rich", "sqlalchemy", "alembic", "pandas", "tests"}
    assert not loaded & {"ccxt", "requests", "urllib3", "aiohttp", "websockets", "http"}
    assert not {name for name in modules if name.startswith("nautilus_trader.adapters")}
    assert not modules & {"nautilus_trader.live", "nautilus_trader.network"}
