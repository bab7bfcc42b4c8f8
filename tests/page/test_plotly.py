"""plotly.js beside the pages is brought up to date, and otherwise left alone."""

from __future__ import annotations

from pathlib import Path

from tbv8.page.plotly import PLOTLY_FILE, has_plotly, plotly_script, write_plotly


def test_an_empty_or_old_file_becomes_the_installed_version_and_is_then_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / PLOTLY_FILE
    assert not has_plotly(tmp_path)
    path.touch()
    assert has_plotly(tmp_path)

    write_plotly(tmp_path)

    assert path.read_text(encoding="utf-8") == plotly_script()
    written = path.stat().st_ino, path.stat().st_mtime_ns
    write_plotly(tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == written
