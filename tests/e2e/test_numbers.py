"""`doit lookahead`, risk and costs as a user meets them: YAML in, exit codes and files out."""

from __future__ import annotations

import json

from tests.e2e.conftest import ONE_WEEK, Project

NAME = "btc_usdt_perp_v1"
STRATEGY = f"config/strategies/{NAME}.yaml"

PEEKING = '''
"""Buys when the database says that the next bar closes higher."""
import sqlite3
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class PeekConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal


class Peek(Strategy):
    def on_start(self):
        connection = sqlite3.connect("data/tbv8.sqlite")
        rows = connection.execute("SELECT close FROM bars_5m WHERE symbol = 'BTC/USDT'")
        self.closes = [close for (close,) in rows]
        self.seen = 0
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        self.seen += 1
        if self.seen % 50 == 0 and self.seen < len(self.closes):
            up = self.closes[self.seen] > self.closes[self.seen - 1]
            side = OrderSide.BUY if up else OrderSide.SELL
            size = Quantity.from_str("0.00100")
            self.submit_order(self.order_factory.market(self.config.instrument_id, side, size))
'''


def _summary(project: Project) -> dict[str, dict[str, object]]:
    text = (project.results / NAME / "summary.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, object]] = json.loads(text)
    return loaded


def test_the_shipped_strategy_does_not_look_ahead(looked_ahead: Project) -> None:
    printed = (looked_ahead.root / "lookahead.txt").read_text(encoding="utf-8")
    (status,) = json.loads(looked_ahead.doit("status", "--json").stdout)["strategies"]

    assert status["lookahead"] is True
    assert (status["start"], status["end"]) == ("2024-01-01T00:00:00Z", "2024-01-08T00:00:00Z")
    assert f"{NAME}: no look-ahead: the same orders and fills on data cut after" in printed
    assert "runs that started later had the same positions" in printed


def test_a_strategy_that_peeks_fails_with_one_line(done: Project) -> None:
    done.write("tbv8/strategies/peek.py", PEEKING)
    done.edit(STRATEGY, "strategy: ema_cross.EmaCross", "strategy: peek.Peek")
    done.edit(STRATEGY, "params: {fast: 20, slow: 50}", "")

    failed = done.doit(*ONE_WEEK, f"lookahead:{NAME}", code=1)

    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"ERROR: lookahead:{NAME}: tbv8/strategies/peek.py:")
    assert "opens the database data/tbv8.sqlite, but all inputs of a result" in line


def test_risk_funding_and_slippage_of_the_yaml_are_in_the_result(done: Project) -> None:
    before = _summary(done)["primary"]
    done.edit(STRATEGY, "max_daily_loss_usd: 10.0", "max_daily_loss_usd: 3.0")
    done.edit(
        "config/venues/hyperliquid.yaml",
        "max_leverage: 40}",
        'max_leverage: 40, funding_rate_8h: "0.0001"}',
    )

    done.doit(*ONE_WEEK, "backtest")

    after = _summary(done)["primary"]
    assert before["funding_sources"]["BTC/USDT"]["shares"] == {"sample": 1.0}  # type: ignore[index]
    assert after["funding_sources"]["BTC/USDT"]["rate_8h"] == 0.0001  # type: ignore[index]
    assert after["funding"] not in (0, before["funding"])
    assert len(after["halts"]) > len(before["halts"])  # type: ignore[arg-type]
    assert after["denied"]["max_daily_loss_usd"] > 0  # type: ignore[index]


def test_a_run_of_the_primary_only_has_no_shadow(done: Project) -> None:
    assert set(_summary(done)["divergence"]) >= {"pnl", "fees", "only_primary", "only_shadow"}
    done.edit(STRATEGY, "PRIMARY_LIVE_SECONDARY_SHADOW", "PRIMARY_ONLY")

    done.doit(*ONE_WEEK, "backtest")

    assert _summary(done)["shadow"] is None
    assert _summary(done)["divergence"] is None
    assert not (done.results / NAME / "shadow").exists()


def test_funding_hours_that_do_not_divide_the_day_are_refused(done: Project) -> None:
    done.edit(
        "config/venues/hyperliquid.yaml", "max_leverage: 40}", "max_leverage: 40, funding_hours: 5}"
    )

    refused = done.doit(f"backtest:{NAME}", code=3)

    assert "instruments.BTC/USDT.funding_hours: expected a divisor of 24, got 5" in refused.stderr
