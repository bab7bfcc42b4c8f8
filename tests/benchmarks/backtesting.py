"""Backtests from SQLite to a written result: a million 1m bars; eight years of 1h by minutes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tbv8.config import files, records
from tbv8.config.files import Detail
from tbv8.market import DAY_MS, Series, Span, parse_time, parse_timeframe
from tests.benchmarks.measure import EIGHT_YEARS, copy_project, fill_minutes, run_reporting

if TYPE_CHECKING:
    import pyarrow as pa

SERIES = Series("binance_spot", "BTC/USDT")
SPAN = Span(parse_time("2020-01-01"), parse_time("2020-01-01") + 695 * DAY_MS)  # 1,000,800 bars
_HOUR = parse_timeframe("1h")
_DB = Path("data/tbv8.sqlite")


def bench_backtest(folder: Path) -> dict[str, float]:
    """Measure the backtest task's own work on 1m bars, after imports, against the bare engine."""
    project = copy_project(folder)
    bars = fill_minutes(project, SERIES, SPAN)
    floor, floor_mb = run_reporting(_child("floor"), project)
    ours, ours_mb = run_reporting(_child("minutes"), project)
    assert ours["fills"] == floor["fills"]
    return {
        "bars": bars,
        "fills": ours["fills"],
        "backtest_s": round(ours["seconds"], 2),
        "bars_per_s": round(bars / ours["seconds"]),
        "floor_s": round(floor["seconds"], 2),
        "ratio": round(ours["seconds"] / floor["seconds"], 2),
        "aim": 1.5,
        "peak_mb": round(ours_mb),
        "aim_mb": 1000,
        "floor_peak_mb": round(floor_mb),
    }


def bench_history(folder: Path) -> dict[str, float]:
    """Measure the same of eight years of 1h bars, matched by minutes, in seconds."""
    project = copy_project(folder)
    minutes = fill_minutes(project, SERIES, EIGHT_YEARS)
    ours, ours_mb = run_reporting(_child("hours"), project)
    return {
        "bars": EIGHT_YEARS.minutes // 60,
        "minutes": minutes,
        "fills": ours["fills"],
        "backtest_s": round(ours["seconds"], 2),
        "aim_s": 30,
        "peak_mb": round(ours_mb),
    }


def strategy(timeframe: str, span: Span, detail: Detail = "none") -> records.Strategy:
    """Return the shipped EMA cross, without a shadow."""
    rules = files.Instrument(
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
        timeframe=parse_timeframe(timeframe),
        module="ema_cross",
        class_name="EmaCross",
        params={"fast": 20, "slow": 50},
        routing=files.Routing(primary="hyperliquid"),
        risk=records.Risk(
            max_positions={SERIES.symbol: Decimal("0.01")},
            max_daily_loss_usd=Decimal(1_000_000),
            max_leverage=Decimal(2),
        ),
        source=SERIES,
        span=span,
        detail=detail,
        instruments={"hyperliquid": {SERIES.symbol: rules}},
        starting_balance_usd=Decimal(1_000_000),
        slippage_ticks=0,
    )


def backtest(asked: records.Strategy) -> int:
    """Read, run and write as the task does; return the number of fills."""
    from tbv8.backtest.bars import read_bars
    from tbv8.backtest.run import run_backtest
    from tbv8.store.bars import open_bars

    with open_bars(_DB) as store, store.transaction("DEFERRED"):
        bars = read_bars(store, asked)
    summary = run_backtest(asked, bars, inputs={}, results_path=Path("data/results"))
    return summary.primary.fills


def bare(
    asked: records.Strategy, table: pa.Table, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Run NautilusTrader alone with the same strategy; return the engine's seconds and fills.

    It matches whole bars, on an instrument with their decimals: others it leaves out. Its equity
    curve is off, as ours is: with it the time grows with the square of the orders.
    """
    import gc

    from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.common import LoggerConfig, LogLevel
    from nautilus_trader.execution import MakerTakerFeeModel
    from nautilus_trader.model import AccountType, Money, OmsType, OrderStatus
    from nautilus_trader.portfolio import PortfolioConfig

    from tbv8.trading.loading import load_strategy
    from tbv8.trading.nautilus import (
        VOLUME_DECIMALS,
        close_times,
        to_bar_type,
        to_bars,
        to_instrument,
    )

    given = asked.instruments["hyperliquid"][SERIES.symbol]
    rules = msgspec.structs.replace(given, lot_size=Decimal(1).scaleb(-VOLUME_DECIMALS))
    series = Series("hyperliquid", SERIES.symbol)
    instrument = to_instrument(series, rules, price_decimals=2)
    bars = to_bars(
        table,
        to_bar_type(series, asked.timeframe),
        instrument,
        closes_ms=close_times(table, asked.timeframe),
    )
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggerConfig(stdout_level=LogLevel.ERROR),
            run_analysis=False,
            portfolio=PortfolioConfig(equity_curve=False),
        )
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
    started = clock()
    engine.add_data(bars)
    engine.run()
    seconds = clock() - started
    filled = sum(order.status == OrderStatus.FILLED for order in engine.cache.orders())
    return {"seconds": seconds, "fills": filled}


def _child(what: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.backtesting", what]


def floor() -> dict[str, float]:
    """Read the bars, then run the bare engine."""
    from tbv8.store.bars import open_bars, read_stored_bars

    asked = strategy("1m", SPAN)
    with open_bars(_DB) as store:
        table = read_stored_bars(store, SERIES, asked.timeframe, asked.span)
    return bare(asked, table)


def measured(what: str) -> dict[str, float]:
    """Run a backtest; imports, and the building of its bars, are not measured."""
    import nautilus_trader.backtest  # noqa: F401
    import pyarrow.csv  # noqa: F401

    asked = strategy("1m", SPAN)
    if what == "hours":
        from tbv8.build import build_bars

        build_bars(_DB, SERIES, _HOUR, chunk_days=150, now_ms=0)
        asked = strategy("1h", EIGHT_YEARS, "1m")
    began = time.perf_counter()
    fills = backtest(asked)
    return {"seconds": time.perf_counter() - began, "fills": fills}


if __name__ == "__main__":
    print(json.dumps(floor() if sys.argv[1] == "floor" else measured(sys.argv[1])))
