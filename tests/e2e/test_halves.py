"""What a change makes stale: the page alone or the run; what a strategy reads is in its key."""

from __future__ import annotations

import json
import shutil

from tests.e2e.conftest import ONE_WEEK, Project

BACKTEST = "backtest:btc_usdt_perp_v1"
READER = '''\
"""Crossing averages that read a file, by a helper that is no module of tbv8."""

import sys

from tbv8.strategies.ema_cross import EmaCross, EmaCrossConfig

sys.path.insert(0, "research")
import levels  # noqa: E402


class ReaderConfig(EmaCrossConfig):
    pass


class Reader(EmaCross):
    def on_start(self):
        levels.read("research/levels.csv")
        super().on_start()
'''


def reasons(project: Project) -> list[str]:
    tasks = json.loads(project.doit("plan", "--json", *ONE_WEEK, BACKTEST).stdout)["tasks"]
    return [reason for task in tasks for reason in task["reasons"]]


def test_another_color_draws_the_page_again_as_a_run_would(done: Project) -> None:
    # given a result, and another style of pages
    before = done.state()["files"]
    done.edit("tbv8/page/style.py", "--accent: #2456c4", "--accent: #2456c5")

    # when
    why = reasons(done)
    drawn = done.doit(*ONE_WEEK, BACKTEST)
    after = done.state()["files"]
    fresh = reasons(done)
    shutil.rmtree(done.results / "btc_usdt_perp_v1")
    done.doit(*ONE_WEEK, BACKTEST)
    run = done.state()["files"]

    # then
    assert why == ["tbv8/page/style.py changed: the page is drawn again"]
    assert "its page was drawn again, nothing else has changed" in drawn.stdout
    assert fresh == []
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"btc_usdt_perp_v1/{name}" for name in ("manifest.json", "tearsheet.html")}
    assert after == run


def test_what_a_strategy_reads_and_imports_by_any_way_is_in_its_key(done: Project) -> None:
    # given a strategy that reads a file by a helper in a folder that it puts into sys.path
    (done.root / "research").mkdir()
    done.write("research/levels.csv", "1,2\n")
    done.write("research/levels.py", "def read(path):\n    return open(path).read()\n")
    done.write("tbv8/strategies/reader.py", READER)
    name = "config/strategies/btc_usdt_perp_v1.yaml"
    done.edit(name, "ema_cross.EmaCross", "reader.Reader")
    done.doit(*ONE_WEEK, BACKTEST)
    manifest = json.loads((done.results / "btc_usdt_perp_v1/manifest.json").read_text())

    # when
    done.edit("research/levels.py", "def read", "# a comment\ndef read")
    fresh = reasons(done)
    done.edit("research/levels.csv", "1,2", "1,3")
    by_data = reasons(done)
    done.edit("research/levels.py", "open(path)", "open(path, 'r')")
    by_code = reasons(done)
    done.doit(*ONE_WEEK, BACKTEST)

    # then
    assert list(manifest["inputs"]["files"]["value"]) == [
        "research/levels.csv",
        "research/levels.py",
    ]
    assert fresh == []
    assert by_data == ["research/levels.csv, which the strategy reads, changed"]
    assert by_code == [*by_data, "research/levels.py, which the strategy reads, changed"]
    assert reasons(done) == []
