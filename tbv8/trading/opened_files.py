"""Record the files that a strategy's code opens and imports during a run, by Python's audit events.

A file below the project's folder, or in the repository of a strategy outside of it, becomes part of
the result's key. Inputs that cannot be part of the key are refused: other files, databases,
connections, programs, and libraries that open files without an event
(`tbv8.config.source.UNTRACKED`). SQLite is refused since ATTACH raises no event either (tried).
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from tbv8.config import records
from tbv8.config.source import (
    digest_file,
    is_file,
    is_untracked,
    strategy_sources,
    untracked_imports,
    untracked_problem,
)
from tbv8.trading.loading import StrategyError

_TBV8 = f"{Path(__file__).parents[1]}/"
_STRATEGIES = f"{_TBV8}strategies/"
_LIBRARIES = tuple(
    f"{os.path.realpath(path)}/"
    for path in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}
)
_SYSTEM = (  # files of the machine that Python and libraries read
    *("/dev/", "/proc/", "/sys/", "/usr/share/zoneinfo/", "/etc/ssl/"),
    *(f"/etc/{name}" for name in ("localtime", "timezone", "mime.types", "os-release")),
)
_IN_MEMORY = "/dev/shm/"  # a folder like any other; some keep data in it, for its speed
_REFUSED = {
    "sqlite3.connect": "opens the database",
    "socket.connect": "connects to",
    "socket.getaddrinfo": "connects to",
    "subprocess.Popen": "starts",
    "os.exec": "starts",
    "os.posix_spawn": "starts",
    "os.system": "starts",
    "os.fork": "starts a process",
}
_LISTING = ("os.listdir", "os.scandir")
_EVENTS = frozenset((*_REFUSED, *_LISTING, "open", "import"))

_ACTIVE: list[OpenedFiles] = []  # an audit hook cannot be removed: it does nothing without one
_IN_HOOK = threading.local()  # files opened for a digest are not the strategy's


class OpenedFiles:
    """The files that a strategy has opened, below the project's folder or in its repository."""

    def __init__(self, strategy: records.Strategy) -> None:
        self._strategy_id = strategy.strategy_id
        self._root = _absolute(strategy.root)
        self._repository = self._root
        self._files: dict[str, tuple[str, str]] = {}
        self._refused: list[str] = []
        # Imported by name: these are in the key already, or packages without code, which may be
        # in memory from an earlier run.
        self._sources: set[str] = set()
        if strategy.module_path.is_file():
            sources, below = strategy_sources(strategy.module, root=strategy.root)
            packages = {folder / "__init__.py" for path in sources for folder in path.parents}
            self._sources = {_absolute(path) for path in {*sources, *packages}}
            if is_file(strategy.module):
                self._repository = _absolute(below)

    def files(self) -> dict[str, str]:
        """Return the digest of each file and folder, by its path relative to the project's folder.

        Raises:
            StrategyError: The strategy opened something that cannot be part of a key.
        """
        for name, (digest, place) in self._files.items():
            if digest_file(Path(self._root, name)) != digest:
                self._refuse(f"{place} opens {name}, which the run itself changes")
        code = [Path(self._root, name) for name in self._files if name.endswith(".py")]
        self._refused.extend(untracked_imports(code, root=Path(self._root)))
        if self._refused:
            raise StrategyError(f"{self._strategy_id}: {self._refused[0]}")
        return {name: digest for name, (digest, _) in sorted(self._files.items())}

    def data(self) -> list[str]:
        """Return `<place> opens <file>` for each data file, with the place that opened it first."""
        return [
            f"{place} opens {name}"
            for name, (_, place) in self._files.items()
            if not name.endswith((".py", ".so"))
        ]

    def record(self, event: str, args: tuple[Any, ...], frame: FrameType) -> None:
        """Record an audit event, if user code caused it."""
        line = _user_line(frame, is_listing=event in _LISTING)
        if line is None:
            return
        filename, number = line
        place = f"{self._name(_absolute(filename))}:{number}"
        if event in _REFUSED:
            words = [str(arg) for arg in args if isinstance(arg, str | bytes | tuple | list | int)]
            self._refuse(f"{place} {_REFUSED[event]} {' '.join(words[:1])}".rstrip())
        elif (path := _path(event, args)) is not None:
            self._record_path(path, place)

    def _refuse(self, action: str) -> None:
        self._refused.append(
            f"{action}, but all inputs of a result must be known: read files of the "
            "project's folder with open(), csv, json or numpy"
        )

    def _name(self, path: str) -> str:
        """Return a path relative to the project's folder; an absolute one if it lies elsewhere."""
        if path.startswith((f"{self._root}/", f"{self._repository}/")):
            return os.path.relpath(path, self._root)
        return path

    def _record_path(self, path: str, place: str) -> None:
        name = self._name(path)
        if module := _untracked_library(path):
            self._refused.append(untracked_problem(place, module))
        if name in self._files or path in self._sources:
            return
        if _is_library(path):
            return
        if name == path and (path.startswith(_TBV8) or _is_of_system(path)):
            return
        if name == path:
            self._refuse(f"{place} opens {path}, outside of the project's folder")
        else:
            self._files[name] = (digest_file(Path(path)), place)


