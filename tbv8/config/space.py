"""The points of a search space: axes with values, conditions, and the order of the points.

A point has one value per axis. Everything here is exact (integers, decimals and sha256): the same
YAML and seed give the same points on any machine. Trial k of `random` and `halton` does not depend
on the number of trials.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from tbv8.config.document import plain, unknown

type Method = Literal["grid", "random", "halton", "tpe"]
type Point = tuple[Any, ...]
type Draw = Callable[[int], tuple[int, ...]]

MAX_POINTS = 100_000
_MAX_LISTED = 10_000_000  # points of a grid before its conditions
_MAX_MISSES, _MAX_DRAWS = 10_000, 2_000_000  # consecutive draws without a new point
_WORD_BITS = 64

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_TOKEN = re.compile(
    r"(?P<operator><=|>=|==|!=|<|>)"
    r"|(?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?![\w.])"
    r"|(?P<join>&&?|\|\|?|(?:and|or|not|AND|OR|NOT)\b)"
    r"|(?P<name>[A-Za-z_][\w.]*)"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>[^"]*)"'
)
_BOOLEANS = {"true": True, "false": False}


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension of a space.

    Attributes:
        name: The name in the YAML: `fast`, `risk.max_leverage`, `slippage_ticks`.
        place: The part of a strategy's file with the key: `params`, `risk`, `backtest`, or
            `strategy` for its top level.
        key: The key in that part.
        values: All values, in the order of the YAML, without repetition.
    """

    name: str
    place: Literal["params", "risk", "backtest", "strategy"]
    key: str
    values: Point

    @property
    def kind(self) -> str:
        """The kind of its values: `number`, `text`, or `value` if they are mixed or booleans."""
        kinds = {_kind(value) for value in self.values}
        return kinds.pop() if len(kinds) == 1 else "value"


class Operand(msgspec.Struct, frozen=True):
    """One side of a comparison: the index of an axis, or a constant."""

    axis: int | None
    constant: Any = None


class Comparison(msgspec.Struct, frozen=True):
    """Two operands and the relation required between them."""

    left: Operand
    sign: str
    right: Operand


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of points in a space, and their order.

    `trials` is None for a grid, which has all points. `where` is the text of `conditions` in the
    YAML. `batch` is the number of points that `tpe` suggests before it sees their results; the
    points depend on it, so it is not derived from the number of cores.
    """

    method: Method
    axes: tuple[Axis, ...]
    conditions: tuple[Comparison, ...] = ()
    where: tuple[str, ...] = ()
    trials: int | None = None
    seed: int = 0
    batch: int = 16

    @property
    def size(self) -> int:
        """The number of points in the space, without regard to conditions."""
        return math.prod(len(axis.values) for axis in self.axes)


def parse_condition(text: str, axes: Sequence[Axis]) -> list[Comparison]:
    """Parse `fast < slow` or `10 <= fast < slow`: names of axes, numbers and texts.

    Raises:
        ValueError: It is not such a comparison.
    """
    tokens = list(_tokens(text))
    for value in (value for kind, value in tokens if kind == "join"):
        if value.lower() in ("and", "&", "&&"):
            raise ValueError(f"{text!r}: write each side of {value!r} as an entry of its own")
        raise ValueError(f"{text!r}: no {value!r} is possible: all entries of `where` must hold")
    if len(tokens) < 3 or len(tokens) % 2 == 0:
        raise ValueError(f"{text!r} is not a comparison: write one such as 'fast < slow'")
    operands = [_operand(token, axes) for token in tokens[::2]]
    signs = [value for _, value in tokens[1::2]]
    for kind, value in tokens[1::2]:
        if kind != "operator":
            raise ValueError(f"{value!r} in {text!r}: expected one of {' '.join(_OPERATORS)}")
    comparisons = []
    for (left, right), sign in zip(itertools.pairwise(operands), signs, strict=True):
        kinds = {_kind_of(operand, axes) for operand in (left, right)}
        if sign not in ("==", "!=") and kinds != {"number"}:
            raise ValueError(f"{text!r}: {sign} needs numbers on both sides")
        comparisons.append(Comparison(left, sign, right))
    return comparisons


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    remaining = text.strip()
    while remaining:
        match = _TOKEN.match(remaining)
        if match is None:
            raise ValueError(
                f"{text!r}: {remaining.split()[0]!r} is neither a name, a number nor one of "
                f"{' '.join(_OPERATORS)}"
            )
        kind = str(match.lastgroup)
        yield kind, match[kind]
        remaining = remaining[match.end() :].lstrip()


def _operand(token: tuple[str, str], axes: Sequence[Axis]) -> Operand:
    kind, value = token
    if kind == "number":
        return Operand(None, Decimal(value))
    if kind in ("single", "double"):
        return Operand(None, value)
    if kind == "operator":
        raise ValueError(f"{value!r} stands where a name or a number is expected")
    names = [axis.name for axis in axes]
    if value in names:
        return Operand(names.index(value))
    if value in _BOOLEANS:
        return Operand(None, _BOOLEANS[value])
    raise ValueError(unknown("axis", value, names))


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return "number" if is_number else "value"


def _kind_of(operand: Operand, axes: Sequence[Axis]) -> str:
    return _kind(operand.constant) if operand.axis is None else axes[operand.axis].kind


def range_values(start: Decimal, end: Decimal, step: Decimal, *, whole: bool) -> Point:
    """Return `start`, `start + step`, ... up to `end`: integers, or floats of exact decimals."""
    count = int((end - start) // step) + 1
    decimals = (start + number * step for number in range(count))
    return tuple(int(value) if whole else float(value) for value in decimals)


def points(search: Search) -> Iterator[Point]:
    """Yield the points to try, in order, without repetition; not for `tpe`, which needs results.

    Raises:
        ValueError: The conditions leave fewer points than there are trials.
    """
    values = [axis.values for axis in search.axes]
    for indices in _indices(search):
        yield tuple(column[index] for column, index in zip(values, indices, strict=True))


def count_points(search: Search) -> int:
    """Return the number of trials; a large grid with conditions is counted up to a limit.

    Raises:
        ValueError: There are no points, too many, or fewer than `trials`.
    """
    if search.trials is not None:
        if search.trials > search.size:
            raise ValueError(
                f"the space has {search.size:,} points, not {search.trials:,}: write fewer trials, "
                "or use method: grid to try all of them"
            )
        if search.conditions and search.size <= MAX_POINTS:
            _check_trials(search, search.trials)
        return search.trials
    count = search.size
    if search.conditions:
        if count > _MAX_LISTED:
            raise ValueError(f"{count:,} points before `where` are too many: shrink the space")
        count = sum(1 for _ in _indices(search)) if count > MAX_POINTS else count
        if next(_indices(search), None) is None:
            raise ValueError("`where` excludes every point of the space: loosen it")
    return count


def _check_trials(search: Search, trials: int) -> None:
    """Raise a ValueError if the conditions leave fewer points than `trials`."""
    count = sum(1 for _ in itertools.islice(_fitting(search), trials))
    if not count:
        raise ValueError("`where` excludes every point of the space: loosen it")
    if count < trials:
        raise ValueError(
            f"`where` leaves {count:,} of {search.size:,} points, not {trials:,}: write fewer "
            "trials, or loosen it"
        )


def _fitting(search: Search) -> Iterator[tuple[int, ...]]:
    """Yield all points that satisfy the conditions, in the order of the axes."""
    ranges = (range(len(axis.values)) for axis in search.axes)
    return filter(conditions(search), itertools.product(*ranges))


def _indices(search: Search) -> Iterator[tuple[int, ...]]:
    """Yield points as indices into the axes' values."""
    if search.method == "grid":
        yield from _fitting(search)
        return
    holds = conditions(search)
    draw = _random(search) if search.method == "random" else _halton(search)
    trials, misses = search.trials or 0, 0
    drawn: set[tuple[int, ...]] = set()
    for number in itertools.count():
        if len(drawn) == trials:
            return
        indices = draw(number)
        if indices in drawn or not holds(indices):
            misses += 1
            if misses > min(_MAX_MISSES + 20 * search.size, _MAX_DRAWS):
                raise ValueError(
                    f"`where` leaves {len(drawn):,} points, not {trials:,}: write fewer trials"
                )
            continue
        drawn.add(indices)
        misses = 0
        yield indices


