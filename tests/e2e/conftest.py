"""A copy of the project in its own folder, and real `doit` processes in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import Shared, copy_config
from tests.e2e.forked import run_doit

ROOT = Path(__file__).parent.parent.parent
_ENVIRONMENT = {"NO_PROXY": "127.0.0.1", "PYTHONUNBUFFERED": "1"}
ONE_WEEK = ("start=2024-01-01", "end=2024-01-08")


@dataclass(frozen=True)
class Project:
    """A project's folder, and doit in it."""

    root: Path

    @property
    def db_path(self) -> Path:
        return self.root / "data" / "tbv8.sqlite"

    @property
    def results(self) -> Path:
        return self.root / "data" / "results"

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start doit, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "doit", *words],
            cwd=self.root,
            env=self._environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def doit(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run doit to its end and check its exit code."""
        if any(name.startswith("PYTHON") for name in env):  # which Python reads as it starts
            child = self.start(*words, **env)
            out, err = child.communicate(timeout=390)
            end = subprocess.CompletedProcess(words, child.returncode, out, err)
        else:
            end = run_doit(words, cwd=self.root, env=self._environment(env), timeout_s=390)
        assert end.returncode == code, f"exit code {end.returncode}\n{end.stdout}\n{end.stderr}"
        return end

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a child: tbv8 is that of the project, if it has one."""
        return {**os.environ, **_ENVIRONMENT, "PYTHONPATH": f"{self.root}:{ROOT}", **more}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file; it must be there."""
        text = self._own(name).read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        self.write(name, text.replace(old, new))

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        self._own(name).write_text(text, encoding="utf-8")

    def _own(self, name: str) -> Path:
        """Return a file's path; before one of tbv8 changes, the project gets a tbv8 of its own."""
        if name.startswith("tbv8/") and not (self.root / "tbv8").exists():
            shutil.copytree(ROOT / "tbv8", self.root / "tbv8")
        return self.root / name

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as somebody with a shell would."""
        connection = sqlite3.connect(self.db_path, timeout=30)
        try:
            rows = connection.execute(statement).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def state(self) -> dict[str, object]:
        """Return what must not depend on how it came about: ledgers, rows and result files."""
        tables = [
            str(name)
            for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name == "ohlcv_1m" or str(name).startswith("bars_")
        ]
        return {
            "ledger": self.sql(
                "SELECT venue, symbol, dataset, day_ms, start_ms, end_ms, bars, missing, digest,"
                " built_from FROM history_coverage ORDER BY 1, 2, 3, 4"
            ),
            "rows": {name: self._rows(name) for name in tables},
            "files": {
                str(path.relative_to(self.results)): path.read_bytes()
                for path in sorted(self.results.rglob("*"))
                if path.is_file()
            },
        }

    def _rows(self, table: str) -> str:
        rows = self.sql(f'SELECT * FROM "{table}" ORDER BY venue, symbol, ts_ms')
        return hashlib.sha256(repr(rows).encode()).hexdigest()


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    """Return a copy of the project without data."""
    return copy_project(tmp_path / "clone")


@pytest.fixture
def project(bare: Project, migrated_db: Path) -> Project:
    """Return a copy of the project with a database without rows."""
    shutil.copy(migrated_db, bare.db_path)
    return bare


@pytest.fixture(scope="session")
def finished(shared: Shared, migrated_db: Path) -> Project:
    """Return a project in which one week of the sample market ran to the end; do not change it."""

    def make(folder: Path) -> None:
        made = copy_project(folder / "clone")
        shutil.copy(migrated_db, made.db_path)
        made.doit(*ONE_WEEK, "aggregate", "backtest")

    return Project(shared("finished", make) / "clone")


@pytest.fixture(scope="session")
def finished_state(finished: Project) -> dict[str, object]:
    """Return the state of the finished project, which any way to it must end in."""
    return finished.state()


@pytest.fixture(scope="session")
def looked_ahead(finished: Project, shared: Shared) -> Project:
    """Return the finished project after `doit lookahead`; `lookahead.txt` is what that printed."""

    def make(folder: Path) -> None:
        made = Project(shutil.copytree(finished.root, folder / "clone"))
        ran = made.doit(*ONE_WEEK, "lookahead:btc_usdt_perp_v1")
        assert ran.stderr == ""
        (made.root / "lookahead.txt").write_text(ran.stdout, encoding="utf-8")

    return Project(shared("looked_ahead", make) / "clone")


@pytest.fixture
def done(finished: Project, tmp_path: Path) -> Project:
    """Return a copy of the finished project."""
    shutil.copytree(finished.root, tmp_path / "done")
    return Project(tmp_path / "done")


def copy_project(root: Path, *, examples: str = "btc_usdt_perp_v1") -> Project:
    """Copy what a clone has but tbv8; of the example strategies those that fit a pattern."""
    root.mkdir(parents=True)
    for name in ("dodo.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root)
    copy_config(root)
    shutil.copytree(ROOT / "migrations", root / "migrations")
    for path in set(root.glob("config/strategies/*.yaml")) - set(
        root.glob(f"config/strategies/{examples}.yaml")
    ):
        path.unlink()
    shutil.rmtree(root / "config" / "experiments")  # a test that has one writes it
    (root / "data").mkdir()
    return Project(root)


@pytest.fixture
def children() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Keep the processes that a test starts, and end those that it leaves behind."""
    started: list[subprocess.Popen[str]] = []

    def keep(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
        started.append(child)
        return child

    yield keep
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
