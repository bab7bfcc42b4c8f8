"""What the tests of paper sessions have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backtest.builders import SCRIPTED, install
from tests.live.rig import World


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test here may use the strategy `scripted.Scripted`."""
    install(monkeypatch, tmp_path / "user", "scripted", SCRIPTED)


@pytest.fixture
def world(db_path: Path) -> World:
    """Return a market that is recorded, on a clock of its own."""
    return World(db_path)
