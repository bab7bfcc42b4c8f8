"""Every strategy that ships: short, traded at both venues, without a look into the future."""

from __future__ import annotations

import pytest

from tbv8.backtest.lookahead import check_lookahead
from tbv8.config.load import load_project
from tbv8.market import parse_time
from tests.backtest.builders import run_strategy, sample_bars
from tests.builders import ROOT

PROJECT = load_project(
    ROOT, overrides={}, now_ms=parse_time("2025-01-01"), history_span=lambda _venue: None
)
SHIPPED = pytest.mark.parametrize("name", PROJECT.strategies)


@SHIPPED
def test_it_trades_at_both_venues(name: str) -> None:
    strategy = PROJECT.strategies[name]
    bars = sample_bars(strategy.timeframe.text, days=20)

    runs = [run_strategy(strategy, venue, bars) for venue in ("hyperliquid", "mexc")]

    assert all(len(run.positions) > 5 for run in runs)
    assert runs[0].curve.equity.tolist() != runs[1].curve.equity.tolist()


@SHIPPED
def test_it_does_not_look_ahead(name: str) -> None:
    strategy = PROJECT.strategies[name]

    verdict = check_lookahead(strategy, sample_bars(strategy.timeframe.text, days=8))

    assert verdict.decisions_cut > 0


@pytest.mark.parametrize("module", ["breakout", "reversion", "pullback"])
def test_an_example_is_short_enough_to_be_read(module: str) -> None:
    lines = (ROOT / f"tbv8/strategies/{module}.py").read_text(encoding="utf-8").splitlines()

    assert len(lines) < 80