@contextmanager
def track_files(strategy: records.Strategy) -> Iterator[OpenedFiles]:
    """Record the files that user code opens within the block; at its end, drop its modules."""
    _install_hook()
    opened = OpenedFiles(strategy)
    before = set(sys.modules)
    _ACTIVE.append(opened)
    try:
        yield opened
    finally:
        _ACTIVE.remove(opened)
        for name in sys.modules.keys() - before:
            if _is_users(getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


@cache
def _install_hook() -> None:
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _ACTIVE and event in _EVENTS and not getattr(_IN_HOOK, "now", False):
        _IN_HOOK.now = True
        try:
            _ACTIVE[-1].record(event, args, sys._getframe(1))
        finally:
            _IN_HOOK.now = False


def _is_users(filename: str) -> bool:
    """Return True for user code: no library, and no code of tbv8 but strategies."""
    if not filename or filename.startswith("<") or _is_library(filename):
        return False
    return filename.startswith(_STRATEGIES) or not filename.startswith(_TBV8)


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) or os.path.realpath(path).startswith(_LIBRARIES)


def _is_of_system(path: str) -> bool:
    return path.startswith(_SYSTEM) and not path.startswith(_IN_MEMORY)


def _untracked_library(path: str) -> str | None:
    """Return the name of a library's module, if it is in `UNTRACKED`."""
    *_, module = path.partition("/site-packages/")
    name = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name and is_untracked(name) else None


def _user_line(frame: FrameType | None, *, is_listing: bool) -> tuple[str, int] | None:
    """Return the line of user code that opens a file, by itself or through a library's function.

    None for files that a library opens during its import, and for the search of a module.
    """
    by_library = is_listing
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename.startswith("<frozen"):
            if by_library:
                return None
        elif _is_users(filename):
            return filename, frame.f_lineno
        elif not filename.startswith("<") and filename.startswith(_TBV8):
            return None
        else:
            by_library = True
        frame = frame.f_back
    return None


def _path(event: str, args: tuple[Any, ...]) -> str | None:
    """Return the path that an event reads, if any; for compiled code, the path of its source."""
    path = args[1] if event == "import" else args[0]
    if event in _LISTING and path is None:
        path = "."
    if not isinstance(path, str | bytes | os.PathLike):  # a file descriptor: it is open already
        return None
    if event == "open" and not _reads(args[1], args[2]):
        return None
    text = _absolute(os.fsdecode(path))
    if text.endswith(".pyc"):
        source = importlib.util.source_from_cache(text)
        return source if Path(source).exists() else text
    return text


def _absolute(path: str | Path) -> str:
    """Return the path without `..`; links are not resolved, since data may lie elsewhere."""
    return os.path.normpath(Path(path).absolute())


def _reads(mode: str | None, flags: int) -> bool:
    if mode is None:
        return flags & os.O_ACCMODE != os.O_WRONLY
    return "r" in mode or "+" in mode
