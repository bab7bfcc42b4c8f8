"""Who may import whom: design.md section 3 as a table, held against every module's imports."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import ROOT, copy_config

# What each layer may import of this project: what its line names, and what those may import.
MAY_IMPORT = {
    "text": "",
    "errors": "text",
    "progress": "text",
    "ending": "",
    "files": "",
    "serving": "errors",
    "market": "errors",
    "page": "files market",
    "coverage": "market",
    "aggregate": "market",
    "risk": "market",
    "manifest": "errors",
    "config": "coverage errors market venues",
    "store": "coverage errors files market",
    "venues": "errors market",
    "freshness": "config coverage manifest page store",
    "backfill": "config coverage progress store venues",
    "build": "aggregate freshness progress store",
    "recorder": "config progress serving store venues",
    "strategies": "",
    "trading": "config risk strategies",
    "results": "files manifest page trading",
    "backtest": "progress results store trading",
    "experiments": "aggregate backtest freshness progress results store",
    "live": "freshness results serving store trading",
    "report": "config freshness page store",
    "tasks": "backfill backtest build ending experiments files freshness live recorder report",
    "api": "backtest config experiments freshness results store tasks",
    "commands": ("backfill backtest build ending experiments freshness live recorder report tasks"),
}

# Which libraries may be imported, and where.
LIBRARIES = {
    "adbc_driver_manager": "store",
    "adbc_driver_sqlite": "store",
    "aiohttp": "recorder",
    "alembic": "store",
    "apprise": "live",
    "ccxt": "venues",
    "doit": "tasks commands",
    "msgspec": "*",
    "nautilus_trader": "trading backtest strategies",
    "numpy": "*",
    "optuna": "experiments",
    "plotly": "page",
    "polars": "aggregate api",
    "prometheus_client": "live recorder serving",
    "pyarrow": "*",
    "ray": "experiments",
    "requests": "venues",
    "rich": "live progress recorder report",
    "ruamel": "config",
    "sqlalchemy": "store",
    "urllib3": "venues",
    "websockets": "recorder",
    "yaml": "config",
}

HEAVY = (
    "adbc_driver_manager adbc_driver_sqlite aiohttp alembic apprise ccxt nautilus_trader numpy"
    " optuna pandas plotly polars prometheus_client pyarrow ray requests rich ruamel sqlalchemy"
    " urllib3"
    " websockets"
)

SHARED_BY_VENUES = {"backoff", "base", "binance", "bounds", "http", "live_calls", "live_funding"}
SHARED_BY_VENUES |= {"live_history", "live_venue", "rate_limit", "rates", "units"}

MODULES = sorted((ROOT / "tbv8").rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT / "tbv8").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(layer: str) -> set[str]:
    found = {layer}
    waiting = MAY_IMPORT[layer].split()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += MAY_IMPORT[name].split()
    return found


def test_the_table_has_a_line_for_every_module() -> None:
    layers = {layer_of(path) for path in MODULES} - {"__init__"}

    assert layers - MAY_IMPORT.keys() == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_its_line_names_and_what_those_name(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        assert list(imports(path)) == []
        return

    for name in imports(path):
        first, *rest = name.split(".")
        if first == "tbv8":
            assert rest, f"{path}: import a module of tbv8, not all of it"
            assert rest[0] in allowed(layer), f"{path} imports {name}"
        elif first not in sys.stdlib_module_names:
            where = LIBRARIES.get(first, "").split()
            assert "*" in where or layer in where, f"{path} imports {name}"
        assert first not in ("dodo", "tests", "migrations"), f"{path} imports {name}"


def test_the_ladder_has_no_rungs_that_lead_around() -> None:
    for layer in MAY_IMPORT:
        assert all(layer not in allowed(name) - {name} for name in allowed(layer) - {layer})
    assert "venues" not in allowed("store")
    assert "store" not in allowed("venues")
    assert {"tasks", "commands", "backtest", "strategies"}.isdisjoint(
        allowed("freshness") | allowed("build") | allowed("backfill") | allowed("recorder")
    )


def test_a_venue_does_not_know_another_one() -> None:
    for path in MODULES:
        if layer_of(path) != "venues" or path.stem == "registry":
            continue
        own = path.relative_to(ROOT / "tbv8" / "venues").parts[0].removesuffix(".py")
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["tbv8", "venues"]:
                assert parts[2] in {*SHARED_BY_VENUES, own}, f"{path} imports {name}"


def test_a_backtest_knows_of_venues_what_its_config_says() -> None:
    """So a result stays fresh when a venue's parser changes, and a fact of a venue is an input."""
    for path in MODULES:
        if layer_of(path) in ("backtest", "live", "results", "risk", "strategies", "trading"):
            assert not [name for name in imports(path) if name.startswith("tbv8.venues")], path


