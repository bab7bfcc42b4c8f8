"""The table of all keys of the YAML files, from the records of `tbv8.config.files`.

`python -m tests.config.reference > docs/config.md` writes the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from tbv8.config import files

_HEAD = """\
# All keys of the YAML files

Unknown keys, wrong types and impossible values are refused at each start, with file, line and key.
`doit schema` gives the same keys to editors. "–" in the column "default": the key has no default.
"null: ..." in the column "meaning": if you leave the key out, or write null, that is what happens.
A `required` key inside of an optional section (default –) is required only if you write that
section. Dates and times are UTC.
"""
_PAGES: dict[str, type] = {
    "config/data.yaml": files.DataFile,
    "config/history.yaml": files.HistoryFile,
    "config/venues/<venue>.yaml": files.VenueFile,
    "config/strategies/<strategy_id>.yaml": files.StrategyFile,
    "config/experiments/<experiment_id>.yaml": files.ExperimentFile,
}
_RISK = "max_position_<base>"
_REQUIRED, _NOTHING = "required", "–"


def reference() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, record in _PAGES.items():
        rows = "".join(
            f"| `{key}` | {default} | {text} |\n" for key, default, text in _rows(record)
        )
        parts.append(f"## {title}\n\n| key | default | meaning |\n|---|---|---|\n{rows}")
    return "\n".join(parts)


def _rows(record: type, above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, default and meaning of each key; a section's own keys follow it."""
    hints = get_type_hints(record, include_extras=True)
    for field in msgspec.structs.fields(record):
        kind, meta = get_args(hints[field.name])
        key, section = f"{above}{field.name}", _section(kind)
        if field.name == "risk":
            yield from _risk_rows(meta)
        elif section is None:
            yield key, _default(field), _meaning(kind, meta)
        elif get_origin(kind) is dict:
            yield from _rows(section, f"{key}.<symbol>.")
        else:
            if field.default is None:
                yield key, _NOTHING, meta.description
            yield from _rows(section, f"{key}.")


def _risk_rows(meta: msgspec.Meta) -> Iterator[tuple[str, str, str]]:
    schema: dict[str, Any] = meta.extra_json_schema or {}
    (position,) = schema["patternProperties"].values()
    for name, limit in {_RISK: position, **schema["properties"]}.items():
        yield f"risk.{name}", _REQUIRED, limit["description"]


def _section(kind: Any) -> type | None:
    """Return the record inside of a type: of a section, or of each value of a mapping."""
    candidates = (kind, *get_args(kind))
    return next(
        (one for one in candidates if isinstance(one, type) and issubclass(one, msgspec.Struct)),
        None,
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default
    if default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return _REQUIRED
    if default is msgspec.NODEFAULT:
        default = field.default_factory()  # type: ignore[operator]  # checked above
    if default is None:
        return _NOTHING
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, dict):
        return "`{}`"
    if isinstance(default, list | tuple):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default}`"


def _meaning(kind: Any, meta: msgspec.Meta) -> str:
    """Return a key's description, with the values of a choice that it does not name."""
    text = str(meta.description).replace("|", "\\|").replace("<", "&lt;")
    choices = [one for part in (kind, *get_args(kind)) for one in _choices(part)]
    if all(str(choice) in text for choice in choices):
        return text
    return f"{text} One of {', '.join(f'`{choice}`' for choice in choices)}."


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


if __name__ == "__main__":
    print(reference(), end="")
