"""A result's folder: written atomically, with its manifest.

A folder is a result if it has a manifest.json of tbv8. Only such a folder, or an empty one, is ever
replaced. Users' own files in it are kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from tbv8.errors import DataError
from tbv8.files import replacing
from tbv8.manifest import NAME, read_manifest


def write_result(folder: Path, write: Callable[[Path], None], *, inputs: Mapping[str, Any]) -> None:
    """Write a result's files and its manifest, and replace `folder` by them.

    Args:
        folder: The result's folder, `data/results/<strategy_id>`.
        write: Writes the files into the folder passed to it.
        inputs: The parts of the result's key: digest and value of each.

    Raises:
        DataError: `folder` exists and is not a result of tbv8.
    """
    with replacing(folder, check=check_replaceable) as new:
        new.mkdir()
        write(new)
        _write_manifest(new, inputs)
        for name in _users_files(folder):
            if (new / name).exists():
                raise DataError(f"{folder / name}: conflicts with a file of the result: move it")
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, new / name, follow_symlinks=False)


def check_replaceable(folder: Path) -> None:
    """Refuse anything but a result of tbv8 or an empty folder.

    Raises:
        DataError: It is another folder, a file, or a link.
    """
    cure = "move it elsewhere, or set another results_path in config/data.yaml"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DataError(f"{folder}: is not a folder, so no result can replace it: {cure}")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if names and read_manifest(folder) is None:
        raise DataError(
            f"{folder}: has {names[0]!r} but no manifest.json of tbv8, so no result can replace "
            f"it: {cure}"
        )


def _users_files(folder: Path) -> Iterator[str]:
    """Yield the names of users' own files in a result's folder."""
    manifest = read_manifest(folder)
    ours = {*manifest.outputs, NAME} if manifest else set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in ours and (path.is_symlink() or not path.is_dir()):
            yield name


def first_difference(old: Path, new: Path) -> str | None:
    """Return the first file and line in which two results differ; None if they are identical.

    Compared are the files listed in either manifest, and the manifests themselves.
    """
    names = {
        name
        for folder in (old, new)
        for name in json.loads((folder / NAME).read_text("utf-8"))["outputs"]
    }
    for name in [*sorted(names), NAME]:
        if not (old / name).is_file() or not (new / name).is_file():
            return f"{name} is gone" if (new / name).is_file() else f"{name} is no longer written"
        before, now = (old / name).read_bytes(), (new / name).read_bytes()
        if before != now:
            pairs = zip_longest(before.splitlines(True), now.splitlines(True), fillvalue=b"")
            number, (left, right) = next(
                (number, pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]
            )
            return f"{name}:{number}: {_shown_line(left)} became {_shown_line(right)}"
    return None


def _shown_line(line: bytes) -> str:
    text = line.decode("utf-8", "replace").rstrip("\n")
    return repr(text[:100]) if text else "nothing"


def write_json(path: Path, value: Any) -> None:
    """Write JSON with the keys in the order of `value`."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _write_manifest(folder: Path, inputs: Mapping[str, Any]) -> None:
    outputs = {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"inputs": msgspec.to_builtins(inputs), "outputs": outputs}
    write_json(folder / NAME, manifest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
