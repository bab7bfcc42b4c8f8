"""A result's folder: written whole or not at all, with its manifest.

A result is written beside its place, as `.<name>.new`; the old one steps aside as `.<name>.old`,
the new one in, the old one goes. Writers hold a lock on the results folder meanwhile, which the
kernel takes from a killed process: what `sweep` finds while it has the lock is a leftover.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

_NEW, _OLD = ".new", ".old"


def write_result(folder: Path, write: Callable[[Path], None], *, inputs: Mapping[str, Any]) -> None:
    """Put what `write` writes into a folder in the place of `folder`, with its manifest.

    Args:
        folder: The result's folder, `data/results/<strategy_id>`.
        write: Fills the folder that it is given.
        inputs: What the result was made from: digest and value of each part.
    """
    new, old = (folder.with_name(f".{folder.name}{suffix}") for suffix in (_NEW, _OLD))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent):
        _clean(folder)
        try:
            new.mkdir()
            write(new)
            _write_manifest(new, inputs)
            for path in [*new.rglob("*"), new]:
                _sync(path)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            _sync(folder.parent)
        finally:
            _clean(folder)


def sweep(results_path: Path, names: Iterable[str]) -> None:
    """Remove what killed runs of `names` left; a result that had stepped aside comes back.

    Does nothing while another process writes a result, or where nothing may be written: the next
    start will, and whoever has something to write there says what is wrong.
    """
    if not results_path.is_dir():
        return
    with suppress(OSError), _locked(results_path, wait=False):
        for name in names:
            _clean(results_path / name)


def first_difference(old: Path, new: Path) -> str | None:
    """Return the first file and line in which two results differ, None when no byte does.

    Results are the files that either manifest lists, and the manifests themselves.
    """
    names = {
        name
        for folder in (old, new)
        for name in json.loads((folder / "manifest.json").read_text("utf-8"))["outputs"]
    }
    for name in [*sorted(names), "manifest.json"]:
        if not (old / name).is_file() or not (new / name).is_file():
            return f"{name} is gone" if (new / name).is_file() else f"{name} is not made any more"
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
    """Write JSON, keys in the order of the value's own."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _write_manifest(folder: Path, inputs: Mapping[str, Any]) -> None:
    outputs = {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"inputs": msgspec.to_builtins(inputs), "outputs": outputs}
    write_json(folder / "manifest.json", manifest)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(results_path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a results folder; BlockingIOError when it is held and we don't wait."""
    handle = os.open(results_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def _clean(folder: Path) -> None:
    """Bring back a result that only stepped aside, remove what lies beside it; under the lock."""
    new, old = (folder.with_name(f".{folder.name}{suffix}") for suffix in (_NEW, _OLD))
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (new, old):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
