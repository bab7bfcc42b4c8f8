"""At what price which order is filled."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tbv8.trading.engine import run_strategy
from tbv8.trading.fills import taker_price

from tbv8.config import records
from tests.backtest.builders import make_bars, make_strategy, rules

CLOSES = [100.3, 100.3, 110.3, 90.3, 100.3]


def _prices(**params: dict[int, str]) -> list[tuple[int, Decimal, str]]:
    """Return bar, price and liquidity of each fill; tick 0.5, bars reach 2 beyond their bodies."""
    run = run_strategy(make_strategy(params=params), "hyperliquid", make_bars(CLOSES, reach=2.0))
    bars = run.curve.closes_ms.tolist()
    return [(bars.index(f.ts_ms) + 1, f.price, f.liquidity) for f in run.fills]


@pytest.mark.parametrize(
    ("price", "buy", "slippage", "expected"),
    [
        pytest.param(1000, True, 0, 1000, id="buy on the tick"),
        pytest.param(1001, True, 0, 1005, id="buy above the tick"),
        pytest.param(1004, False, 0, 1000, id="sell above the tick"),
        pytest.param(1001, True, 2, 1015, id="buy slipped"),
        pytest.param(1004, False, 2, 990, id="sell slipped"),
        pytest.param(7, False, 3, 5, id="never below one tick"),
    ],
)
def test_a_taker_pays_the_tick_and_the_slippage(
    price: int, buy: bool, slippage: int, expected: int
) -> None:
    assert taker_price(price, buy=buy, tick=5, slippage_ticks=slippage) == expected


def test_a_market_order_takes_the_close_just_seen() -> None:
    assert _prices(orders={3: "1", 4: "-1"}) == [(3, 110.5, "taker"), (4, 90.0, "taker")]


def test_a_limit_order_that_crosses_takes_the_close() -> None:
    assert _prices(limits={1: "1@105.0", 2: "-1@90.0"}) == [
        (1, 100.5, "taker"),
        (2, 100.0, "taker"),
    ]


def test_a_limit_order_never_pays_more_than_its_limit() -> None:
    # The market is at 100.3: its far side on the tick is 100.5, so 100.0 rests and 100.5 crosses.
    assert _prices(limits={1: "1@100.5"}) == [(1, 100.5, "taker")]


def test_a_resting_limit_is_filled_at_its_limit_once_the_market_went_through() -> None:
    # Bar 3 runs from 100.3 to 110.3, its low is 98.3.
    assert _prices(limits={2: "1@99.0"}) == [(3, 99, "maker")]


def test_a_touch_does_not_fill_a_resting_limit() -> None:
    closes = [100.0, 100.0, 110.0, 100.0]
    run = run_strategy(
        make_strategy(params={"limits": {1: "1@98.0"}}),
        "hyperliquid",
        make_bars(closes, reach=2.0),
    )

    assert run.fills == ()  # the lows are 98.0
    assert run.orders == {"accepted": 1}


def test_a_stop_is_filled_at_its_trigger_or_where_the_market_opened_beyond_it() -> None:
    # Inside of bar 3, on the way to its high of 112.3.
    assert _prices(stops={2: "1@105.0"}) == [(3, 105, "taker")]


def test_a_stop_that_the_market_jumps_over_is_filled_at_the_open() -> None:
    bars = make_bars([100.3, 100.3, 120.3]).to_pydict()
    bars["open"][2] = bars["low"][2] = 115.2

    run = run_strategy(
        make_strategy(params={"stops": {2: "1@105.0"}}, slippage_ticks=1),
        "hyperliquid",
        make_bars([1.0]).from_pydict(bars),
    )

    assert [fill.price for fill in run.fills] == [Decimal("116.0")]  # up to 115.5, one tick worse


def test_an_order_is_filled_whole_whatever_the_volume() -> None:
    run = run_strategy(
        make_strategy(params={"orders": {1: "2"}}),
        "hyperliquid",
        make_bars([100, 100], volume=0.5),
    )

    assert [(fill.quantity, fill.price) for fill in run.fills] == [(2, 100)]


@pytest.mark.parametrize(
    ("params", "instrument", "denied"),
    [
        pytest.param(
            {"limits": {1: "1@99.3"}}, rules(), ("tick_size", {"price": "99.3"}), id="tick"
        ),
        pytest.param(
            {"stops": {1: "1@110.3"}}, rules(), ("tick_size", {"price": "110.3"}), id="trigger"
        ),
        pytest.param(
            {"orders": {1: "1.003"}},
            rules(lot_size="0.005"),
            ("lot_size", {"order": "1.003"}),
            id="lot",
        ),
        pytest.param(
            {"orders": {1: "-0.001"}},
            rules(lot_size="0.005"),
            ("lot_size", {"order": "-0.001"}),
            id="less than one lot",
        ),
        pytest.param(
            {"stops": {1: "-1@105.0"}},
            rules(),
            ("stop_in_market", {"trigger": "105.0", "price": "100.3"}),
            id="stop beyond the market",
        ),
    ],
)
def test_an_order_that_the_venue_would_refuse_is_denied(
    params: dict[str, dict[int, str]],
    instrument: records.Instrument,
    denied: tuple[str, dict[str, str]],
) -> None:
    strategy = make_strategy(params=params, instrument=instrument)

    run = run_strategy(strategy, "hyperliquid", make_bars(CLOSES))

    assert run.fills == ()
    assert run.orders == {"denied": 1}
    (denial,) = run.denials
    rule, numbers = denied
    assert denial.rule == rule
    assert numbers.items() <= {name: str(value) for name, value in denial.numbers.items()}.items()
