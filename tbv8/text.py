"""Foreign text made fit to print: venues' replies, names in a database, a library's errors.

A control character from outside could move the cursor, colour a terminal, forge a line of a log or
hide the rest of one, so that each such text passes here before it is printed, stored or raised.
"""

from __future__ import annotations

_SHORT = 200
_LONG = 1000


def printable(text: str, *, kept: str = "") -> str:
    r"""Return text with `\x1b` for an escape and the like, but for the characters of `kept`.

    Repeatable: what it returns stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in kept
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(text: str, *, most: int = _LONG) -> str:
    r"""Return text as one line of printable characters, `\x1b` for an escape, shortened.

    Repeatable: what it returns stays as it is.
    """
    line = printable(" ".join(text[: most * 8].split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def quoted(text: str) -> str:
    """Return text from outside in Python's quotes, as one short line."""
    return repr(one_line(text, most=_SHORT)).replace("\\\\", "\\")


def file_name(text: str) -> str:
    """Return a name as one part of a path, different for each name: `BTC-USDT` for `BTC/USDT`.

    Letters and digits of any script, `_` and dots that do not lead stay; the rest is `%` and hex.
    No name at all is `%`.
    """
    return (
        "-".join(
            "".join(
                letter
                if letter.isalnum() or letter == "_" or (letter == "." and at)
                else _hex(letter)
                for at, letter in enumerate(part)
            )
            for part in text.split("/")
        )
        or "%"
    )


def _hex(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode(errors="surrogatepass"))
