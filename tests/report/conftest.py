"""The project that status and report are about."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.config.load import load_project
from tbv8.config.records import Project
from tbv8.market import DAY_MS
from tests.builders import MONDAY, copy_config


@pytest.fixture
def project(tmp_path: Path, db_path: Path) -> Project:
    """Return the shipped project, one of its strategies, with the database of the test."""
    copy_config(tmp_path / "clone")
    for path in (tmp_path / "clone" / "config" / "strategies").iterdir():
        if path.stem != "btc_usdt_perp_v1":
            path.unlink()
    (tmp_path / "clone" / "config" / "data.yaml").write_text(f"db_path: {db_path}\n")
    return load_project(
        tmp_path / "clone", overrides={}, now_ms=MONDAY + 9 * DAY_MS, history_span=lambda *_: None
    )
