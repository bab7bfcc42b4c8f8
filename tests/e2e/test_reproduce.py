"""The same bytes: in another folder, under another hash seed, after a kill, and asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import ONE_WEEK, Project, copy_project
from tests.e2e.test_interrupted import wait_for_line

NAME = "btc_usdt_perp_v1"
REPRODUCE = f"reproduce:{NAME}"
Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


def _outputs(project: Project) -> dict[str, bytes]:
    folder = project.results / NAME
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {name: (folder / name).read_bytes() for name in manifest["outputs"]}


def test_another_folder_another_hash_seed_and_a_kill_give_the_same_bytes(
    finished: Project, tmp_path: Path, children: Keep
) -> None:
    other = copy_project(tmp_path / "some where" / "else")
    child = children(other.start(*ONE_WEEK, "backtest", PYTHONHASHSEED="1", TZ="Asia/Tokyo"))
    wait_for_line(child, f".  backtest:{NAME}")
    os.kill(child.pid, signal.SIGKILL)
    child.wait(30)

    other.doit(*ONE_WEEK, "backtest", PYTHONHASHSEED="2", TZ="Asia/Tokyo")

    assert _outputs(other) == _outputs(finished)
    assert len(_outputs(other)) >= 7


def test_a_result_is_reproduced_whatever_end_is_wanted_by_now(done: Project) -> None:
    before = _outputs(done)

    again = done.doit("start=2024-01-01", "end=2024-01-10", REPRODUCE, PYTHONHASHSEED="3")

    assert f"{NAME}: reproduced, {len(before)} files with the same bytes" in again.stdout
    assert again.stderr == ""
    assert _outputs(done) == before
    assert [path.name for path in done.results.iterdir()] == [NAME]


def test_a_changed_byte_fails_and_is_named(done: Project) -> None:
    path = done.results / NAME / "shadow" / "fills.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[3] = lines[3].replace("taker", "maker")
    path.write_text("".join(lines), encoding="utf-8")

    failed = done.doit(*ONE_WEEK, REPRODUCE, code=1)

    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"ERROR: {REPRODUCE}: not reproduced: shadow/fills.csv:4: ")


def test_a_result_of_other_inputs_fails_and_says_which(done: Project) -> None:
    done.edit(f"config/strategies/{NAME}.yaml", "fast: 20", "fast: 21")

    failed = done.doit(*ONE_WEEK, REPRODUCE, code=1)

    (line,) = failed.stderr.splitlines()
    assert ": not reproduced: chart_lines.csv:" in line
    assert line.endswith("; its config (params.fast: was 20, now 21) changed since")


def test_without_a_result_there_is_nothing_to_reproduce(done: Project) -> None:
    (done.results / NAME / "manifest.json").unlink()
    done.sql("DELETE FROM bars_5m")

    failed = done.doit(*ONE_WEEK, REPRODUCE, code=1)

    assert failed.stderr == (
        f"ERROR: result:backtest:{NAME}: data/results/{NAME}: there is no result to reproduce: "
        f"run `doit backtest:{NAME}`\n"
    )
    assert failed.stdout == ""  # nothing was built for it
