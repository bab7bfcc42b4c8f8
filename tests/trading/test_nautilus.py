"""Our nouns in the engine's words: nothing skipped, nothing rounded that need not be."""

from __future__ import annotations

import gc
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.config import files
from tbv8.errors import DataError
from tbv8.market import Series, Span, iso, parse_time, parse_timeframe
from tbv8.trading.nautilus import (
    check_bars,
    close_times,
    infrequent_gc,
    price_decimals,
    to_bar_type,
    to_bars,
    to_instrument,
)
from tests.backtest.builders import (
    START_MS,
    bar_number,
    books_of,
    limits,
    make_bars,
    make_strategy,
    rules,
    run_strategy,
)

SERIES = Series("hyperliquid", "BTC/USDT")


def _to_bars(bars: pa.Table, instrument: files.Instrument, *, timeframe: str = "1h") -> list:
    length = parse_timeframe(timeframe)
    rules = to_instrument(
        SERIES, instrument, price_decimals=price_decimals(bars, instrument.tick_size)
    )
    return to_bars(bars, to_bar_type(SERIES, length), rules, closes_ms=close_times(bars, length))


@pytest.mark.parametrize(
    ("timeframe", "label"),
    [
        ("1m", "1-MINUTE"),
        ("5m", "5-MINUTE"),
        ("7m", "1-MINUTE"),
        ("45m", "15-MINUTE"),
        ("60m", "1-HOUR"),
        ("90m", "30-MINUTE"),
        ("1440m", "1-DAY"),
        ("99999m", "3-MINUTE"),
        ("1h", "1-HOUR"),
        ("4h", "4-HOUR"),
        ("5h", "1-HOUR"),
        ("24h", "1-DAY"),
        ("36h", "12-HOUR"),
        ("99999h", "3-HOUR"),
        ("1d", "1-DAY"),
        ("3d", "3-DAY"),
        ("7d", "7-DAY"),
        ("1000d", "1000-DAY"),
        ("1w", "1-WEEK"),
        ("1M", "1-MONTH"),
    ],
)
def test_every_timeframe_runs_and_fills_at_its_closes(timeframe: str, label: str) -> None:
    length = parse_timeframe(timeframe)
    bars = make_bars([100, 101, 102, 103], timeframe=timeframe)
    end_ms = close_times(bars, length)[-1]
    strategy = make_strategy(
        timeframe=length, params={"orders": {2: "1"}}, span=Span(START_MS, int(end_ms))
    )

    run = run_strategy(strategy, "hyperliquid", bars)

    opens = bars["ts_ms"].to_pylist()
    assert str(to_bar_type(SERIES, length)) == f"BTC/USDT.hyperliquid-{label}-LAST-EXTERNAL"
    closes = books_of(run, strategy, bars).curve.closes_ms.tolist()
    assert closes == [*opens[1:], length.close(opens[-1])]
    assert [(fill.ts_ms, fill.price) for fill in run.fills] == [(opens[2], Decimal("101.0"))]


def test_a_month_and_a_week_close_where_the_next_begins() -> None:
    january = make_bars([1, 2], timeframe="1M")
    week = make_bars([1], timeframe="1w")

    months = close_times(january, parse_timeframe("1M"))
    weeks = close_times(week, parse_timeframe("1w"))

    assert months.tolist() == [parse_time("2024-02-01"), parse_time("2024-03-01")]
    assert weeks.tolist() == [parse_time("2024-01-08")]


@pytest.mark.parametrize(
    ("prices", "tick", "expected"),
    [
        pytest.param([100.0, 101.0], "1", 0, id="whole prices on a whole tick"),
        pytest.param([42_000.37, 42_001.1], "1", 2, id="data finer than the tick"),
        pytest.param([42_000.0], "0.01", 2, id="tick finer than the data"),
        pytest.param([42_000.0], "0.5", 1, id="tick that is no power of ten"),
        pytest.param([0.00001234, 0.00001235], "0.00000001", 8, id="a price of a thousandth cent"),
        pytest.param([1.23e-9], "1E-10", 11, id="exponents"),
        pytest.param([1.23e-18], "1E-10", 16, id="no more than the engine holds"),
        pytest.param([0.1 + 0.2], "1", 16, id="float noise takes what float64 holds"),
        pytest.param([42_000.1 + 0.2], "1", 11, id="float noise on a large price"),
    ],
)
def test_prices_get_the_fewest_decimals_that_are_exact(
    prices: list[float], tick: str, expected: int
) -> None:
    assert price_decimals(make_bars(prices), Decimal(tick)) == expected


@given(
    units=st.lists(st.integers(1, 2**52), min_size=1, max_size=20),
    places=st.integers(0, 12),
)
def test_the_engine_gets_the_very_decimals_of_the_data(units: list[int], places: int) -> None:
    written = [Decimal(unit).scaleb(-places) for unit in units]
    bars = make_bars([float(price) for price in written if price < 10**13] or [1.0])

    prices = [bar.close.as_decimal() for bar in _to_bars(bars, rules(tick_size="1"))]

    assert prices == ([price for price in written if price < 10**13] or [1])


def test_a_price_whose_decimals_carry_over_64_bits_is_exact() -> None:
    # 3689 x 10^16 is just below 2 x 2^64, which 3689.5 x 10^16 is above
    bars = make_bars([3688.5, 3689.0, 3689.5])

    closes = [bar.close.as_decimal() for bar in _to_bars(bars, rules())]

    assert closes == [Decimal("3688.5"), Decimal(3689), Decimal("3689.5")]


