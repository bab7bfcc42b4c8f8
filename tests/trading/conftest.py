"""What the tests of a session have."""

from pathlib import Path

import pytest

from tests.backtest.builders import SCRIPTED, install

DRIVEN = "from tests.trading.driven import Driven, DrivenConfig\n"


@pytest.fixture(autouse=True)
def strategies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test here may use `scripted.Scripted`, and `drive`."""
    install(monkeypatch, tmp_path / "user", "scripted", SCRIPTED)
    install(monkeypatch, tmp_path / "user", "driven", DRIVEN)
