"""What others wrote, made fit to print and to be part of a path."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.errors import VenueError
from tbv8.text import counted, file_name, one_line, quoted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "fill", "1 fill"),
        (2000, "fill", "2,000 fills"),
        (0, "day", "0 days"),
        (1, "try", "1 try"),
        (12, "try", "12 tries"),
        (3, "entry", "3 entries"),
        (3, "MB", "3 MB"),
    ],
)
def test_a_count_has_the_form_of_its_noun(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


ANY = st.text(st.characters(), max_size=40)  # surrogates and all


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain words", "plain words"),
        ("two\r\nlines\tand  more\n", "two lines and more"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("left\u202eright\u200b\ufeff", "left\\u202eright\\u200b\\ufeff"),
        ("\x85\u2028next line", "next line"),
        ("\udcff", "\\udcff"),
        ("币安人生 – ü", "币安人生 – ü"),
        ("x" * 2000, "x" * 997 + "..."),
    ],
)
def test_a_line_is_printable_and_short(text: str, line: str) -> None:
    assert one_line(text) == line


@given(ANY)
def test_a_line_stays_as_it_is(text: str) -> None:
    assert one_line(text).isprintable()
    assert one_line(one_line(text)) == one_line(text)
    assert quoted(text).isprintable()


def test_a_venues_words_in_quotes_are_escaped_once() -> None:
    assert quoted("it's \x1b[2J") == '"it\'s \\x1b[2J"'
    assert len(quoted("x" * 10**6)) == 202


def test_whoever_raises_a_venue_error_escapes_what_the_venue_said() -> None:
    assert str(VenueError("mexc: \x1b]0;owned\x07\nERROR")) == "mexc: \\x1b]0;owned\\x07 ERROR"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("binance_spot", "binance_spot"),
        ("币安人生/USDT", "币安人生-USDT"),
        ("BTC-USDT", "BTC%2DUSDT"),
        ("1000.5X", "1000.5X"),
        ("..", "%2E."),
        ("../../etc", "%2E.-%2E.-etc"),
        ("/etc/passwd", "-etc-passwd"),
        (".hidden", "%2Ehidden"),
        ("C:\\x\x00", "C%3A%5Cx%00"),
        ("", "%"),
    ],
)
def test_a_name_is_one_part_of_a_path(name: str, part: str) -> None:
    assert file_name(name) == part


@given(ANY, ANY)
def test_no_two_names_share_a_part_and_none_leads_out(first: str, second: str) -> None:
    part = file_name(first)

    assert PurePosixPath("a", part).parts == ("a", part)
    assert part not in ("", ".", "..")
    assert part.isprintable()
    assert (part == file_name(second)) == (first == second)
