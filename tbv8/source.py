"""Python sources read as syntax trees, never imported: classes, params, imports, digests.

A digest is over the syntax tree, so that a comment or a blank line changes nothing, and it is the
same on any machine with the same Python.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

GIVEN = frozenset({"instrument_id", "bar_type", "max_position"})
"""What tbv8 itself passes to a strategy's config class, beside the params of its YAML."""


@lru_cache
def parse_source(path: Path) -> ast.Module:
    """Parse one file; kept for the life of the process.

    Raises:
        SyntaxError: It is not Python.
        OSError: It cannot be read.
    """
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@lru_cache
def digest_source(path: Path) -> str:
    """Return the sha256 of the file's syntax tree."""
    return hashlib.sha256(ast.dump(parse_source(path)).encode()).hexdigest()


def classes(path: Path) -> dict[str, ast.ClassDef]:
    """Return the module's top-level classes by name."""
    return {node.name: node for node in parse_source(path).body if isinstance(node, ast.ClassDef)}


def params(config_class: ast.ClassDef) -> dict[str, bool]:
    """Return the names of the params that a config class takes, and whether each is required.

    They are its annotated fields (a dataclass) or the arguments of its `__new__` or `__init__`.
    """
    found: dict[str, bool] = {}
    for node in config_class.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node.value is None
        if isinstance(node, ast.FunctionDef) and node.name in ("__new__", "__init__"):
            spec = node.args
            named = [*spec.posonlyargs, *spec.args][1:]
            required = len(named) - len(spec.defaults)
            found |= {arg.arg: index < required for index, arg in enumerate(named)}
            keyword = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
            found |= {arg.arg: default is None for arg, default in keyword}
    return {name: needed for name, needed in found.items() if name not in GIVEN}


def project_imports(paths: Iterable[Path], *, root: Path) -> list[Path]:
    """Return `paths` and every file below `root` that they import, at any depth, sorted."""
    found: set[Path] = set()
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting.extend(_imported(path, root))
    return sorted(found)


def _imported(path: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(parse_source(path)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(root).parts[: -node.level] if node.level else ()
            base = ".".join((*package, *([node.module] if node.module else [])))
            modules = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            yield from _files(root.joinpath(*module.split(".")))


def _files(module: Path) -> Iterator[Path]:
    for candidate in (module.with_suffix(".py"), module / "__init__.py"):
        if candidate.is_file():
            yield candidate
