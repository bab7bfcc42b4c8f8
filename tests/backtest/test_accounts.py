"""What the trades of a session gained is what its account gained, whatever happened to it."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from tbv8.config import records
from tbv8.market import HOUR_MS, Span
from tbv8.results.accounting import Books, from_money
from tests.backtest.builders import (
    PAIR,
    START_MS,
    bars_of,
    books_of,
    install,
    make_bars,
    make_pair,
    rules,
    run_strategy,
)

FLAT_AT_THE_END = """
    def on_stop(self):
        for instrument_id in self.config.instrument_ids:
            self.close_all_positions(instrument_id)
"""
SYMBOLS = ("BTC/USDT", "ETH/USDT")
HOURS = 300
COSTS = {"funding_rate_8h": "0.002", "max_leverage": "10", "maker_fee": "0.0002"}


def wander(draw: random.Random, start: float) -> pa.Table:
    closes = [start]
    for _ in range(HOURS - 1):
        closes.append(round(closes[-1] * draw.uniform(0.965, 1.036), 1))
    return make_bars(closes, reach=start / 200)


def trade(seed: int, *, warm_up_hours: int) -> Books:
    """Trade two symbols at random, with funding, halts and liquidations in reach."""
    draw = random.Random(seed)
    orders = {
        number: f"{draw.randrange(2)} {draw.choice([-3, -2, 2, 3])}"
        for number in range(1, HOURS)
        if draw.random() < 0.4
    }
    strategy = make_pair(
        orders,
        starting_balance_usd=Decimal([200, 1_500][seed % 2]),
        span=Span(START_MS + warm_up_hours * HOUR_MS, START_MS + HOURS * HOUR_MS),
        warm_up_ms=warm_up_hours * HOUR_MS,
        risk=records.Risk(
            max_positions=dict.fromkeys(SYMBOLS, Decimal(40)),
            max_daily_loss_usd=Decimal([60, 1_000][seed // 2 % 2]),
            max_leverage=Decimal(10),
        ),
        instruments={"hyperliquid": dict.fromkeys(SYMBOLS, rules(**COSTS, funding_hours=1))},
    )
    bars = bars_of(strategy, wander(draw, 100.0), wander(draw, 60.0))
    return books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)


def test_trades_add_up_to_the_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, "pair", PAIR + FLAT_AT_THE_END)
    seen: Counter[str] = Counter()

    for seed in range(12):
        books = trade(seed, warm_up_hours=72 * (seed % 3))

        run, curve, positions = books.run, books.curve, books.positions
        gained = from_money(curve.equity[-1]) - run.start_equity
        fees = sum((fill.fee for fill in run.fills), Decimal(0))
        paid = Counter[str]()
        for payment in run.payments:
            paid[payment.kind] += payment.amount  # type: ignore[assignment]
        assert all(held[-1] == 0 for held in curve.positions.values())
        assert abs(gained - sum(position.pnl for position in positions)) < Decimal("1e-6")
        assert sum(position.funding for position in positions) == paid["funding"]
        assert sum(position.fees for position in positions) == fees + paid["liquidation"]
        assert curve.equity.min() >= 0
        seen.update(halt.rule for halt in run.halts)
        seen.update(payment.kind for payment in run.payments)
        seen.update(position.symbol for position in positions)
        if run.carried:
            seen["carried"] += sum(map(bool, run.carried.positions.values()))

    assert all(seen[what] > 10 for what in (*SYMBOLS, "funding", "max_daily_loss_usd"))
    assert all(seen[what] > 3 for what in ("liquidation", "carried"))
