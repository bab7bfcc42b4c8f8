"""The simulated market: the same bytes everywhere, and enough like a market to be of use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.coverage import gaps
from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Span, parse_time
from tbv8.venues.sample import OUTAGES, SPAN, SYMBOLS, minute_bars

type Floats = npt.NDArray[np.float64]

# Of ts_ms as little-endian int64, then open, high, low, close, volume as float64, one column after
# another. Whoever changes these changes every result that was ever made from the sample.
GOLDEN = {
    "BTC/USDT": "d18d46de43de41cd9efa4558d131434dff62d333646475bf2c7e9d648eb12089",
    "ETH/USDT": "bec96e8dc7d7706d2248a43b9ff747dca23da77adbefa389dd4abedd6a9d6d8e",
}
LOTS = {"BTC/USDT": 5, "ETH/USDT": 4}  # decimals of a volume
ELSEWHERE = """
import hashlib, sys
from tbv8.venues import sample
heavy = {"numpy", "pyarrow"}
print(*sorted(heavy & set(sys.modules)))
bars = [sample.minute_bars(symbol, sample.SPAN) for symbol in sample.SYMBOLS]
print(*sorted(heavy & set(sys.modules)))
for table in bars:
    columns = [memoryview(column.chunk(0).buffers()[1]) for column in table.columns]
    print(hashlib.sha256(b"".join(columns)).hexdigest())
