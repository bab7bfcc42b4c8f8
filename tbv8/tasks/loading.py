"""The project of the folder that pydoit runs in."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import doit.doit_cmd
from doit.exceptions import InvalidDodoFile

from tbv8.config.load import load_project
from tbv8.config.records import Project, Venue
from tbv8.errors import Tbv8Error
from tbv8.market import Span
from tbv8.store.database import open_reader
from tbv8.store.ledger import read_stored_span
from tbv8.tasks.task import Reporter
from tbv8.venues.registry import find_venue

STATE_FILE = Path("data/.doit.db")


def doit_config() -> dict[str, Any]:
    """Return DOIT_CONFIG, the settings of pydoit."""
    return {
        "default_tasks": ["backtest"],
        "backend": "sqlite3",
        "dep_file": str(STATE_FILE),
        "reporter": Reporter,
        "verbosity": 2,
    }


def project() -> Project:
    """Return the checked configuration of the folder that pydoit runs in.

    Raises:
        InvalidDodoFile: A file of config/ or the command line has an error.
    """
    try:
        return load_folder(Path.cwd(), overrides=doit.doit_cmd._CMDLINE_VARS or {})
    except Tbv8Error as e:
        raise InvalidDodoFile(str(e)) from e


def load_folder(root: Path, *, overrides: Mapping[str, str]) -> Project:
    """Return the current, checked configuration of a project's folder; print its warnings.

    Raises:
        ConfigError: A file of config/ or `overrides` has an error.
    """
    now_ms = int(time.time() * 1000)
    loaded = load_project(
        root,
        overrides=overrides,
        now_ms=now_ms,
        history_span=partial(available_span, now_ms=now_ms),
    )
    if (root / "config/experiments").is_dir():
        from tbv8.config.experiments import load_experiments

        loaded = load_experiments(loaded, overrides=overrides)
    for line in loaded.warnings:
        sys.stderr.write(f"WARNING: {line}\n")
    return loaded


def available_span(
    venue: Venue, db_path: Path, symbols: Sequence[str] = (), *, now_ms: int
) -> Span | None:
    """Return the span of a venue's history; None if it is unknown, or recorded data may be older.

    A venue that has no history source and cannot be recorded has imported bars: its history is the
    stored span of `symbols`, or of all symbols.
    """
    if (source := venue.history) is not None:
        return None if source.rolls else source.span(now_ms)
    if find_venue(venue.name).live is None:
        with suppress(Tbv8Error), open_reader(db_path, timeout_s=1) as query:
            return read_stored_span(query, venue.name, symbols)
    return None
