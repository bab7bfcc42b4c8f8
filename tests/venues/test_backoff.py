"""Pauses between tries: doubled, capped, with jitter."""

from __future__ import annotations

import pytest

from tbv8.venues.backoff import backoff_s


@pytest.mark.parametrize(
    ("failures", "longest_s"),
    [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (10**9, 30.0)],
)
def test_each_failure_doubles_the_pause_up_to_its_cap(failures: int, longest_s: float) -> None:
    pauses = [backoff_s(failures, base_s=1.0, cap_s=30.0) for _ in range(200)]

    assert all(longest_s / 2 <= pause <= longest_s for pause in pauses)
    assert max(pauses) - min(pauses) > longest_s / 4
