"""Formats of numbers, times and notes for the parts of a result's page."""

from __future__ import annotations

from decimal import Decimal

from tbv8.market import parse_time
from tbv8.page.html import Child, Html, element
from tbv8.page.words import minute, number

POINTS = 800  # stretches of a curve; the lowest and the highest value of each are drawn


type Part = tuple[str, str, Child]


def caption(text: str) -> Html:
    """Return the line below a heading that explains how to read the part."""
    return element("p", text.strip(), class_="note")


def moment(time: str) -> str:
    """Return an ISO time as `2024-01-31 12:00`."""
    return minute(parse_time(time))


def percent(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return number(value, ",.2%")


def signed_percent(value: float | None) -> str:
    """Return a fraction as a percentage with its sign."""
    return number(value, "+,.2%")


def two_places(value: float | None) -> str:
    """Return a number with two decimals."""
    return number(value, ",.2f")


def money_text(value: float | None) -> str:
    """Return USD with cents."""
    return number(value, ",.2f")


def whole(value: int) -> str:
    """Return an integer with commas."""
    return f"{value:,}"


def with_commas(text: str) -> str:
    """Return a file's number with commas between thousands, and all of its decimals."""
    return f"{Decimal(text):,f}"


def decimals_of(text: str) -> int:
    """Return the number of decimals of a number in a file."""
    return len(text.partition(".")[2])


def thinned_words(drawn: int, count: int) -> str:
    """Return a note about a curve drawn from fewer points; "" if it has all."""
    if drawn == count:
        return ""
    return (
        f"Drawn from {drawn:,} of {count:,} points, with the lowest and the highest of each "
        "stretch. Numbers use all points."
    )
