"""A result is whole or not there, whatever dies."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tbv8.results.files import _fixed_column, _text_column
from tbv8.results.folder import sweep, write_result


def _write(text: str) -> object:
    return lambda folder: (folder / "summary.json").write_text(text)


def _texts(results: Path) -> dict[str, str]:
    return {
        path.relative_to(results).as_posix(): path.read_text()
        for path in sorted(results.rglob("summary.json"))
    }


def _leave(results: Path, name: str, text: str) -> None:
    (results / name).mkdir(parents=True)
    (results / name / "summary.json").write_text(text)


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


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param({"x": "old", ".x.new": "half"}, "old", id="while writing"),
        pytest.param({".x.old": "old", ".x.new": "new"}, "old", id="between the two steps"),
        pytest.param({".x.old": "old", "x": "new"}, "new", id="before removing the old one"),
        pytest.param({".x.new": "half"}, None, id="while writing the first"),
    ],
)
def test_a_killed_writer_leaves_what_the_next_start_sweeps(
    tmp_path: Path, left: dict[str, str], expected: str | None
) -> None:
    for name, text in left.items():
        _leave(tmp_path, name, text)

    sweep(tmp_path, ["x"])

    assert _texts(tmp_path) == ({"x/summary.json": expected} if expected else {})


def test_a_write_clears_up_by_itself(tmp_path: Path) -> None:
    _leave(tmp_path, ".x.old", "old")
    _leave(tmp_path, ".x.new", "half")

    write_result(tmp_path / "x", _write("new"), inputs={})

    assert _texts(tmp_path) == {"x/summary.json": "new"}


def test_a_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    _leave(tmp_path, ".x.new", "half")
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)

    sweep(tmp_path, ["x"])
    held = _texts(tmp_path)
    os.close(other)
    sweep(tmp_path, ["x"])

    assert held == {".x.new/summary.json": "half"}
    assert _texts(tmp_path) == {}


def test_sweeping_where_nobody_may_write_is_no_error(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a disk")
    try:
        _leave(tmp_path, ".x.new", "half")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)

        sweep(tmp_path, ["x"])

        assert _texts(tmp_path) == {".x.new/summary.json": "half"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_sweeping_where_nothing_was_ever_written(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere", ["x"])

    assert not (tmp_path / "nowhere").exists()


def test_a_price_that_is_not_known_yet_is_an_empty_cell() -> None:
    values = np.array([np.nan, 1.5, -0.04])

    assert _text_column(values, 1).to_pylist() == ["", "1.5", "0.0"]


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
