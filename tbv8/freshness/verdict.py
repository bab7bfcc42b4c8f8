"""Verdicts of look-ahead checks, each valid for one result.

A verdict lies in `<results_path>/.lookahead/<strategy_id>.json` with the digests of the checked
key; no strategy's id begins with a dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from tbv8.files import replacing
from tbv8.manifest import FILES_PART, PAGE_PART, Input, read_manifest

_IGNORED_PARTS = (FILES_PART, PAGE_PART)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a check: `inputs` are the digests of the key's parts, `line` a summary."""

    passed: bool
    line: str
    inputs: dict[str, str]


def write_verdict(
    results_path: Path, strategy_id: str, inputs: Mapping[str, Input], *, passed: bool, line: str
) -> None:
    """Write the outcome of a check; a folder without write permission is no error."""
    verdict = Verdict(passed=passed, line=line, inputs=_digests(inputs))
    with suppress(OSError), replacing(_path(results_path, strategy_id)) as new:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")


def read_verdict(results_path: Path, strategy_id: str) -> Verdict | None:
    """Return the verdict with the same strategy, code and bars as the result; None without one."""
    manifest = read_manifest(results_path / strategy_id)
    try:
        content = _path(results_path, strategy_id).read_bytes()
        verdict = msgspec.json.decode(content, type=Verdict)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return None
    return verdict if manifest and _digests(manifest.inputs) == verdict.inputs else None


def _path(results_path: Path, strategy_id: str) -> Path:
    return results_path / ".lookahead" / f"{strategy_id}.json"


def _digests(inputs: Mapping[str, Input]) -> dict[str, str]:
    return {name: part.digest for name, part in inputs.items() if name not in _IGNORED_PARTS}