def test_a_session_has_nothing_that_could_send_an_order() -> None:
    """Paper processes import no client of a venue, whatever they import in turn."""
    code = """
import sys
import tbv8.live.host, tbv8.live.results, tbv8.aggregate
clients = ("ccxt", "requests", "aiohttp", "websockets", "tbv8.backtest")
print([name for name in clients if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_a_strategy_imports_nautilus_trader_numpy_and_other_strategies_only() -> None:
    for path in MODULES:
        if layer_of(path) == "strategies":
            for name in imports(path):
                first, *rest = name.split(".")
                known = (*sys.stdlib_module_names, "nautilus_trader", "numpy")
                assert first in known or rest[:1] == ["strategies"], f"{path} imports {name}"


def test_the_dodo_file_knows_tasks_alone() -> None:
    assert sorted(imports(ROOT / "dodo.py")) == ["doit.task_params", "tbv8.tasks"]


def test_migrations_know_the_schema_alone() -> None:
    for path in (ROOT / "migrations").rglob("*.py"):
        for name in imports(path):
            first, *rest = name.split(".")
            if first == "tbv8":
                assert rest[0] in ("store", "market"), f"{path} imports {name}"
            else:
                assert first in (*sys.stdlib_module_names, "alembic", "sqlalchemy"), name


def test_starting_imports_nothing_heavy(tmp_path: Path, migrated_db: Path) -> None:
    """Heavy imports cost a second at each start, and polars hangs in a forked child."""
    # given the project as it is, with a database
    copy_config(tmp_path)
    for name in ("dodo.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(migrated_db, tmp_path / "data" / "tbv8.sqlite")
    venues = sorted(
        f"tbv8.venues.{path.stem}"
        for path in (ROOT / "tbv8" / "venues").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists())
        and path.stem != "http"  # requests itself, which those who use it import late
    )

    commands = [f"tbv8.commands.{path.stem}" for path in (ROOT / "tbv8/commands").glob("[a-z]*.py")]
    modules = ["tbv8.tasks", *sorted(commands), *venues]

    # when all is imported that a start imports, and every task is asked whether it is fresh
    code = f"""
import importlib, sys

def heavy():
    return [name for name in {HEAVY!r}.split() if name in sys.modules]

for name in {modules!r}:
    importlib.import_module(name)
    print(name, heavy())

from doit.doit_cmd import DoitMain

print("ended with", DoitMain().run(["list", "--all", "--status"]), heavy())
"""
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    # then
    assert said.stderr == ""
    lines = said.stdout.splitlines()
    imported = [f"{name} []" for name in modules]
    assert lines[: len(imported)] == imported
    assert [line for line in lines if line.startswith("R backtest:btc_usdt_perp_v1")]
    assert lines[-1] == "ended with 0 []"


def test_no_test_imports_a_command_into_its_process() -> None:
    """The first takes over Ctrl-C, SIGTERM and the collector, for the tests after it."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        taken = [name for name in imports(path) if name.startswith("tbv8.commands")]
        assert not taken, f"{path} imports {taken}: test it by a doit process"
