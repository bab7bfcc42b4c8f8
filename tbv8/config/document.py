"""YAML files as records: every error names the file, the line, the key, the problem and the cure.

msgspec checks types and unknown keys; this module records the line of each key. Times stay text
(YAML 1.1 would turn some of them into dates), numbers follow YAML 1.2, keys are text and unique.
Values are plain: text, numbers, booleans, null, lists, mappings.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from tbv8.errors import ConfigError

type Key = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_PLAIN = frozenset({f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null")})
_KEY = frozenset({f"{_TAG}str", f"{_TAG}merge"})
_INT = r"[-+]?(0|[1-9][0-9_]{0,99})"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9][0-9_]*\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
_NOT_FINITE = r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_MAX_DEPTH = 20
_MAX_KEYS = 100_000
_MAX_CHOICES_SHOWN = 20
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels, or endlessly through an anchor: flatten it"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C or Python
    """YAML without its surprises: 010 is not eight, 1:30 is not ninety, 1e-5 is a number."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # yaml's own class-level table
        first: [rule for rule in rules if rule[0].removeprefix(_TAG) in ("bool", "null", "merge")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _kind, _pattern in (("int", _INT), ("float", f"{_FLOAT}|{_NOT_FINITE}")):
    _Loader.add_implicit_resolver(
        f"{_TAG}{_kind}", re.compile(rf"({_pattern})\Z"), list("-+.0123456789")
    )


class Document(msgspec.Struct, frozen=True):
    """One YAML file: its value, and the line number (from 1) of each key.

    `path` is relative to the project, as users write it.
    """

    path: Path
    value: dict[str, Any]
    line_numbers: dict[Key, int]

    def refuse(self, key: Key, problem: str) -> NoReturn:
        """Raise a ConfigError at `key`; if the key is missing, at its nearest parent."""
        raise ConfigError(problem, path=self.path, line=self._line(key), key=_dotted(key))

    def place(self, key: Key) -> str:
        """Return file and line of `key`, or of its nearest parent."""
        return f"{self.path}:{self._line(key)}"

    def _line(self, key: Key) -> int:
        keys = (key[:n] for n in range(len(key), -1, -1))
        return next(self.line_numbers[k] for k in keys if k in self.line_numbers)

    def choose[T](self, key: Key, value: str, choices: Mapping[str, T], noun: str) -> T:
        """Return `choices[value]`, or refuse `value` and list the choices."""
        if value not in choices:
            self.refuse(key, unknown(noun, value, choices))
        return choices[value]


def line_of(path: Path, key: Key, *, root: Path) -> int | None:
    """Return the line number of a key in a file of config/, or of its parent; None if unreadable.

    Args:
        path: Relative to the project's folder, as users write it.
        key: Such as `("instruments", "BTC/USDT", "tick_size")`.
        root: The project's folder.
    """
    try:
        return read_document(root / path, root=root)._line(key)
    except ConfigError:
        return None


def unknown(noun: str, value: str, choices: Iterable[str]) -> str:
    """Return the message about a value outside of `choices`: the nearest spelling, the choices.

    If there are too many choices to show, only the nearest spelling.
    """
    names = sorted(choices)
    closest = nearest(value, names)
    if closest and len(names) > _MAX_CHOICES_SHOWN:
        return f"unknown {noun} {value!r}, did you mean {closest!r}?"
    hint = f", did you mean {closest!r}? Known" if closest else "; known"
    shown = ", ".join(names[:_MAX_CHOICES_SHOWN]) or "none"
    hidden = len(names) - _MAX_CHOICES_SHOWN
    hidden_text = f" and {hidden} more" if hidden > 0 else ""
    return f"unknown {noun} {value!r}{hint}: {shown}{hidden_text}"


_MEANT_KEYS = {  # of freqtrade, jesse and backtesting.py
    **dict.fromkeys(("coin", "market", "pair", "ticker"), "symbol"),
    **dict.fromkeys(("markets", "pair_whitelist", "pairs", "tickers"), "symbols"),
    **dict.fromkeys(("candle_type", "interval", "tf"), "timeframe"),
    **dict.fromkeys(
        ("balance", "cash", "dry_run_wallet", "starting_balance"), "starting_balance_usd"
    ),
    "leverage": "max_leverage",
    "parameters": "params",
}


def unknown_key(name: str, allowed: Iterable[str], *, present: Collection[str] = ()) -> str:
    """Return the message about an unknown key: the likely one, else all allowed keys.

    A key that is `present` beside it is not suggested.
    """
    names = list(allowed)
    free = [other for other in names if other not in present]
    meant = _MEANT_KEYS.get(name.casefold())
    closest = meant if meant in free else nearest(name, free)
    hint = f", did you mean {closest!r}?" if closest else f"; known: {', '.join(names)}"
    return f"unknown key{hint}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the spelling in `names` that is closest to `name`; None if none is close.

    Names of several parts, as `sample:BTC/USDT`, are close only if each part is: a common quote
    currency alone makes no two symbols close.
    """
    import difflib  # only errors need it

    parts = re.split("[:/]", name.casefold())
    folded = {spelling.casefold(): spelling for spelling in names}

    def is_close(other: str) -> bool:
        other_parts = re.split("[:/]", other)
        return len(parts) != len(other_parts) or all(
            difflib.get_close_matches(part, [other_part])
            for part, other_part in zip(parts, other_parts, strict=True)
        )

    closest = difflib.get_close_matches(name.casefold(), filter(is_close, folded), n=1)
    return folded[closest[0]] if closest else None


def read_document(path: Path, *, root: Path) -> Document:
    """Read one YAML file whose top level is a mapping.

    Raises:
        ConfigError: It cannot be read, is not YAML, or is not a mapping of plain values.
    """
    relative = path.relative_to(root)
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as e:
        raise ConfigError(f"cannot be read: {e.strerror}", path=relative) from e
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        raise ConfigError("not UTF-8: save it as UTF-8", path=relative, line=line) from e
    try:
        return _parse(text, relative)
    except yaml.MarkedYAMLError as e:
        raise _not_yaml(e, text, relative) from e
    except yaml.reader.ReaderError as e:
        line = content.count(b"\n", 0, e.position) + 1
        problem = f"not YAML: the character U+{e.character:04X} is not allowed, remove it"
        raise ConfigError(problem, path=relative, line=line) from e


def to_record[T](document: Document, record: type[T]) -> T:
    """Convert the document to a msgspec record.

    Raises:
        ConfigError: A key is missing or unknown, or a value has the wrong type.
    """
    try:
        return msgspec.convert(document.value, record)
    except msgspec.ValidationError as e:
        _refuse_validation(document, record, str(e))


def plain(value: Any) -> Any:
    """Return a JSON-ready copy: Decimals as their shortest text, so that 2.0 equals 2."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


# From YAML to a document.


def _parse(text: str, path: Path) -> Document:
    document = Document(path, {}, {(): 1})
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return document
        _check_node(document, node, (), loader.resolve)
        if not isinstance(node, yaml.MappingNode):
            document.refuse((), "expected `key: value` lines")
        return Document(path, loader.construct_document(node), document.line_numbers)
    finally:
        loader.dispose()


def _not_yaml(e: yaml.MarkedYAMLError, text: str, path: Path) -> ConfigError:
    """Return the parser's error as one line."""
    mark, start, problem = e.problem_mark, e.context_mark, str(e.problem)
    if "nesting depth" in problem:
        return ConfigError(_TOO_DEEP, path=path, line=mark.line + 1 if mark else None)
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        problem = "a tab, indent with spaces"
    elif e.context:
        has_start = e.context.startswith("while") and start and mark and start.line < mark.line
        since = f" from line {start.line + 1}" if start and has_start else ""
        problem = f"{e.context}{since}: {problem}"
    return ConfigError(f"not YAML: {problem}", path=path, line=mark.line + 1 if mark else None)


def _check_node(
    document: Document, node: yaml.Node, key: Key, resolve: Callable[[type, str, Any], str]
) -> None:
    """Record the line of each key below `node`; refuse values that are not plain."""
    lines = document.line_numbers
    if len(key) > _MAX_DEPTH or len(lines) > _MAX_KEYS:
        document.refuse(key[:1], _TOO_DEEP)
    if isinstance(node, yaml.ScalarNode):
        is_plain = node.tag in _PLAIN and node.tag in (
            f"{_TAG}str",
            resolve(yaml.ScalarNode, node.value, (True, False)),
        )
    else:
        is_plain = node.tag == f"{_TAG}{'map' if isinstance(node, yaml.MappingNode) else 'seq'}"
    if not is_plain:
        tag = node.tag.replace(_TAG, "!!")
        document.refuse(key, f"expected a plain value, got one tagged {tag}: remove the tag")
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            below = (*key, _key_text(document, name, key))
            line = name.start_mark.line + 1
            if below in lines:
                problem = f"given twice, first on line {lines[below]}: remove one"
                raise ConfigError(problem, path=document.path, line=line, key=_dotted(below))
            lines[below] = line
            _check_node(document, child, below, resolve)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*key, index)] = child.start_mark.line + 1
            _check_node(document, child, (*key, index), resolve)


