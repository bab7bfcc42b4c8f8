"""Strategies, bars and results as the tests need them: every word of a config has a default."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import tbv8.strategies
from tbv8.aggregate import aggregate
from tbv8.backtest.feed import run_session
from tbv8.backtest.lookahead import Verdict, check_lookahead
from tbv8.backtest.run import run_backtest
from tbv8.config import files, records
from tbv8.market import DAY_MS, MINUTE_MS, Series, Span, parse_time, parse_timeframe
from tbv8.results.accounting import Books, to_books
from tbv8.results.marks import to_marks
from tbv8.results.summary import Summary
from tbv8.trading.bars import Bars
from tbv8.trading.records import Run
from tbv8.venues import sample
from tbv8.venues.registry import find_venue

START_MS = parse_time("2024-01-01")

SCRIPTED = '''
"""Does what its params say: {number of the bar: quantity to buy, below 0 to sell}."""
from dataclasses import dataclass, field
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Price, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class ScriptedConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    orders: dict[int, str] = field(default_factory=dict)
    limits: dict[int, str] = field(default_factory=dict)
    stops: dict[int, str] = field(default_factory=dict)


class Scripted(Strategy):
    def __init__(self, config):
        super().__init__(config)
        self.seen = []

    def on_start(self):
        self.instrument = self.cache.instrument(self.config.instrument_id)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        self.seen.append(bar)
        factory, number = self.order_factory, len(self.seen)
        made = {"orders": factory.market, "limits": factory.limit, "stops": factory.stop_market}
        for kind, make in made.items():
            if number in getattr(self.config, kind):
                size, *price = getattr(self.config, kind)[number].split("@")
                side = OrderSide.SELL if size.startswith("-") else OrderSide.BUY
                quantity = Quantity.from_decimal_dp(
                    abs(Decimal(size)), self.instrument.size_precision
                )
                prices = [
                    Price.from_decimal_dp(Decimal(p), self.instrument.price_precision)
                    for p in price
                ]
                self.submit_order(make(self.config.instrument_id, side, quantity, *prices))
'''

STEPS = '''
"""Calls a method of its own at the close of some bars, and at some half hours."""
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId

from tbv8.strategies.base import OneMarket


@dataclass(frozen=True, kw_only=True)
class StepsConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal


class Steps(OneMarket):
    count = 0

    def on_bar(self, bar):
        self.count += 1
        self.at_close(self.count)
        name = str(self.count)
        after_ns = self.clock.timestamp_ns() + 30 * 60 * 10**9
        self.clock.set_time_alert_ns(name, after_ns, lambda event: self.later(int(event.name)))

    def stop(self, change, trigger):
        self.stop_loss(Decimal(change), self.price(trigger, up=False))

    def bid(self, change, price):
        self.limit(Decimal(change), self.price(price, up=False))

    def at_close(self, number): pass

    def later(self, number): pass
'''
"""A strategy to end with its `at_close` and `later`, which get the number of the bar."""

PAIR = '''
"""Does what its params say: {number of the main bar: `<number of the symbol> <size>, ...`}."""
from dataclasses import dataclass, field
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    instrument_ids: tuple[InstrumentId, ...]
    bar_types: tuple[BarType, ...]
    max_positions: tuple[Decimal, ...]
    orders: dict[int, str] = field(default_factory=dict)


class Pair(Strategy):
    def on_start(self):
        self.count = 0
        for bar_type in self.config.bar_types:
            self.subscribe_bars(bar_type)

    def on_bar(self, bar):
        if bar.bar_type != self.config.bar_type:
            return
        self.count += 1
        for text in filter(None, self.config.orders.get(self.count, "").split(",")):
            symbol, size = text.split()
            instrument = self.cache.instrument(self.config.instrument_ids[int(symbol)])
            self.submit_order(self.order_factory.market(
                instrument.id, OrderSide.BUY if Decimal(size) > 0 else OrderSide.SELL,
                Quantity.from_decimal_dp(abs(Decimal(size)), instrument.size_precision)))
'''


def rules(*, funding_hours: int = 8, **changes: str) -> files.Instrument:
    """Tick 0.5, lot 0.001, no maker fee, 0.05 % for takers, no funding."""
    values = {
        "tick_size": "0.5",
        "lot_size": "0.001",
        "maker_fee": "0",
        "taker_fee": "0.0005",
        "max_leverage": "40",
    }
    values |= changes
    decimals = {name: Decimal(value) for name, value in values.items()}
    return files.Instrument(**decimals, funding_hours=funding_hours)


def limits(*, symbol: str = "BTC/USDT", **changes: str) -> records.Risk:
    """At most 2 of base, twice the equity, 1000 USD a day."""
    values = {"max_position": "2", "max_daily_loss_usd": "1000", "max_leverage": "2"} | changes
    amounts = {name: Decimal(value) for name, value in values.items()}
    return records.Risk(max_positions={symbol: amounts.pop("max_position")}, **amounts)


def make_strategy(**changes: Any) -> records.Strategy:
    """A strategy on `hyperliquid` and hourly bars of `sample`, no detail; params: its script."""
    instrument = changes.pop("instrument", rules())
    symbol = changes.get("symbol", "BTC/USDT")
    values: dict[str, Any] = {
        "strategy_id": "test_v1",
        "path": Path("config/strategies/test_v1.yaml"),
        "symbol": symbol,
        "symbols": (symbol,),
        "timeframe": parse_timeframe("1h"),
        "module": "scripted",
        "class_name": "Scripted",
        "params": {},
        "routing": files.Routing(primary="hyperliquid"),
        "risk": limits(symbol=symbol),
        "source": Series("sample", "BTC/USDT"),
        "span": Span(START_MS, START_MS + 600 * MINUTE_MS),
        "instruments": {"hyperliquid": {symbol: instrument}},
        "starting_balance_usd": Decimal(10_000),
        "slippage_ticks": 0,
        "detail": "none",
    }
    values |= changes
    values.setdefault("simulated", find_venue(values["source"].venue).simulated)
    return records.Strategy(**values)


def make_pair(orders: dict[int, str], **changes: Any) -> records.Strategy:
    """A strategy that trades BTC/USDT and ETH/USDT; install PAIR as `pair` for it."""
    symbols = ("BTC/USDT", "ETH/USDT")
    values: dict[str, Any] = {
        "symbols": symbols,
        "module": "pair",
        "class_name": "Pair",
        "params": {"orders": orders},
        "risk": records.Risk(
            max_positions=dict.fromkeys(symbols, Decimal(100)),
            max_daily_loss_usd=Decimal(100_000),
            max_leverage=Decimal(10),
        ),
        "instruments": {
            venue: {
                symbols[0]: rules(taker_fee=fee),
                symbols[1]: rules(tick_size="0.01", taker_fee=fee),
            }
            for venue, fee in (("hyperliquid", "0.0005"), ("mexc", "0.0002"))
        },
    }
    return make_strategy(**(values | changes))


def make_bars(
    closes: Sequence[float], *, timeframe: str = "1h", volume: float = 100.0, reach: float = 0.0
) -> pa.Table:
    """Bars one after the other from START_MS, each open the close before it.

    `reach` is how far high and low go beyond open and close.
    """
    close = np.array(closes, dtype=np.float64)
    opened = np.concatenate([close[:1], close[:-1]])
    ts_ms, length = [], parse_timeframe(timeframe)
    at = length.ceil(START_MS)
    for _ in closes:
        ts_ms.append(at)
        at = length.close(at)
    return pa.table(
        {
            "ts_ms": pa.array(ts_ms, pa.int64()),
            "open": opened,
            "high": np.maximum(opened, close) + reach,
            "low": np.minimum(opened, close) - reach,
            "close": close,
            "volume": np.full(len(closes), volume),
        }
    )


def bars_of(
    strategy: records.Strategy, *tables: pa.Table, minutes: Sequence[pa.Table] = ()
) -> Bars:
    """Bars of the strategy's symbols, one table each, in its main timeframe.

    They are the steps too, or `minutes` are.
    """
    by_symbol = dict(zip(strategy.symbols, tables, strict=True))
    shown = {(symbol, strategy.timeframe): table for symbol, table in by_symbol.items()}
    steps = dict(zip(strategy.symbols, minutes, strict=True)) if minutes else by_symbol
    return Bars(shown=shown, steps=steps)


def to_bars(strategy: records.Strategy, bars: pa.Table | Bars) -> Bars:
    """Bars as they are, or those of one symbol's table, both shown and steps."""
    return bars if isinstance(bars, Bars) else bars_of(strategy, bars)


