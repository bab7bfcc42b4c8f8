"""Long columns of integers as short text, for the page's script to unpack.

Each value is its difference from the one before it, in units of the greatest common divisor, as a
zigzag varint (seven bits per byte, lowest first; the eighth is set if more follow), in base64. A
year of 5m bars takes a megabyte. A zip's bytes would depend on the library's version.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from tbv8.page.thin import Floats, Ints

_DIGITS = 8  # of the largest value, as many as a chart can show
_MAX_PLACES = 16  # venues' prices have no more
_EXACTNESS = 1e-10  # of a value; what differs less is the same decimal number


def pack(values: Ints, *, places: int = 0, steps: bool = True) -> dict[str, Any]:
    """Return a column in the format of the script's `unpack`.

    Args:
        values: Integers below 2^51, as a browser's numbers have 53 bits.
        places: They are in units of 10^-places.
        steps: False packs the values themselves, which is shorter where they stay near 0.
    """
    packed = np.diff(values, prepend=0) if steps else values
    first = int(packed[0]) if steps and len(packed) else 0
    if steps:
        packed = packed[1:]
    unit = max(1, int(np.gcd.reduce(packed))) if len(packed) else 1
    return {
        "count": len(values),
        "steps": steps,
        "first": first,
        "unit": unit,
        "places": places,
        "data": _to_text(packed // unit),
    }


def to_units(values: Floats, places: int) -> Ints:
    """Return numbers in units of 10^-places."""
    return np.rint(values * 10.0**places).astype(np.int64)


def pack_gappy(values: Floats, *, digits: int = _DIGITS) -> dict[str, Any]:
    """Return numbers with NaNs; each run of NaNs becomes its first index and its length."""
    unknown = ~np.isfinite(values)
    edges = np.flatnonzero(np.diff(unknown.astype(np.int8), prepend=0, append=0))
    gaps = [[int(a), int(b - a)] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    if unknown.all():
        return {**pack(np.zeros(len(values), dtype=np.int64)), "gaps": gaps}
    start = int(np.argmin(unknown))
    last = np.maximum.accumulate(np.where(unknown, start, np.arange(len(values))))
    places = places_of(values, digits=digits)
    return {**pack(to_units(values[last], places), places=places), "gaps": gaps}


def places_of(*columns: Floats, digits: int = _DIGITS) -> int:
    """Return the decimals to write all values exactly, or `digits` digits of the largest."""
    inexact = np.concatenate([column[np.isfinite(column)] for column in columns])
    largest = float(np.abs(inexact).max(initial=0.0))
    most = digits - 1 - (int(np.floor(np.log10(largest))) if largest else 0)
    most = min(max(most, 0), _MAX_PLACES)
    for places in range(most):
        written = np.rint(inexact * 10.0**places) / 10.0**places
        inexact = inexact[np.abs(written - inexact) > _EXACTNESS * np.abs(inexact)]
        if not inexact.size:
            return places
    return most


def packed_size(value: Any) -> int:
    """Return the length of all packed columns inside a value."""
    if isinstance(value, Mapping):
        return len(value["data"]) if "data" in value else sum(map(packed_size, value.values()))
    if isinstance(value, list):
        return sum(map(packed_size, value))
    return 0


def _to_text(steps: Ints) -> str:
    zigzag = ((steps << 1) ^ (steps >> 63)).astype(np.uint64)
    lengths = np.ones(len(zigzag), dtype=np.int64)
    rest = zigzag >> np.uint64(7)
    while rest.any():
        lengths += rest > 0
        rest >>= np.uint64(7)
    ends = np.cumsum(lengths)
    begins = ends - lengths
    content = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for number in range(int(lengths.max(initial=0))):
        longer = lengths > number
        part = (zigzag[longer] >> np.uint64(7 * number)) & np.uint64(0x7F)
        more = (lengths[longer] > number + 1).astype(np.uint64) << np.uint64(7)
        content[begins[longer] + number] = part | more
    return base64.b64encode(content.tobytes()).decode("ascii")
