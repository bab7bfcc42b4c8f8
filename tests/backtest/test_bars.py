"""The bars that a backtest reads, held against the store's own rows."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.backtest.bars import read_bars
from tbv8.build import build_bars
from tbv8.config.records import Strategy
from tbv8.errors import ConfigError
from tbv8.market import DAY_MS, HOUR_MS, Span, parse_timeframe
from tbv8.store.bars import open_bars
from tbv8.trading.coarse_ticks import median_closes, tick_warnings
from tests.backtest.builders import make_strategy, rules
from tests.builders import BTC, ETH, bars_in, day, days, hold, rows_of

ONE_M, FIVE_M, ONE_H, ONE_D = (parse_timeframe(text) for text in ("1m", "5m", "1h", "1d"))


@pytest.fixture(scope="module")
def held(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database of four days of two symbols in four timeframes."""
    db_path = Path(shutil.copy(migrated_db, tmp_path_factory.mktemp("bars") / "tbv8.sqlite"))
    for series in (BTC, ETH):
        hold(db_path, series, days(0, 4))
        for timeframe in (FIVE_M, ONE_H, ONE_D):
            build_bars(db_path, series, timeframe, chunk_days=9, now_ms=1)
    return db_path


def pair(**changes: object) -> Strategy:
    values = {
        "symbols": (BTC.symbol, ETH.symbol),
        "timeframe": FIVE_M,
        "bars": (ONE_D, ONE_H),
        "span": days(1, 3),
        "detail": "1m",
    }
    return replace(make_strategy(), **(values | changes))


def test_it_reads_every_symbol_and_timeframe_and_the_minutes(held: Path) -> None:
    with open_bars(held) as store:
        bars = read_bars(store, pair())

    assert list(bars.shown) == [
        (symbol, timeframe)
        for symbol in ("BTC/USDT", "ETH/USDT")
        for timeframe in (FIVE_M, ONE_D, ONE_H)
    ]
    for series in (BTC, ETH):
        for timeframe in (FIVE_M, ONE_D, ONE_H):
            expected = [
                row for row in bars_in(held, series, timeframe.dataset) if day(1) <= row[0] < day(3)
            ]
            assert rows_of(bars.shown[series.symbol, timeframe]) == expected
        minutes = bars_in(held, series)[1440:-1440]
        assert rows_of(bars.steps[series.symbol]) == minutes


def test_without_detail_the_steps_are_the_main_bars(held: Path) -> None:
    with open_bars(held) as store:
        bars = read_bars(store, pair(detail="none"))

    assert bars.steps["ETH/USDT"] is bars.shown["ETH/USDT", FIVE_M]


def test_a_warm_up_is_read_too(held: Path) -> None:
    with open_bars(held) as store:
        bars = read_bars(store, pair(warm_up_ms=DAY_MS))

    assert bars.shown["BTC/USDT", ONE_D]["ts_ms"].to_pylist() == [day(0), day(1), day(2)]
    assert bars.steps["BTC/USDT"]["ts_ms"][0].as_py() == day(0)


def test_edges_inside_of_a_bar_leave_out_that_bar_and_its_minutes(held: Path) -> None:
    span = Span(day(1) + 90_000, day(3) - HOUR_MS // 2)

    with open_bars(held) as store:
        bars = read_bars(store, pair(span=span, timeframe=ONE_H, bars=(ONE_D,)))

    hours = bars.shown["BTC/USDT", ONE_H]["ts_ms"].to_pylist()
    assert (hours[0], hours[-1]) == (day(1) + HOUR_MS, day(3) - 2 * HOUR_MS)
    assert bars.shown["BTC/USDT", ONE_D]["ts_ms"].to_pylist() == []
    minutes = bars.steps["BTC/USDT"]["ts_ms"].to_pylist()
    assert (minutes[0], minutes[-1]) == (day(1) + HOUR_MS, day(3) - HOUR_MS - 60_000)


@pytest.mark.parametrize(
    ("tick", "share"),
    [("0.2", ""), ("2", r"0\.\d\d% of"), ("10", r"4\.\d\d% of"), ("1000", r"4\.\d times")],
)
def test_a_tick_that_does_not_fit_the_price_is_warned_of_or_refused(
    held: Path, tmp_path: Path, tick: str, share: str
) -> None:
    strategy = replace(
        make_strategy(timeframe=FIVE_M, span=days(0, 4), detail="1m", root=tmp_path),
        instruments={"mexc": {"BTC/USDT": replace(rules(), tick_size=Decimal(tick))}},
    )
    (tmp_path / "config/venues").mkdir(parents=True)
    lines = ("venue: mexc", "instruments:", "  BTC/USDT:", f"    tick_size: {tick}")
    (tmp_path / "config/venues/mexc.yaml").write_text("\n".join(lines))

    with open_bars(held) as store:
        bars = read_bars(store, strategy)
    try:
        warnings = tick_warnings(strategy, median_closes(strategy, bars))
    except ConfigError as e:
        warnings = [f"refused: {e}"]

    expected = re.compile(
        rf"{'refused: ' if tick == '1000' else ''}config/venues/mexc\.yaml:4: "
        rf"instruments\.BTC/USDT\.tick_size: {tick} is {share} the price of 2\d\d\.\d: "
        rf"{'no price is on it' if tick == '1000' else 'rounding to it decides the result'}: write "
        "the tick of one BTC, and `multiplier` where the venue trades several as one"
    )  # prices lie around 225
    assert [bool(expected.fullmatch(line)) for line in warnings] == [True] * bool(share)
