"""Replace a file or a folder atomically: a reader finds either the old one or the new one.

The new one is first written as `.<name>.tbv8-new` in the same folder. An old folder is renamed to
`.<name>.tbv8-old`, the new one takes its place, and the old one is removed. The writer holds a lock
on the parent folder, which the kernel releases when the process ends. So with the lock held, any
file under these names is a leftover of a killed process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST
from pathlib import Path

_NEW, _OLD = ".tbv8-new", ".tbv8-old"


@contextmanager
def replacing(path: Path, *, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield a temporary path for a new file or folder, which replaces `path` at the end.

    If anything is raised, `path` stays as it was. A file never replaces a folder, nor a folder a
    file.

    Args:
        path: The file or folder; missing parent folders are created.
        check: Raises if the present file or folder must not be replaced; called before anything is
            written.

    Raises:
        OSError: It could not be written; the error names `path`.
    """
    new, old = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            _clean(path)
            if check is not None:
                check(path)
            try:
                yield new
                for written in [*new.rglob("*"), new]:
                    _sync(written)
                _swap(new, path, old)
            finally:
                _clean(path)
    except OSError as e:
        if e.errno is None or e.filename not in (None, str(new), new):
            raise
        raise OSError(e.errno, os.strerror(e.errno), str(path)) from e


def sweep(parent: Path, names: Iterable[str]) -> None:
    """Remove the leftovers of killed writers of `parent/<name>`; restore an old folder.

    Does nothing while another process writes there, or without write permission. The next start
    tries again, and a writer reports the missing permission.
    """
    if not parent.is_dir():
        return
    with suppress(OSError), _locked(parent, wait=False):
        for name in names:
            _clean(parent / name)


def _beside(path: Path) -> tuple[Path, Path]:
    """Return the paths of the new file while it is written, and of the old one moved aside."""
    return path.with_name(f".{path.name}{_NEW}"), path.with_name(f".{path.name}{_OLD}")


def _swap(new: Path, path: Path, old: Path) -> None:
    is_folder = new.is_dir()
    if path.exists() and path.is_dir() != is_folder:
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path))
    if path.exists() and is_folder:
        path.rename(old)
    new.replace(path)
    if is_folder:
        _sync(path.parent)


def _clean(path: Path) -> None:
    """Restore an old folder without a successor, and remove other leftovers; needs the lock."""
    new, old = _beside(path)
    if old.exists() and not path.exists():
        old.rename(path)
    for leftover in (new, old):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder; without `wait`, raise BlockingIOError if it is taken."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
