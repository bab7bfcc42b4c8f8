"""The results of backtests, read from their folders, also of strategies that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tbv8.manifest import PAGE, SUMMARY, damage, read_manifest, read_summary_json
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

    `problem` names the files that are gone or were changed; their numbers are left out.
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
    manifest = read_manifest(folder)
    problem: str | None = "manifest.json is damaged"
    if manifest is not None:
        files = {name: manifest.outputs.get(name, "") for name in (SUMMARY, "equity.csv")}
        problem = " and ".join(damage(folder, files)) or None
    summary = read_summary_json(folder) or {}
    curve = None
    if problem is None:
        start = summary["primary"]["start_equity"]
        curve = _read_curve(folder / "equity.csv", start, max_points)
    return StoredResult(
        strategy_id=folder.name,
        summary=summary,
        curve=curve,
        has_tearsheet=(folder / PAGE).is_file(),
        problem=problem,
    )


def _read_curve(path: Path, start: float, max_points: int) -> Curve | None:
    """Return the return since `start`, bar by bar; None without bars."""
    import pyarrow as pa
    import pyarrow.csv as pc

    options = pc.ConvertOptions(
        include_columns=["ts_ms", "equity"],
        column_types={"ts_ms": pa.int64(), "equity": pa.float64()},
    )
    rows = pc.read_csv(path, convert_options=options)
    equity = rows["equity"].to_numpy()
    if not len(equity):
        return None
    percent = (equity / start - 1) * 100
    at = keep_extremes([percent], most=max_points)
    times_ms = rows["ts_ms"].to_numpy()
    return Curve(times_ms[at].tolist(), shown(percent[at], digits=6), len(equity))
