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
            "end: was 2024-07-01, now 2024-06-01T12:00:00Z",
            "the part of its span before or after the venue's history: was "
            "2024-07-01 .. 2025-01-01, now nothing",
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
            "market_data_venue: was bybit, now sample",
            "routing.primary: was mexc, now hyperliquid",
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
            "symbols: was [A/USDT], now [A/USDT, B/USDT]",
            "timeframe: was 5m, now 1m",
            "bars: was [], now [1h, 15m]",
        ],
    ),
    "a class, and the rates": (
        "config",
        {"class_name": "EmaCross", "module": "ema_cross", "funding": "held"},
        {"class_name": "Mine", "module": "strategies/mine.py", "funding": "fixed"},
        [
            "strategy: was ema_cross.EmaCross, now strategies/mine.py:Mine",
            'funding: was "the venues\' history if it is stored, else fixed", now '
            '"a fixed rate or none"',
        ],
    ),
    "a param": ("config", {"params": {"on": True}}, {"params": {"on": False, "size": 2}}, [
        "params.on: was true, now false", "params.size: 2 was added",
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
            "objective: was maximize sharpe, now minimize max_drawdown",
            "objective.min_trades: was 1, now 2",
            "walk_forward.train: was 1d, now 2d",
            "overfitting.blocks: was 16, now 8",
            "search.trials: 9 was added",
            "monte_carlo was added",
        ],
    ),
    "lists as read and as written": (
        "experiment",
        {"losses": [0.05, 0.1], "block_days": 10},
        {"losses": (0.05, 0.1), "block_days": 12},
        ["block_days: was 10, now 12"],
    ),
    "an optimizer": ("optimizer", {"optuna": "4.0"}, {"optuna": "4.1"}, ["optuna changed"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_reason_is_in_the_words_of_the_files(case: str) -> None:
    part, before, now, expected = CASES[case]

    assert changes(part, before, now) == expected
