"""Numbers, times and notes as the parts of a result's page write them."""

from __future__ import annotations

from decimal import Decimal

from tbv8.market import parse_time
from tbv8.page.html import Child, Html, element
from tbv8.page.words import minute, number

POINTS = 800  # stretches of a curve, of each of which the lowest and the highest value is drawn


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
    """Return a number of a file with commas between its thousands, and all of its decimals."""
    return f"{Decimal(text):,f}"


def decimals_of(text: str) -> int:
    """Return how many decimals a number in a file has."""
    return len(text.partition(".")[2])


def thinned_words(drawn: int, count: int) -> str:
    """Return the caption's words for a curve of fewer points than there are."""
    if drawn == count:
        return ""
    return (
        f"Drawn thinner: {drawn:,} of {count:,} points, lowest and highest of each stretch among "
        "them. Numbers are from all."
    )
