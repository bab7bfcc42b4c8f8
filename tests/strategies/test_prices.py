"""Prices that a strategy computes: NautilusTrader's two ways to round them, and what they give."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model import CryptoPerpetual

from tbv8.market import Series
from tbv8.results.summary import cautions, summarise
from tbv8.trading.nautilus import decimals, to_instrument
from tests.backtest.builders import (
    books_of,
    install,
    make_bars,
    make_strategy,
    rules,
    run_strategy,
    to_bars,
)

BUYER = '''
"""Buys at a price that it has computed."""
from nautilus_trader.model import OrderSide, Quantity

from tbv8.strategies.base import OneMarket
from tbv8.strategies.reversion import ReversionConfig as BuyerConfig


class Buyer(OneMarket):
    def on_bar(self, bar):
        if not self.cache.orders():
            self.submit_order(self.order_factory.limit(
                self.config.instrument_id, OrderSide.BUY, Quantity.from_str("0.001"),
                self.instrument.{call}(42000.37)))
'''


def instrument(tick: str) -> CryptoPerpetual:
    tick_size = Decimal(tick)
    return to_instrument(
        Series("hyperliquid", "BTC/USDT"),
        rules(tick_size=tick),
        price_decimals=max(2, decimals(tick_size)),
    )


@pytest.mark.parametrize(
    ("call", "fills", "said"),
    [
        pytest.param(
            "make_price",
            0,
            "nothing was traded, 3 orders denied by tick_size (instrument.next_bid_price(x) rounds "
            "down to the tick, next_ask_price(x) up)",
            id="to decimals",
        ),
        pytest.param("next_bid_price", 1, None, id="down to the tick"),
        pytest.param("next_ask_price", 1, None, id="up to the tick"),
    ],
)
def test_a_price_off_the_tick_is_denied_and_the_cure_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str, fills: int, said: str | None
) -> None:
    install(monkeypatch, tmp_path, "buyer", BUYER.replace("{call}", call))
    strategy = make_strategy(
        module="buyer", class_name="Buyer", instrument=rules(tick_size="1"), params={}
    )
    table = make_bars([42_100.25, 42_090.0, 41_900.0])  # two decimals, so that 42000.37 may be said

    run = run_strategy(strategy, "hyperliquid", table)

    bars = to_bars(strategy, table)
    found = cautions(summarise(strategy, bars, books_of(run, strategy, bars), None))
    assert len(run.fills) == fills
    assert [line for line in found if "denied" in line] == (
        [f"hyperliquid: {said}"] if said else []
    )


@pytest.mark.parametrize("tick", ["5", "1", "0.5", "0.25", "0.1", "0.01", "0.00001"])
@given(value=st.floats(min_value=10, max_value=100_000))
def test_the_prices_next_to_a_value_lie_on_the_tick_and_around_it(tick: str, value: float) -> None:
    market, step = instrument(tick), Decimal(tick)

    below = market.next_bid_price(value).as_decimal()
    above = market.next_ask_price(value).as_decimal()

    noise = Decimal("1e-8")  # a float such as 42000.1 lies on a tick of 0.1
    assert below % step == above % step == 0
    assert above - below in (0, step)
    assert below - noise <= Decimal(value) <= above + noise
