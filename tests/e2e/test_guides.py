"""The code of docs/strategies.md runs as it is printed there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.conftest import ONE_WEEK, ROOT, Project

GUIDE = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)


def test_the_first_strategy_runs_and_is_walked_forward(
    done: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given the page's class and YAML
    code, walk_forward = blocks("python")
    (config,) = blocks("yaml")
    (done.root / "strategies").mkdir()
    done.write("strategies/trend.py", code)
    done.write("config/strategies/trend.yaml", config)

    # when they run as the page says, the walk-forward over days in place of months
    ran = done.doit(*ONE_WEEK, "backtest:trend")
    days = ("2024-01-01", "2024-01-03", "2024-01-05")
    walk_forward = re.sub(r"starts = .*", f"starts = {list(days)}", walk_forward)
    walk_forward = walk_forward.replace("[16, 32, 96]", "[16, 32]")
    monkeypatch.chdir(done.root)
    names: dict[str, Any] = {}
    exec(walk_forward, names)

    # then
    assert "trend: BTC/USDT 15m, " in ran.stdout
    assert " 0 round trips" not in ran.stdout
    assert "denied" not in ran.stdout
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"2024-01-03 (16|32) [+-]\d\.\d\d% -> [+-]\d\.\d\d%", said[-2])
    assert said[-1] == f"out of sample: {names['out_of_sample'] - 1:+.2%}"


def test_every_helper_of_the_page_exists() -> None:
    from tbv8.strategies import base

    named = set(re.findall(r"`self\.(\w+)", GUIDE)) - {"log", "order_factory", "cache", "clock"}
    named -= {"portfolio"}  # NautilusTrader's, as those

    assert named == {name for name in vars(base.OneMarket) if name[0] != "_"} - {"on_start"} | {
        "size"
    }
