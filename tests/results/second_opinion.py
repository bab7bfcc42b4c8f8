# /// script
# requires-python = ">=3.12"
# dependencies = ["empyrical-reloaded==0.7.1", "numpy", "pandas==3.1.1", "scipy==1.18.1"]
#
# [tool.uv]
# override-dependencies = ["peewee ; python_version < '3'"]  # asked for, imported nowhere
# ///
"""Write second_opinion.jsonl: random curves, and what empyrical, pandas and scipy say of them.

Not a test and not in the project's environment, which every user installs: pandas there costs each
command 0.2 s, since pyarrow imports it wherever it finds it. Run `uv run
tests/results/second_opinion.py` to ask again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import empyrical
import numpy as np
import pandas as pd
import scipy.stats

DAYS = 365  # of a year, as annualization
START = 10_000
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = 1_704_067_200_000  # 2024-01-01


def walk(seed: int, count: int, *, deviation: float) -> list[float]:
    """Return a random walk from 10,000 USD, to the cent, so that it is the same in any unit."""
    steps = np.random.default_rng(seed).standard_t(4, count) * deviation + deviation / 20
    return np.round(START * np.cumprod(1 + steps), 2).tolist()


def daily(seed: int) -> dict[str, Any]:
    """Return a curve with one bar a day, and all that the libraries measure of it."""
    equity = walk(seed, 40 + 90 * seed, deviation=0.02)
    returns = pd.Series([START, *equity]).pct_change().dropna()
    sharpe = returns.mean() / returns.std()
    skewness, kurtosis = scipy.stats.skew(returns), scipy.stats.kurtosis(returns, fisher=False)
    spread = np.sqrt(1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2)
    probability = scipy.stats.norm.cdf(sharpe * np.sqrt(len(returns) - 1) / spread)
    return {
        "name": f"{len(equity)} days",
        "start_ms": START_MS,
        "step_ms": DAY_MS,
        "steps": list(range(1, len(equity) + 1)),
        "equity": equity,
        "measured": {
            "total_return": empyrical.cum_returns_final(returns),
            "cagr": empyrical.cagr(returns, annualization=DAYS),
            **of_days(returns),
            "max_drawdown": -empyrical.max_drawdown(returns),
            "calmar": empyrical.calmar_ratio(returns, annualization=DAYS),
            "probabilistic_sharpe": probability,
        },
    }


def hourly(begin: int) -> dict[str, Any]:
    """Return a curve with one bar an hour from an hour of the day on, and what its days give.

    It has an outage over more than two midnights, one of a few hours, and days in part.
    """
    hours = [hour for hour in range(1, 900) if not (100 < hour < 163 or 300 < hour < 305)]
    equity = walk(3, len(hours), deviation=0.004)
    start_ms = START_MS + begin * HOUR_MS
    times = pd.to_datetime([start_ms + hour * HOUR_MS for hour in (0, *hours)], unit="ms")
    days = pd.Series([START, *equity], index=times).resample("D", closed="right", label="left")
    ends = days.last().ffill()
    before = ends.shift()
    if begin:  # else the start is a sample of its own, of the day before
        before.iloc[0] = START
    returns = (ends / before - 1).dropna()
    return {
        "name": f"hours from {begin}:00",
        "start_ms": start_ms,
        "step_ms": HOUR_MS,
        "steps": hours,
        "equity": equity,
        "measured": of_days(returns),
        "best_day": [str(returns.idxmax().date()), returns.max()],
        "worst_day": [str(returns.idxmin().date()), returns.min()],
    }


def of_days(returns: pd.Series) -> dict[str, float]:
    """Return what is measured of daily returns alone."""
    return {
        "volatility": empyrical.annual_volatility(returns, annualization=DAYS),
        "sharpe": empyrical.sharpe_ratio(returns, annualization=DAYS),
        "sortino": empyrical.sortino_ratio(returns, annualization=DAYS),
    }


def opinions() -> Iterator[dict[str, Any]]:
    """Yield every curve."""
    yield from (daily(seed) for seed in range(6))
    yield from (hourly(begin) for begin in (0, 7, 23))


if __name__ == "__main__":
    lines = [json.dumps(opinion, separators=(",", ":")) for opinion in opinions()]
    Path(__file__).with_suffix(".jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
