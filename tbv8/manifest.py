"""The manifest of a result: its inputs, and the digest of each of its files; and its summary.

The parts of its inputs are `config`, `strategy`, `engine`, `versions`, `span`, one
`bars:<symbol>:<timeframe>` for each series that was read, `files` for the files that the strategy
opened, and `page`, the code that only draws. A paper session has `session`, and `addresses` if its
bars came from others than the venue's own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

NAME = "manifest.json"
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
    """Return the summary.json of a result's folder; None if it is missing or damaged."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None


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
