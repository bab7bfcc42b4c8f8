"""The words of stale results: those of the YAML files, no key of a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from tbv8.freshness.reasons import changes

HALF = "2024-07-01T00:00:00Z .. 2025-01-01T00:00:00Z"
INSTRUMENT = {"BTC/USDT": {"tick_size": "1", "maker_fee": "0"}}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
    "a span of the history": (
        "span",
        {"start": "2024-01-01T00:00:00Z", "end": "2024-07-01T00:00:00Z", "not_in_history": [HALF]},
        {"start": "2024-01-01T00:00:00Z", "end": "2024-06-01T12:00:00Z"},
        [
            "end: 2024-07-01 became 2024-06-01T12:00:00Z",
            "requested, but not in the venue's history: 2024-07-01 .. 2025-01-01 became nothing",
        ],
    ),
    "another market, its venue first": (
        "config",
        {
            "instruments": {"mexc": INSTRUMENT},
            "routing": {"primary": "mexc"},
            "simulated": False,
            "source": {"venue": "bybit", "symbol": "BTC/USDT"},
        },
        {
            "instruments": {"hyperliquid": INSTRUMENT},
            "routing": {"primary": "hyperliquid"},
            "simulated": True,
            "source": {"venue": "sample", "symbol": "BTC/USDT"},
        },
        [
            "market_data_venue: bybit became sample",
            "routing.primary: mexc became hyperliquid",
            "instruments.mexc.BTC/USDT was removed",
            "instruments.hyperliquid.BTC/USDT was added",
        ],
    ),
    "symbols and bars": (
        "config",
        {"symbol": "A/USDT", "symbols": ["A/USDT"], "bars": [], "timeframe": {"text": "5m"}},
        {
            "symbol": "A/USDT",
            "symbols": ["A/USDT", "B/USDT"],
            "bars": [{"text": "1h"}, {"text": "15m"}],
            "timeframe": {"text": "1m"},
        },
        [
            "symbols: A/USDT became A/USDT, B/USDT",
            "timeframe: 5m became 1m",
            "bars: [] became [1h, 15m]",
        ],
    ),
    "a class, and the rates": (
        "config",
        {"class_name": "EmaCross", "module": "ema_cross", "funding": "held"},
        {"class_name": "Mine", "module": "strategies/mine.py", "funding": "fixed"},
        [
            "strategy: ema_cross.EmaCross became strategies/mine.py:Mine",
            "funding: the recorded rates, if the database has any became a fixed rate or none",
        ],
    ),
    "a param": ("config", {"params": {"on": True}}, {"params": {"on": False, "size": 2}}, [
        "params.on: true became false", "params.size: 2 was added",
    ]),
    "an experiment": (
        "experiment",
        {
            "objective": {"metric": "sharpe", "maximize": True, "min_trades": 1},
            "search": {"trials": None},
            "walk_forward": {"train_ms": 86_400_000, "plateau": 0},
            "monte_carlo": None,
            "blocks": 16,
        },
        {
            "objective": {"metric": "max_drawdown", "maximize": False, "min_trades": 2},
            "search": {"trials": 9},
            "walk_forward": {"train_ms": 172_800_000, "plateau": 0},
            "monte_carlo": {"paths": 100, "seed": 1},
            "blocks": 8,
        },
        [
            "objective: maximize sharpe became minimize max_drawdown",
            "objective.min_trades: 1 became 2",
            "walk_forward.train: 1d became 2d",
            "overfitting.blocks: 16 became 8",
            "search.trials: 9 was added",
            "monte_carlo was added",
        ],
    ),
    "lists as read and as written": (
        "experiment",
        {"losses": [0.05, 0.1], "block_days": 10},
        {"losses": (0.05, 0.1), "block_days": 12},
        ["block_days: 10 became 12"],
    ),
    "an optimizer": ("optimizer", {"optuna": "4.0"}, {"optuna": "4.1"}, ["optuna changed"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_reason_is_in_the_words_of_the_files(case: str) -> None:
    part, before, now, expected = CASES[case]

    assert changes(part, before, now) == expected
