"""Packed columns hold what was put into them, and the page's script reads the same."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.page.html import page
from tbv8.page.packed import pack, pack_gappy, packed_size, places_of, to_units
from tests.browser import opened

COLUMNS = {
    "none": [],
    "single": [-7],
    "large": [0, 2**51, 5],
    "times": [1_704_067_200_000, 1_704_067_500_000, 1_704_070_800_000],
    "mixed": [3, -200, 64, -64, 63, 16_384, -1],
}


def unpacked(column: dict[str, Any]) -> list[float | None]:
    """Return what a packed column holds, decoded as its module says."""
    values: list[float | None] = []
    total = column["first"]
    if column["steps"] and column["count"]:
        values.append(total / 10 ** column["places"])
    number, shift = 0, 0
    for byte in base64.b64decode(column["data"]):
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            value = (number >> 1 ^ -(number & 1)) * column["unit"]
            total = total + value if column["steps"] else value
            values.append(total / 10 ** column["places"])
            number, shift = 0, 0
    assert len(values) == column["count"]
    for start, length in column.get("gaps", []):
        values[start : start + length] = [None] * length
    return values


@given(
    values=st.lists(st.integers(-(2**52), 2**52)),
    steps=st.booleans(),
)
def test_a_column_comes_back(values: list[int], steps: bool) -> None:
    packed = pack(np.array(values, dtype=np.int64), steps=steps)

    assert unpacked(packed) == values


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1))
def test_gaps_come_back_as_gaps_and_numbers_with_eight_digits(values: list[float]) -> None:
    packed = pack_gappy(np.array(values))

    largest = max((abs(value) for value in values if value == value), default=0.0)
    for value, found in zip(values, unpacked(packed), strict=True):
        if value != value:
            assert found is None
        else:
            assert found == pytest.approx(value, abs=largest * 1e-7 + 1e-15)


def test_the_places_are_the_fewest_that_write_all_and_no_more_than_eight_digits_have() -> None:
    assert places_of(np.array([42_000.5, 41_999.0])) == 1
    assert places_of(np.array([42_000.0])) == 0
    assert places_of(np.array([1 / 3])) == 8
    assert places_of(np.array([0.000_000_31, 0.000_000_3])) == 8
    assert places_of(np.array([123_456.789_012])) == 2
    assert to_units(np.array([0.3, 1.2]), 1).tolist() == [3, 12]


def test_regular_times_take_a_byte_each() -> None:
    year = np.arange(105_120) * 300_000 + 1_704_067_200_000

    assert packed_size({"t": pack(year)}) == pytest.approx(105_120 * 4 / 3, abs=8)


@pytest.mark.browser
def test_the_page_s_script_reads_the_same(tmp_path: Path) -> None:
    columns = {name: pack(np.array(values, dtype=np.int64)) for name, values in COLUMNS.items()}
    columns["plain"] = pack(np.array(COLUMNS["mixed"]), steps=False, places=2)
    columns["gaps"] = pack_gappy(np.array([np.nan, 1.5, np.nan, np.nan, -2.25, np.nan]))
    path = tmp_path / "page.html"
    path.write_text(page("columns"))

    with opened(path) as browser:
        read = browser.evaluate(
            """columns => Object.fromEntries(Object.entries(columns).map(([name, column]) =>
               [name, [...priceCharts.unpack(column)].map(v => Number.isNaN(v) ? null : v)]))""",
            json.loads(json.dumps(columns)),
        )

    assert read == {name: unpacked(column) for name, column in columns.items()}
