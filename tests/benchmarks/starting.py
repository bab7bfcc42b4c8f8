"""What it costs to start: `doit list`, and a `doit` with nothing to do over eight years."""

from __future__ import annotations

import sys
from pathlib import Path

from tbv8.market import Series
from tests.benchmarks.measure import EIGHT_YEARS, best, copy_project, doit, fill_minutes, run

_FLOOR = [sys.executable, "-c", "import doit.doit_cmd, yaml, msgspec"]
_EIGHT_YEARS = ("venue=binance_spot", "start=2017-08-17", "end=2025-08-17")


def bench_list(folder: Path) -> dict[str, float]:
    """Measure `doit list` against importing what it cannot do without."""
    project = copy_project(folder)
    floor_s, list_s = best([_FLOOR, doit("list")], project, times=10)
    return {
        "list_s": round(list_s, 3),
        "floor_s": round(floor_s, 3),
        "ratio": round(list_s / floor_s, 2),
        "aim": 1.5,
    }


def bench_noop(folder: Path) -> dict[str, float]:
    """Measure a fresh `doit` over eight years of one symbol against `doit list`."""
    project = copy_project(folder)
    path = project / "config/venues/binance_spot.yaml"
    path.write_text(path.read_text().replace(", ETH/USDT: ETHUSDT", ""))
    fill_minutes(project, Series("binance_spot", "BTC/USDT"), EIGHT_YEARS)
    run(doit(*_EIGHT_YEARS, "aggregate"), project)
    run(doit(*_EIGHT_YEARS), project)
    noop, listing = doit(*_EIGHT_YEARS), doit(*_EIGHT_YEARS, "list")
    noop_s, list_s = best([noop, listing], project, times=5)
    return {
        "noop_s": round(noop_s, 3),
        "list_s": round(list_s, 3),
        "ratio": round(noop_s / list_s, 2),
        "aim": 3.0,
    }
