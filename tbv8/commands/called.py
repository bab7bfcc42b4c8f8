"""The name of the command in lines for the user: `doit` as the user calls it, such as `tbv8`.

Lines are written with `doit` everywhere, since files of results have the same bytes on any machine.
"""

from __future__ import annotations

import re
import sys
from io import TextIOWrapper

_DOIT = re.compile(r"(?:(?<=`)|(?<=<\())doit\b")


def as_called(text: str, command: str) -> str:
    """Return text with `command` in place of `doit` wherever it names a command to type."""
    return _DOIT.sub(command, text)


def name_in_output(command: str) -> None:
    """Let all that this process prints name the command as the user calls it."""
    sys.stdout, sys.stderr = _Stream(sys.stdout, command), _Stream(sys.stderr, command)


class _Stream(TextIOWrapper):
    """A standard stream that names the command."""

    def __init__(self, stream: object, command: str) -> None:
        assert isinstance(stream, TextIOWrapper)
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._command = command

    def write(self, text: str, /) -> int:
        """Write text with the command's name."""
        super().write(as_called(text, self._command))
        return len(text)
