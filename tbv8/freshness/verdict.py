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


class StoredVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a check: `inputs` are the digests of the key's parts, `line` a summary.

    `warm_up_ms` is the time after which the signals equal those of a longer run; None if they never
    do, or if it is not known.
    """

    passed: bool
    line: str
    inputs: dict[str, str]
    warm_up_ms: int | None = None


def write_verdict(
    results_path: Path,
    strategy_id: str,
    inputs: Mapping[str, Input],
    *,
    passed: bool,
    line: str,
    warm_up_ms: int | None = None,
) -> None:
    """Write the outcome of a check; does nothing without write permission."""
    verdict = StoredVerdict(
        passed=passed, line=line, inputs=_digests(inputs), warm_up_ms=warm_up_ms
    )
    with suppress(OSError), replacing(_path(results_path, strategy_id)) as new:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")


def read_verdict(results_path: Path, strategy_id: str) -> StoredVerdict | None:
    """Return the verdict on the strategy, code and bars of the present result; None without one."""
    manifest = read_manifest(results_path / strategy_id)
    verdict = find_verdict(results_path, strategy_id)
    return verdict if verdict and manifest and is_about(verdict, manifest.inputs) else None


def find_verdict(results_path: Path, strategy_id: str) -> StoredVerdict | None:
    """Return the last verdict on a strategy, whatever its code and bars; None without one."""
    try:
        content = _path(results_path, strategy_id).read_bytes()
        return msgspec.json.decode(content, type=StoredVerdict)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return None


def is_about(verdict: StoredVerdict, inputs: Mapping[str, Input]) -> bool:
    """Return True if a verdict is on the strategy, code and bars of a key."""
    return _digests(inputs) == verdict.inputs


def _path(results_path: Path, strategy_id: str) -> Path:
    return results_path / ".lookahead" / f"{strategy_id}.json"


def _digests(inputs: Mapping[str, Input]) -> dict[str, str]:
    return {name: part.digest for name, part in inputs.items() if name not in _IGNORED_PARTS}
