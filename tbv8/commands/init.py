"""`tbv8 init FOLDER`: a project's folder in which everything works without a clone.

What it copies lies in the wheel below `tbv8/project`, or in the clone that is installed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tbv8.errors import DataError

_PACKAGE = Path(__file__).parents[1]
_IGNORED = "data/*\n!data/.gitkeep\nconfig/.schemas/\n__pycache__/\n"


def init(folder: Path) -> list[str]:
    """Make a project's folder; return the names of what is in it.

    Raises:
        DataError: Something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is there already and not empty: write another folder")
    source = _PACKAGE / "project"
    if not source.is_dir():
        source = _PACKAGE.parent
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "dodo.py", folder / "dodo.py")
    shutil.copytree(source / "config", folder / "config", ignore=shutil.ignore_patterns(".*"))
    pyproject = (source / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(_doit_tables(pyproject), encoding="utf-8")
    (folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / ".gitkeep").touch()
    return sorted(path.name for path in folder.iterdir())


def _doit_tables(pyproject: str) -> str:
    """Return the part of tbv8's pyproject.toml that tells pydoit its commands."""
    return "# the commands of tbv8, for doit\n" + pyproject[pyproject.index("[tool.doit") :]
