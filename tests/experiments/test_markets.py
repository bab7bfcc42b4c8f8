"""Markets made of real days: prices chained by hand, and what stays as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tbv8.aggregate import aggregate
from tbv8.config.records import Strategy
from tbv8.experiments.blocks import RechainedMarket
from tbv8.experiments.jobs import Job, run_job
from tbv8.experiments.keys import to_trial
from tbv8.experiments.markets import Days, draw_market, rechain
from tbv8.experiments.trial import run_trial
from tbv8.market import DAY_MS, HOUR_MS, ONE_MINUTE, Span, parse_timeframe
from tbv8.trading.funding import FundingPayments
from tests.backtest.builders import SCRIPTED, START_MS, install, make_bars, make_strategy
from tests.experiments.builders import FIVE_MINUTES, days, ema, tables

FIRST = START_MS // DAY_MS
HALF_DAY = parse_timeframe("12h")
THREE_DAYS = Span(START_MS, START_MS + 3 * DAY_MS)

# Two bars a day: it ends at 100; at 110 after a jump to 102; at 55.
REAL = [
    [(100, 105, 95, 98), (98, 100, 97, 100)],
    [(102, 112, 100.4, 104), (104, 110, 102, 110)],
    [(110, 120, 100, 106), (106, 106, 50, 55)],
]


def half_days(real: Sequence[Sequence[Sequence[float]]] = REAL) -> pa.Table:
    bars = [(day, half, bar) for day, own in enumerate(real) for half, bar in enumerate(own)]
    names = ("open", "high", "low", "close")
    return pa.table(
        {
            "ts_ms": [START_MS + day * DAY_MS + half * DAY_MS // 2 for day, half, _ in bars],
            **{name: [float(bar[at]) for *_, bar in bars] for at, name in enumerate(names)},
            "volume": [float(at) for at in range(len(bars))],
        }
    )


def strategy(**changes: Any) -> Strategy:
    return make_strategy(**{"timeframe": HALF_DAY, "span": THREE_DAYS, **changes})


def chosen(*sources: int) -> Days:
    count = len(sources)
    return Days(FIRST + np.arange(count, dtype=np.int64), FIRST + np.array(sources, dtype=np.int64))


def chained(table: pa.Table, *sources: int) -> pa.Table:
    own = strategy()
    made, _ = rechain(own, {("BTC/USDT", HALF_DAY): table}, {}, chosen(*sources))
    return made["BTC/USDT", HALF_DAY]


def prices(table: pa.Table) -> list[tuple[float, ...]]:
    columns = (table[name].to_pylist() for name in ("open", "high", "low", "close"))
    return list(zip(*columns, strict=True))


def test_days_in_their_own_order_are_the_real_market() -> None:
    assert chained(half_days(), 0, 1, 2) == half_days()


def test_a_day_begins_where_the_one_before_it_ends_moved_as_the_real_day_had_moved() -> None:
    # Day 1 opens 2 % above the end of day 0, so it opens at 102 of a market that begins at 100.
    # Day 0 had no day before it: it goes on from 110 at once, times 1.1. Day 2 had opened at the
    # end of day 1, and goes on from 110 as it was.
    made = chained(half_days(), 1, 0, 2)

    assert prices(made) == [
        (102, 112, 100.4, 104),
        (104, 110, 102, 110),
        (110, 115.5, 104.5, 107.8),
        (107.8, 110, 106.7, 110),
        (110, 120, 100, 106),
        (106, 106, 50, 55),
    ]
    assert made["ts_ms"].to_pylist() == half_days()["ts_ms"].to_pylist()
    assert made["volume"].to_pylist() == [2, 3, 0, 1, 4, 5]


def test_a_day_may_come_twice_and_prices_have_the_real_decimals() -> None:
    # Day 2 halves the price each time: 100 to 50 to 25, scaled by 100 / 110 and 50 / 110. Day 1
    # then opens at 25 * 1.02, scaled by a quarter. One decimal, as 100.4 has.
    made = chained(half_days(), 2, 2, 1)

    assert prices(made) == [
        (100, 109.1, 90.9, 96.4),
        (96.4, 96.4, 45.5, 50),
        (50, 54.5, 45.5, 48.2),
        (48.2, 48.2, 22.7, 25),
        (25.5, 28, 25.1, 26),
        (26, 27.5, 25.5, 27.5),
    ]


def test_days_that_follow_each_other_in_reality_are_one_scaled_copy() -> None:
    # Day 2 goes from 100 to 50; day 1 opens at 50 * 1.02, times 0.5, and so does the day after it.
    made = chained(half_days(), 2, 1, 2)

    assert prices(made)[2:] == [
        (51, 56, 50.2, 52),
        (52, 55, 51, 55),
        (55, 60, 50, 53),
        (53, 53, 25, 27.5),
    ]
    assert prices(chained(half_days(), 1, 2))[:4] == prices(half_days())[2:]


def test_what_a_day_misses_its_place_misses() -> None:
    # Day 1 has no bars at all: prices go on behind it, and day 2 goes on from the end of day 0.
    real = half_days([REAL[0], [], REAL[2]])

    made = chained(real, 1, 2, 0)

    # Day 2 jumps from 100 to 110 in reality, and so does it from the first price; day 0 follows
    # times 0.55, in whole numbers as all of these days are.
    assert prices(made) == [*REAL[2], (55, 58, 52, 54), (54, 55, 53, 55)]
    assert made["ts_ms"][0].as_py() == START_MS + DAY_MS


def test_a_market_begins_at_the_first_price_of_a_whole_day() -> None:
    # Without day 0 in the span, or without its bars, day 1 opens at 102, and jumps from nowhere.
    late = strategy(span=Span(START_MS + DAY_MS // 2, THREE_DAYS.end_ms))
    table = half_days()
    made, _ = rechain(late, {("BTC/USDT", HALF_DAY): table}, {}, chosen(1, 2, 1))
    whole = half_days([[], *REAL[1:]])

    assert prices(made["BTC/USDT", HALF_DAY])[:4] == prices(table)[2:]
    assert chained(whole, 0, 1, 2) == whole


def test_a_price_is_never_nothing() -> None:
    falling = half_days([[(100, 100, 1, 1)], [(1, 1, 1, 1)], [(1, 1, 1, 1)]])

    assert prices(chained(falling, 0, 0, 0))[-1] == (1, 1, 1, 1)


def test_all_symbols_and_the_funding_move_together() -> None:
    own = strategy(symbols=("BTC/USDT", "ETH/USDT"))
    double = half_days([[[2 * price for price in bar] for bar in day] for day in REAL])
    both = {("BTC/USDT", HALF_DAY): half_days(), ("ETH/USDT", HALF_DAY): double}
    hours = [8, 24, 32, 48, 72]
    charged = FundingPayments(
        times_ms=[START_MS + hour * HOUR_MS for hour in hours],
        rates=[Decimal(hour) for hour in hours],
        hours=[8, 16, 8, 16, 24],
        venues=["sample"] * 5,
    )

    made, funding = rechain(own, both, {"hyperliquid": {"BTC/USDT": charged}}, chosen(1, 1, 0))

    btc, eth = (made[symbol, HALF_DAY]["close"].to_numpy() for symbol in own.symbols)
    assert eth / btc == pytest.approx(2, abs=0.01)
    # what falls on midnight pays for the day that ends there
    moved = funding["hyperliquid"]["BTC/USDT"]
    assert moved.times_ms == [START_MS + hour * HOUR_MS for hour in (8, 24, 32, 48, 56, 72)]
    assert moved.rates == [32, 48, 32, 48, 8, 24]
    assert moved.hours == [8, 16, 8, 16, 8, 16]
    assert moved.venues == ["sample"] * 6


def test_bars_of_all_timeframes_are_of_one_market() -> None:
    week, odd = parse_timeframe("1w"), parse_timeframe("7m")
    span = days(0, 10)
    own = ema(span, detail="1m", bars=(week, odd))
    minutes = tables(10)["BTC/USDT", ONE_MINUTE]
    real = {
        **tables(10),
        ("BTC/USDT", week): aggregate(minutes, week),
        ("BTC/USDT", odd): aggregate(minutes, odd),
    }

    market = RechainedMarket(block_days=2, seed=1, path=0)
    made, _ = rechain(own, real, {}, draw_market(own.bars_span, market))

    moved = made["BTC/USDT", ONE_MINUTE]
    assert moved["ts_ms"].to_pylist() == sorted(set(moved["ts_ms"].to_pylist()))
    assert moved != minutes
    for timeframe in (FIVE_MINUTES, week, odd):
        assert made["BTC/USDT", timeframe] == aggregate(moved, timeframe)
    assert FIVE_MINUTES.nests_in_a_day
    longer = (week, odd, parse_timeframe("1M"), parse_timeframe("3d"))
    assert not any(timeframe.nests_in_a_day for timeframe in longer)
    closes = moved["close"].to_numpy()
    # the same bytes on every machine
    assert hashlib.sha256(closes.tobytes()).hexdigest()[:16] == "5eadfa48e6dec925"


def test_a_day_that_lies_partly_in_the_span_is_none_to_draw_from() -> None:
    span = Span(START_MS + HOUR_MS, START_MS + 4 * DAY_MS - HOUR_MS)
    market = RechainedMarket(block_days=1, seed=3, path=1)

    drawn = draw_market(span, market)

    assert list(span.whole_days()) == [FIRST + 1, FIRST + 2]
    assert drawn.places.tolist() == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]
    sources = {
        day
        for path in range(9)
        for day in draw_market(
            span, RechainedMarket(block_days=1, seed=3, path=path)
        ).sources.tolist()
    }
    assert sources == {FIRST + 1, FIRST + 2}


def test_a_job_on_a_market_is_a_trial_on_its_bars() -> None:
    own = to_trial(ema(days(0, 3), detail="1m"))
    market = RechainedMarket(block_days=1, seed=1, path=4)
    made, _ = rechain(own, tables(3), {}, draw_market(own.bars_span, market))

    found = run_job(Job(strategy=own, market=market), tables(3))

    assert found == run_trial(own, made)
    assert found.status == "ok"
    assert found.digest != run_job(Job(strategy=own), tables(3)).digest
    assert run_job(Job(strategy=own), tables(3)) == run_trial(own, tables(3))


def test_a_job_by_trade_has_the_balance_after_each_round_trip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1 bought at 100 and sold at 110, then sold at 110 and bought back at 120, 0.05 % each time:
    # +10 - 0.05 - 0.055, then -10 - 0.055 - 0.06; what is held at the end is no round trip.
    install(monkeypatch, tmp_path, "scripted", SCRIPTED)
    orders = {1: "1", 2: "-1", 3: "-1", 5: "1", 7: "1"}
    own = make_strategy(params={"orders": orders}, span=Span(START_MS, START_MS + 8 * HOUR_MS))
    bars = make_bars([100, 110, 110, 115, 120, 120, 120, 130])

    found = run_job(Job(strategy=own, by_trade=True), {("BTC/USDT", parse_timeframe("1h")): bars})

    balances = np.frombuffer(found.equity, dtype="<i8").tolist()
    assert balances == [1_000_000_000_000, 1_000_989_500_000, 999_978_000_000]
