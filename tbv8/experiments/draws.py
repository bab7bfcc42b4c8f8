"""Random draws of Monte Carlo paths: each path has its own generator, keyed by seed and path.

So a path does not depend on the number of paths or on the process that draws it. Each method has a
stream of its own: otherwise a path of days and a market with the same number would be one draw.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tbv8.trading.nautilus import Ints

type Stream = Literal["days", "trades", "order", "markets"]

_STREAMS = {"days": 0, "trades": 1, "order": 2, "markets": 3}


def generator(stream: Stream, *, seed: int, path: int) -> np.random.Generator:
    """Return the generator of one path; Philox has the same numbers on every machine."""
    counter = [0, 0, 0, _STREAMS[stream]]
    return np.random.Generator(np.random.Philox(key=[seed, path], counter=counter))


def draw_days(
    count: int, *, places: int, block_days: int, seed: int, path: int, stream: Stream = "days"
) -> Ints:
    """Return the day, of `count`, at each place of a path.

    D. N. Politis and J. P. Romano, The Stationary Bootstrap, Journal of the American Statistical
    Association 89 (1994): blocks begin anywhere, wrap around, and have a geometric length.

    Args:
        count: The number of days to draw from.
        places: The number of days that are drawn.
        block_days: The mean length of a block.
        seed: The seed of the experiment's draws.
        path: The number of the path.
        stream: The method that the path is for.
    """
    draw = generator(stream, seed=seed, path=path)
    starts = draw.integers(0, count, places)
    begins = draw.random(places) < 1 / block_days
    begins[0] = True
    first = np.flatnonzero(begins)
    lengths = np.diff(np.append(first, places))
    return (np.repeat(starts[first] - first, lengths) + np.arange(places)) % count