def test_the_search_for_garbage_is_rare_and_put_back_as_it_was() -> None:
    before = gc.get_threshold()
    with infrequent_gc():
        rare = gc.get_threshold()
        assert rare[0] > 10 * before[0]
        with infrequent_gc():
            pass
        assert gc.get_threshold() == rare
    assert gc.get_threshold() == before


def test_volumes_from_nothing_to_a_trillion_with_eight_decimals() -> None:
    bars = make_bars([0.00001234] * 6)
    volumes = [0.0, 1e12, 123_456_789.12345678, 5e-9, 3e15, 987_654.321]
    bars = bars.set_column(5, "volume", pa.array(volumes))

    made = _to_bars(bars, rules(tick_size="0.00000001", lot_size="0.00000001"))

    # at most what the engine holds
    assert [bar.volume.as_decimal() for bar in made] == [
        Decimal(0),
        Decimal("1000000000000"),
        Decimal("123456789.12345678"),
        Decimal(0),
        Decimal(10**13),
        Decimal("987654.321"),
    ]


def test_bars_arrive_at_their_close() -> None:
    bar = _to_bars(make_bars([100, 101]), rules())[0]

    assert bar.ts_event == bar.ts_init == (START_MS + 3_600_000) * 1_000_000


def test_a_tiny_coin_with_a_huge_volume_trades_to_the_last_decimal() -> None:
    strategy = make_strategy(
        symbol="PEPE/USDT",
        params={"orders": {1: "50000000", 2: "-50000000"}},
        risk=limits(symbol="PEPE/USDT", max_position="50000000"),
        instrument=rules(tick_size="0.00000001", lot_size="1000"),
    )
    bars = make_bars([0.00001234, 0.00001239, 0.0000124], volume=1e12)

    run = run_strategy(strategy, "hyperliquid", bars)

    # 617.00 in, 619.50 out, fees 0.3085 + 0.30975
    assert [fill.price for fill in run.fills] == [Decimal("0.00001234"), Decimal("0.00001239")]
    assert books_of(run, strategy, bars).curve.equity[-1] == 10_001_88175000


def test_prices_finer_than_the_tick_are_filled_on_the_tick() -> None:
    strategy = make_strategy(
        params={"orders": {1: "0.1", 2: "-0.1"}}, instrument=rules(tick_size="1", taker_fee="0")
    )

    run = run_strategy(strategy, "hyperliquid", make_bars([42_000.37, 42_000.37, 42_000.12]))

    assert [fill.price for fill in run.fills] == [Decimal(42_001), Decimal(42_000)]
    assert [fill.trigger for fill in run.fills] == [Decimal("42000.37")] * 2


@pytest.mark.parametrize("volume", [0.0, 0.0004, 0.001, 0.002, 0.003])
def test_a_bar_with_hardly_a_trade_still_moves_the_price(volume: float) -> None:
    strategy = make_strategy(params={"orders": {2: "1"}})

    run = run_strategy(strategy, "hyperliquid", make_bars([100, 120, 90], volume=volume, reach=5))

    assert run.fills[0].price == 120


@pytest.mark.parametrize(
    ("hour", "name", "value"),
    [
        pytest.param(1, "low", 0.0, id="a price of 0"),
        pytest.param(1, "low", 100.5, id="low above the open"),
        pytest.param(2, "low", 100.5, id="low above the close"),
        pytest.param(1, "high", 100.5, id="high below the close"),
        pytest.param(2, "high", 100.5, id="high below the open"),
        pytest.param(1, "close", float("nan"), id="NaN"),
        pytest.param(1, "high", float("inf"), id="infinite"),
        pytest.param(1, "volume", -1.0, id="volume below 0"),
        pytest.param(1, "ts_ms", START_MS - 3_600_000, id="out of order"),
        pytest.param(1, "ts_ms", START_MS, id="twice"),
    ],
)
def test_bars_that_cannot_be_are_refused(hour: int, name: str, value: float) -> None:
    bars = make_bars([100.0, 101.0, 100.0])  # up in hour 1, down in hour 2
    values = bars[name].to_pylist()
    values[hour] = value
    bars = bars.set_column(bars.column_names.index(name), name, pa.array(values))

    with pytest.raises(DataError) as e:
        check_bars(bars)

    assert f"the bar of {iso(bars['ts_ms'][hour].as_py())} is impossible" in str(e.value)


def test_gaps_are_not_filled() -> None:
    bars = make_bars([100, 101, 102, 103, 104, 105])
    bars = pa.concat_tables([bars.slice(0, 2), bars.slice(4, 2)])
    strategy = make_strategy(params={"orders": {3: "1"}})

    run = run_strategy(strategy, "hyperliquid", bars)

    closes = books_of(run, strategy, bars).curve.closes_ms.tolist()
    assert [bar_number(close) for close in closes] == [1, 2, 5, 6, 10]  # and the end
    assert [(fill.ts_ms, fill.price) for fill in run.fills] == [(START_MS + 5 * 3_600_000, 104)]


def test_a_venue_with_a_dash_and_money_with_two_decimals() -> None:
    strategy = make_strategy(
        symbol="BTC/USD",
        routing=files.Routing(primary="my-venue_2"),
        instruments={"my-venue_2": {"BTC/USD": rules()}},
        params={"orders": {1: "0.001"}},
    )

    run = run_strategy(strategy, "my-venue_2", make_bars([10.5, 11.0]))

    assert run.venue == "my-venue_2"
    assert run.fills[0].fee == Decimal("0.00000525")  # 0.001 x 10.5 x 0.0005