"""


def digest(bars: pa.Table) -> str:
    return hashlib.sha256(
        b"".join(column(bars, n).tobytes() for n in bars.column_names)
    ).hexdigest()


def column(bars: pa.Table, name: str) -> Floats:
    values: Floats = bars[name].to_numpy()
    return values


@pytest.fixture(params=SYMBOLS, scope="module")
def symbol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bars(symbol: str) -> pa.Table:
    return minute_bars(symbol, SPAN)


def returns(symbol: str) -> Floats:
    """Return the moves of the log price from close to close."""
    moves: Floats = np.diff(np.log(column(minute_bars(symbol, SPAN), "close")))
    return moves


def autocorrelation(values: Floats, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


def test_the_half_year_is_the_same_to_the_bit(symbol: str, bars: pa.Table) -> None:
    assert digest(bars) == GOLDEN[symbol]


def test_a_cpu_without_wide_registers_gives_the_same_bits_and_imports_are_late() -> None:
    # given: numpy's plain loops alone
    wide = np.show_config(mode="dicts")["SIMD Extensions"]["found"]

    # when
    out = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(wide)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    # then
    imported, needed, *digests = out
    assert imported == ""
    assert needed == "numpy pyarrow"
    assert digests == list(GOLDEN.values())


def test_the_columns_are_those_of_a_table_of_bars(bars: pa.Table) -> None:
    floats = ("open", "high", "low", "close", "volume")

    assert bars.schema == pa.schema(
        [("ts_ms", pa.int64()), *((name, pa.float64()) for name in floats)]
    )
    assert all(np.isfinite(column(bars, name)).all() for name in floats)
    bars.validate(full=True)


def test_only_the_outages_are_missing(bars: pa.Table) -> None:
    ts_ms = bars["ts_ms"].to_pylist()

    stored = [Span(opened, opened + MINUTE_MS) for opened in ts_ms]
    assert gaps(SPAN, stored) == list(OUTAGES)
    assert ts_ms == sorted(set(ts_ms))
    assert SPAN.minutes == 262_080
    assert sorted(outage.minutes for outage in OUTAGES) == [5, 7, 23, 90, 240]


@given(
    start_ms=st.integers(SPAN.start_ms - DAY_MS, SPAN.end_ms + DAY_MS),
    length_ms=st.integers(-MINUTE_MS, 20 * DAY_MS),
    name=st.sampled_from(SYMBOLS),
)
def test_a_part_has_the_same_rows_as_the_whole(start_ms: int, length_ms: int, name: str) -> None:
    part = minute_bars(name, Span(start_ms, start_ms + length_ms))

    whole = minute_bars(name, SPAN)
    opens = column(whole, "ts_ms")
    inside = (opens >= start_ms) & (opens < start_ms + length_ms)
    assert part.equals(whole.filter(pa.array(inside)))


def test_a_span_within_an_outage_has_no_bars(symbol: str) -> None:
    assert minute_bars(symbol, OUTAGES[1]).num_rows == 0


@pytest.mark.parametrize("name", ["SOL/USDT", "BTCUSDT", "btc/usdt", ""])
def test_a_symbol_that_is_not_simulated_is_refused(name: str) -> None:
    with pytest.raises(VenueError) as e:
        minute_bars(name, SPAN)

    assert str(e.value) == f"sample: no symbol {name!r}: it simulates BTC/USDT and ETH/USDT"


def test_bars_are_possible(bars: pa.Table) -> None:
    opened, high, low, close = (column(bars, name) for name in ("open", "high", "low", "close"))
    volume = column(bars, "volume")

    assert (high >= np.maximum(opened, close)).all()
    assert (low <= np.minimum(opened, close)).all()
    assert (low > 0).all()
    assert (volume >= 0).all()
    assert (high[volume == 0] == low[volume == 0]).all()
    # In most minutes the price leaves the way from open to close.
    assert 0.5 < ((high > np.maximum(opened, close)) | (low < np.minimum(opened, close))).mean() < 1


def test_prices_are_on_the_tick_and_volumes_on_the_lot(symbol: str, bars: pa.Table) -> None:
    sample = bars.slice(0, 20_000).to_pydict()

    for name in ("open", "high", "low", "close"):
        assert all(-Decimal(repr(v)).as_tuple().exponent <= 2 for v in sample[name])
    places = [-int(Decimal(repr(v)).normalize().as_tuple().exponent) for v in sample["volume"]]
    assert max(places) == LOTS[symbol]


def test_a_bar_opens_at_the_close_before_or_near_it(bars: pa.Table) -> None:
    opened, close = column(bars, "open"), column(bars, "close")
    follows = np.diff(column(bars, "ts_ms")) == MINUTE_MS
    jumps = abs(opened[1:] / close[:-1] - 1)

    assert 0.1 < (jumps[follows] > 0).mean() < 0.5
    assert np.quantile(jumps[follows], 0.999) < 0.001
    assert (jumps[~follows] > 0).all()  # the market went on while the venue was down


@pytest.mark.parametrize(
    ("name", "first", "last", "volatility"),
    [
        pytest.param("BTC/USDT", (42_000, 42_600), (50_000, 80_000), (0.40, 0.60), id="bitcoin"),
        pytest.param("ETH/USDT", (2_260, 2_300), (2_500, 4_500), (0.55, 0.80), id="ether"),
    ],
)
def test_levels_are_those_of_early_2024(
    name: str, first: tuple[int, int], last: tuple[int, int], volatility: tuple[float, float]
) -> None:
    close = column(minute_bars(name, SPAN), "close")

    a_year = returns(name).std() * (365 * 1440) ** 0.5
    assert first[0] < close[0] < first[1]
    assert last[0] < close[-1] < last[1]
    assert volatility[0] < a_year < volatility[1]
    assert close.max() / close.min() < 3


def test_tails_are_fat(symbol: str) -> None:
    moves = returns(symbol)

    kurtosis = ((moves - moves.mean()) ** 4).mean() / moves.var() ** 2
    assert 15 < kurtosis < 100
    assert 0.01 < abs(moves).max() < 0.05


@pytest.mark.parametrize(
    ("lag", "least"),
    [(1, 0.2), (5, 0.15), (30, 0.12), (60, 0.1), (240, 0.07), (1440, 0.07)],
)
def test_volatility_comes_in_clusters(symbol: str, lag: int, least: float) -> None:
    assert least < autocorrelation(abs(returns(symbol)), lag) < 0.5


@pytest.mark.parametrize("lag", [1, 2, 5, 60])
def test_past_returns_do_not_predict_the_direction(symbol: str, lag: int) -> None:
    assert abs(autocorrelation(returns(symbol), lag)) < 0.015


@pytest.mark.parametrize("measure", ["range", "volume"])
def test_the_afternoon_is_busier_than_the_night_and_than_the_weekend(
    bars: pa.Table, measure: str
) -> None:
    ts_ms = column(bars, "ts_ms")
    high, low, close = (column(bars, name) for name in ("high", "low", "close"))
    values = (high - low) / close if measure == "range" else column(bars, "volume")
    hour, weekday = ts_ms % DAY_MS // 3_600_000, (ts_ms - parse_time("2024-01-01")) // DAY_MS % 7

    afternoon = values[(hour >= 13) & (hour < 17)].mean()
    night = values[(hour >= 3) & (hour < 7)].mean()
    weekend, week = values[weekday >= 5].mean(), values[weekday < 5].mean()
    assert 1.5 < afternoon / night < 3
    assert 0.5 < weekend / week < 0.9


def test_volume_goes_with_the_move(symbol: str, bars: pa.Table) -> None:
    volume = column(bars, "volume")[1:]

    assert 0.4 < np.corrcoef(volume, abs(returns(symbol)))[0, 1] < 0.8


def test_ether_follows_bitcoin_and_moves_more() -> None:
    btc, eth = returns("BTC/USDT"), returns("ETH/USDT")

    covariance = np.cov(btc, eth)
    assert 0.75 < np.corrcoef(btc, eth)[0, 1] < 0.85
    assert 1.0 < covariance[0, 1] / covariance[0, 0] < 1.2
    assert 1.2 < eth.std() / btc.std() < 1.5


@pytest.mark.parametrize(
    ("name", "least", "most"), [("BTC/USDT", 50, 300), ("ETH/USDT", 1000, 3000)]
)
def test_some_calm_minutes_have_no_trade(name: str, least: int, most: int) -> None:
    bars = minute_bars(name, SPAN)
    quiet = column(bars, "volume") == 0
    close = column(bars, "close")
    hour = column(bars, "ts_ms") % DAY_MS // 3_600_000

    assert least < quiet.sum() < most
    assert (close[1:] == close[:-1])[quiet[1:]].all()
    assert quiet[(hour >= 2) & (hour < 7)].sum() > quiet[(hour >= 13) & (hour < 18)].sum() * 2
