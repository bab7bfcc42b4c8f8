"""A result is whole or not there, whatever dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from tbv8.errors import DataError
from tbv8.results.accounting import to_books
from tbv8.results.files import _average_text, _fixed_column, _text_column, write_run
from tbv8.results.folder import write_result
from tests.backtest.builders import read_rows
from tests.results.builders import make_fills, make_marks, make_run


def _write(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "summary.json").write_text(text)


def _texts(results: Path) -> dict[str, str]:
    return {
        path.relative_to(results).as_posix(): path.read_text()
        for path in sorted(results.rglob("summary.json"))
    }


def test_a_result_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    write_result(tmp_path / "r" / "x", _write("old"), inputs={})
    write_result(tmp_path / "r" / "x", _write("new"), inputs={})

    assert _texts(tmp_path / "r") == {"x/summary.json": "new"}
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["x"]


def test_a_failure_while_writing_leaves_the_old_result(tmp_path: Path) -> None:
    write_result(tmp_path / "x", _write("old"), inputs={})

    def fail(folder: Path) -> None:
        (folder / "summary.json").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_result(tmp_path / "x", fail, inputs={})

    assert _texts(tmp_path) == {"x/summary.json": "old"}


def test_what_a_user_put_beside_a_result_moves_along(tmp_path: Path) -> None:
    write_result(tmp_path / "x", _write("old"), inputs={})
    (tmp_path / "x" / "shadow").mkdir()
    (tmp_path / "x" / "shadow" / "notes.md").write_text("mine")
    (tmp_path / "x" / "latest").symlink_to("summary.json")

    write_result(tmp_path / "x", _write("new"), inputs={})

    assert (tmp_path / "x" / "summary.json").read_text() == "new"
    assert (tmp_path / "x" / "shadow" / "notes.md").read_text() == "mine"
    assert (tmp_path / "x" / "latest").readlink() == Path("summary.json")
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert list(manifest["outputs"]) == ["summary.json"]


def test_a_users_file_in_the_way_of_a_results_file_is_not_lost(tmp_path: Path) -> None:
    write_result(tmp_path / "x", _write("old"), inputs={})
    (tmp_path / "x" / "fills.csv").write_text("mine")

    with pytest.raises(DataError, match=r"x/fills\.csv: conflicts with"):
        write_result(tmp_path / "x", lambda new: (new / "fills.csv").write_text(""), inputs={})

    assert _texts(tmp_path) == {"x/summary.json": "old"}
    assert (tmp_path / "x" / "fills.csv").read_text() == "mine"


def _notes(path: Path) -> None:
    path.mkdir()
    (path / "notes.md").write_text("mine")


def _strange_manifest(path: Path) -> None:
    path.mkdir()
    (path / "manifest.json").write_text('{"name": "an app of mine"}')


def _file(path: Path) -> None:
    path.write_text("mine")


def _link(path: Path) -> None:
    _notes(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(_notes, "has 'notes.md' but no manifest", id="notes"),
        pytest.param(_strange_manifest, "has 'manifest.json' but no manifest", id="an app's"),
        pytest.param(_file, "is not a folder", id="a file"),
        pytest.param(_link, "is not a folder", id="a link"),
    ],
)
def test_what_is_not_a_result_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], None], problem: str
) -> None:
    make(tmp_path / "x")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(DataError, match=problem):
        write_result(tmp_path / "x", _write("new"), inputs={})

    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_becomes_a_result(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()

    write_result(tmp_path / "x", _write("new"), inputs={})

    assert _texts(tmp_path) == {"x/summary.json": "new"}


def test_a_price_that_is_not_known_yet_is_an_empty_cell() -> None:
    values = np.array([np.nan, 1.5, -0.04])

    assert _text_column(values, 1).to_pylist() == ["", "1.5", "0.0"]


@pytest.mark.parametrize(
    ("fills", "prices"),
    [
        ([("2", "90.00", "0"), ("-2", "95.10", "0")], ["90.00", "95.10"]),
        (
            [("1", "100.02", "0"), ("1", "100.01", "0"), ("-1", "99", "0"), ("-1", "101", "0")],
            ["100.015", "100.00"],
        ),
        (
            [("1", "100.02", "0"), ("2", "100.01", "0"), ("-3", "99", "0")],
            ["100.0133333333", "99.00"],
        ),
    ],
)
def test_an_average_of_prices_has_the_decimals_that_it_needs(
    tmp_path: Path, fills: list[tuple[str, ...]], prices: list[str]
) -> None:
    write_run(tmp_path, to_books(make_run(make_fills(*fills)), make_marks([9000], [100])))

    (row,) = read_rows(tmp_path / "positions.csv")
    assert [row["entry_price"], row["exit_price"]] == prices
    assert _average_text(Decimal("83972.5"), decimals=0) == "83972.5"
    assert _average_text(Decimal("83970"), decimals=0) == "83970"


def test_fixed_numbers_have_no_exponent_and_no_minus_zero() -> None:
    units = np.array([0, 1, -1, 100_000_000, -123_456_789, 9_200_000_000_000_000_000])

    assert _fixed_column(units, 8).to_pylist() == [
        "0.00000000",
        "0.00000001",
        "-0.00000001",
        "1.00000000",
        "-1.23456789",
        "92000000000.00000000",
    ]
    assert _fixed_column(units, 0).to_pylist() == [str(unit) for unit in units.tolist()]
