"""Thin a long curve without losing a peak: keep the lowest and highest point of each stretch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Ints = npt.NDArray[np.int64]


def stretches(count: int, most: int) -> Ints:
    """Return the first index of each of at most `most` equal stretches of `count` values."""
    width = max(1, -(-count // most))
    return np.arange(0, count, width, dtype=np.int64)


def keep_extremes(curves: Sequence[Floats], *, most: int) -> Ints:
    """Return the indices of the points to draw, in order: real points, and all when there are few.

    Of every stretch the point where each curve is lowest and where it is highest, and the first
    and the last of all; so at most `2 * most` for each curve, and 2 more.
    """
    count = len(curves[0])
    if count <= 2 * most:
        return np.arange(count, dtype=np.int64)
    starts = stretches(count, most)
    width = -(-count // most)
    kept = [np.array([0, count - 1], dtype=np.int64)]
    for curve in curves:
        padded = np.full(len(starts) * width, curve[-1])
        padded[:count] = curve
        rows = padded.reshape(len(starts), width)
        for extreme in (rows.argmin(axis=1), rows.argmax(axis=1)):
            kept.append(np.minimum(starts + extreme, count - 1))
    return np.unique(np.concatenate(kept))


def shown(values: Floats, *, digits: int = 7) -> list[float | int | None]:
    """Return values for a page, rounded to `digits` digits of the largest; None for NaN."""
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max(initial=0.0))
    places = digits - 1 - (int(np.floor(np.log10(largest))) if largest else 0)
    rounded = np.round(values, min(max(places, 0), 12)) + 0.0
    return [
        None if value != value or abs(value) == float("inf") else _short(value)
        for value in rounded.tolist()
    ]


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
