"""A strategy whose class stands outside of `tbv8/strategies/`, in a file that its YAML names."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.config.records import Strategy
from tbv8.trading.loading import (
    StrategyError,
    class_place,
    forget_strategies,
    load_strategy,
    strategy_error,
)
from tests.backtest.builders import make_strategy

OWN = """\
from dataclasses import dataclass

from nautilus_trader.trading import Strategy
from research.helping import LIMIT


@dataclass
class OwnConfig:
    instrument_id: object
    bar_type: object
    max_position: object


class Own(Strategy):
    limit = LIMIT

    def fail(self):
        {}['here']
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strategy]:
    """A strategy in a new project, at research/own.py."""
    (tmp_path / "research").mkdir()
    (tmp_path / "research/own.py").write_text(OWN)
    (tmp_path / "research/helping.py").write_text("LIMIT = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # puts sys.path back at the end
    yield replace(make_strategy(), module="research/own.py", class_name="Own", root=tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "research"]:
        del sys.modules[name]


def test_it_is_loaded_with_what_it_imports_and_anew_for_each_run(
    own: Strategy, tmp_path: Path
) -> None:
    forget_strategies(own)
    assert load_strategy(own, "hyperliquid").limit == 3

    (tmp_path / "research/helping.py").write_text("LIMIT = 3 + 1\n")
    forget_strategies(own)

    assert load_strategy(own, "hyperliquid").limit == 4


def test_an_edit_that_keeps_size_and_time_of_a_source_is_what_runs(
    own: Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself would run the bytecode of before: it compares these two alone."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "research/helping.py"
    forget_strategies(own)
    assert load_strategy(own, "hyperliquid").limit == 3
    assert Path(cache_from_source(path)).is_file()
    before = path.stat()

    path.write_text("LIMIT = 5\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    forget_strategies(own)

    assert load_strategy(own, "hyperliquid").limit == 5


def test_its_errors_name_its_own_file_and_line(own: Strategy) -> None:
    forget_strategies(own)
    loaded = load_strategy(own, "hyperliquid")

    with pytest.raises(KeyError) as caught:
        loaded.fail()

    assert str(strategy_error(own, caught.value, "on_bar")) == (
        "research/own.py:18: KeyError: 'here' (strategy test_v1, in on_bar)"
    )
    assert class_place(own) == "research/own.py:14"


def test_a_file_with_the_name_of_another_module_is_refused(own: Strategy, tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text(OWN)
    assert "random" in sys.modules

    with pytest.raises(StrategyError, match="another module is named random: rename the file"):
        load_strategy(replace(own, module="random.py"), "hyperliquid")


def test_a_file_beside_the_project_imports_from_its_own_repository(
    own: Strategy, tmp_path: Path
) -> None:
    beside = tmp_path / "alpha"
    (beside / ".git").mkdir(parents=True)
    shutil.move(tmp_path / "research", beside)
    project = tmp_path / "project"
    project.mkdir()
    strategy = replace(own, module="../alpha/research/own.py", root=project)

    forget_strategies(strategy)
    loaded = load_strategy(strategy, "hyperliquid")

    assert loaded.limit == 3
    assert class_place(strategy) == "alpha/research/own.py:14"  # the current folder is above both
