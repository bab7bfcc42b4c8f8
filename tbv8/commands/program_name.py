"""The program's name in commands that messages suggest: `doit`, or `tbv8` if that was started.

All messages are written with `doit`, since files of results have the same bytes on any machine.
"""

from __future__ import annotations

import re
import sys
from io import TextIOWrapper

_DOIT = re.compile(r"(?:(?<=`)|(?<=<\())doit\b")


def with_program_name(text: str, name: str) -> str:
    """Return text with `name` in place of `doit` in each command to type."""
    return _DOIT.sub(name, text)


def replace_in_output(name: str) -> None:
    """Replace `doit` by `name` in all that this process prints from now on."""
    sys.stdout, sys.stderr = _Stream(sys.stdout, name), _Stream(sys.stderr, name)


class _Stream(TextIOWrapper):
    """A standard stream that replaces `doit` by another program's name."""

    def __init__(self, stream: object, name: str) -> None:
        assert isinstance(stream, TextIOWrapper)
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._program = name

    def write(self, text: str, /) -> int:
        """Write text with the program's name; return the length of the text as passed."""
        super().write(with_program_name(text, self._program))
        return len(text)