def _key_text(document: Document, name: yaml.Node, key: Key) -> str:
    if not isinstance(name, yaml.ScalarNode):
        got = "a collection"
    elif name.tag == f"{_TAG}bool" and name.value.lower() not in ("true", "false"):
        name.tag = f"{_TAG}str"  # `on` is a word in YAML 1.2
        return str(name.value)
    elif name.tag not in _KEY:
        got = f"{name.value!r} without quotes"
    elif "`" in name.value:  # msgspec quotes with it, see _refuse_validation
        got = f"{name.value!r}"
    else:
        return str(name.value)
    problem = f"expected text as a key, got {got}"
    line = name.start_mark.line + 1
    raise ConfigError(problem, path=document.path, line=line, key=_dotted(key))


# From msgspec's message to ours.


def _refuse_validation(document: Document, record: Any, message: str) -> NoReturn:
    path = re.search(r" - at `\$([^`]*)`\Z", message)
    problem = message[: path.start()] if path else message
    key = _locate(document, record, path[1] if path else "")
    kind = _type_at(record, key)
    value = _value_at(document.value, key)
    present = value if isinstance(value, dict) else ()
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        document.refuse((*key, match[1]), unknown_key(match[1], _fields(kind), present=present))
    if match := re.fullmatch(r"Object missing required field `(.*)`", problem):
        document.refuse((*key, match[1]), "missing: write this key")
    choices = _choices(kind)
    if choices and isinstance(value, str):
        document.refuse(key, unknown("value", value, choices))
    document.refuse(key, type_problem(problem, value, choices, _constraints(record, key)))


