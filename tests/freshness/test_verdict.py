"""The end of a look-ahead check counts for the result that it was of, and for no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tbv8.freshness.verdict import read_verdict, write_verdict
from tbv8.manifest import FILES_PART, PAGE_PART, Input, make_input
from tests.builders import closed_folder

KEY = {"config": make_input({"fast": 20}), "bars:BTC/USDT:5m": Input("abc", None)}


def result(results: Path, inputs: dict[str, Input]) -> None:
    (results / "mine").mkdir(exist_ok=True)
    values = {name: {"digest": part.digest, "value": None} for name, part in inputs.items()}
    text = json.dumps({"inputs": values, "outputs": {}})
    (results / "mine" / "manifest.json").write_text(text)


@pytest.mark.parametrize("passed", [True, False])
def test_a_verdict_is_about_the_result_of_the_same_key(tmp_path: Path, passed: bool) -> None:
    drawn = {PAGE_PART: Input("1", None)}
    result(tmp_path, {**KEY, **drawn, FILES_PART: Input("2", None)})

    write_verdict(tmp_path, "mine", KEY | drawn, passed=passed, line="said")
    read = read_verdict(tmp_path, "mine")

    assert read is not None
    assert (read.passed, read.line) == (passed, "said")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({**KEY, "config": make_input({"fast": 21})}, id="another param"),
        pytest.param({**KEY, "bars:BTC/USDT:5m": Input("abd", None)}, id="other bars"),
        pytest.param({**KEY, "strategy": Input("1", None)}, id="a part more"),
    ],
)
def test_a_verdict_of_another_key_is_none(tmp_path: Path, other: dict[str, Input]) -> None:
    write_verdict(tmp_path, "mine", KEY, passed=True, line="said")

    result(tmp_path, other)

    assert read_verdict(tmp_path, "mine") is None


def test_without_a_result_or_a_whole_file_there_is_none(tmp_path: Path) -> None:
    write_verdict(tmp_path, "mine", KEY, passed=True, line="said")
    assert read_verdict(tmp_path, "mine") is None

    result(tmp_path, KEY)
    assert read_verdict(tmp_path, "mine") is not None

    (tmp_path / ".lookahead" / "mine.json").write_text('{"passed": tr')
    assert read_verdict(tmp_path, "mine") is None


def test_where_nothing_may_be_written_the_check_goes_on() -> None:
    with closed_folder() as folder:
        write_verdict(folder, "mine", KEY, passed=True, line="said")

        assert list(folder.iterdir()) == []
