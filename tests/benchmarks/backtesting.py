"""A million 1m bars from SQLite to a written result, against the bare engine on bars in memory."""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal
from pathlib import Path

from tbv8.config import records
from tbv8.market import DAY_MS, Series, Span, parse_time, parse_timeframe
from tests.benchmarks.measure import copy_project, fill_minutes, run_reporting

SERIES = Series("binance_spot", "BTC/USDT")
SPAN = Span(parse_time("2020-01-01"), parse_time("2020-01-01") + 695 * DAY_MS)  # 1,000,800 bars
_DB = Path("data/tbv8.sqlite")


def bench_backtest(folder: Path) -> dict[str, float]:
    """Measure the backtest task's own work, after imports, in a process of its own."""
    project = copy_project(folder)
    bars = fill_minutes(project, SERIES, SPAN)
    floor, floor_mb = run_reporting(_child("floor"), project)
    ours, ours_mb = run_reporting(_child("ours"), project)
    return {
        "bars": bars,
        "fills": ours["fills"],
        "backtest_s": round(ours["seconds"], 2),
        "bars_per_s": round(bars / ours["seconds"]),
        "floor_s": round(floor["seconds"], 2),
        "ratio": round(ours["seconds"] / floor["seconds"], 2),
        "aim": 1.5,
        "peak_mb": round(ours_mb),
        "floor_peak_mb": round(floor_mb),
    }


def strategy() -> records.Strategy:
    """Return the shipped EMA cross on one-minute bars, without a shadow."""
    rules = records.Instrument(
        tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"),
        maker_fee=Decimal("0.00015"),
        taker_fee=Decimal("0.00045"),
        max_leverage=Decimal(40),
    )
    return records.Strategy(
        strategy_id="bench",
        path=Path("config/strategies/bench.yaml"),
        symbol=SERIES.symbol,
        symbols=(SERIES.symbol,),
        timeframe=parse_timeframe("1m"),
        module="ema_cross",
        class_name="EmaCross",
        params={"fast": 20, "slow": 50},
        routing=records.Routing(primary="hyperliquid"),
        risk=records.Risk(
            max_positions={SERIES.symbol: Decimal("0.01")},
            max_daily_loss_usd=Decimal(1_000_000),
            max_leverage=Decimal(2),
        ),
        source=SERIES,
        span=SPAN,
        instruments={"hyperliquid": {SERIES.symbol: rules}},
        starting_balance_usd=Decimal(1_000_000),
        slippage_ticks=0,
    )


def ours() -> int:
    """Read, run and write as the task does; return the number of fills."""
    from tbv8.backtest.bars import read_bars
    from tbv8.backtest.run import run_backtest
    from tbv8.store.bars import open_bars

    asked = strategy()
    with open_bars(_DB) as store, store.transaction("DEFERRED"):
        bars = read_bars(store, asked)
    summary = run_backtest(asked, bars, inputs={}, results_path=Path("data/results"))
    return summary.primary.fills


def floor() -> float:
    """Run NautilusTrader alone with the same strategy; return the engine's own seconds."""
    import gc

    from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.common import LoggerConfig, LogLevel
    from nautilus_trader.execution import MakerTakerFeeModel
    from nautilus_trader.model import AccountType, Money, OmsType

    from tbv8.store.bars import open_bars, read_held_span
    from tbv8.trading.loading import load_strategy
    from tbv8.trading.nautilus import close_times, to_bar_type, to_bars, to_instrument

    asked = strategy()
    with open_bars(_DB) as store:
        table = read_held_span(store, SERIES, asked.timeframe, asked.span)
    rules = asked.instruments["hyperliquid"][SERIES.symbol]
    series = Series("hyperliquid", SERIES.symbol)
    instrument = to_instrument(series, rules, price_decimals=2)
    bars = to_bars(
        table,
        to_bar_type(series, asked.timeframe),
        instrument,
        closes_ms=close_times(table, asked.timeframe),
    )
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggerConfig(stdout_level=LogLevel.ERROR), run_analysis=False)
    )
    engine.add_venue(
        venue=instrument.id.venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money.from_decimal(Decimal(1_000_000), instrument.quote_currency)],
        base_currency=instrument.quote_currency,
        default_leverage=Decimal(2),
        fee_model=MakerTakerFeeModel(rules.maker_fee, rules.taker_fee),
    )
    engine.add_instrument(instrument)
    engine.add_strategy(load_strategy(asked, "hyperliquid"))
    gc.collect()
    started = time.perf_counter()
    engine.add_data(bars)
    engine.run()
    return time.perf_counter() - started


def _child(what: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.backtesting", what]


if __name__ == "__main__":
    if sys.argv[1] == "floor":
        print(json.dumps({"seconds": floor()}))
    else:
        import nautilus_trader.backtest  # noqa: F401  # imports are not measured
        import pyarrow.csv  # noqa: F401

        began = time.perf_counter()
        fills = ours()
        print(json.dumps({"seconds": time.perf_counter() - began, "fills": fills}))
