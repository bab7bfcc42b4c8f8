"""The database that most tests begin with, and how hypothesis tries its examples."""

from __future__ import annotations

import compileall
import fcntl
import gc
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.builders import ROOT, Shared

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # children keep compiled modules, as a user's do
sys.dont_write_bytecode = False  # each worker would compile all tests anew: half of its collection
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no code here uses it; half the time of numpy's import

pytest.register_assert_rewrite("tests.trading.cases")
settings.register_profile(
    "tbv8",
    deadline=None,  # a shared machine is slow at times
    derandomize=True,  # a landing does not depend on luck
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tbv8")

_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 * 2**30
_TESTS = ROOT / "tests"


def pytest_configure(config: pytest.Config) -> None:
    """Compile tbv8 once, not in each copy of it that a test makes of a fresh clone."""
    if not hasattr(config, "workerinput"):  # in a worker of xdist it has been done
        compileall.compile_dir(ROOT / "tbv8", quiet=2)
        with suppress(OSError):  # no such folder
            place = os.statvfs(_MEMORY)
            if place.f_bavail * place.f_frsize > _ROOM_BYTES and not place.f_flag & os.ST_NOEXEC:
                # SQLite waits for the disk at each commit, and nothing here outlives the machine
                os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Return a function that fills a folder once for all workers of a run; do not change it."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def share(name: str, make: Callable[[Path], None]) -> Path:
        """Return the folder that `make` fills, by this worker or by another one."""
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return share


@pytest.fixture(scope="session")
def migrated_db(shared: Shared) -> Path:
    from tbv8.store.schema import migrate

    name = "tbv8.sqlite"
    return shared("migrated", lambda folder: migrate(folder / name, root=ROOT)) / name


@pytest.fixture
def db_path(migrated_db: Path, tmp_path: Path) -> Path:
    """Return a database of the newest revision without a row."""
    return Path(shutil.copy(migrated_db, tmp_path / "tbv8.sqlite"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let one worker begin with the recorder's tests, and another one with those of pages.

    xdist gives each worker an equal part of the list, from its start on. The recorder's tests wait
    most of the time: in the order of their folders all workers came to them at once, and two cores
    had nothing to do. Pages need a browser, which takes five CPU-seconds in each worker.
    """
    recorder = _TESTS / "recorder"
    of_command = recorder.parent / "e2e" / "test_record.py"
    items.sort(key=lambda item: (item.path != of_command, not item.path.is_relative_to(recorder)))
    of_pages = [item for item in items if item.get_closest_marker("browser")]
    others = [item for item in items if not item.get_closest_marker("browser")]
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    start = len(items) // workers if workers > 1 else len(others)
    items[:] = [*others[:start], *of_pages, *others[start:]]


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect tests without collecting garbage, and take them out of every later collection."""
    gc.disable()
    is_whole = [ROOT / arg for arg in session.config.args] == [_TESTS]
    if is_whole and "PYTEST_XDIST_WORKER" in os.environ:
        _import_tests()
    result = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return result


def _import_tests() -> None:
    """Import all tests, each worker from a part of its own on.

    Where nothing is compiled yet, as in a fresh clone, the workers would else compile each module
    and library at the same moment, all of them.
    """
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    paths = sorted(_TESTS.rglob("test_*.py"))
    start = len(paths) * worker // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    for path in [*paths[start:], *paths[:start]]:
        with suppress(Exception):  # pytest, which imports it next, reports what is wrong with it
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
