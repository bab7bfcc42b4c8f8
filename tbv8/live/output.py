"""The standard output of a session's processes: it carries their reports and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import BinaryIO


def claim_stdout() -> BinaryIO:
    """Return the process's standard output, and send what libraries write to it to stderr.

    Only file descriptors change: set `sys.stdout` for what Python code prints.
    """
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stdout


class Prints(io.TextIOBase):
    """A `sys.stdout` that passes on each printed line.

    Args:
        take: Called with each line, without its end.
    """

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take, self._rest = take, ""

    def write(self, text: str) -> int:
        """Pass on the lines that `text` ends; keep the rest."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)
