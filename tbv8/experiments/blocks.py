"""The description of a re-chained market; imports little: each start imports it."""

from __future__ import annotations

import msgspec


class RechainedMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market of real days in another order.

    Attributes:
        block_days: The mean length of the blocks of days that stay together.
        seed: The seed of the experiment's draws.
        path: The number of this draw.
    """

    block_days: int
    seed: int
    path: int
