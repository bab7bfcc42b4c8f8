"""`tbv8 init FOLDER`: create a project folder that works without a clone of tbv8.

The files come from `tbv8/project` in the wheel, or from the clone if that is installed; of
`config/` only the files in the wheel are copied.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from tbv8.errors import DataError

_PACKAGE = Path(__file__).parents[1]
_IGNORED = "data/*\n!data/.gitkeep\nconfig/.schemas/\n__pycache__/\n"


def init(folder: Path) -> list[str]:
    """Create a project folder; return the names of its files.

    Raises:
        DataError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists already and is not empty: choose another folder")
    source = _PACKAGE / "project"
    if not source.is_dir():
        source = _PACKAGE.parent
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "dodo.py", folder / "dodo.py")
    pyproject = (source / "pyproject.toml").read_text(encoding="utf-8")
    targets = tomllib.loads(pyproject)["tool"]["hatch"]["build"]["targets"]
    for name in targets["wheel"]["hooks"]["custom"]["config"]:
        (folder / "config" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / "config" / name, folder / "config" / name)
    (folder / "pyproject.toml").write_text(_doit_tables(pyproject), encoding="utf-8")
    (folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / ".gitkeep").touch()
    return sorted(path.name for path in folder.iterdir())


def _doit_tables(pyproject: str) -> str:
    """Return the part of tbv8's pyproject.toml that registers its commands with pydoit."""
    return "# the commands of tbv8, for doit\n" + pyproject[pyproject.index("[tool.doit") :]
