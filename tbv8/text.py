"""Counts as text, and text from outside made fit to print: replies, names, a library's errors.

A control character could move the cursor, colour a terminal, or forge or hide a line of a log. So
each text from outside passes through here before it is printed, stored or raised.
"""

from __future__ import annotations

_QUOTED_LETTERS = 200
_LINE_LETTERS = 1000


def counted(count: int, what: str) -> str:
    """Return `1 fill`, `2,000 fills`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def printable(text: str, *, allowed: str = "") -> str:
    r"""Return text with control characters as `\x1b` and the like, except those in `allowed`.

    Repeatable: a second call changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in allowed
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(text: str, *, most: int = _LINE_LETTERS) -> str:
    r"""Return text as one line of printable characters, `\x1b` for an escape, shortened.

    Repeatable: a second call changes nothing.
    """
    line = printable(" ".join(text[: most * 8].split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def quoted(text: str) -> str:
    """Return text from outside in Python's quotes, as one short line."""
    return repr(one_line(text, most=_QUOTED_LETTERS)).replace("\\\\", "\\")


def file_name(text: str) -> str:
    """Return a name as one part of a path, different for each name: `BTC-USDT` for `BTC/USDT`.

    Letters and digits of any script, `_` and dots that do not lead stay; the rest is `%` and hex.
    No name at all is `%`.
    """
    return (
        "-".join(
            "".join(
                letter
                if letter.isalnum() or letter == "_" or (letter == "." and index)
                else _hex(letter)
                for index, letter in enumerate(part)
            )
            for part in text.split("/")
        )
        or "%"
    )


def _hex(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode(errors="surrogatepass"))
