"""How the look-ahead check of a strategy ended, and whether that is about the present result.

A verdict lies in `<results_path>/.lookahead/<strategy_id>.json` with the digests of the key that
was checked; no strategy's id begins with a dot.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from tbv8.files import replacing
from tbv8.manifest import FILES_PART, PAGE_PART, Input, read_manifest

_NO_PART_OF_IT = (FILES_PART, PAGE_PART)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A check's end; `inputs` are the digests of the parts of the key, `line` what it found.

    `warm_up_ms` is how long the signals need to become those of a longer run; None where they never
    do, or nobody knows.
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
    """Keep the end of a check; where nothing can be written it is only printed."""
    verdict = Verdict(passed=passed, line=line, inputs=_digests(inputs), warm_up_ms=warm_up_ms)
    with suppress(OSError), replacing(_path(results_path, strategy_id)) as new:
        new.write_bytes(msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")


def read_verdict(results_path: Path, strategy_id: str) -> Verdict | None:
    """Return the verdict about the very strategy, code and bars of the result; None without one."""
    manifest = read_manifest(results_path / strategy_id)
    verdict = find_verdict(results_path, strategy_id)
    return verdict if verdict and manifest and is_about(verdict, manifest.inputs) else None


def find_verdict(results_path: Path, strategy_id: str) -> Verdict | None:
    """Return the last verdict about a strategy, of whatever code and bars; None without one."""
    try:
        content = _path(results_path, strategy_id).read_bytes()
        return msgspec.json.decode(content, type=Verdict)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return None


def is_about(verdict: Verdict, inputs: Mapping[str, Input]) -> bool:
    """Tell whether a verdict is about the strategy, code and bars of a key."""
    return _digests(inputs) == verdict.inputs


def _path(results_path: Path, strategy_id: str) -> Path:
    return results_path / ".lookahead" / f"{strategy_id}.json"


def _digests(inputs: Mapping[str, Input]) -> dict[str, str]:
    return {name: part.digest for name, part in inputs.items() if name not in _NO_PART_OF_IT}
