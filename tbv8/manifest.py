"""The manifest of a result: its inputs, and the digest of each of its files; and its summary.

The parts of its inputs are `config`, `strategy`, `engine`, `versions`, `span`, one
`bars:<symbol>:<timeframe>` for each series that was read, `files` for the files that the strategy
opened, and `page`, the code that only draws. A paper session has `session`, and `addresses` if its
bars came from others than the venue's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tbv8.errors import DataError

NAME = "manifest.json"
SUMMARY = "summary.json"
PAGE = "tearsheet.html"

FILES_PART = "files"
SESSION_PART = "session"
ADDRESS_PART = "addresses"
PAGE_PART = "page"
PLOTLY_BESIDE = "shared by all pages"
"""The value of plotly.min.js in the page's part of the key, if it is in the results folder."""


class Input(msgspec.Struct, frozen=True):
    """One part of a result's key, as the manifest has it."""

    digest: str
    value: Any


class Manifest(msgspec.Struct, frozen=True):
    """The inputs of a result, and the sha256 of each of its other files."""

    inputs: dict[str, Input]
    outputs: dict[str, str]


def read_summary_json(folder: Path) -> dict[str, Any] | None:
    """Return the summary.json of a result's folder; None if it is missing or was changed."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    try:
        raw = (folder / SUMMARY).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(raw).hexdigest() != manifest.outputs.get(SUMMARY):
        return None
    summary: dict[str, Any] = json.loads(raw)
    return summary


def make_input(value: Any) -> Input:
    """Return a part with the digest of its value as JSON; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Input(hashlib.sha256(text.encode()).hexdigest(), value)


def read_manifest(folder: Path) -> Manifest | None:
    """Return a result's manifest; None if it is missing or damaged."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return None


def read_intact(folder: Path, *, cure: str) -> Manifest | None:
    """Return a result's manifest if its files are as they were written; None without a result.

    Args:
        folder: The result's folder, which another process may replace meanwhile.
        cure: The end of the error's line.

    Raises:
        DataError: A file is gone or was changed; its numbers would not be those of the result.
    """
    manifest = read_manifest(folder)
    while manifest is not None:
        data_files = {
            name: digest for name, digest in manifest.outputs.items() if not name.endswith(".html")
        }
        problem = next(damage(folder, data_files), None)
        if problem is None:
            return manifest
        before, manifest = manifest, read_manifest(folder)
        if manifest == before:
            raise DataError(f"{folder}: {problem} since the result was written: {cure}")
    return None


def damage(folder: Path, outputs: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each file of a result that is gone or was changed."""
    for name, digest in outputs.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is gone"
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                yield f"{name} was changed"
