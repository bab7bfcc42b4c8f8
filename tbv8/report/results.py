"""Results of backtests from their folders, also of strategies without a config file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tbv8.page.thin import keep_extremes, shown


class Curve(msgspec.Struct, frozen=True):
    """Times, and the return so far in percent; thinned, with the lowest and highest points."""

    t: list[int]
    percent: list[float | int | None]
    points: int


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """A result's folder: the values of summary.json, and its curve.

    `problem` names the files that cannot be read.
    """

    strategy_id: str
    summary: Mapping[str, Any]
    curve: Curve | None
    has_tearsheet: bool
    problem: str | None

    @property
    def stats(self) -> Mapping[str, Any]:
        """The primary run's numbers."""
        primary = self.summary.get("primary")
        return primary if isinstance(primary, dict) else {}


def read_results(results_path: Path, *, most_points: int) -> list[StoredResult]:
    """Return every result below a folder, by name; their curves share `most_points` points."""
    folders = [path for path in _listed(results_path) if (path / "manifest.json").exists()]
    points = max(50, most_points // max(1, 2 * len(folders)))
    return [_read(folder, points) for folder in folders]


def _listed(results_path: Path) -> Iterable[Path]:
    if not results_path.is_dir():
        return []
    visible = (path for path in results_path.iterdir() if not path.name.startswith("."))
    return sorted(path for path in visible if path.is_dir())


def _read(folder: Path, most_points: int) -> StoredResult:
    summary: Any = None
    with suppress(OSError, ValueError):
        summary = json.loads((folder / "summary.json").read_bytes())
    values = summary if isinstance(summary, dict) else {}
    primary = values.get("primary")
    start = primary.get("start_equity") if isinstance(primary, dict) else None
    curve = _read_curve(folder / "equity.csv", start, most_points)
    unread = [
        name
        for name, value in (("summary.json", isinstance(summary, dict)), ("equity.csv", curve))
        if not value
    ]
    return StoredResult(
        strategy_id=folder.name,
        summary=values,
        curve=curve,
        has_tearsheet=(folder / "tearsheet.html").is_file(),
        problem=f"{' and '.join(unread)} cannot be read" if unread else None,
    )


def _read_curve(path: Path, start: Any, most_points: int) -> Curve | None:
    """Return the return since `start`, bar by bar; None if the file is damaged."""
    import pyarrow as pa
    import pyarrow.csv as pc

    options = pc.ConvertOptions(
        include_columns=["ts_ms", "equity"],
        column_types={"ts_ms": pa.int64(), "equity": pa.float64()},
    )
    try:
        rows = pc.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException):
        return None
    equity = rows["equity"].to_numpy()
    if not len(equity) or not isinstance(start, int | float) or not start > 0:
        return None
    percent = (equity / start - 1) * 100
    at = keep_extremes([percent], most=most_points)
    times_ms = rows["ts_ms"].to_numpy()
    return Curve(times_ms[at].tolist(), shown(percent[at], digits=6), len(equity))
