"""The promises of the README and of its guides, run as they are printed there."""

from __future__ import annotations

import re
import sqlite3
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from tbv8.market import parse_time
from tests.e2e.conftest import ROOT, Project, copy_project
from tests.servers.binance import running_process

ARCHIVE = "https://data.binance.vision"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/data.md", "docs/tasks.md")


def blocks(language: str, page: str = "README.md") -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def test_the_quick_start_is_two_commands() -> None:
    assert [block.strip() for block in blocks("sh")] == [
        "pip install uv && uv run doit backtest:btc_usdt_perp_v1",
        "uv run pytest",
    ]


@pytest.mark.parametrize(
    "query", re.findall(r"SELECT[^;]+;", "".join(blocks("sql", "docs/database.md")))
)
def test_each_query_of_the_guide_to_the_database_answers(finished: Project, query: str) -> None:
    connection = sqlite3.connect(f"file:{finished.db_path}?mode=ro", uri=True)
    try:
        rows = connection.execute(query).fetchall()
    finally:
        connection.close()

    assert rows or "missing > 0" in query


def test_the_strategy_in_the_readme_is_that_of_the_guide_which_a_test_runs() -> None:
    (code,) = blocks("python")

    assert blocks("python", "docs/strategies.md")[0].endswith(code)


def test_the_python_of_the_readme_runs_after_the_quick_start(
    done: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^    from tbv8\.api import .*?(?=^\S)", README, re.DOTALL | re.MULTILINE)
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    monkeypatch.setattr("tempfile.tempdir", str(done.root))
    monkeypatch.chdir(done.root)
    names: dict[str, Any] = {}

    exec(textwrap.dedent(code), names)

    assert names["bars"]["ts_ms"][-1] == parse_time("2024-01-07T23:55Z")
    assert "btc_usdt_perp_v1: BTC/USDT 5m" in capsys.readouterr().out
    (copy,) = shown  # of the page of a run, which is gone with its result
    assert re.fullmatch(r"file:///.*/tbv8-\w+\.html", copy)


def test_the_yaml_of_the_pages_loads(project: Project) -> None:
    strategy, experiment, stamp, mine, history = (
        block for page in PAGES for block in blocks("yaml", page)
    )
    project.write("config/venues/stamp.yaml", stamp)
    project.write("config/venues/mine.yaml", mine)
    (project.root / "config/experiments").mkdir()
    project.write("config/experiments/ema_sweep.yaml", experiment)
    project.write("config/strategies/btc_usdt_perp_v1.yaml", strategy)
    project.write("config/history.yaml", history)

    listed = project.doit("list").stdout

    span = "2024-01-01T00:00:00Z .. 2024-07-01T00:00:00Z"
    assert f"BTC/USDT 5m of sample (simulated), {span}" in listed
    assert f"1m bars of BTC/USDT at binance_spot, {span}" in listed
    assert "grid search of ema_cross.EmaCross over fast, slow" in listed


def test_the_yaml_of_the_guide_to_paper_trading_loads(project: Project) -> None:
    (settings,) = blocks("yaml", "docs/paper.md")
    with (project.root / "config/data.yaml").open("a", encoding="utf-8") as file:
        file.write(settings)

    assert "paper:btc_usdt_perp_v1" in project.doit("list", "--all").stdout


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a project whose Binance is a local one, and whose history ends with January."""
    made = copy_project(tmp_path_factory.mktemp("readme") / "clone")
    made.edit("config/history.yaml", "end_date: null", 'end_date: "2024-02-01"')
    market = ("--synthetic", "BTCUSDT", "2023-12-31", "2024-04-02", "1")
    with running_process(*market, "--now", "2024-05-10") as url:
        for name, was in (("rest", "https://api.binance.com"), ("archive", ARCHIVE)):
            made.edit("config/venues/binance_spot.yaml", f"{name}_url: {was}", f"{name}_url: {url}")
        yield made


def commands() -> list[str]:
    """Return what a reader can type as it stands in the pages, in their order."""
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    found = re.findall(
        r"(?<!`)`(?:uv run )?doit ([^`]+)`|^(?:    )?(?:pip install uv && )?uv run doit *([^#\n]*)",
        text,
        flags=re.MULTILINE,
    )
    typed = dict.fromkeys(" ".join((inline or indented).split()) for inline, indented in found)
    patterns = re.compile(r"[<\[]|\b(TASK|COMMAND|FILE|FOLDER|NAME|STRATEGY_ID)\b")
    endless = ("record", "bench", "rules")  # rules: of the venues themselves, by the network
    return [
        words
        for words in typed
        if not patterns.search(words) and words not in (*endless, "stop", "start")
    ]


@pytest.mark.timeout(400)
def test_each_command_that_the_pages_print_runs(january: Project) -> None:
    printed = commands()

    for words in printed:
        with_answer = [*words.split(), "--yes"] if words.startswith("prune") else words.split()
        january.doit(*with_answer)

    assert len(printed) > 20
    assert {words.partition(" ")[0] for words in printed} >= {"aggregate", "export", "report", ""}


def test_every_command_of_the_table_exists(finished: Project) -> None:
    named = set(re.findall(r"^\| `doit (\w+)", README, flags=re.MULTILINE))
    tasks = {line.split()[0] for line in finished.doit("list").stdout.splitlines()}
    commands = set(re.findall(r"^ +\S+ (\w+)", finished.doit("help").stdout, flags=re.MULTILINE))

    assert named <= tasks | commands
