"""Trials against NautilusTrader alone, the pool, and what ten thousand trials cost to know."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median

from tbv8.config import files
from tbv8.market import DAY_MS, Series, Span, parse_time
from tests.benchmarks import backtesting
from tests.benchmarks.measure import best, copy_project, doit, fill_minutes, run, run_reporting

SERIES = Series("binance_spot", "BTC/USDT")
SPAN = Span(parse_time("2024-01-01"), parse_time("2024-01-01") + 182 * DAY_MS)
_WORDS = ("venue=binance_spot", "start=2024-01-01", "end=2024-07-01")
_DB = Path("data/tbv8.sqlite")
_TRIALS = 40
_MANY = 10_000

_SWEEP = """\
experiment_id: {name}
strategy: btc_usdt_perp_v1
search:
  method: {method}
  {trials}
  space:
    fast: {{from: 10, to: {fast}, step: 1}}
    slow: {{from: 60, to: {slow}, step: 1}}
    risk.max_daily_loss_usd: [1000000]
"""


def bench_experiment(folder: Path) -> dict[str, float]:
    """Measure one trial and its floor in one process each, then the pool and 10,000 fresh ones."""
    project = copy_project(folder)
    fill_minutes(project, SERIES, SPAN)
    (project / "config/experiments").mkdir()
    _write(project, "bench", "grid", "", fast=10 + _TRIALS // 8 - 1, slow=67)
    run(doit(*_WORDS, f"aggregate:{SERIES}:5m"), project)
    floors = [run_reporting(_child("floor"), project)[0] for _ in range(4)]
    floor = min(floors, key=lambda one: one["seconds"])
    ours, _ = run_reporting(_child("none"), project)
    detailed, trial_mb = run_reporting(_child("1m"), project)
    assert ours["fills"] == floor["fills"]
    pool_s, _ = run(doit(*_WORDS, "experiment:bench"), project)
    fresh_s, _ = run(doit(*_WORDS, "experiment:bench"), project)
    with_many, without = _starts(project)
    listed, _ = run_reporting(_child("listed"), project)
    return {
        "fills": ours["fills"],
        "trial_cpu_s": round(ours["seconds"], 3),
        "floor_cpu_s": round(floor["seconds"], 3),
        "ratio": round(ours["seconds"] / floor["seconds"], 2),
        "aim": 1.8,
        "detailed_cpu_s": round(detailed["seconds"], 3),
        "pool_trials": _TRIALS,
        "pool_s": round(pool_s, 1),
        "trials_per_s": round(_TRIALS / pool_s, 2),
        "fresh_s": round(fresh_s, 2),
        "worker_mb": round(trial_mb),
        "worker_aim_mb": 400,
        "start_more_s": round(with_many - without, 3),
        "start_aim_s": 0.15,
        "many_mb": round(listed["mb"], 1),
        "many_aim_mb": 30,
        "list_ms": round(listed["ms"], 1),
        "list_aim_ms": 50,
    }


def _write(project: Path, name: str, method: str, trials: str, *, fast: int, slow: int) -> None:
    text = _SWEEP.format(name=name, method=method, trials=trials, fast=fast, slow=slow)
    (project / f"config/experiments/{name}.yaml").write_text(text, encoding="utf-8")


def _starts(project: Path) -> tuple[float, float]:
    """Return how long a fresh experiment is asked, of 10,000 trials and of the few.

    Both are asked by `doit plan`; the many are rows that are made up, under today's keys.
    """
    plans = [doit(*_WORDS, "plan", f"experiment:{name}") for name in ("many", "bench")]
    _write(project, "many", "random", f"trials: {_MANY}", fast=209, slow=559)
    run_reporting(_child("many"), project)
    with_many, without = best(plans, project, times=5)
    return with_many, without


def trial(detail: files.Detail) -> dict[str, float]:
    """Return the CPU seconds of a trial, the best of several, and its filled orders."""
    from tbv8.experiments.trial import run_trial
    from tbv8.store.bars import open_bars, read_stored_bars

    asked = backtesting.strategy("5m", SPAN, detail)
    with open_bars(_DB) as store:
        tables = {
            (series.symbol, timeframe): read_stored_bars(store, series, timeframe, SPAN)
            for series, timeframe in asked.reads
        }
    seconds = []
    for _ in range(4):
        began = time.process_time()
        outcome = run_trial(asked, tables)
        seconds.append(time.process_time() - began)
    return {"seconds": min(seconds), "fills": json.loads(outcome.stats)["fills"]}


def floor() -> dict[str, float]:
    """Return the CPU seconds of NautilusTrader alone with the same strategy and bars."""
    from tbv8.store.bars import open_bars, read_stored_bars

    asked = backtesting.strategy("5m", SPAN)
    with open_bars(_DB) as store:
        table = read_stored_bars(store, SERIES, asked.timeframe, SPAN)
    return backtesting.bare(asked, table, time.process_time)


def many() -> dict[str, float]:
    """Write the rows of 10,000 trials of today's keys, as half a year leaves them."""
    import doit.doit_cmd
    import numpy as np

    from tbv8.config.load import load_project  # noqa: F401
    from tbv8.experiments.survey import Survey
    from tbv8.store.database import open_reader
    from tbv8.store.trials import Details, Trial, open_trials
    from tbv8.tasks import project

    doit.doit_cmd._CMDLINE_VARS = dict(word.split("=") for word in _WORDS)
    loaded = project()
    experiment = loaded.experiments["many"]
    with open_reader(loaded.db_path) as query:
        survey = Survey(experiment, query)
    draw = np.random.default_rng(1)
    details = [
        Details(
            stats=json.dumps(
                {f"key_{n}": float(v) for n, v in enumerate(draw.random(45))}
            ).encode(),
            equity=np.cumsum(draw.integers(-(10**9), 10**9, 183)).astype("<i8").tobytes(),
        )
        for _ in range(50)
    ]
    with open_trials(loaded.db_path) as store:
        for number, one in enumerate(survey.search):
            trial = Trial(
                key=one.key,
                subject="bench",
                variant=survey.variant(one),
                start_ms=SPAN.start_ms,
                end_ms=SPAN.end_ms,
                status="ok",
                sharpe=float(number % 977),
                trades=500,
                digest=sha256(str(number).encode()).digest(),
            )
            store.write(trial, details[number % 50])
        store.write_listed("many", survey.to_rows(survey.search))
    return {"rows": len(survey.search)}


def listed() -> dict[str, float]:
    """Return the MB of 10,000 trials in the file, and the ms of the questions of a list."""
    from tbv8.store.database import open_reader
    from tbv8.store.trials import count_listed, read_best, read_details, read_trials

    times = []
    for _ in range(5):
        with open_reader(_DB) as query:
            began = time.perf_counter()
            count_listed(query, "many")
            top = read_best(query, "many", sort="sharpe", ascending=False, most=20)
            list(read_details(query, read_trials(query, [one.key for one in top])))
            times.append((time.perf_counter() - began) * 1000)
            ((size,),) = query("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%trial%'", ())
    return {"mb": size / 1e6, "ms": median(times)}


def _child(what: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.experimenting", what]


if __name__ == "__main__":
    measures: dict[str, Callable[[], dict[str, float]]] = {
        "none": lambda: trial("none"),
        "1m": lambda: trial("1m"),
        "floor": floor,
        "many": many,
        "listed": listed,
    }
    print(json.dumps(measures[sys.argv[1]]()))
