"""Orders of every kind at random: the books stay even, no limit breaks, nothing looks ahead."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from tbv8.market import parse_timeframe
from tests.backtest.builders import (
    SCRIPTED,
    install,
    limits,
    look_ahead,
    make_strategy,
    rules,
    run_strategy,
    sample_bars,
)

WILD = (
    SCRIPTED.replace("import BarType,", "import OrderType, BarType,")
    + """
        draw = random.Random(f"{self.config.orders} {number}")
        if draw.random() < 0.3:
            self.act(draw, float(bar.close))

    def act(self, draw, close):
        factory, instrument_id = self.order_factory, self.config.instrument_id
        side = draw.choice([OrderSide.BUY, OrderSide.SELL])
        up = 1 if side == OrderSide.BUY else -1
        size = Quantity.from_str(f"{draw.choice([0.01, 0.02, 0.05, 0.3]):.3f}")

        def price(away):
            return Price.from_decimal_dp(
                round(Decimal(close * (1 + away)) * 2, 0) / 2, self.instrument.price_precision
            )

        near = draw.uniform(0.0005, 0.01)
        kind = draw.randrange(9)
        if kind == 0:
            self.submit_order(factory.market(instrument_id, side, size))
        elif kind == 1:
            self.submit_order(factory.limit(instrument_id, side, size, price(-up * near)))
        elif kind == 2:
            self.submit_order(factory.limit(instrument_id, side, size, price(up * near)))
        elif kind == 3:
            self.submit_order(factory.stop_market(instrument_id, side, size, price(up * near)))
        elif kind == 4:
            self.submit_order(factory.stop_market(instrument_id, side, size, price(-up * near)))
        elif kind == 5:
            entry = draw.choice([OrderType.MARKET, OrderType.LIMIT])
            limit = {} if entry == OrderType.MARKET else {"entry_price": price(-up * near / 2)}
            self.submit_order_list(factory.bracket(
                instrument_id, side, size, entry_order_type=entry, tp_price=price(up * near),
                sl_trigger_price=price(-up * near), **limit))
        elif kind == 6:
            resting = self.cache.orders_open(instrument_id=instrument_id)
            for order in sorted(resting, key=lambda o: o.client_order_id.value)[:2]:
                self.cancel_order(order.client_order_id)
        elif kind == 7:
            resting = self.cache.orders_open(instrument_id=instrument_id)
            for order in sorted(resting, key=lambda o: o.client_order_id.value)[:1]:
                if order.quantity != size:
                    self.modify_order(order.client_order_id, quantity=size)
        else:
            self.close_all_positions(instrument_id)

    def on_order_filled(self, event):
        draw = random.Random(f"{event.client_order_id.value} {event.last_px}")
        if draw.random() < 0.3:
            self.act(draw, float(event.last_px))


import random
"""
)


COSTS = {"funding_rate_8h": "0.0003", "max_leverage": "20", "maker_fee": "-0.0001"}


@pytest.mark.parametrize("seed", range(2))
def test_orders_of_every_kind(seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "wild", WILD)
    leverage = [2, 20][seed % 2]
    strategy = make_strategy(
        module="wild",
        params={"orders": {-seed: "0"}},
        timeframe=parse_timeframe("15m"),
        starting_balance_usd=Decimal(2_000),
        slippage_ticks=1 + seed,
        risk=limits(max_position="0.4", max_leverage=str(leverage), max_daily_loss_usd="150"),
        instrument=rules(**COSTS, funding_hours=1),
    )
    bars = sample_bars("15m", days=20)

    run = run_strategy(strategy, "hyperliquid", bars)

    kinds = Counter(fill.type for fill in run.fills)
    assert kinds.keys() >= {"market", "limit", "stop_market"}
    assert run.denials
    look_ahead(strategy, bars.slice(0, 160))
