"""Bars and experiments of the sample market, without a database."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from tbv8.aggregate import aggregate
from tbv8.config import records
from tbv8.config.space import Axis, Search
from tbv8.experiments.trial import Tables
from tbv8.market import DAY_MS, ONE_MINUTE, Span, Timeframe, parse_timeframe
from tbv8.venues import sample
from tests.backtest.builders import limits, make_strategy, rules

FIVE_MINUTES = parse_timeframe("5m")


def days(first: int, end: int) -> Span:
    """Return the span between two days of the sample market, counted from 0."""
    start_ms = sample.SPAN.start_ms
    return Span(start_ms + first * DAY_MS, start_ms + end * DAY_MS)


@cache
def tables(count: int) -> Tables:
    """Return the 5m and 1m bars of the first days of the sample market."""
    minutes = sample.minute_bars("BTC/USDT", days(0, count))
    found: dict[tuple[str, Timeframe], pa.Table] = {
        ("BTC/USDT", ONE_MINUTE): minutes,
        ("BTC/USDT", FIVE_MINUTES): aggregate(minutes, FIVE_MINUTES),
    }
    return found


def ema(span: Span, *, loss: str = "1000000", **changes: Any) -> records.Strategy:
    """Return the shipped EMA cross on 5m bars of the sample market."""
    values: dict[str, Any] = {
        "module": "ema_cross",
        "class_name": "EmaCross",
        "params": {"fast": 20, "slow": 50},
        "timeframe": FIVE_MINUTES,
        "span": span,
        "risk": limits(max_position="0.01", max_daily_loss_usd=loss),
        "instrument": rules(tick_size="1", lot_size="0.00001", taker_fee="0.00045"),
        "root": Path.cwd(),
    }
    return make_strategy(**values | changes)


def axis(name: str, *values: Any, place: str = "params") -> Axis:
    """Return an axis of a param."""
    return Axis(name=name, place=place, key=name, values=values)


def experiment(strategy: records.Strategy, *axes: Axis, **changes: Any) -> records.Experiment:
    """Return a grid over axes."""
    values: dict[str, Any] = {
        "experiment_id": "sweep",
        "path": Path("config/experiments/sweep.yaml"),
        "strategy": strategy,
        "search": Search(method="grid", axes=axes),
        "objective": records.Objective(metric="return", maximize=True, min_trades=1),
        "walk_forward": None,
        "monte_carlo": None,
        "blocks": 4,
    }
    return records.Experiment(**values | changes)
