"""Change values of a YAML file in place and keep its comments, its order and its other lines.

ruamel.yaml writes the file before and after the change. Only the lines that differ between these
two replace the user's lines, because the user's layout may differ from ruamel's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, ScalarString

from tbv8.config.document import plain
from tbv8.errors import ConfigError

_WIDTH = 10_000  # no line is folded
_INDENT = re.compile(r"^instruments:[^\n]*\n(?: *(?:#[^\n]*)?\n)*( +)\S", re.MULTILINE)


def edit_instruments(text: str, changes: Mapping[str, Mapping[str, Decimal]], *, path: Path) -> str:
    """Return the text of a venue's file with changed rules of its instruments.

    Args:
        text: The file.
        changes: Keys and their values, by symbol.
        path: The file's path, for the error message.

    Raises:
        ConfigError: The file's layout cannot be edited in place.
    """
    yaml = _yaml(text)
    before, after = yaml.load(text), yaml.load(text)
    for symbol, values in changes.items():
        instrument = after["instruments"][symbol]
        for key, value in values.items():
            instrument[key] = _scalar(value, instrument.get(key))
    texts = (text, _text(yaml, before), _text(yaml, after))
    lines, old, new = (content.splitlines(keepends=True) for content in texts)
    edited: list[str] = []
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        edited += lines[i1:i2] if kind == "equal" else new[j1:j2]
    if len(lines) != len(old) or not _loads_as(yaml, "".join(edited), after):
        raise ConfigError(
            "its layout cannot be edited automatically: change the values by hand",
            path=path,
        )
    return "".join(edited)


def _yaml(text: str) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    if match := _INDENT.search(text):
        yaml.indent(mapping=len(match[1]))
    return yaml


def _text(yaml: YAML, value: Any) -> str:
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()


def _loads_as(yaml: YAML, text: str, value: Any) -> bool:
    try:
        return bool(yaml.load(text) == value)
    except YAMLError:
        return False


def _scalar(value: Decimal, before: Any) -> Any:
    """Return a number for the file: quoted if the old value is, or if it is a fraction."""
    text = plain(value)
    if isinstance(before, ScalarString):
        return type(before)(text)
    return int(text) if text.lstrip("-").isdecimal() else DoubleQuotedScalarString(text)
