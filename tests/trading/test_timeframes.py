"""A second timeframe inside of a strategy: bars that the engine builds from the strategy's own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tbv8.market import parse_timeframe
from tbv8.trading.records import Run
from tests.backtest.builders import (
    install,
    limits,
    look_ahead,
    make_strategy,
    run_strategy,
    sample_bars,
)

TWO = '''
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class TwoConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    seen: str = ""


class Two(Strategy):
    """Long while the last hour rose, flat while it fell."""

    def on_start(self):
        self.hourly = BarType.from_str(
            f"{self.config.instrument_id}-1-HOUR-LAST-INTERNAL@5-MINUTE-EXTERNAL")
        self.rows = []
        self.subscribe_bars(self.hourly)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        if bar.bar_type == self.config.bar_type:
            return
        values = (bar.open, bar.high, bar.low, bar.close)
        self.rows.append((bar.ts_event // 10**6, *(float(str(value)) for value in values)))
        change = (Decimal("0.1") if bar.close > bar.open else Decimal(0)) - (
            self.portfolio.net_position(self.config.instrument_id))
        if change:
            self.submit_order(self.order_factory.market(
                self.config.instrument_id, OrderSide.BUY if change > 0 else OrderSide.SELL,
                Quantity.from_decimal_dp(abs(change), 3)))

    def on_stop(self):
        if self.config.seen:
            Path(self.config.seen).write_text(repr(self.rows))
'''


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Install the strategy; return the file that it writes the hourly bars to."""
    install(monkeypatch, tmp_path / "two", "two", TWO)
    return tmp_path / "seen"


def _run(seen: Path, bars: pa.Table) -> tuple[Run, list[tuple[float, ...]]]:
    strategy = make_strategy(
        module="two",
        class_name="Two",
        params={"seen": str(seen)},
        timeframe=parse_timeframe("5m"),
        risk=limits(max_position="0.1"),
    )
    run = run_strategy(strategy, "hyperliquid", bars)
    return run, eval(seen.read_text())


def test_hourly_bars_are_those_that_tbv8_builds_and_come_at_their_close(two: Path) -> None:
    run, seen = _run(two, sample_bars("5m", days=10))

    hours = sample_bars("1h", days=10).to_pydict()
    columns = [hours[name] for name in ("open", "high", "low", "close")]
    closes_ms = [opened + 3_600_000 for opened in hours["ts_ms"]]
    expected = {row[0]: row for row in zip(closes_ms, *columns, strict=True)}
    built = {row[0]: row for row in seen}
    assert len(expected) > 230
    assert {at: built.get(at) for at in expected} == expected
    assert {fill.ts_ms for fill in run.fills} <= built.keys()
    assert len(run.fills) > 50


def test_the_chunks_of_fed_bars_do_not_change_them(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = sample_bars("5m", days=3)
    whole = _run(two, bars)

    monkeypatch.setattr("tbv8.trading.schedule._CHUNK", 7)
    chunks = _run(two, bars)

    assert chunks[1] == whole[1]
    assert chunks[0].fills == whole[0].fills


def test_bars_of_two_timeframes_do_not_look_ahead(two: Path) -> None:
    strategy = make_strategy(
        module="two",
        class_name="Two",
        timeframe=parse_timeframe("5m"),
        risk=limits(max_position="0.1"),
    )
    verdict = look_ahead(strategy, sample_bars("5m", days=3))

    assert verdict.decisions_cut == verdict.decisions > 10


def test_orders_are_matched_by_the_shortest_bars() -> None:
    day, four_hours, week = map(parse_timeframe, ("1d", "4h", "1w"))

    strategy = make_strategy(timeframe=day, bars=(week, four_hours))

    assert strategy.detail == "none"
    assert strategy.step == four_hours
    assert make_strategy(timeframe=four_hours, bars=(week, day)).step == four_hours
