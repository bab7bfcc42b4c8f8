"""The guides of docs/: their code runs, their names exist, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tbv8.venues.base import Feed, Live
from tests.backtest.builders import read_rows
from tests.e2e.conftest import ONE_WEEK, ROOT, Project

GUIDE = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)


def test_the_first_strategy_runs_and_is_walked_forward(
    done: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given the page's class and YAML
    code, exits, walk_forward = blocks("python")
    config, experiment = blocks("yaml")
    (done.root / "strategies").mkdir()
    done.write("strategies/trend.py", code)
    done.write("config/strategies/trend.yaml", config)

    experiment = experiment.replace(
        "train: 60d, test: 30d, warm_up: 5d", "train: 3d, test: 2d, warm_up: 1d"
    )
    (done.root / "config/experiments").mkdir(exist_ok=True)
    done.write("config/experiments/trend_lookback.yaml", experiment)

    # when they run as the page says, over days in place of months
    ran = done.doit(*ONE_WEEK, "backtest:trend")
    tried = done.doit(*ONE_WEEK, "workers=1", "experiment:trend_lookback")
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
    assert "trend_lookback: 3 trials of strategies/trend.py:Trend" in tried.stdout
    assert re.search(r"walk-forward: \w+ of 2 windows", tried.stdout)
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"2024-01-03 (16|32) [+-]\d\.\d\d% -> [+-]\d\.\d\d%", said[-2])
    # and with the page's two exits
    first = "    def on_bar(self, bar: Bar) -> None:\n"
    done.write("strategies/trend.py", code.replace(first, f"{first}        self.move_exits()\n"))
    with (done.root / "strategies/trend.py").open("a", encoding="utf-8") as file:
        file.write(exits.partition("    ...\n")[2])
    with_exits = done.doit(*ONE_WEEK, "backtest:trend").stdout
    closed_by = {row["tags"] for row in read_rows(done.results / "trend" / "tags.csv")}
    assert closed_by == {"take profit"}
    assert "denied" not in with_exits
    assert said[-1] == f"out of sample: {names['out_of_sample'] - 1:+.2%}"


def test_every_helper_of_the_page_exists() -> None:
    from tbv8.strategies import base

    named = set(re.findall(r"`self\.(\w+)", GUIDE)) - {"log", "order_factory", "cache", "clock"}
    named -= {"portfolio"}  # NautilusTrader's, as those

    assert named == {name for name in vars(base.OneMarket) if name[0] != "_"} - {"on_start"} | {
        "size"
    }


def test_the_guide_to_venues_tells_all_that_a_live_venue_has() -> None:
    guide = (ROOT / "docs/venues.md").read_text(encoding="utf-8")

    for protocol in (Live, Feed):
        table = guide.partition(f"| of `{protocol.__name__}` | is |\n|---|---|\n")[2]
        rows = table.partition("\n\n")[0].splitlines()
        named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
        methods = {name for name in vars(protocol) if name[0] != "_"}
        assert set(named) == methods | set(protocol.__annotations__)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_the_links_of_a_guide_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
