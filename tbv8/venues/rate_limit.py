"""The pace of requests that a venue allows, for the history's calls and for the recorder's."""

from __future__ import annotations


class RateLimit:
    """A weight per second, of which at most `burst` may be used at once; all of it at the start.

    Times are seconds of a monotonic clock.

    Args:
        per_s: The weight that is allowed per second.
        burst: The weight that collects while no request is sent.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._budget, self._counted_s = burst, 0.0

    def reserve(self, weight: float, now_s: float) -> float:
        """Take the weight of a request, and return the seconds to wait before it is sent.

        A request heavier than the burst waits for a full one, and those after it for the rest.
        """
        grown = self._budget + (now_s - self._counted_s) * self._per_s
        self._budget, self._counted_s = min(self._burst, grown), now_s
        wait_s = max(0.0, (min(weight, self._burst) - self._budget) / self._per_s)
        self._budget -= weight
        return wait_s

    def exhaust(self, now_s: float) -> None:
        """Take all weight and as much again, after the venue has refused for too many requests."""
        self._budget, self._counted_s = -self._burst, now_s
