"""Python sources, read without importing them: classes, params, imports, digests.

A source's digest covers its compiled code without line numbers: comments and blank lines change
nothing, and it is the same on any machine with the same Python.
"""

from __future__ import annotations

import ast
import hashlib
import marshal
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache, partial
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType
from typing import Any

import msgspec

from tbv8.errors import ConfigError

_PACKAGE = Path(__file__).parent.parent

STRATEGIES = _PACKAGE / "strategies"
"""The folder of the strategies that are named as `module.Class`."""

INJECTED = frozenset(
    ("instrument_id", "bar_type", "max_position", "instrument_ids", "bar_types", "max_positions")
)
"""The arguments that tbv8 itself passes to a strategy's config class, beside the YAML's params."""

UNTRACKED = frozenset(
    (
        *("adbc_driver_manager", "adbc_driver_sqlite", "apsw", "cffi", "connectorx", "ctypes"),
        *("datafusion", "deltalake", "duckdb", "h5py", "netCDF4", "polars", "pyarrow", "tables"),
        *(f"nautilus_trader.{name}" for name in ("adapters", "network", "persistence")),
        *(f"tbv8.{name}" for name in ("backfill", "build", "recorder", "store", "venues")),
    )
)
"""Modules that open files or connections by native code, which raises no audit event.

Tried with Python 3.12: polars, pyarrow and adbc raise none; open(), numpy, sqlite3 and sockets do.
"""

_ROOT_MARKS = (".git", "pyproject.toml")  # of a repository
_LIBRARIES = ("site-packages", "dist-packages")

ABSENT = "absent"
"""The digest of a file that does not exist."""

_SIMPLE_TYPES: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "Decimal": Decimal,
    "decimal.Decimal": Decimal,
    "None": type(None),
}

_FIELDLESS = frozenset({"object", "StrategyConfig", "Struct", "NamedTuple"})


class Params(msgspec.Struct, frozen=True):
    """The parameters of a config class: each name, and True if it is required.

    `closed` is False if the class may accept others, known only at run time: by `**kwargs`, or from
    a base class of another module.
    """

    required: dict[str, bool]
    closed: bool = True


def is_file(module: str) -> bool:
    """Return True if a strategy's module is named by the path of its file."""
    return module.endswith(".py")


def class_text(module: str, class_name: str) -> str:
    """Return a strategy's class as its file names it: `ema_cross.EmaCross`, `my/x.py:Class`."""
    return f"{module}{':' if is_file(module) else '.'}{class_name}"


def module_path(module: str, *, root: Path) -> Path:
    """Return the file of a strategy's module: dotted, or the path of a file from `root`."""
    if is_file(module):
        path = root / module
        return Path(os.path.normpath(path.absolute())) if ".." in path.parts else path
    return STRATEGIES / f"{module.replace('.', '/')}.py"


def import_root(module: str, *, root: Path) -> Path:
    """Return the folder on sys.path for a strategy's module and its imports.

    For a file outside the project it is the file's repository: the nearest parent folder with a
    `.git` or a pyproject.toml, else the file's own folder.
    """
    if not is_file(module):
        return STRATEGIES.parent.parent
    path = module_path(module, root=root)
    if path.is_relative_to(root):
        return root
    marked = (p for p in path.parents if any((p / name).exists() for name in _ROOT_MARKS))
    return next(marked, path.parent)


def strategy_modules() -> Iterator[str]:
    """Yield the modules below `tbv8/strategies/`, dotted, as a strategy file names them."""
    for path in sorted(STRATEGIES.rglob("*.py")):
        parts = path.relative_to(STRATEGIES).with_suffix("").parts
        if path.stem != "__init__" and all(part.isidentifier() for part in parts):
            yield ".".join(parts)


@lru_cache
def parse_source(path: Path) -> ast.Module:
    """Parse one file; cached for the life of the process.

    Raises:
        ConfigError: It cannot be read, or is not Python.
    """
    return _read(path, ast.parse)


