"""The results of backtests, read from their folders, also of strategies that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tbv8.manifest import read_summary_json
from tbv8.page.thin import keep_extremes, shown


class Curve(msgspec.Struct, frozen=True):
    """Times, and the return so far in percent; thinned, but with its extremes.

    `points` is the number of points before thinning.
    """

    t: list[int]
    percent: list[float | int | None]
    points: int


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a result's folder: summary.json, and the curve of its equity.

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


def read_results(results_path: Path, *, max_points: int) -> list[StoredResult]:
    """Return every result below a folder, by name; their curves have `max_points` in all."""
    folders = [path for path in _listed(results_path) if (path / "manifest.json").exists()]
    points = max(50, max_points // max(1, 2 * len(folders)))
    return [_read(folder, points) for folder in folders]


def _listed(results_path: Path) -> Iterable[Path]:
    if not results_path.is_dir():
        return []
    visible = (path for path in results_path.iterdir() if not path.name.startswith("."))
    return sorted(path for path in visible if path.is_dir())


def _read(folder: Path, max_points: int) -> StoredResult:
    summary = read_summary_json(folder)
    primary = (summary or {}).get("primary")
    start = primary.get("start_equity") if isinstance(primary, dict) else None
    curve = _read_curve(folder / "equity.csv", start, max_points)
    parts = {"summary.json": summary, "equity.csv": curve}
    unreadable = [name for name, part in parts.items() if part is None]
    return StoredResult(
        strategy_id=folder.name,
        summary=summary or {},
        curve=curve,
        has_tearsheet=(folder / "tearsheet.html").is_file(),
        problem=f"{' and '.join(unreadable)} cannot be read" if unreadable else None,
    )


def _read_curve(path: Path, start: Any, max_points: int) -> Curve | None:
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
    at = keep_extremes([percent], most=max_points)
    times_ms = rows["ts_ms"].to_numpy()
    return Curve(times_ms[at].tolist(), shown(percent[at], digits=6), len(equity))