def conditions(search: Search) -> Callable[[tuple[int, ...]], bool]:
    """Return a function: True if all conditions hold at a point, given as indices of its values."""
    if not search.conditions:
        return lambda _at: True
    exact = [tuple(map(_to_exact, axis.values)) for axis in search.axes]
    checks = [
        (_OPERATORS[sign], left.axis, left.constant, right.axis, right.constant)
        for left, sign, right in map(msgspec.structs.astuple, search.conditions)
    ]

    def holds(indices: tuple[int, ...]) -> bool:
        return all(
            compare(
                left if left_axis is None else exact[left_axis][indices[left_axis]],
                right if right_axis is None else exact[right_axis][indices[right_axis]],
            )
            for compare, left_axis, left, right_axis, right in checks
        )

    return holds


def _to_exact(value: Any) -> Any:
    """Return a value for exact comparison: the float 0.3 becomes three tenths."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _random(search: Search) -> Draw:
    def draw(number: int) -> tuple[int, ...]:
        return tuple(
            _uniform(f"{search.seed}:{number}:{axis.name}") * len(axis.values) >> _WORD_BITS
            for axis in search.axes
        )

    return draw


def _halton(search: Search) -> Draw:
    """Draw a low-discrepancy sequence: each axis in its own prime base, shifted by the seed.

    J. H. Halton, Numerische Mathematik 2 (1960); R. Cranley and T. Patterson, SIAM Journal on
    Numerical Analysis 13 (1976).
    """
    bases = list(itertools.islice(_primes(), len(search.axes)))
    shifts = [_uniform(f"{search.seed}:0:{axis.name}") for axis in search.axes]

    def draw(number: int) -> tuple[int, ...]:
        indices = []
        for axis, base, shift in zip(search.axes, bases, shifts, strict=True):
            numerator, denominator = _radical_inverse(number + 1, base)
            shifted = (numerator + (shift * denominator >> _WORD_BITS)) % denominator
            indices.append(shifted * len(axis.values) // denominator)
        return tuple(indices)

    return draw


def _uniform(text: str) -> int:
    """Return 64 pseudo-random bits, seeded by a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _radical_inverse(number: int, base: int) -> tuple[int, int]:
    """Return a number's digits mirrored at the radix point, as numerator and denominator."""
    numerator, denominator = 0, 1
    while number:
        number, digit = divmod(number, base)
        numerator, denominator = numerator * base + digit, denominator * base
    return numerator, denominator


def _primes() -> Iterator[int]:
    return (n for n in itertools.count(2) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def to_text(axes: Sequence[Axis], point: Point) -> str:
    """Return a point as readable text: `fast=20 slow=50`."""
    pairs = zip(axes, point, strict=True)
    return " ".join(f"{axis.name}={plain(value)}" for axis, value in pairs)


def as_mapping(axes: Sequence[Axis], point: Point) -> Mapping[str, Any]:
    """Return a point's values by the axes' names."""
    return {axis.name: value for axis, value in zip(axes, point, strict=True)}
