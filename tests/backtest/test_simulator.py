"""tbv8 against an independent simulator: the same fills, denials and halts, equity to the cent."""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tbv8.config import records
from tbv8.market import Series, Timeframe, parse_timeframe
from tbv8.results.accounting import from_money
from tbv8.trading.records import Run
from tests.backtest.builders import (
    books_of,
    limits,
    make_strategy,
    real_bars,
    rules,
    run_strategy,
    sample_bars,
)
from tests.backtest.simulator import Bar, Books, Decide, Rules, ema_cross, simulate

SHARED = Path(__file__).parents[3] / "shared" / "data" / "binance"
CENT = Decimal("0.01")
COSTS = {"taker_fee": "0.00045", "tick_size": "0.5", "lot_size": "0.001"}


def _simulated(strategy: records.Strategy, bars: pa.Table, decide: Decide, *, hours: int) -> Books:
    instrument = strategy.instruments["hyperliquid"]["BTC/USDT"]
    rows = bars.to_pydict()
    columns = [rows[name] for name in ("ts_ms", "open", "high", "low", "close")]
    close: Timeframe = strategy.timeframe
    seen: list[Bar] = [
        (close.close(ts_ms), *(Decimal(repr(price)) for price in prices))
        for ts_ms, *prices in zip(*columns, strict=True)
    ]
    with localcontext():
        return simulate(
            seen,
            decide,
            Rules(
                tick=instrument.tick_size,
                lot=instrument.lot_size,
                taker_fee=instrument.taker_fee,
                venue_leverage=instrument.max_leverage,
                max_position=strategy.risk.max_positions["BTC/USDT"],
                max_leverage=min(strategy.risk.max_leverage, instrument.max_leverage),
                max_daily_loss=strategy.risk.max_daily_loss_usd,
                slippage_ticks=strategy.slippage_ticks,
                funding_rate_8h=instrument.funding_rate_8h,
                funding_hours=hours,
                balance=strategy.starting_balance_usd,
            ),
        )


def _assert_same(
    strategy: records.Strategy, bars: pa.Table, run: Run, decide: Decide, *, hours: int
) -> None:
    books = _simulated(strategy, bars, decide, hours=hours)
    curve = books_of(run, strategy, bars).curve
    ours = [(f.ts_ms, f.side, f.type, f.quantity, f.price, f.fee, f.position) for f in run.fills]
    assert ours == books.fills
    assert [(d.ts_ms, d.rule) for d in run.denials] == books.denied
    assert [(h.ts_ms, h.rule) for h in run.halts] == books.halts
    assert sum((p.amount for p in run.payments), Decimal(0)) == books.funding
    apart = [
        abs(from_money(money) - equity)
        for money, equity in zip(curve.equity.tolist(), books.equity, strict=True)
    ]
    assert max(apart) < CENT / 1000


def _ema(timeframe: str, *, hours: int, **changes: Any) -> records.Strategy:
    values: dict[str, Any] = {
        "module": "ema_cross",
        "class_name": "EmaCross",
        "params": {"fast": 20, "slow": 50},
        "timeframe": parse_timeframe(timeframe),
        "slippage_ticks": 2,
        "risk": limits(max_position="0.1", max_daily_loss_usd="60"),
        "instrument": rules(**COSTS, funding_rate_8h="0.0001", funding_hours=hours),
    }
    return make_strategy(**(values | changes))


MARKETS = [
    pytest.param("5m", 1, id="5m, hourly funding"),
    pytest.param("1h", 8, id="1h, funding every eight hours"),
    pytest.param("7m", 1, id="7m, funding and midnight inside of a bar"),
    pytest.param("4h", 1, id="4h, four fundings a bar"),
]


@pytest.mark.parametrize(("timeframe", "hours"), MARKETS)
def test_an_ema_cross_on_the_sample_market(timeframe: str, hours: int) -> None:
    strategy, bars = _ema(timeframe, hours=hours), sample_bars(timeframe, days=60)

    run = run_strategy(strategy, "hyperliquid", bars)

    decide = ema_cross(20, 50, Decimal("0.1"))
    _assert_same(strategy, bars, run, decide, hours=hours)
    assert len(run.fills) > 5
    assert run.payments


def test_an_ema_cross_with_halts_on_the_real_quarter() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the market as it was in 2024Q1")
    strategy = _ema("5m", hours=1, source=Series("binance_spot", "BTC/USDT"))
    bars = real_bars(SHARED, "5m")

    run = run_strategy(strategy, "hyperliquid", bars)

    _assert_same(strategy, bars, run, ema_cross(20, 50, Decimal("0.1")), hours=1)
    assert len(run.fills) > 300
    assert len(run.halts) > 5
    assert len(run.denials) > 5


def test_in_and_out_until_the_days_loss_finds_the_account_flat() -> None:
    draw = random.Random(5)
    bars = sample_bars("1h", days=90)
    orders: dict[int, Decimal] = {}
    for number in range(1, bars.num_rows, 3):
        orders[number] = Decimal(draw.choice([-1, 1]))
        orders[number + 1] = -orders[number]
    strategy = make_strategy(
        params={"orders": {number: str(change) for number, change in orders.items()}},
        starting_balance_usd=Decimal(100_000),
        risk=limits(max_daily_loss_usd="400"),
        instrument=rules(**COSTS, funding_rate_8h="0.0003", funding_hours=1),
    )

    def decide(number: int, bar: Bar, position: Decimal) -> Iterable[Decimal]:
        return [orders[number]] if number in orders else []

    run = run_strategy(strategy, "hyperliquid", bars)

    _assert_same(strategy, bars, run, decide, hours=1)
    closed_ms = {fill.ts_ms for fill in run.fills}
    assert sum(halt.ts_ms not in closed_ms for halt in run.halts) > 5