def _read[T](path: Path, parse: Callable[[bytes, str], T]) -> T:
    """Parse a file's bytes under the name that errors show.

    Raises:
        ConfigError: It cannot be read, or is not Python.
    """
    working_folder = Path.cwd()
    shown = path.relative_to(working_folder) if path.is_relative_to(working_folder) else path
    try:
        return parse(path.read_bytes(), str(shown))
    except OSError as e:
        raise ConfigError(f"cannot be read: {e.strerror}", path=shown) from e
    except SyntaxError as e:
        raise ConfigError(f"not Python: {e.msg}", path=shown, line=e.lineno) from e


@lru_cache
def _imports(tree: ast.Module) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Return every import statement at any depth; cached, since each start needs it three times."""
    nodes = ast.walk(tree)
    return tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


@lru_cache
def digest_source(path: Path) -> str:
    """Return the sha256 of a file's code; cached for the life of the process.

    Raises:
        ConfigError: It cannot be read, or is not Python.
    """
    is_ours = path.is_relative_to(_PACKAGE) and not path.is_relative_to(STRATEGIES)
    return _digest_code(_read(path, partial(_compiled, path) if is_ours else _compile))


def _compiled(path: Path, source: bytes, name: str) -> CodeType:
    """Return the code of a tbv8 module as an import would run it, from its .pyc if there is one.

    A `doit` with nothing to do needs the code of each module of the engine, and compiling them
    takes five times as long. With `python -O` the .pyc is not used: it lacks some statements.
    """
    code = None if sys.flags.optimize else SourceFileLoader(name, str(path)).get_code(name)
    return code or _compile(source, name)


def _compile(source: bytes, name: str, *, optimize: int = 0) -> CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # a run shows it, not each doit
        return compile(source, name, "exec", dont_inherit=True, optimize=optimize)


def remove_stale_bytecode(paths: Iterable[Path]) -> None:
    """Remove each .pyc that Python would import although its source has changed.

    Python compares the size of a source and its time in whole seconds. After two edits within one
    second, or from an archive that sets all times alike, it would run the old code.

    Raises:
        ConfigError: A source cannot be read, or is not Python.
        OSError: A stale .pyc cannot be removed.
    """
    for path in paths:
        source = _read(path, partial(_compile, optimize=-1))
        loaded = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
        if loaded and _digest_code(loaded) != _digest_code(source):
            Path(cache_from_source(path)).unlink()


def _digest_code(code: CodeType) -> str:
    """Return the sha256 of compiled code without its file names and line numbers."""
    # Version 0 of marshal: later ones write objects that are shared by chance as references.
    return hashlib.sha256(marshal.dumps(_without_places(code), 0)).hexdigest()


def _without_places(code: CodeType) -> CodeType:
    """Return compiled code, and all code nested in it, without file name and line numbers."""
    constants = (_without_places(x) if isinstance(x, CodeType) else x for x in code.co_consts)
    return code.replace(
        co_filename="", co_firstlineno=1, co_linetable=b"", co_consts=tuple(constants)
    )


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, of a source's code or of a folder's names.

    `ABSENT` if it does not exist. Not cached, since a data file may change.
    """
    try:
        if path.is_dir():
            names = sorted(below.name for below in path.iterdir())
            return hashlib.sha256("\n".join(names).encode()).hexdigest()
        if path.suffix == ".py":
            with suppress(SyntaxError):
                return _digest_code(_compile(path.read_bytes(), path.name))
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ABSENT


def classes(path: Path) -> dict[str, ast.ClassDef]:
    """Return the module's top-level classes by name."""
    return {node.name: node for node in parse_source(path).body if isinstance(node, ast.ClassDef)}


def config_params(config_class: ast.ClassDef, module_classes: Mapping[str, ast.ClassDef]) -> Params:
    """Return the params that a config class accepts.

    They are the arguments of its `__new__` and `__init__`, else its annotated fields (a dataclass)
    and those of its bases.

    Args:
        config_class: The class.
        module_classes: The classes of its module, among them its bases.
    """
    accepted = _constructor_params(config_class, module_classes)
    required = {name: needed for name, needed in accepted.required.items() if name not in INJECTED}
    return Params(required, accepted.closed)


