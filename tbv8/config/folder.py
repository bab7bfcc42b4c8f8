"""The files of `config/`: found, read, and named as their ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tbv8.config.document import Document, read_document
from tbv8.config.files import NAME
from tbv8.errors import ConfigError


def read_config(root: Path, name: str, cure: str) -> Document:
    """Read a file of config/.

    Args:
        root: The project's folder.
        name: The file's name.
        cure: What to write if the file is missing.

    Raises:
        ConfigError: The file is missing, or is not a YAML mapping.
    """
    path = root / "config" / name
    if not path.is_file():
        if path.with_suffix(".yml").is_file():
            cure = f"rename {path.stem}.yml"
        raise ConfigError(f"file not found: {cure}", path=path.relative_to(root))
    return read_document(path, root=root)


def load_files[T](
    root: Path, name: str, noun: str, cure: str | None, load: Callable[[Document], T]
) -> tuple[dict[str, T], dict[str, ConfigError]]:
    """Load each file of a folder of config/; return the records and the errors, by file name.

    Args:
        root: The project's folder.
        name: The folder's name.
        noun: What a file configures, for errors.
        cure: What to write if there is no file; None if there need not be one.
        load: Turns a document into a record.
    """
    loaded: dict[str, T] = {}
    broken: dict[str, ConfigError] = {}
    for path in _paths(root, name, noun, cure):
        try:
            if (twin := path.with_suffix(".yaml")) != path and twin.exists():
                raise ConfigError(
                    f"same id as {twin.name}: remove one of the two files",
                    path=path.relative_to(root),
                )
            loaded[path.stem] = load(read_document(path, root=root))
        except ConfigError as e:
            loaded.pop(path.stem, None)
            broken[path.stem] = e
    return loaded, broken


def _paths(root: Path, name: str, noun: str, cure: str | None) -> list[Path]:
    """Return the files of a folder of config/, by name; see `load_files`."""
    folder = root / "config" / name
    paths = sorted(
        path
        for path in folder.glob("[!.]*")  # no backup files of editors
        if path.suffix in (".yaml", ".yml")
    )
    if not paths and cure is not None:
        raise ConfigError(
            f"no {noun} found: write {cure}",
            path=folder.relative_to(root),
        )
    return paths


def check_name(document: Document, key: str, name: str) -> str:
    """Return a name; refuse it if it is not the name of the file."""
    if name != document.path.stem:
        document.refuse((key,), f"{name!r} must be the file's name, {document.path.stem!r}")
    if problem := name_problem(name):
        document.refuse((key,), problem)
    return name


def name_problem(name: str) -> str | None:
    """Return the problem of an id that cannot be a file's name; None if it can."""
    if re.fullmatch(NAME, name):
        return None
    return f"{name!r} must consist of letters, digits, _ and -, and begin with a letter or digit"
