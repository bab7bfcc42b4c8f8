"""A file or a folder is replaced whole or not at all, whatever dies."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tbv8.files import replacing, sweep


def _texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _leave(folder: Path, left: dict[str, str]) -> None:
    for name, text in left.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "a").write_text(text)


def _fail_while_writing(path: Path, name: str) -> None:
    with replacing(path) as new:
        (new / name).parent.mkdir(exist_ok=True)
        (new / name).write_text("half")
        raise OSError(28, "as a full disk says it")


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replacing(tmp_path / "below" / "x") as new:
            new.write_text(text)

    assert _texts(tmp_path) == {"below/x": "new"}


@pytest.mark.parametrize("name", ["", "a"], ids=["a file", "a folder"])
def test_a_failure_while_writing_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "x" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "x" / name).write_text("old")
    before = _texts(tmp_path)

    with pytest.raises(OSError, match=r"No space left on device: .*/x'"):
        _fail_while_writing(tmp_path / "x", name)

    assert _texts(tmp_path) == before


def test_a_file_never_takes_the_place_of_a_folder_nor_a_folder_that_of_a_file(
    tmp_path: Path,
) -> None:
    _leave(tmp_path, {"folder": "mine"})
    (tmp_path / "file").write_text("mine")

    with pytest.raises(FileExistsError), replacing(tmp_path / "folder") as new:
        new.write_text("new")
    with pytest.raises(FileExistsError), replacing(tmp_path / "file") as new:
        new.mkdir()

    assert _texts(tmp_path) == {"folder/a": "mine", "file": "mine"}


def test_what_the_check_refuses_is_not_touched_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")

    def refuse(path: Path) -> None:
        raise ValueError(path.read_text())

    with pytest.raises(ValueError, match="mine"), replacing(tmp_path / "x", check=refuse):
        raise AssertionError("it was not asked first")

    assert _texts(tmp_path) == {"x": "mine"}


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param({"x": "old", ".x.tbv8-new": "half"}, "old", id="while writing"),
        pytest.param({".x.tbv8-old": "old", ".x.tbv8-new": "new"}, "old", id="between two steps"),
        pytest.param({".x.tbv8-old": "old", "x": "new"}, "new", id="before removing the old one"),
        pytest.param({".x.tbv8-new": "half"}, None, id="while writing the first"),
        pytest.param({".x.new": "mine", ".x.old": "mine"}, None, id="a user's own"),
    ],
)
def test_a_killed_writer_leaves_what_the_next_start_sweeps(
    tmp_path: Path, left: dict[str, str], expected: str | None
) -> None:
    _leave(tmp_path, left)

    sweep(tmp_path, ["x"])

    kept = {f"{name}/a": text for name, text in left.items() if text == "mine"}
    assert _texts(tmp_path) == kept | ({"x/a": expected} if expected else {})


def test_a_write_clears_up_by_itself(tmp_path: Path) -> None:
    _leave(tmp_path, {".x.tbv8-old": "old", ".x.tbv8-new": "half"})

    with replacing(tmp_path / "x") as new:
        new.mkdir()
        (new / "a").write_text("new")

    assert _texts(tmp_path) == {"x/a": "new"}


def test_a_writer_at_work_is_left_alone(tmp_path: Path) -> None:
    _leave(tmp_path, {".x.tbv8-new": "half"})
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)

    sweep(tmp_path, ["x"])
    held = _texts(tmp_path)
    os.close(other)
    sweep(tmp_path, ["x"])

    assert held == {".x.tbv8-new/a": "half"}
    assert _texts(tmp_path) == {}


def test_sweeping_where_nobody_may_write_is_no_error(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a disk")
    try:
        _leave(tmp_path, {".x.tbv8-new": "half"})
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)

        sweep(tmp_path, ["x"])

        assert _texts(tmp_path) == {".x.tbv8-new/a": "half"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_sweeping_where_nothing_was_ever_written(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere", ["x"])

    assert not (tmp_path / "nowhere").exists()
