"""The reasons why a result is stale, with the keys and values of the YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from tbv8.config.source import ABSENT, is_file
from tbv8.manifest import FILES_PART, PAGE_PART
from tbv8.market import duration_text

FUNDING_PREFIX = "funding:"
"""The prefix of the names of a key's parts for charged funding."""

_CODE_PARTS = ("strategy", "engine", "optimizer")
_DERIVED = {"symbol", "source.symbol", "simulated", "class_name", "objective.maximize"}
_NAMES = {
    "timeframe.text": "timeframe",
    "source.venue": "market_data_venue",
    "blocks": "overfitting.blocks",
}
_FIRST = ("market_data_venue", "symbols", "timeframe")  # listed first: another market
_FUNDING_TEXTS = {  # in quotes, since they are no values of the YAML files
    "history": '"the venues\' history"',
    "held": '"the venues\' history if it is stored, else fixed"',
    "fixed": '"a fixed rate or none"',
}
_MAX_SHORT = 5  # changes of a part inside of a sentence
_OWN_NAMES: Mapping[str, str] = MappingProxyType({})
_NOT_IN_HISTORY = "the part of its span before or after the venue's history"


def changes(part: str, before: Any, now: Any) -> list[str]:
    """Return a line for each changed key of a part; none if only types differ (1 and true)."""
    if part.startswith("bars:"):
        return [f"the {now['timeframe']} bars of {now['symbol']} in its span changed"]
    if part.startswith(FUNDING_PREFIX):
        return [f"the funding of {now['symbol']} at {now['venue']} in its span changed"]
    old, new = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    if part == FILES_PART:
        return [f"{key}, which the strategy reads, {_file_change(new.get(key))}" for key in keys]
    if part in _CODE_PARTS:
        return [f"{key} changed" for key in keys]
    if part == PAGE_PART:
        return [f"{key} changed: the page is drawn again" for key in keys]
    return _lines(dict(_settings(part, old)), dict(_settings(part, new)))


def changed_parts(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    names: Mapping[str, str] = _OWN_NAMES,
    gone: Iterable[str] = (),
) -> list[str]:
    """Return the parts of a key that have changed, as `config (params.slow: was 3, now 4)`.

    Args:
        before: The recorded parts.
        now: The present parts.
        names: The names of parts for the user, other than their own.
        gone: The parts that have changed also if they are no more.
    """
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(now)
    parts = [*new, *(name for name in gone if name in old and name not in new)]

    def digest(key: Mapping[str, Any], part: str) -> str | None:
        return key[part]["digest"] if part in key else None

    return [
        names.get(part, part) + _short_changes(part, old.get(part), new.get(part))
        for part in parts
        if digest(old, part) != digest(new, part)
    ]


def _short_changes(
    part: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> str:
    """Return the first changes of a part in parentheses.

    It is empty if the part is new or gone, or if only types differ. Each side has the part's
    `value`.
    """
    if before is None or now is None:
        return ""
    lines = [line.removesuffix(" changed") for line in changes(part, before["value"], now["value"])]
    hidden = len(lines) - _MAX_SHORT
    shown = [*lines[:_MAX_SHORT], *([f"{hidden:,} more"] if hidden > 0 else [])]
    return f" ({'; '.join(shown)})" if lines else ""


def _lines(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    keys.sort(key=lambda key: (key not in _FIRST, key.startswith("instruments.")))
    lines = [_line(key, old.get(key), new.get(key), _is_in_both(key, old, new)) for key in keys]
    return list(dict.fromkeys(lines))


def _line(key: str, before: str | None, now: str | None, section_is_in_both: bool) -> str:
    """Return the line about a key, or about its section if that is new or gone as a whole."""
    if before is not None and now is not None:
        return f"{key}: was {before}, now {now}"
    subject = f"{key}: {now if before is None else before}" if section_is_in_both else _section(key)
    return f"{subject} was {'added' if before is None else 'removed'}"


def _is_in_both(key: str, *sides: Mapping[str, str]) -> bool:
    """Return True if both sides have the section of a key, or if it has none."""
    section = _section(key)
    return not section or all(
        any(name.startswith(f"{section}.") for name in side) for side in sides
    )


def _section(key: str) -> str:
    """Return the part of a key that may be absent as a whole; empty if it has none."""
    name, *further = key.split(".")
    if name in ("walk_forward", "monte_carlo"):
        return name
    return ".".join([name, *further[:2]]) if name == "instruments" else ""


def _settings(part: str, flat: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield settings as the YAML files have them, without derived ones."""
    for key, value in flat.items():
        if key in _DERIVED or value is None:
            continue
        if key == "module":
            yield "strategy", f"{value}{':' if is_file(value) else '.'}{flat.get('class_name')}"
        elif key == "symbols":
            yield key, _value_text(key, value)
        elif key == "objective.metric":
            verb = "maximize" if flat.get("objective.maximize") else "minimize"
            yield "objective", f"{verb} {value}"
        elif key == "funding":
            yield key, _FUNDING_TEXTS.get(value, value)
        elif key == "not_in_history":
            yield _NOT_IN_HISTORY, ", ".join(map(_date, value))
        else:
            yield _name(key), _value_text(key, value)
    if part == "span" and "not_in_history" not in flat:
        yield _NOT_IN_HISTORY, "nothing"


def _name(key: str) -> str:
    """Return the name of a key in the YAML: `risk.max_position_btc`, `warm_up`."""
    head, _, symbol = key.partition("risk.max_positions.")
    if symbol and not head:
        return f"risk.max_position_{symbol.partition('/')[0].lower()}"
    return _NAMES.get(key, key).removesuffix("_ms")


def _value_text(key: str, value: Any) -> str:
    """Return a value as it stands in a YAML file: `14d` for milliseconds, `true` for True."""
    if isinstance(value, bool):
        return str(value).lower()
    if key.endswith("_ms") and isinstance(value, int):
        return duration_text(value)
    if isinstance(value, list):
        return f"[{', '.join(_value_text(key, item) for item in value)}]"
    if isinstance(value, Mapping) and value.keys() == {"text"}:
        return str(value["text"])  # a timeframe
    return _date(str(value)) if key in ("start", "end") else str(value)


def _date(time: str) -> str:
    """Return ISO times without their clocks at midnight."""
    return time.replace("T00:00:00Z", "")


def _file_change(digest: Any) -> str:
    return "is gone" if digest in (None, ABSENT) else "changed"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, list(value) if isinstance(value, tuple) else value
