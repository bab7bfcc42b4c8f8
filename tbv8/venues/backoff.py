"""Exponential back-off with jitter."""

from __future__ import annotations

import random

_MAX_DOUBLINGS = 16


def backoff_s(failures: int, *, base_s: float, cap_s: float) -> float:
    """Return the pause before the next try, after a number of failures in a row.

    It begins at `base_s` and doubles with each failure, up to `cap_s`. Up to half of it is
    subtracted at random, so that clients that failed together do not retry together.
    """
    return min(cap_s, base_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)) * random.uniform(0.5, 1.0)
