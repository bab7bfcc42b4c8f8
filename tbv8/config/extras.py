"""The optional libraries of tbv8: whether they are installed, and how to install them."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from tbv8.config.source import STRATEGIES

_EXTRAS = {"optuna": "search", "ray": "cluster"}
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
    if (root / "pyproject.toml").is_file() and root.resolve() == _SOURCES.resolve():
        return f"uv sync --extra {extra}"
    requirements = (text.partition(";") for text in requires("tbv8") or [])
    needed = next(name.strip() for name, _, when in requirements if f"extra == '{extra}'" in when)
    return shlex.join(["uv", "pip", "install", "--python", sys.prefix, needed])
