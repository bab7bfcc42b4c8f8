"""The order in which a session goes through bars."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pyarrow as pa
import pytest
from nautilus_trader.model import Bar

from tbv8.errors import DataError
from tbv8.market import HOUR_MS, Series, parse_timeframe
from tbv8.trading import schedule
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import to_bar_type, to_instrument
from tbv8.trading.schedule import Schedule, schedules
from tbv8.trading.simulated_market import SimulatedMarket
from tests.backtest.builders import START_MS, make_bars, rules
from tests.trading.builders import UNITS

SYMBOLS = ("BTC/USDT", "ETH/USDT")
HOUR, FOUR, DAY = (parse_timeframe(text) for text in ("1h", "4h", "1d"))
BAR_TYPES = {
    (symbol, timeframe): to_bar_type(Series("hyperliquid", symbol), timeframe)
    for timeframe in (HOUR, DAY, FOUR)
    for symbol in SYMBOLS
}


def markets() -> list[SimulatedMarket]:
    return [
        SimulatedMarket(
            symbol, to_instrument(Series("hyperliquid", symbol), rules(), price_decimals=1), UNITS
        )
        for symbol in SYMBOLS
    ]


def at(*hours: int, close: float = 100.0) -> pa.Table:
    """Hourly bars that close at these hours; each is flat but for its number behind the point."""
    bars = make_bars([close] * (max(hours, default=0)))
    return bars.take([hour - 1 for hour in hours])


def made(bars: Bars, *, after_ms: int = 0) -> list[Schedule]:
    given = schedules(bars, step=HOUR, markets=markets(), bar_types=BAR_TYPES, after_ms=after_ms)
    return list(given)


def steps(found: Iterable[Schedule]) -> list[tuple[float, int]]:
    """Return hour and number of the symbol of each step."""
    return [
        ((ns // 10**6 - START_MS) / HOUR_MS, number)
        for each in found
        for ns, number in zip(each.closes_ns.tolist(), each.markets.tolist(), strict=True)
    ]


def shown_bars(found: Iterable[Schedule]) -> dict[int, tuple[Bar, ...]]:
    """Return the bars that are shown, by their time."""
    return {ns: bars for part in found for ns, _, bars, _, _ in part.intervals() if bars}


def test_steps_follow_their_closes_and_of_one_instant_the_symbols() -> None:
    found = made(Bars(shown={}, steps={SYMBOLS[1]: at(1, 2, 4), SYMBOLS[0]: at(2, 3, 4)}))

    assert steps(found) == [(1, 1), (2, 0), (2, 1), (3, 0), (4, 0), (4, 1)]


def test_prices_are_those_of_the_step() -> None:
    bars = make_bars([100.0, 101.5], reach=2.0)

    (found,) = made(Bars(shown={}, steps={SYMBOLS[0]: bars}))

    assert [column.tolist() for column in found.prices] == [
        [1000, 1000],
        [1020, 1035],
        [980, 980],
        [1000, 1015],
    ]


def test_of_one_instant_longer_bars_come_first_and_the_first_symbol_last() -> None:
    shown = {
        (symbol, timeframe): make_bars([100.0] * count, timeframe=timeframe.text)
        for symbol in SYMBOLS
        for timeframe, count in ((HOUR, 24), (DAY, 1), (FOUR, 6))
    }

    (found,) = made(Bars(shown=shown, steps={symbol: at(*range(1, 25)) for symbol in SYMBOLS}))

    day_ns = (START_MS + 24 * HOUR_MS) * 10**6
    assert [bar.bar_type for bar in shown_bars([found])[day_ns]] == [
        BAR_TYPES[symbol, timeframe]
        for timeframe in (DAY, FOUR, HOUR)
        for symbol in reversed(SYMBOLS)
    ]


def test_a_bar_that_closes_in_a_gap_ends_with_a_step_of_the_last_close() -> None:
    four_hours = make_bars([123.5], timeframe="4h", reach=5.0)

    found = made(Bars(shown={(SYMBOLS[0], FOUR): four_hours}, steps={SYMBOLS[0]: at(1, 2)}))

    assert steps(found) == [(1, 0), (2, 0), (4, 0)]
    assert [column[-1] for column in found[0].prices] == [1000] * 4  # the second hour's close


def test_an_interval_has_the_range_of_its_steps_and_each_of_its_instants_its_own() -> None:
    bars = make_bars([100.0, 97.0, 103.0, 101.0], reach=2.0)
    four_hours = make_bars([101.0], timeframe="4h", reach=5.0)
    (found,) = made(Bars(shown={(SYMBOLS[0], FOUR): four_hours}, steps={SYMBOLS[0]: bars}))

    (interval,) = found.intervals()
    instants = list(found.instants(interval))

    hours_ns = [(START_MS + hour * HOUR_MS) * 10**6 for hour in range(1, 5)]
    assert interval[:2] == (hours_ns[3], ((0, 1000, 1050, 950, 1010, hours_ns[3]),))
    assert [instant[:2] for instant in instants] == [
        (hours_ns[0], ((0, 1000, 1020, 980, 1000, hours_ns[0]),)),
        (hours_ns[1], ((0, 1000, 1020, 950, 970, hours_ns[1]),)),
        (hours_ns[2], ((0, 970, 1050, 950, 1030, hours_ns[2]),)),
        (hours_ns[3], ((0, 1030, 1050, 990, 1010, hours_ns[3]),)),
    ]
    assert [len(bars) for _, _, bars, _, _ in instants] == [0, 0, 0, 1]


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 100])
def test_stretches_hold_the_same_wherever_they_end(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = [at(1, 2, 3, 5, 6), at(2, 3, 4, 5)]
    bars = Bars(
        shown={(symbol, HOUR): table for symbol, table in zip(SYMBOLS, hours, strict=True)},
        steps=dict(zip(SYMBOLS, hours, strict=True)),
    )
    (whole,) = made(bars)

    monkeypatch.setattr(schedule, "_CHUNK", chunk)
    found = made(bars)

    assert steps(found) == steps([whole])
    assert shown_bars(found) == shown_bars([whole])
    assert all(each.closes_ns.size for each in found)
    assert all(one.closes_ns[-1] < later.closes_ns[0] for one, later in pairwise(found))


def test_empty_bars_give_no_schedule() -> None:
    assert made(Bars(shown={}, steps={})) == []
    assert made(Bars(shown={}, steps={SYMBOLS[0]: make_bars([])})) == []


@pytest.mark.parametrize("after", [1, 2])
def test_bars_that_close_before_fed_ones_are_refused(after: int) -> None:
    bars = Bars(shown={}, steps={SYMBOLS[0]: at(1, 2, 3)})

    with pytest.raises(DataError, match="feed bars in the order of time"):
        made(bars, after_ms=START_MS + after * HOUR_MS)


def test_bars_that_cannot_be_are_refused() -> None:
    bars = at(1, 2)
    twisted = bars.set_column(2, "high", pa.array([99.0, 99.0]))

    with pytest.raises(DataError, match="2024-01-01T00:00:00Z"):
        made(Bars(shown={}, steps={SYMBOLS[0]: twisted}))
