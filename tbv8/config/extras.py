"""The commands that install optional libraries of tbv8, and packages that strategies import."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from tbv8.config.source import STRATEGIES

_EXTRAS = {"optuna": "search", "ray": "cluster"}
_PACKAGES = {"talib": "TA-Lib", "sklearn": "scikit-learn"}  # others have the module's name
_SOURCES = STRATEGIES.parent.parent


def missing_library(library: str, *, root: Path) -> str | None:
    """Return the message that a library is missing, with the cure; None if it is installed.

    `root` is the project's folder.
    """
    if find_spec(library) is not None:
        return None
    return f"{library} is not installed: run `{install_command(library, root=root)}`"


def install_command(library: str, *, root: Path) -> str:
    """Return the command that installs a library where tbv8 runs.

    In the folder of a clone that is `uv sync` with an extra, elsewhere `uv pip install`.
    """
    extra = _EXTRAS[library]
    if _is_clone(root):
        return f"uv sync --extra {extra}"
    requirements = (text.partition(";") for text in requires("tbv8") or [])
    needed = next(name.strip() for name, _, when in requirements if f"extra == '{extra}'" in when)
    return _install(needed)


def add_command(module: str, *, root: Path) -> str:
    """Return the command that installs the package of a module where tbv8 runs.

    In a clone `uv add` writes it to pyproject.toml too, so that `uv sync` keeps it.
    """
    package = _PACKAGES.get(module, module)
    return shlex.join(["uv", "add", package]) if _is_clone(root) else _install(package)


def _is_clone(root: Path) -> bool:
    return (root / "pyproject.toml").is_file() and root.resolve() == _SOURCES.resolve()


def _install(package: str) -> str:
    return shlex.join(["uv", "pip", "install", "--python", sys.prefix, package])
