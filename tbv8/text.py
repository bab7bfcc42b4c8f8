"""Counts as text, and safe printing of text from outside: replies, names, a library's errors.

A control character could move the cursor, colour a terminal, or forge or hide a line of a log. So
each text from outside passes through here before it is printed, stored or raised.
"""

from __future__ import annotations

_MAX_QUOTED = 200  # characters
_MAX_LINE = 1000


def counted(count: int, noun: str) -> str:
    """Return `1 fill`, `2,000 fills`, `3 entries`, `2 MB`."""
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return `fills`, `entries`; a unit such as `MB` has no other form."""
    if noun.isupper():
        return noun
    has_new_ending = noun[-1] == "y" and noun[-2] not in "aeiou"
    return f"{noun[:-1]}ies" if has_new_ending else f"{noun}s"


def printable(text: str, *, allowed: str = "") -> str:
    r"""Return text with control characters as `\x1b` and the like, except those in `allowed`.

    Repeatable: a second call changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in allowed
        else character.encode("unicode_escape").decode()
        for character in text
    )


def one_line(text: str, *, max_length: int = _MAX_LINE) -> str:
    r"""Return text as one line of at most `max_length` printable characters; an escape is `\x1b`.

    Repeatable: a second call changes nothing.
    """
    line = printable(" ".join(text[: max_length * 8].split()))
    return line if len(line) <= max_length else f"{line[: max_length - 3]}..."


def quoted(text: str) -> str:
    """Return text from outside in Python's quotes, as one short line."""
    return repr(one_line(text, max_length=_MAX_QUOTED)).replace("\\\\", "\\")


def file_name(text: str) -> str:
    """Return a name as one part of a path, unique for each name: `BTC-USDT` for `BTC/USDT`.

    Letters and digits of any script, `_`, and dots except a leading one stay; other characters are
    `%` and hex. The empty name is `%`.
    """
    return (
        "-".join(
            "".join(
                character
                if character.isalnum() or character == "_" or (character == "." and index)
                else _hex(character)
                for index, character in enumerate(part)
            )
            for part in text.split("/")
        )
        or "%"
    )


def _hex(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))
