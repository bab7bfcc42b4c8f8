"""Lengths of time as text."""

from __future__ import annotations

import pytest

from tbv8.page.words import length

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (5 * SECOND, "5 s"),
        (5249, "5.2 s"),
        (59_949, "59.9 s"),
        (59_960, "1 min"),
        (100 * SECOND, "1 min 40 s"),
        (HOUR - 501, "59 min 59 s"),
        (HOUR - 500, "1 h"),
        (9_112_200, "2 h 32 min"),  # 151.87 minutes
        (DAY - MINUTE // 2, "1 d"),
        (DAY - 40 * MINUTE, "23 h 20 min"),
        (3 * DAY + 4 * HOUR - 1, "3 d 4 h"),
        (1000 * DAY, "1,000 d"),
    ],
)
def test_a_length_is_rounded(ms: int, expected: str) -> None:
    assert length(ms) == expected
