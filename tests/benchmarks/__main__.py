"""Run the named benchmarks, or all; print one JSON line each."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tbv8.config.document import unknown
from tests.benchmarks import (
    aggregation,
    backtesting,
    experimenting,
    filling,
    importing,
    papering,
    recording,
    sessions,
    starting,
)

BENCHMARKS = {
    "list": starting.bench_list,
    "noop": starting.bench_noop,
    "backfill": filling.bench_backfill,
    "funding": filling.bench_funding,
    "import": importing.bench_import,
    "aggregate": aggregation.bench_aggregate,
    "backtest": backtesting.bench_backtest,
    "history": backtesting.bench_history,
    "run": sessions.bench_run,
    "detail": sessions.bench_detail,
    "orders": sessions.bench_orders,
    "feed": sessions.bench_feed,
    "experiment": experimenting.bench_experiment,
    "record": recording.bench_record,
    "paper": papering.bench_paper,
}


def main(names: list[str]) -> int:
    """Run benchmarks in a temporary folder each; refuse a name that is none."""
    for name in names:
        if name not in BENCHMARKS:
            print(f"ERROR: {unknown('benchmark', name, BENCHMARKS)}", file=sys.stderr)
            return 3
    for name in names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="tbv8-bench-") as folder:
            print(json.dumps({"bench": name, **BENCHMARKS[name](Path(folder))}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
