"""A strategy of one's own, in the project's folder and in a repository beside it."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from tests.e2e.conftest import ONE_WEEK, Project


def reasons(project: Project, strategy: str) -> list[str]:
    said = project.doit("plan", "--json", *ONE_WEEK, f"backtest:{strategy}").stdout
    (task,) = [t for t in json.loads(said)["tasks"] if t["task"] == f"backtest:{strategy}"]
    return task["reasons"]


def test_a_new_strategy_runs_at_once_and_is_tracked(done: Project) -> None:
    said = done.doit("new", "strategy", "my_idea")
    ran = done.doit(*ONE_WEEK, "backtest:my_idea")

    assert said.stdout.split() == [
        *("strategies/my_idea.py", "config/strategies/my_idea.yaml"),
        *("ready", "to", "run:", "`doit", "backtest:my_idea`"),
    ]
    assert "my_idea: BTC/USDT 5m, " in ran.stdout
    assert ran.stdout.endswith("\n   data/results/my_idea/tearsheet.html\n")
    assert "primary: hyperliquid}" in (done.root / "config/strategies/my_idea.yaml").read_text()
    summary = json.loads((done.results / "my_idea/summary.json").read_text())
    assert summary["primary"]["trades"] > 0
    assert summary["primary"]["denied"] == {}
    done.edit("strategies/my_idea.py", "close <= before.max()", "close < before.max()")
    assert reasons(done, "my_idea") == ["strategies/my_idea.py changed"]
    done.edit("tbv8/strategies/base.py", "/ 100 / distance", "/ distance / 100")
    assert reasons(done, "my_idea") == [
        "strategies/my_idea.py changed",
        "tbv8/strategies/base.py changed",
    ]


def test_a_strategy_of_a_repository_beside_the_project_is_tracked_with_all_it_uses(
    done: Project,
) -> None:
    done.doit("new", "strategy", "my_idea")
    beside = done.root.parent / "alpha"
    (beside / ".git").mkdir(parents=True)
    (beside / "trend").mkdir()
    shutil.move(done.root / "strategies/my_idea.py", beside / "trend/my_idea.py")
    (beside / "levels.py").write_text(
        "from pathlib import Path\n\n"
        "FIRST = float(Path(__file__).with_name('levels.csv').read_text())\n"
    )
    (beside / "levels.csv").write_text("1.0")
    own = "../alpha/trend/my_idea.py"
    done.edit("config/strategies/my_idea.yaml", "strategies/my_idea.py", own)
    done.edit(own, "from tbv8", "from levels import FIRST\nfrom tbv8")
    done.edit(own, "close <= before.max()", "close <= before.max() * FIRST")

    done.doit(*ONE_WEEK, "backtest:my_idea")
    fresh = done.doit("plan", *ONE_WEEK, "backtest:my_idea").stdout
    (beside / "levels.csv").write_text("1.001")
    done.edit("../alpha/levels.py", "FIRST =", "HALF = 0.5\nFIRST =")

    assert fresh.startswith("nothing to do")
    assert reasons(done, "my_idea") == [
        "levels.py changed",
        "../alpha/levels.csv, which the strategy reads, changed",
    ]


def test_a_new_venue_is_one_whose_rules_a_strategy_can_take(done: Project) -> None:
    done.doit("new", "venue", "okx")
    done.edit("config/strategies/btc_usdt_perp_v1.yaml", "primary: hyperliquid", "primary: okx")

    ran = done.doit(*ONE_WEEK, "backtest:btc_usdt_perp_v1")

    assert "okx: 10,000.00 -> " in ran.stdout
    written = yaml.safe_load((done.root / "config/venues/okx.yaml").read_text())
    assert written["symbols"] == {"BTC/USDT": "BTCUSDT"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("strategy",), "write `doit new strategy NAME` or `doit new venue NAME`"),
        (("startegy", "x"), "unknown kind 'startegy', did you mean 'strategy'?"),
        (("strategy", "My-Idea"), "'My-Idea' cannot be a name: write lower-case letters"),
        (
            ("strategy", "1bad"),
            "'1bad' cannot be a name: write lower-case letters, digits and _, a letter first",
        ),
        (("strategy", "class"), "'class' is a word of Python: write "),
        (("venue", "mexc"), "config/venues/mexc.yaml: exists already: choose another name"),
    ],
)
def test_new_refuses(finished: Project, words: tuple[str, ...], problem: str) -> None:
    end = finished.doit("new", *words, code=3)

    assert end.stdout == ""
    assert end.stderr.startswith(f"ERROR: {problem}")
    assert end.stderr.count("\n") == 1
