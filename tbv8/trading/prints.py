"""The lines that a strategy prints: passed on, or discarded where it runs once more."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout


class Prints(io.TextIOBase):
    """A `sys.stdout` that passes on each printed line.

    Args:
        on_line: Called with each line, without its end.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line, self._rest = on_line, ""

    def write(self, text: str) -> int:
        """Pass on the lines that `text` ends; keep the rest."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line)
        return len(text)


def discard_prints() -> redirect_stdout[Prints]:
    """Return a context in which what is printed is discarded: an earlier run has printed it."""
    return redirect_stdout(Prints(lambda line: None))
