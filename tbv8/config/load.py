"""The YAML files of `config/` as one frozen Project, checked whole before anything runs.

`tbv8.config.files` has the files as written, and `tbv8.config.records` what the rest of tbv8 reads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tbv8.config.document import Document, to_record, unknown
from tbv8.config.files import VARIABLE, DataFile, HistoryFile, NotifySection, PaperSection
from tbv8.config.folder import read_config
from tbv8.config.records import Kind, Notify, PaperLimits, Problem, Project, Strategy
from tbv8.config.spans import (
    HistorySpan,
    LoadInputs,
    check_options,
    resolve_span,
    to_refresh,
    with_options,
)
from tbv8.config.strategies import load_strategies
from tbv8.config.values import to_timeframe
from tbv8.config.venues import BrokenVenues, load_venues
from tbv8.errors import ConfigError, OptionsError
from tbv8.market import Series, Span, Timeframe, parse_duration_ms

OVERRIDES = ("venue", "start", "end", "workers", "on", "address")
_RESERVED = (
    "config",
    "tbv8",
    "migrations",
    "tests",
    "docs",
    ".git",
    "data/export",
    "data/.doit.db",
)


def find_project(folder: Path) -> Path:
    """Return the nearest project folder: `folder` itself or a parent.

    Raises:
        ConfigError: None of them has a dodo.py beside a folder `config`.
    """
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "dodo.py").is_file() and (candidate / "config").is_dir():
            return candidate
    raise ConfigError(
        "neither this folder nor a parent is a tbv8 project: change to a project, or create one "
        "with `tbv8 init FOLDER`",
        path=folder,
    )


def load_project(
    root: Path, *, overrides: Mapping[str, str], now_ms: int, history_span: HistorySpan
) -> Project:
    """Read and check every file of `root/config`.

    Args:
        root: The project's folder, with `dodo.py` in it.
        overrides: The command line's `venue`, `start`, `end`, `workers`, `on` and `address`.
        now_ms: The clock, read once.
        history_span: Returns the span of a venue's history; see `HistorySpan`.

    Raises:
        ConfigError: The first missing or wrong value.
    """
    for name in overrides:
        if name not in OVERRIDES:
            raise ConfigError(unknown("variable", name, OVERRIDES), key=name)
    data = _load_data(root)
    history_file = read_config(
        root,
        "history.yaml",
        'write `history: {market_data_venue: sample, start_date: "2017-08-17"}` into it',
    )
    settings = to_record(history_file, HistoryFile).history
    warnings: list[str] = []
    venues, broken = load_venues(root, warnings)
    inputs = LoadInputs(
        root=root,
        history=settings,
        refresh=to_refresh(history_file, settings.refresh),
        document=history_file,
        overrides=overrides,
        now_ms=now_ms,
        history_span=lambda venue, symbols: history_span(venue, data.db_path, symbols),
        venues=venues,
        broken=broken,
        warnings=warnings,
        without_history={},
    )
    check_options(inputs)
    history_venue = overrides.get("venue", settings.market_data_venue)
    whole, history_error = _wanted_history(inputs, history_venue)
    strategies, paper_only, broken_strategies = load_strategies(inputs)
    return Project(
        root=root,
        db_path=data.db_path,
        results_path=data.results_path,
        timeframes=data.timeframes,
        venues=venues,
        strategies=strategies,
        paper_only=paper_only,
        wanted=_with_runs(whole, strategies.values()),
        history_venue=history_venue,
        now_ms=now_ms,
        paper=data.paper,
        notify=data.notify,
        problems=(*history_error, *_problems(broken, broken_strategies)),
        warnings=tuple(warnings),
    )


def _wanted_history(
    inputs: LoadInputs, venue: str
) -> tuple[dict[Series, list[Span]], list[Problem]]:
    """Return the wanted spans of the history venue's series, or the problem of the options."""
    try:
        resolved = with_options(inputs, lambda i: resolve_span(i, None, None))
    except OptionsError as e:
        return {}, [Problem(kind="history", name=venue, error=e)]
    symbols = inputs.venues[venue].symbols if venue in inputs.venues else ()
    return {Series(venue, symbol): [resolved.span] for symbol in symbols}, []


