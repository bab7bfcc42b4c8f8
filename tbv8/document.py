"""YAML files as records: every refusal names file, line, key, what is wrong and the cure.

msgspec checks types and unknown keys; this module remembers on which line each key stands. Times
stay text (YAML 1.1 would make dates of some and not of others), a key given twice is refused.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from tbv8.errors import ConfigError

type Key = tuple[str | int, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C or Python
    yaml_implicit_resolvers = {  # noqa: RUF012  # yaml's own class-level table
        first: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class Document(msgspec.Struct, frozen=True):
    """One YAML file: its value, and on which line (from 1) each key stands.

    `path` is as users write it: relative to the project.
    """

    path: Path
    value: dict[str, Any]
    lines: dict[Key, int]

    def refuse(self, key: Key, problem: str) -> NoReturn:
        """Raise a ConfigError at `key`; for a key that is not there, at the nearest above it."""
        known = next(key[:n] for n in range(len(key), -1, -1) if key[:n] in self.lines)
        raise ConfigError(problem, path=self.path, line=self.lines[known], key=_dotted(key))

    def choose[T](self, key: Key, value: str, among: Mapping[str, T], what: str) -> T:
        """Return `among[value]`, or refuse with the nearest spelling and all there are."""
        if value not in among:
            self.refuse(key, unknown(what, value, among))
        return among[value]


def unknown(what: str, value: str, among: Iterable[str]) -> str:
    """Say that `value` is not one of `among`: with the nearest spelling, and all of them."""
    names = sorted(among)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"unknown {what} {value!r}{hint} there is {', '.join(names) or 'none'}"


def read_document(path: Path, *, root: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises:
        ConfigError: It cannot be read, is not YAML, or is not a mapping.
    """
    shown = path.relative_to(root)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot be read: {e}", path=shown) from e
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Key, int] = {(): 1}
        if node is not None:
            _note_lines(node, (), lines, shown)
        value = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else None
        raise ConfigError(f"not YAML: {e.problem}", path=shown, line=line) from e
    except (yaml.YAMLError, ValueError) as e:
        raise ConfigError(f"not YAML: {' '.join(str(e).split())}", path=shown) from e
    finally:
        loader.dispose()
    if not isinstance(value, dict):
        raise ConfigError("expected `key: value` lines", path=shown, line=1)
    return Document(shown, value, lines)


def to_record[T](document: Document, record: type[T]) -> T:
    """Convert the document to a msgspec record.

    Raises:
        ConfigError: A key is missing or unknown, or a value has the wrong type.
    """
    try:
        return msgspec.convert(document.value, record)
    except msgspec.ValidationError as e:
        _refuse_validation(document, record, str(e))


def _note_lines(node: yaml.Node, key: Key, lines: dict[Key, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            below = (*key, name.value)
            if below in lines:
                raise ConfigError(
                    f"given twice, first on line {lines[below]}",
                    path=path,
                    line=name.start_mark.line + 1,
                    key=_dotted(below),
                )
            lines[below] = name.start_mark.line + 1
            _note_lines(child, below, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*key, index)] = child.start_mark.line + 1
            _note_lines(child, (*key, index), lines, path)


def _refuse_validation(document: Document, record: Any, message: str) -> NoReturn:
    problem, _, where = message.partition(" - at `$")
    key = _locate(document, record, where.rstrip("`"))
    here = _type_at(record, key)
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        name = match[1]
        near = difflib.get_close_matches(name, _fields(here), n=1)
        hint = f", did you mean {near[0]!r}?" if near else f"; known are {_listed(_fields(here))}"
        document.refuse((*key, name), f"unknown key{hint}")
    if match := re.fullmatch(r"Object missing required field `(.*)`", problem):
        document.refuse((*key, match[1]), "missing: write this key")
    value = _value_at(document.value, key)
    if choices := _choices(here):
        document.refuse(key, unknown("value", str(value), choices))
    expected = re.match(r"Expected `([^`]*)`", problem)
    wanted = _words(expected[1]) if expected else "a number" if "decimal" in problem else problem
    document.refuse(key, f"expected {wanted}, got {value!r}")


_WORDS = {
    "float": "a number",
    "decimal": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def _words(types_named: str) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types_named.split(" | "))


def _locate(document: Document, record: Any, where: str) -> Key:
    """Turn msgspec's `.instruments[...].tick_size` into a key; `[...]` is some key of a mapping."""
    key: Key = ()
    for part in re.findall(r"\[\.\.\.\]|\[\d+\]|[^.\[\]]+", where):
        if part == "[...]":
            below = _value_at(document.value, key)
            names = below if isinstance(below, dict) else range(len(below))
            key = (*key, next(n for n in names if not _fits(below[n], _type_at(record, (*key, n)))))
        else:
            key = (*key, int(part[1:-1]) if part[0] == "[" else part)
    return key


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _value_at(value: Any, key: Key) -> Any:
    for part in key:
        value = value[part]
    return value


def _type_at(kind: Any, key: Key) -> Any:
    """Return the declared type at `key` below the type `kind`."""
    kind = _unwrapped(kind)
    if not key:
        return kind
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _type_at(get_type_hints(kind, include_extras=True).get(str(key[0]), Any), key[1:])
    wanted = list if isinstance(key[0], int) else dict
    for option in get_args(kind) if _is_union(kind) else (kind,):
        if get_origin(option) is wanted:
            return _type_at(get_args(option)[-1], key[1:])
    return Any


def _unwrapped(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _unwrapped(get_args(kind)[0])
    if _is_union(kind):
        options = [option for option in get_args(kind) if option is not type(None)]
        if len(options) == 1:
            return _unwrapped(options[0])
    return kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _fields(kind: Any) -> tuple[str, ...]:
    return kind.__struct_fields__ if hasattr(kind, "__struct_fields__") else ()


def _choices(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def plain(value: Any) -> Any:
    """Return a JSON-ready copy: Decimals as their shortest text, so that 2.0 and 2 are one."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, float):
        return format(Decimal(repr(value)).normalize(), "f")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
