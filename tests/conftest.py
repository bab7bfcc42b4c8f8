"""The database that most tests begin with, and how hypothesis tries its examples."""

from __future__ import annotations

import compileall
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.builders import ROOT

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # children keep compiled modules, as a user's do

settings.register_profile(
    "tbv8",
    deadline=None,  # a shared machine is slow at times
    derandomize=True,  # a landing does not depend on luck
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tbv8")


def pytest_configure(config: pytest.Config) -> None:
    """Compile tbv8 once, not in each copy of it that a test makes of a fresh clone."""
    if not hasattr(config, "workerinput"):  # in a worker of xdist it has been done
        compileall.compile_dir(ROOT / "tbv8", quiet=2)


@pytest.fixture(scope="session")
def migrated_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tbv8.store.schema import migrate

    path = tmp_path_factory.mktemp("migrated") / "tbv8.sqlite"
    migrate(path, root=ROOT)
    return path


@pytest.fixture
def db_path(migrated_db: Path, tmp_path: Path) -> Path:
    """Return a database of the newest revision without a row."""
    return Path(shutil.copy(migrated_db, tmp_path / "tbv8.sqlite"))
