"""Market entries with a stop and a limit as exits, against a second opinion in plain Python."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from tbv8.trading.engine import run_strategy

from tbv8.market import parse_timeframe
from tests.backtest.builders import (
    install,
    limits,
    make_strategy,
    real_bars,
    rules,
    sample_bars,
)

SHARED = Path(__file__).parents[3] / "shared" / "data" / "binance"
TICK = 0.5

BRACKETS = '''
from dataclasses import dataclass, field
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Price, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class BracketsConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    entries: dict[int, str] = field(default_factory=dict)


class Brackets(Strategy):
    """Enters at numbered bars while flat: {number: "side profit loss"}, distances in ticks."""

    def on_start(self):
        self.number = 0
        self.places = self.cache.instrument(self.config.instrument_id).price_precision
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        self.number += 1
        entry = self.config.entries.get(self.number)
        if not entry or self.portfolio.net_position(self.config.instrument_id):
            return
        side, profit, loss = (int(word) for word in entry.split())
        ticks = int(Decimal(str(bar.close)) / Decimal("0.5"))

        def price(away):
            return Price.from_decimal_dp((ticks + away) * Decimal("0.5"), self.places)

        self.submit_order_list(self.order_factory.bracket(
            self.config.instrument_id, OrderSide.BUY if side > 0 else OrderSide.SELL,
            Quantity.from_str("0.100"), tp_price=price(side * profit),
            sl_trigger_price=price(-side * loss)))
'''

Fills = list[tuple[int, str, float]]


def _second_opinion(bars: pa.Table, entries: dict[int, str]) -> Fills:
    """Return bar, type and price of each fill; of two exits in one bar the loss is taken."""
    fills: Fills = []
    held, profit, loss = 0, 0.0, 0.0
    rows = zip(*(bars[name].to_pylist() for name in ("open", "high", "low", "close")), strict=True)

    def sold(price: float) -> float:
        return math.floor(price / TICK) * TICK

    def bought(price: float) -> float:
        return math.ceil(price / TICK) * TICK

    for number, (opened, high, low, close) in enumerate(rows, start=1):
        exit_fill = None
        if held > 0:
            if opened > profit:
                exit_fill = ("limit", profit)
            elif opened <= loss:
                exit_fill = ("stop_market", sold(opened))
            elif low <= loss:
                exit_fill = ("stop_market", loss)
            elif high > profit:
                exit_fill = ("limit", profit)
        elif held < 0:
            if opened < profit:
                exit_fill = ("limit", profit)
            elif opened >= loss:
                exit_fill = ("stop_market", bought(opened))
            elif high >= loss:
                exit_fill = ("stop_market", loss)
            elif low < profit:
                exit_fill = ("limit", profit)
        if exit_fill:
            fills.append((number, *exit_fill))
            held = 0
        if not held and number in entries:
            side, up, down = (int(word) for word in entries[number].split())
            at = math.floor(close / TICK)
            held, profit, loss = side, (at + side * up) * TICK, (at - side * down) * TICK
            fills.append((number, "market", bought(close) if side > 0 else sold(close)))
    return fills


@pytest.mark.parametrize("market", ["sample", "real"])
@pytest.mark.parametrize("timeframe", ["5m", "1h"])
def test_brackets_are_what_a_second_opinion_makes_of_them(
    market: str, timeframe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if market == "real" and not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the market as it was in 2024Q1")
    install(monkeypatch, tmp_path, "brackets", BRACKETS)
    bars = sample_bars(timeframe, days=40) if market == "sample" else real_bars(SHARED, timeframe)
    draw = random.Random(timeframe)
    far = 150 if timeframe == "5m" else 600
    entries = {
        number: f"{draw.choice([-1, 1])} {draw.randint(2, far)} {draw.randint(2, far)}"
        for number in range(1, bars.num_rows + 1)
        if draw.random() < 0.5
    }
    strategy = make_strategy(
        module="brackets",
        class_name="Brackets",
        params={"entries": entries},
        timeframe=parse_timeframe(timeframe),
        risk=limits(max_position="0.1", max_daily_loss_usd="1000000"),
        starting_balance_usd=Decimal(10**6),
        instrument=rules(taker_fee="0"),
    )

    run = run_strategy(strategy, "hyperliquid", bars)

    closes = run.curve.closes_ms.tolist()
    number = {at: index for index, at in enumerate(closes, start=1)}
    ours = [(number[fill.ts_ms], fill.type, float(fill.price)) for fill in run.fills]
    assert ours == _second_opinion(bars, entries)
    kinds = [kind for _, kind, _ in ours]
    assert min(kinds.count(kind) for kind in ("limit", "stop_market")) > 100
