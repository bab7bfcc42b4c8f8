"""The reports of a session's processes: their standard output carries nothing else."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import msgspec


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line that a session's process writes to the one that watches it.

    Attributes:
        kind: `began`, `replayed`, `minute`, `alive`, `waiting`, `stopped`, `started`, `stale`,
            `fresh`, `corrected`, `gap`, `kept`, `printed`, `warning`, `differs` or `failed`; of
            the watching process `killed`, of results `written` or `no results`.
        text: A text for the user; may be empty.
        done_ms: The close of the last finished minute.
        lag_ms: The time from its close to its use; None for events after a minute, of a command.
        took_ms: The duration of its use.
        state: The account after it.
        events: Its events, as kind and body.
        summary_lines: The lines of a result, as a backtest prints them.
    """

    kind: str
    text: str = ""
    done_ms: int | None = None
    lag_ms: int | None = None
    took_ms: float | None = None
    state: dict[str, Any] = {}
    events: list[tuple[str, str]] = []
    summary_lines: list[str] = []


def claim_stdout() -> BinaryIO:
    """Return the process's standard output, and send what libraries write to it to stderr.

    Only file descriptors change: set `sys.stdout` for what Python code prints.
    """
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stdout
