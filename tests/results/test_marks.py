"""What the bars say of a run: marks, missing minutes, and orders larger than the market."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from tbv8.aggregate import aggregate
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Span, parse_timeframe
from tbv8.results.marks import (
    beyond_volume,
    missing_bars,
    missing_minutes,
    missing_warm_up_minutes,
    to_marks,
)
from tests.backtest.builders import START_MS, bars_of, make_bars, make_pair, make_strategy
from tests.results.builders import BTC, ETH, make_fills, make_run

HOUR = parse_timeframe("1h")


def without(bars: pa.Table, *rows: int) -> pa.Table:
    return bars.take([row for row in range(bars.num_rows) if row not in rows])


def test_marks_are_the_main_symbols_closes_and_each_symbols_last_price() -> None:
    # The other symbol's first bar and its third are missing.
    strategy = make_pair({}, span=Span(START_MS, START_MS + 5 * HOUR_MS))
    bars = bars_of(
        strategy,
        make_bars([100, 101, 102, 103]),
        without(make_bars([7, 8, 9, 10]), 0, 2),
    )

    marks = to_marks(strategy, bars)

    assert marks.start_ms == START_MS
    assert marks.closes_ms.tolist() == [START_MS + hour * HOUR_MS for hour in (1, 2, 3, 4, 5)]
    assert marks.prices[BTC].tolist() == [100, 101, 102, 103, 103]
    np.testing.assert_array_equal(marks.prices[ETH], [np.nan, 8, 8, 10, 10])


def test_marks_begin_behind_the_warm_up() -> None:
    strategy = make_strategy(
        span=Span(START_MS + 2 * HOUR_MS, START_MS + 4 * HOUR_MS), warm_up_ms=2 * HOUR_MS
    )

    marks = to_marks(strategy, bars_of(strategy, make_bars([100, 101, 102, 103])))

    assert marks.start_ms == START_MS + 2 * HOUR_MS
    assert marks.prices[BTC].tolist() == [102, 103]


def _missing(detail: str) -> tuple[dict[str, int], dict[str, int]]:
    """The missing minutes and hours of four hours that lack one whole and 13 minutes."""
    span = Span(START_MS, START_MS + 4 * HOUR_MS)
    strategy = make_pair({}, span=span, detail=detail)
    day = make_bars([100.0] * 480, timeframe="1m")
    holed = without(day, *range(50, 120), 130, 131, 239)
    bars = bars_of(strategy, aggregate(day, HOUR), aggregate(holed, HOUR), minutes=[day, holed])
    bars = bars if detail == "1m" else replace_steps(strategy, bars)
    return missing_minutes(strategy, bars), missing_bars(strategy, bars)


def replace_steps(strategy: Any, bars: Any) -> Any:
    steps = {symbol: bars.shown[symbol, strategy.timeframe] for symbol in strategy.symbols}
    return replace(bars, steps=steps)


@pytest.mark.parametrize("detail", ["1m", "none"])
def test_missing_minutes_are_counted_in_minutes_and_in_built_bars_alike(detail: str) -> None:
    assert _missing(detail) == ({BTC: 0, ETH: 73}, {ETH: 1})


def test_bars_outside_of_the_counted_span_do_not_fill_its_holes() -> None:
    span = Span(START_MS + DAY_MS, START_MS + 2 * DAY_MS)
    strategy = make_strategy(span=span, warm_up_ms=DAY_MS)
    bars = bars_of(strategy, without(make_bars([100.0] * 72), 3, 4, *range(30, 35)))

    assert missing_minutes(strategy, bars) == {BTC: 5 * 60}
    assert missing_bars(strategy, bars) == {BTC: 5}
    assert missing_warm_up_minutes(strategy, bars) == {BTC: 2 * 60}


def test_fills_of_more_than_their_step_traded_are_counted() -> None:
    fills = [
        replace(fill, ts_ms=START_MS + minute * MINUTE_MS)
        for fill, minute in zip(
            make_fills(("2", "100", "0"), ("-9", "100", "0"), ("3", "100", "0"), ("1", "9", "0")),
            (1, 2, 3, 4),
            strict=True,
        )
    ]
    steps = make_bars([100.0] * 4, timeframe="1m")
    steps = steps.set_column(5, "volume", [[2.0, 4.0, 2.0, 0.0]])

    found = beyond_volume(make_run(fills), {BTC: steps}, parse_timeframe("1m"))

    # 2 of 2 is in it; 9 of 4, 3 of 2 and 1 of nothing are not
    assert (found.fills, found.largest_multiple) == (3, 2.25)


def test_in_a_hole_the_last_step_is_the_market() -> None:
    (fill,) = make_fills(("5", "100", "0"))
    steps = make_bars([100.0, 100.0], timeframe="1m", volume=4.0)

    found = beyond_volume(
        make_run([replace(fill, ts_ms=START_MS + HOUR_MS)]), {BTC: steps}, parse_timeframe("1m")
    )

    assert (found.fills, found.largest_multiple) == (1, 1.25)