def injected_params(
    config_class: ast.ClassDef, module_classes: Mapping[str, ast.ClassDef]
) -> Params:
    """Return the arguments of a config class that tbv8 itself passes: those in `INJECTED`."""
    accepted = _constructor_params(config_class, module_classes)
    required = {name: needed for name, needed in accepted.required.items() if name in INJECTED}
    return Params(required, accepted.closed)


def param_types(
    config_class: ast.ClassDef, module_classes: Mapping[str, ast.ClassDef]
) -> dict[str, Any]:
    """Return the types of a dataclass's params, as far as they are simple.

    Simple types are numbers, texts and booleans, and unions of these.
    """
    is_dataclass = any(
        re.search(r"\bdataclass\b", ast.unparse(decorator))
        for decorator in config_class.decorator_list
    )
    has_constructor = any(
        isinstance(node, ast.FunctionDef) and node.name in ("__new__", "__init__")
        for node in config_class.body
    )
    if not is_dataclass or has_constructor:
        return {}
    found: dict[str, Any] = {}
    other_classes = {
        name: node for name, node in module_classes.items() if name != config_class.name
    }
    for base in config_class.bases:
        if (name := ast.unparse(base)) in other_classes:
            found |= param_types(other_classes[name], other_classes)
    for node in config_class.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.pop(node.target.id, None)
            if (kind := _simple_type(node.annotation)) is not None:
                found[node.target.id] = kind
    return found


def _simple_type(annotation: ast.expr) -> Any:
    """Return the type of an annotation; None if it is known only at run time."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        left, right = _simple_type(annotation.left), _simple_type(annotation.right)
        return None if left is None or right is None else left | right
    return _SIMPLE_TYPES.get(ast.unparse(annotation))


def _constructor_params(
    config_class: ast.ClassDef, module_classes: Mapping[str, ast.ClassDef]
) -> Params:
    signatures = [
        node.args
        for node in config_class.body
        if isinstance(node, ast.FunctionDef) and node.name in ("__new__", "__init__")
    ]
    required: dict[str, bool] = {}
    if signatures:
        for spec in signatures:
            required |= _arguments(spec)
        return Params(required, any(spec.kwarg is None for spec in signatures))
    closed = True
    other_classes = {
        name: node for name, node in module_classes.items() if name != config_class.name
    }
    for base in config_class.bases:
        name = ast.unparse(base).rpartition(".")[2]
        if name in other_classes:
            inherited = _constructor_params(other_classes[name], other_classes)
            required, closed = required | inherited.required, closed and inherited.closed
        else:
            closed = closed and name in _FIELDLESS
    return Params(required | dict(_fields(config_class)), closed)


def _arguments(spec: ast.arguments) -> Iterator[tuple[str, bool]]:
    """Yield the arguments after `self` or `cls`, and True for a required one."""
    named = [*spec.posonlyargs, *spec.args]
    first_optional = len(named) - len(spec.defaults)
    yield from ((arg.arg, index < first_optional) for index, arg in enumerate(named) if index)
    for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        yield arg.arg, default is None


def _fields(config_class: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    """Yield the annotated fields of the class's constructor, and True for a required one."""
    for node in config_class.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if re.search(r"\b(ClassVar|KW_ONLY)\b", ast.unparse(node.annotation)):
            continue
        required = node.value is None
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func).endswith("field"):
            options = {option.arg: ast.unparse(option.value) for option in node.value.keywords}
            if options.get("init") == "False":
                continue
            required = not options.keys() & {"default", "default_factory"}
        yield node.target.id, required


def strategy_sources(module: str, *, root: Path) -> tuple[list[Path], Path]:
    """Return the sorted files of a strategy's module and its imports, and their common folder.

    Files of tbv8 may lie outside that folder. Other imports, such as from a folder that was added
    to sys.path, are found when the strategy runs.
    """
    folder = import_root(module, root=root)
    return project_imports([module_path(module, root=root)], root=folder), folder


