"""The points of a search space: exact, in order, and the same however many trials there are."""

from __future__ import annotations

import hashlib
import itertools
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.config.space import (
    Axis,
    Method,
    Search,
    count_points,
    parse_condition,
    points,
    range_values,
)

FAST = Axis(name="fast", place="params", key="fast", values=(10, 20, 30))
SLOW = Axis(name="slow", place="params", key="slow", values=(15, 20, 40))
BAND = Axis(name="band", place="params", key="band", values=(0.1, 0.2, 0.3))
MODE = Axis(name="mode", place="params", key="mode", values=("up", "down"))


def search(
    *axes: Axis, where: tuple[str, ...] = (), method: Method = "grid", **more: Any
) -> Search:
    found = [one for text in where for one in parse_condition(text, axes)]
    return Search(method=method, axes=axes, conditions=tuple(found), where=where, **more)


def test_a_grid_is_in_the_order_of_the_file_with_the_last_axis_fastest() -> None:
    assert list(points(search(FAST, SLOW, where=("fast < slow",)))) == [
        (10, 15),
        (10, 20),
        (10, 40),
        (20, 40),
        (30, 40),
    ]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        pytest.param("band == 0.3", [0.3], id="a float is the decimal that is written"),
        pytest.param("0.1 < band <= 0.3", [0.2, 0.3], id="a chain"),
        pytest.param("band >= 2e-1", [0.2, 0.3], id="an exponent"),
        pytest.param("band != 0.2", [0.1, 0.3], id="unequal"),
        pytest.param("-1 > band", [], id="below zero"),
    ],
)
def test_conditions_compare_exactly(where: str, left: list[float]) -> None:
    assert [value for (value,) in points(search(BAND, where=(where,)))] == left


def test_texts_are_compared_for_equality_only() -> None:
    assert list(points(search(MODE, where=("mode == 'up'",)))) == [("up",)]
    with pytest.raises(ValueError, match="< needs numbers"):
        parse_condition("mode < 'x'", [MODE])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fast", "is not a comparison"),
        ("fast <", "is not a comparison"),
        ("fast < slow <", "is not a comparison"),
        ("fast slow fast", "'slow' in 'fast slow fast': expected one of"),
        ("fats < slow", "unknown axis 'fats', did you mean 'fast'?"),
        ("__import__('os') < 1", r"\('os'\)\" is neither a name, a number nor one of"),
        ("fast < slow + 1", r"'\+' is neither a name, a number nor one of"),
        ("fast < < ", "'<' stands where a name or a number is expected"),
        ("fast < 1 and 2", "write each side of 'and' as an entry of its own"),
        ("fast < slow && fast < 1", "write each side of '&&' as an entry of its own"),
        ("fast < 1 or slow < 2", "no 'or' is possible: all entries of `where` must hold"),
        ("", "is not a comparison"),
    ],
)
def test_anything_but_a_comparison_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_condition(text, [FAST, SLOW])


def test_steps_are_decimals() -> None:
    def scale(start: str, end: str, step: str, *, whole: bool) -> tuple[Any, ...]:
        return range_values(Decimal(start), Decimal(end), Decimal(step), whole=whole)

    assert scale("0.1", "0.5", "0.1", whole=False) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert scale("10", "21", "5", whole=True) == (10, 15, 20)
    assert [type(v) for v in scale("1", "2", "1", whole=True)] == [int, int]


def _draw(seed: int, number: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}:{name}".encode()).digest()[:8], "big")


def test_random_is_the_documented_hash_without_repetition() -> None:
    asked = search(FAST, SLOW, method="random", trials=6, seed=7)
    drawn = [
        (
            FAST.values[_draw(7, n, "fast") * 3 // 2**64],
            SLOW.values[_draw(7, n, "slow") * 3 // 2**64],
        )
        for n in range(40)
    ]

    assert list(points(asked)) == list(dict.fromkeys(drawn))[:6]


def test_halton_is_the_radical_inverse_of_the_first_primes_shifted_by_the_seed() -> None:
    wide = [
        Axis(name=name, place="params", key=name, values=tuple(range(1000))) for name in ("a", "b")
    ]

    def inverse(number: int, base: int) -> Fraction:
        value, part = Fraction(0), Fraction(1, base)
        while number:
            value, number, part = value + number % base * part, number // base, part / base
        return value

    expected = []
    for number in range(1, 200):
        point = []
        for axis, base in zip(wide, (2, 3), strict=True):
            plain, digits = inverse(number, base), 1
            while base**digits <= number:
                digits += 1
            shift = Fraction(_draw(5, 0, axis.name) * base**digits // 2**64, base**digits)
            point.append(int((plain + shift) % 1 * 1000))
        expected.append(tuple(point))

    asked = search(*wide, method="halton", trials=100, seed=5)

    assert list(points(asked)) == list(dict.fromkeys(expected))[:100]


@given(
    method=st.sampled_from(["random", "halton"]),
    trials=st.integers(1, 30),
    more=st.integers(0, 20),
    seed=st.integers(0, 2**40),
)
def test_more_trials_keep_the_first_ones(method: Method, trials: int, more: int, seed: int) -> None:
    axes = [
        Axis(name="a", place="params", key="a", values=tuple(range(9))),
        Axis(name="b", place="params", key="b", values=tuple(range(11))),
    ]

    def drawn(count: int) -> list[tuple[Any, ...]]:
        asked = search(*axes, where=("a < b",), method=method, trials=count, seed=seed)
        return list(points(asked))

    few, many = drawn(trials), drawn(trials + more)

    assert many[:trials] == few
    assert len(set(many)) == trials + more
    assert all(a < b for a, b in many)


def test_every_point_of_a_space_is_drawn_in_the_end() -> None:
    asked = search(FAST, SLOW, where=("fast < slow",), method="random", trials=5)

    assert set(points(asked)) == {
        (a, b) for a, b in itertools.product(FAST.values, SLOW.values) if a < b
    }


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="the space has 3 points, not 4"):
        count_points(search(FAST, method="random", trials=4))
    with pytest.raises(ValueError, match="`where` leaves 1 points, not 2"):
        list(points(search(FAST, where=("fast > 20",), method="halton", trials=2)))
    with pytest.raises(ValueError, match="`where` excludes every point"):
        count_points(search(FAST, where=("fast > 30",)))
