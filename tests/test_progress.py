"""The lines about the progress of a long action, where there is no terminal."""

from __future__ import annotations

import pytest

from tbv8.progress import progress


def test_the_closing_line_has_a_rate_only_of_a_measured_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for took_s in (0.0, 2.0):
        times = iter([100.0])
        monkeypatch.setattr("time.monotonic", lambda end=100.0 + took_s, ts=times: next(ts, end))
        with progress("funding of x", 4368, "hour") as advance:
            advance(4368)
        monkeypatch.undo()

    assert capsys.readouterr().out.splitlines() == [
        "   funding of x: 4,368 hours in 0.0 s",
        "   funding of x: 4,368 hours in 2.0 s (2,184/s)",
    ]
