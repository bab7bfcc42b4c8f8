"""`doit ... >&-`: nobody reads what is printed, and nothing of it gets into a file instead."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.e2e.conftest import Project


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_with_its_streams_closed_doit_works_in_silence(project: Project, closed: str) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'"$0" -m doit migrate {closed}', sys.executable],
        cwd=project.root,
        env=os.environ | {"PYTHONPATH": str(project.root)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert project.db_path.read_bytes().startswith(b"SQLite format 3\x00")
    assert project.sql("SELECT count(*) FROM history_coverage") == [(0,)]
    assert project.sql("PRAGMA integrity_check") == [("ok",)]