def _paper(document: Document, raw: PaperSection) -> PaperLimits:
    def duration_ms(key: str, text: str) -> int:
        try:
            return parse_duration_ms(text)
        except ValueError as e:
            document.refuse(("paper", key), str(e))

    stale_after = raw.stale_after
    return PaperLimits(
        stale_after_ms=None if stale_after is None else duration_ms("stale_after", stale_after),
        clock_limit_ms=duration_ms("clock_limit", raw.clock_limit),
    )


def _notify(document: Document, raw: NotifySection | None) -> Notify | None:
    if raw is None:
        return None
    if not re.fullmatch(VARIABLE, raw.urls_env):
        cure = "write the name of an environment variable, such as TBV8_NOTIFY_URLS"
        document.refuse(("notify", "urls_env"), f"{cure}; the URLs themselves are secrets")
    return Notify(urls_env=raw.urls_env, without=raw.without)


class _DataSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of data.yaml, with its defaults."""

    db_path: Path
    results_path: Path
    timeframes: tuple[Timeframe, ...]
    paper: PaperLimits
    notify: Notify | None


def _load_data(root: Path) -> _DataSettings:
    file = read_config(root, "data.yaml", "write `db_path: data/tbv8.sqlite` into it")
    data = to_record(file, DataFile)
    db_path = _below(root, file, "db_path", data.db_path)
    results_path = _below(root, file, "results_path", data.results_path)
    _check_places(root, file, db_path, results_path)
    timeframes = (
        to_timeframe(file, ("timeframes", index), text)
        for index, text in enumerate(data.timeframes)
    )
    return _DataSettings(
        db_path=db_path,
        results_path=results_path,
        timeframes=tuple(timeframes),
        paper=_paper(file, data.paper),
        notify=_notify(file, data.notify),
    )


def _with_runs(
    spans: dict[Series, list[Span]], strategies: Iterable[Strategy]
) -> dict[Series, list[Span]]:
    """Add the strategies' run spans to the spans of their series, and return them."""
    for strategy in strategies:
        for series in strategy.sources:
            runs = spans.setdefault(series, [])
            if strategy.run_span not in runs:
                runs.append(strategy.run_span)
    return spans


def _problems(broken: BrokenVenues, strategies: Mapping[str, ConfigError]) -> tuple[Problem, ...]:
    errors: list[tuple[Kind, str, ConfigError]] = [
        *(("venue", name, e) for name, e in broken.venues.items()),
        *(("instrument", name, e) for (name, _), e in broken.instruments.items()),
        *(("strategy", name, e) for name, e in strategies.items()),
    ]
    return tuple(Problem(kind=kind, name=name, error=e) for kind, name, e in errors)


def _below(root: Path, document: Document, key: str, text: str) -> Path:
    """Return a configured path, relative to the working directory if it lies below it."""
    if not text.strip() or "://" in text or not text.isprintable():
        document.refuse((key,), f"expected a path such as data/tbv8.sqlite, got {text!r}")
    path = root / text
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _check_places(root: Path, document: Document, db_path: Path, results_path: Path) -> None:
    """Refuse a path where tbv8 would overwrite the project or its own data."""
    cure = "choose a separate path, such as data/results or data/tbv8.sqlite"
    real_db, real_results = os.path.realpath(db_path), os.path.realpath(results_path)
    reserved = {name: os.path.realpath(root / name) for name in _RESERVED}
    for key, path, real in (
        ("results_path", results_path, real_results),
        ("db_path", db_path, real_db),
    ):
        for name, other in reserved.items():
            if _overlap(real, other):
                document.refuse((key,), f"{str(path)!r} would overlap {name}: {cure}")
    if _overlap(real_db, real_results):
        key = "results_path" if "results_path" in document.value else "db_path"
        problem = f"database {str(db_path)!r} and results {str(results_path)!r} would overlap"
        document.refuse((key,), f"{problem}: {cure}")
    if db_path.is_dir():
        document.refuse(("db_path",), f"{str(db_path)!r} is a folder: write the path of a file")
    for key, real in (("db_path", real_db), ("results_path", real_results)):
        folder = Path(real).parent
        if not folder.is_relative_to(os.path.realpath(root)) and not folder.is_dir():
            document.refuse(
                (key,),
                f"there is no folder {str(folder)!r}, and tbv8 creates none outside of the "
                f"project: run `mkdir -p {folder}`, or write another path",
            )


def _overlap(path: str, other: str) -> bool:
    """Return True if two paths, with links resolved, are the same or one lies in the other."""
    return os.path.commonpath([path, other]) in (path, other)
