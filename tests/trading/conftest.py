"""What every test of a backtest has."""

from pathlib import Path

import pytest

from tests.backtest.builders import SCRIPTED, install


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test here may use the strategy `scripted.Scripted`."""
    install(monkeypatch, tmp_path / "user", "scripted", SCRIPTED)
