"""The versions that pip alone installs are those that uv installs and that the tests ran with."""

from __future__ import annotations

import re
import runpy
import tomllib
from importlib.metadata import version
from typing import Any

import pytest

from tests.builders import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def exact(requirements: list[str]) -> dict[str, str]:
    """Return the versions that are required exactly, by the names that registries use."""
    found = (re.match(r"([\w-]+)==([\w.]+)", each) for each in requirements)
    return {match[1].replace("_", "-").lower(): match[2] for match in found if match}


@pytest.fixture(scope="module")
def pin() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci/pin"))


def test_what_results_depend_on_is_exact_and_as_in_the_list() -> None:
    read = tomllib.loads(PYPROJECT)

    exactly = exact(read["project"]["dependencies"])
    listed = exact(read["tool"]["uv"]["constraint-dependencies"])

    assert exactly.keys() == {"nautilus-trader", "numpy", "pyarrow", "polars", "plotly"}
    assert exactly == {name: listed[name] for name in exactly}
    assert exactly == {name: version(name) for name in exactly}


def test_moving_the_pins_moves_both(pin: dict[str, Any]) -> None:
    listed = tomllib.loads(PYPROJECT)["tool"]["uv"]
    closure = [line.replace("numpy==2", "numpy==3") for line in listed["constraint-dependencies"]]

    moved = tomllib.loads(pin["pinned"](PYPROJECT, closure, ["hatchling==9"]))

    newest = exact(closure)["numpy"]
    assert newest.startswith("3.")
    assert f"numpy=={newest}" in moved["project"]["dependencies"]
    assert moved["tool"]["uv"]["constraint-dependencies"] == closure
    assert moved["tool"]["uv"]["build-constraint-dependencies"] == ["hatchling==9"]
    assert pin["pinned"](PYPROJECT, *listed.values()) == PYPROJECT


def test_newer_versions_are_looked_for_from_todays_on(pin: dict[str, Any]) -> None:
    read = tomllib.loads(pin["unpinned"](PYPROJECT))

    engine = re.search(r"nautilus_trader==([\w.]+),<3", PYPROJECT)
    assert engine is not None
    assert f"nautilus_trader>={engine[1]},<3" in read["project"]["dependencies"]
    assert not exact(read["project"]["dependencies"])
    assert read["tool"]["uv"] == {}
