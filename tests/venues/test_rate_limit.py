"""The pace of requests: 2 a second, of which 10 may come at once."""

from __future__ import annotations

import pytest

from tbv8.venues.rate_limit import RateLimit

START_S = 1000.0


@pytest.mark.parametrize(
    ("requests", "waits"),
    [
        pytest.param([(0, 4), (0, 6)], [0, 0], id="a burst is free"),
        pytest.param([(0, 10), (0, 5), (0, 1)], [0, 2.5, 3], id="then each waits for its weight"),
        pytest.param([(0, 10), (1, 5)], [0, 1.5], id="time that passes gives weight"),
        pytest.param([(0, 10), (900, 10), (900, 1)], [0, 0, 0.5], id="at most one burst of it"),
        pytest.param([(0, 25), (0, 1)], [0, 8], id="more than a burst at once is paid later"),
    ],
)
def test_requests_wait_until_their_weight_is_allowed(
    requests: list[tuple[float, float]], waits: list[float]
) -> None:
    limit = RateLimit(2.0, 10.0)

    assert [limit.reserve(weight, START_S + at_s) for at_s, weight in requests] == waits


def test_after_a_refusal_a_burst_is_missing_first() -> None:
    limit = RateLimit(2.0, 10.0)

    limit.exhaust(START_S)

    assert limit.reserve(1, START_S + 1) == 4.5