def backtest(
    strategy: records.Strategy,
    bars: pa.Table | Bars,
    results: Path,
    *,
    inputs: Mapping[str, Any] | None = None,
) -> Summary:
    """Write the result of a strategy into the folder of all results."""
    return run_backtest(
        strategy, to_bars(strategy, bars), inputs=inputs or {}, results_path=results
    )


def run_strategy(
    strategy: records.Strategy,
    venue: str,
    bars: pa.Table | Bars,
    *,
    stop: bool = True,
    decimals: Mapping[str, int] | None = None,
) -> Run:
    """Run over one symbol's table, both shown and steps, or over Bars."""
    return run_session(strategy, venue, to_bars(strategy, bars), stop=stop, decimals=decimals)


def books_of(run: Run, strategy: records.Strategy, bars: pa.Table | Bars) -> Books:
    """What a run came to, marked by the bars that it was fed with."""
    return to_books(run, to_marks(strategy, to_bars(strategy, bars)))


def look_ahead(strategy: records.Strategy, bars: pa.Table | Bars) -> Verdict:
    """Check a strategy on one symbol's table, or on Bars."""
    return check_lookahead(strategy, to_bars(strategy, bars))


def bar_number(ts_ms: int, timeframe: str = "1h") -> int:
    """The number, from 1, of the bar of `make_bars` that closes at a time."""
    length_ms = parse_timeframe(timeframe).fixed_ms
    assert length_ms
    return (ts_ms - START_MS) // length_ms


