"""Sessions on bars in memory: a run with its statistics, detail, late orders, one bar at a time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tbv8.market import DAY_MS, MINUTE_MS, Span
from tests.benchmarks.backtesting import SERIES, SPAN, bare, strategy
from tests.benchmarks.measure import ROOT, run_reporting, walk

if TYPE_CHECKING:
    import pyarrow as pa

    from tbv8.config import files, records
    from tbv8.trading.bars import Bars
    from tbv8.trading.session import Session

HALF_YEAR = Span(SPAN.start_ms, SPAN.start_ms + 182 * DAY_MS)
_EARLY, _LATE, _ORDERS = 50_000, 400_000, 2_000
_WARM, _FED = 5_000, 2_000


def bench_run(folder: Path) -> dict[str, float]:
    """Measure half a year of 5m, run and statistics only, against the bare engine."""
    floor, ours = _best(folder, "floor", "statistics", times=5)
    assert ours["fills"] == floor["fills"]
    return {
        "bars": HALF_YEAR.minutes // 5,
        "fills": ours["fills"],
        "run_s": round(ours["seconds"], 3),
        "floor_s": round(floor["seconds"], 3),
        "ratio": round(ours["seconds"] / floor["seconds"], 2),
        "aim": 1.7,
    }


def bench_detail(folder: Path) -> dict[str, float]:
    """Measure half a year of 5m matched by minutes against the same matched by bars."""
    none, detail = _best(folder, "none", "1m", times=3)
    return {
        "minutes": HALF_YEAR.minutes,
        "fills": detail["fills"],
        "detail_s": round(detail["seconds"], 3),
        "none_s": round(none["seconds"], 3),
        "ratio": round(detail["seconds"] / none["seconds"], 2),
        "aim": 2.5,
    }


def bench_orders(folder: Path) -> dict[str, float]:
    """Measure an order late in a run against an early one, each with its bar."""
    (found,) = _best(folder, "orders", times=2)
    return {
        "orders": _ORDERS,
        "early_us": round(found["early_s"] / _ORDERS * 1e6),
        "late_us": round(found["late_s"] / _ORDERS * 1e6),
        "ratio": round(found["late_s"] / found["early_s"], 2),
        "aim": 1.3,
    }


def bench_feed(folder: Path) -> dict[str, float]:
    """Measure how long a warm session takes for one bar, in milliseconds."""
    (found,) = _best(folder, "feed", times=1)
    return {
        "bars": _FED,
        "p50_ms": round(found["p50_s"] * 1000, 3),
        "p99_ms": round(found["p99_s"] * 1000, 3),
        "aim_ms": 1.0,
    }


def _best(folder: Path, *names: str, times: int) -> list[dict[str, float]]:
    """Run each in processes of its own, in turns; return what took the least seconds."""
    commands = [[sys.executable, "-m", "tests.benchmarks.sessions", name] for name in names]
    found = [[run_reporting(command, folder)[0] for command in commands] for _ in range(times)]
    return [min(runs, key=lambda run: run["seconds"]) for runs in zip(*found, strict=True)]


# In the child.


def _five_minutes() -> tuple[records.Strategy, pa.Table]:
    from tbv8.aggregate import aggregate

    asked = strategy("5m", HALF_YEAR)
    return asked, aggregate(walk(HALF_YEAR), asked.timeframe)


def floor() -> dict[str, float]:
    """Run the bare engine."""
    return bare(*_five_minutes())


def statistics() -> dict[str, float]:
    """Run a session, and make the summary of a result."""
    from tbv8.backtest.feed import run_session
    from tbv8.results.accounting import to_books
    from tbv8.results.marks import to_marks
    from tbv8.results.summary import summarise
    from tbv8.trading.bars import Bars

    asked, table = _five_minutes()
    bars = Bars({(asked.symbol, asked.timeframe): table}, {asked.symbol: table})
    began = time.perf_counter()
    books = to_books(run_session(asked, "hyperliquid", bars), to_marks(asked, bars))
    summary = summarise(asked, bars, books, None)
    return {"seconds": time.perf_counter() - began, "fills": summary.primary.fills}


def detailed(detail: files.Detail) -> dict[str, float]:
    """Run a session."""
    from tbv8.backtest.feed import run_session
    from tbv8.trading.bars import Bars

    asked, table = _five_minutes()
    asked = msgspec.structs.replace(asked, detail=detail)
    steps = walk(HALF_YEAR) if detail == "1m" else table
    bars = Bars({(asked.symbol, asked.timeframe): table}, {asked.symbol: steps})
    began = time.perf_counter()
    run = run_session(asked, "hyperliquid", bars)
    return {"seconds": time.perf_counter() - began, "fills": len(run.fills)}


def orders() -> dict[str, float]:
    """Feed 1m bars, and take the time where each has an order."""
    span = Span(SPAN.start_ms, SPAN.start_ms + (_LATE + _ORDERS) * MINUTE_MS)
    each = [[at + 1, at + _ORDERS + 1] for at in (_EARLY, _LATE)]
    asked = msgspec.structs.replace(
        strategy("1m", span),
        module="tests/benchmarks/often.py",
        class_name="Often",
        params={"each": each},
        root=ROOT,
    )
    table = walk(span)
    with _session(asked) as session:
        session.feed(_bars(asked, table.slice(0, _EARLY)))
        early_s = _feed(session, _bars(asked, table.slice(_EARLY, _ORDERS)))
        session.feed(_bars(asked, table.slice(_EARLY + _ORDERS, _LATE - _EARLY - _ORDERS)))
        late_s = _feed(session, _bars(asked, table.slice(_LATE, _ORDERS)))
        assert len(session.end().fills) == 2 * _ORDERS + (_LATE - _ORDERS) // 20
    return {"seconds": early_s + late_s, "early_s": early_s, "late_s": late_s}


def feed() -> dict[str, float]:
    """Feed single bars to a session that has seen thousands."""
    span = Span(SPAN.start_ms, SPAN.start_ms + (_WARM + _FED) * MINUTE_MS)
    asked, table = strategy("1m", span), walk(span)
    with _session(asked) as session:
        session.feed(_bars(asked, table.slice(0, _WARM)))
        pieces = [_bars(asked, table.slice(at, 1)) for at in range(_WARM, _WARM + _FED)]
        seconds = sorted(_feed(session, piece) for piece in pieces)
    return {
        "seconds": sum(seconds),
        "p50_s": seconds[_FED // 2],
        "p99_s": seconds[_FED * 99 // 100],
    }


def _session(asked: records.Strategy) -> Session:
    from tbv8.trading.session import Session

    return Session(asked, "hyperliquid", price_decimals={SERIES.symbol: 2})


def _bars(asked: records.Strategy, table: pa.Table) -> Bars:
    from tbv8.trading.bars import Bars

    return Bars({(asked.symbol, asked.timeframe): table}, {asked.symbol: table})


def _feed(session: Session, bars: Bars) -> float:
    began = time.perf_counter()
    session.feed(bars)
    return time.perf_counter() - began


if __name__ == "__main__":
    import tbv8.backtest.run  # noqa: F401  # imports are not measured

    _measured = {
        "floor": floor,
        "statistics": statistics,
        "none": lambda: detailed("none"),
        "1m": lambda: detailed("1m"),
        "orders": orders,
        "feed": feed,
    }
    print(json.dumps(_measured[sys.argv[1]]()))
