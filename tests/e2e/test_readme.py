"""The README's promises, run as they are printed there."""

from __future__ import annotations

import re
import sqlite3

import pytest

from tests.e2e.conftest import ONE_WEEK, ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_quick_start_is_two_commands() -> None:
    assert [block.strip() for block in blocks("sh")] == [
        "pip install uv && uv run doit backtest:btc_usdt_perp_v1",
        "uv run pytest",
    ]


@pytest.mark.parametrize("query", re.findall(r"SELECT[^;]+;", "".join(blocks("sql"))))
def test_each_query_of_the_readme_answers(finished: Project, query: str) -> None:
    connection = sqlite3.connect(f"file:{finished.db_path}?mode=ro", uri=True)
    try:
        rows = connection.execute(query).fetchall()
    finally:
        connection.close()

    assert rows or "missing > 0" in query


def test_the_strategy_in_the_readme_is_the_one_that_ships() -> None:
    (code,) = blocks("python")

    assert code.strip() in (ROOT / "tbv8/strategies/ema_cross.py").read_text(encoding="utf-8")


def test_the_yaml_of_the_readme_loads(project: Project) -> None:
    strategy, history = blocks("yaml")
    project.write("config/strategies/btc_usdt_perp_v1.yaml", strategy)
    project.write("config/history.yaml", history)

    listed = project.doit("list").stdout

    span = "2024-01-01T00:00:00Z .. 2024-07-01T00:00:00Z"
    assert f"BTC/USDT 5m of sample (simulated), {span}" in listed
    assert f"1m bars of BTC/USDT at binance_spot, {span}" in listed


@pytest.mark.parametrize("command", ["list", "plan", "why migrate", "verify --json", "plan --json"])
def test_each_looking_command_runs(finished: Project, command: str) -> None:
    assert finished.doit(*ONE_WEEK, *command.split()).stdout


def test_every_command_of_the_table_exists(finished: Project) -> None:
    named = set(re.findall(r"^\| `doit (\w+)", README, flags=re.MULTILINE))
    tasks = {line.split()[0] for line in finished.doit("list").stdout.splitlines()}
    commands = set(re.findall(r"^ +\S+ (\w+)", finished.doit("help").stdout, flags=re.MULTILINE))

    assert named <= tasks | commands