def wave(count: int) -> pa.Table:
    """Many 5m bars whose averages cross often, with two decimals."""
    step = np.arange(count)
    return make_bars(
        np.round(40_000 + 900 * np.sin(step / 9) + 300 * np.sin(step / 2.3), 2).tolist(),
        timeframe="5m",
        reach=7.25,
    )


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, source: str) -> Path:
    """Make `source` importable as the strategy module `name`, for this test."""
    modules = folder / "tbv8" / "strategies"
    modules.mkdir(parents=True, exist_ok=True)
    (modules / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(
        tbv8.strategies, "__path__", [*tbv8.strategies.__path__, str(modules)], raising=True
    )
    monkeypatch.delitem(__import__("sys").modules, f"tbv8.strategies.{name}", raising=False)
    return modules / f"{name}.py"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of one CSV file of a result."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def sample_bars(timeframe: str, *, days: int, symbol: str = "BTC/USDT") -> pa.Table:
    """The first days of the sample market, outages and all."""
    span = Span(sample.SPAN.start_ms, sample.SPAN.start_ms + days * DAY_MS)
    return aggregate(sample.minute_bars(symbol, span), parse_timeframe(timeframe))


@cache
def real_bars(folder: Path, timeframe: str) -> pa.Table:
    """BTC/USDT of the first quarter of 2024, from Binance's own daily files."""
    rows: list[list[float]] = []
    for path in sorted((folder / "1m").glob("BTCUSDT-1m-2024-*.zip")):
        with zipfile.ZipFile(path) as archive:
            text = archive.read(path.with_suffix(".csv").name).decode()
        rows.extend([float(word) for word in line.split(",")[:6]] for line in text.splitlines())
    columns = list(zip(*rows, strict=True))
    names = ("open", "high", "low", "close", "volume")
    minutes = {name: np.array(columns[at]) for at, name in enumerate(names, start=1)}
    ts_ms = np.array(columns[0]).astype(np.int64)
    return aggregate(pa.table({"ts_ms": ts_ms, **minutes}), parse_timeframe(timeframe))