def type_problem(
    message: str,
    value: Any,
    choices: Iterable[str] = (),
    constraints: Mapping[str, Any] = types.MappingProxyType({}),
) -> str:
    """Return the message about a value of the wrong type, from msgspec's message.

    For a number in place of text the cure is quotes, unless the quoted number would not match the
    `pattern` in `constraints`: then their `examples` are shown.
    """
    named = re.match(r"Expected `([^`]*)`", message)
    alternatives = " or ".join(choices) or (_type_names(named[1]) if named else "a number")
    is_quotable = "text" in alternatives and isinstance(value, int | float)
    examples = [str(example) for example in constraints.get("examples", ())]
    if is_quotable and examples and not re.search(constraints.get("pattern", r"\Z."), str(value)):
        *first, last = examples
        shown = f"{', '.join(first)} or {last}" if first else last
        return f"expected {alternatives}, such as {shown}, got {_value_text(value)}"
    cure = ": write it in quotes" if is_quotable else ""
    return f"expected {alternatives}, got {_value_text(value)}{cure}"


_TYPE_NAMES = {
    "float": "a number",
    "decimal": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def _type_names(union: str) -> str:
    """Return `a number or nothing` for msgspec's `int | float | null`, and the like."""
    names = union.split(" | ")
    if "float" in names and "int" in names:
        names.remove("int")
    return " or ".join(_TYPE_NAMES.get(name, name) for name in names)


def _value_text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)


def _locate(document: Document, record: Any, where: str) -> Key:
    """Turn msgspec's `.instruments[...].tick_size` into a key.

    msgspec writes `[...]` for any key of a mapping; it is the first whose value does not fit.
    """
    key: Key = ()
    for part in re.findall(r"\[\.\.\.\]|\[\d+\]|[^.\[\]]+", where):
        if part == "[...]":
            below = _value_at(document.value, key)
            kind = _type_at(record, (*key, ""))
            key = (*key, next(name for name in below if not _fits(below[name], kind)))
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
    containers = (list, tuple) if isinstance(key[0], int) else (dict,)
    for option in get_args(kind) if _is_union(kind) else (kind,):
        if get_origin(option) in containers:
            items = [item for item in get_args(option) if item is not ...]
            return _type_at(items[-1], key[1:])
    return Any


def _constraints(record: Any, key: Key) -> Mapping[str, Any]:
    """Return the JSON Schema that a key of a record has beyond its type; empty without one."""
    if not key:
        return {}
    if isinstance(key[-1], int):
        items = _constraints(record, key[:-1]).get("items")
        return items if isinstance(items, dict) else {}
    parent = _type_at(record, key[:-1])
    if not (isinstance(parent, type) and issubclass(parent, msgspec.Struct)):
        return {}
    hint = get_type_hints(parent, include_extras=True)[key[-1]]
    (meta,) = getattr(hint, "__metadata__", (msgspec.Meta(),))
    return meta.extra_json_schema or {}


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


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part.isprintable() and part else repr(part)
            text += f".{shown}" if text else shown
    return text
