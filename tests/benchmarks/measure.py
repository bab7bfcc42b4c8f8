"""How benchmarks measure: child processes, the best of several runs, peak memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tbv8.market import MINUTE_MS, Series, Span, parse_time, parse_timeframe
from tbv8.store.bars import open_bars, write_history
from tbv8.store.schema import migrate
from tests.builders import ROOT, copy_config

EIGHT_YEARS = Span(parse_time("2017-08-17"), parse_time("2025-08-17"))


def copy_project(folder: Path) -> Path:
    """Copy what a clone has, without data, of the strategies the first; return the new folder."""
    project = folder / "project"
    project.mkdir()
    for name in ("dodo.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, project)
    copy_config(project)
    for name in ("tbv8", "migrations"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (project / "config/strategies").iterdir():
        if path.name != "btc_usdt_perp_v1.yaml":  # more examples are not to change the figures
            path.unlink()
    shutil.rmtree(project / "config/experiments")
    (project / "data").mkdir()
    return project


def doit(*words: str) -> list[str]:
    """Return the command line of doit in this Python."""
    return [sys.executable, "-m", "doit", *words]


def run(command: Sequence[str], cwd: Path) -> tuple[float, float]:
    """Run a child to its end; return seconds and its peak memory in MB.

    Raises:
        RuntimeError: It failed.
    """
    seconds, peak_mb, _said = _run(command, cwd)
    return seconds, peak_mb


def run_reporting(command: Sequence[str], cwd: Path) -> tuple[dict[str, float], float]:
    """Run a child whose last line is JSON; return that, and its peak memory in MB."""
    _seconds, peak_mb, said = _run(command, cwd)
    return json.loads(said.splitlines()[-1]), peak_mb


def _run(command: Sequence[str], cwd: Path) -> tuple[float, float, str]:
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=_environment() | {"PYTHONPATH": f"{cwd}{os.pathsep}{ROOT}"},
            stdout=out,
            stderr=err,
        )
        _pid, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        if status != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {status}: {err.read()}")
        return seconds, usage.ru_maxrss / 1024, out.read()


def _environment() -> dict[str, str]:
    """Return ours, but let children keep compiled modules, as a user's do: the floor's are."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def best(commands: Sequence[Sequence[str]], cwd: Path, *, times: int) -> list[float]:
    """Return the best seconds of each command, run in turns so that noise hits all alike."""
    seconds = [[run(command, cwd)[0] for command in commands] for _ in range(times)]
    return [min(column) for column in zip(*seconds, strict=True)]


def fill_minutes(project: Path, series: Series, span: Span) -> int:
    """Write a random walk on the tick as history of `span`, whole; return the number of bars."""
    db_path = project / "data" / "tbv8.sqlite"
    migrate(db_path, root=project)
    month, price, total = parse_timeframe("1M"), 10_000_00, 0
    with open_bars(db_path) as store:
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            part = Span(start_ms, min(month.close(month.floor(start_ms)), span.end_ms))
            bars = walk(part, price)
            price = round(bars["close"][-1].as_py() * 100)
            write_history(store, series, part, bars, source="benchmark", updated_ms=0)
            total += bars.num_rows
            start_ms = part.end_ms
    return total


def walk(span: Span, price: int = 10_000_00) -> pa.Table:
    """Return 1m bars of a random walk from `price` in cents on."""
    draw = np.random.default_rng(span.start_ms)
    count = span.minutes
    close = np.maximum(price + np.cumsum(draw.integers(-900, 901, count)), 1_000_00)
    opened = np.concatenate([[price], close[:-1]])
    wick = draw.integers(0, 500, (2, count))
    values = {
        "open": opened / 100,
        "high": (np.maximum(opened, close) + wick[0]) / 100,
        "low": (np.minimum(opened, close) - wick[1]) / 100,
        "close": close / 100,
        "volume": draw.integers(0, 50_000_000, count) / 1e5,
    }
    opens = np.arange(span.start_ms, span.end_ms, MINUTE_MS, dtype=np.int64)
    return pa.table({"ts_ms": opens, **values})
