"""Every strategy that ships: short, traded at both venues, without a look into the future."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.config.load import load_project
from tbv8.config.records import Strategy
from tbv8.market import parse_time
from tbv8.trading.bars import Bars
from tests.backtest.builders import books_of, look_ahead, run_strategy, sample_bars
from tests.builders import ROOT, SHIPPED, copy_config

NAMES = [path.stem for path in SHIPPED if path.parent.name == "strategies"]


@pytest.fixture(params=NAMES)
def strategy(request: pytest.FixtureRequest, tmp_path: Path) -> Strategy:
    copy_config(tmp_path)
    project = load_project(
        tmp_path, overrides={}, now_ms=parse_time("2025-01-01"), history_span=lambda *_: None
    )
    assert list(project.strategies) == sorted(NAMES)
    return project.strategies[request.param]


def sample_of(strategy: Strategy, *, days: int) -> Bars:
    """Bars of the sample market that a shipped strategy reads: all that it sees, and minutes."""
    return Bars(
        shown={
            (symbol, timeframe): sample_bars(timeframe.text, days=days, symbol=symbol)
            for symbol in strategy.symbols
            for timeframe in strategy.timeframes
        },
        steps={symbol: sample_bars("1m", days=days, symbol=symbol) for symbol in strategy.symbols},
    )


def test_it_trades_at_both_venues(strategy: Strategy) -> None:
    bars = sample_of(strategy, days=20)

    books = [
        books_of(run_strategy(strategy, venue, bars), strategy, bars)
        for venue in ("hyperliquid", "mexc")
    ]

    assert all(len(each.positions) > 5 for each in books)
    assert books[0].curve.equity.tolist() != books[1].curve.equity.tolist()


def test_it_does_not_look_ahead(strategy: Strategy) -> None:
    verdict = look_ahead(strategy, sample_of(strategy, days=4))

    assert verdict.decisions_cut > 0


@pytest.mark.parametrize("module", ["breakout", "reversion", "pullback", "pairs"])
def test_an_example_is_short_enough_to_be_read(module: str) -> None:
    lines = (ROOT / f"tbv8/strategies/{module}.py").read_text(encoding="utf-8").splitlines()

    assert len(lines) < 90