def project_imports(paths: Iterable[Path], *, root: Path) -> list[Path]:
    """Return `paths` and every file below `root` or of tbv8 that they import, at any depth, sorted.

    A module's packages are imported with it: an `__init__.py` counts if it holds more than a
    docstring.
    """
    files: set[Path] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files.add(path)
        needed = _needed_by_tbv8 if _is_of_tbv8(path) else _needed
        waiting.extend(needed(path, root))
    return sorted(files)


def foreign_imports(paths: Iterable[Path]) -> set[str]:
    """Return the top-level names that files import, without Python's standard library."""
    names: set[str] = set()
    for path in paths:
        for node in _imports(parse_source(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names


def untracked_imports(paths: Iterable[Path], *, root: Path) -> Iterator[str]:
    """Yield a message for each import of a module of `UNTRACKED`: its place, and the problem."""
    for path in paths:
        for node in _imports(parse_source(path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            if module := next((name for name in names if is_untracked(name)), None):
                shown = path.relative_to(root) if path.is_relative_to(root) else path
                yield untracked_problem(f"{shown}:{node.lineno}", module)


def is_untracked(module: str) -> bool:
    """Return True if a module, or a package around it, opens files without an audit event."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in UNTRACKED for count in range(1, len(parts) + 1))


def untracked_problem(place: str, module: str) -> str:
    """Return the message about a refused import: its place, the problem and the cure."""
    return (
        f"{place} imports {module}, and tbv8 cannot see which files it opens, so a stale result "
        "would go unnoticed: read data with open(), csv, json or numpy"
    )


@lru_cache
def _is_of_tbv8(path: Path) -> bool:
    return path.is_relative_to(_PACKAGE)


@lru_cache
def _needed_by_tbv8(path: Path, root: Path) -> tuple[Path, ...]:
    """Return the paths of `_needed`; cached, since strategies share most of them."""
    return tuple(_needed(path, root))


def _needed(path: Path, root: Path) -> Iterator[Path]:
    """Yield the modules below `root` or of tbv8 that a file imports, and all their packages."""
    folder = _folder_of(path, root)
    above = path.relative_to(folder)
    for parent in above.parents:
        yield from _package(folder / parent)
    for node in _imports(parse_source(path)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = above.parts[: -node.level] if node.level else ()
            base = ".".join((*package, *([node.module] if node.module else [])))
            modules = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in filter(None, modules):
            if place := _place(module.split("."), root):
                if (file := place.with_suffix(".py")).is_file():
                    yield file
                yield from _package(place)


def _place(parts: Sequence[str], root: Path) -> Path | None:
    """Return the path of a module, without its suffix; None for a library or an absent module."""
    folder = _folder_with(parts[0], root)
    return folder.joinpath(*parts) if folder else None


@lru_cache(maxsize=1024)
def _folder_with(name: str, root: Path) -> Path | None:
    """Return the folder of a top-level module or package: `root`, or the parent of tbv8 itself.

    None for a library, even if tbv8 itself is installed among the libraries. Cached, as most
    imports are of a few libraries.
    """
    package = STRATEGIES.parent
    if name == package.name and not (root / package.name).is_dir():
        return package.parent
    if name != package.name and root.name in _LIBRARIES:
        return None
    return root if (root / name).is_dir() or (root / f"{name}.py").is_file() else None


@lru_cache
def source_name(path: Path, root: Path) -> str:
    """Return a source's path from the folder that it is imported from."""
    return path.relative_to(_folder_of(path, root)).as_posix()


def _folder_of(path: Path, root: Path) -> Path:
    """Return the folder that a source is imported from: `root`, or the parent of tbv8 itself."""
    return root if path.is_relative_to(root) else STRATEGIES.parent.parent


@lru_cache(maxsize=1024)
def _package(folder: Path) -> tuple[Path, ...]:
    """Return the package's `__init__.py` if it holds more than a docstring; cached."""
    path = folder / "__init__.py"
    if not path.is_file():
        return ()
    tree = parse_source(path)
    return (path,) if len(tree.body) > (ast.get_docstring(tree) is not None) else ()
