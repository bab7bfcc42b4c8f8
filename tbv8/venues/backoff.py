"""Pauses between tries that fail."""

from __future__ import annotations

import random

_MOST_DOUBLINGS = 16


def backoff_s(failures: int, *, base_s: float, cap_s: float) -> float:
    """Return the seconds to wait after so many failures in a row.

    The first pause is `base_s`; each further failure doubles it, up to `cap_s`. Up to half of it is
    taken off at random, so that clients which failed together do not try again together.
    """
    return min(cap_s, base_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)) * random.uniform(0.5, 1.0)
