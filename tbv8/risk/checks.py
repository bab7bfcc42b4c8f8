"""Every rule, in the order in which an order is held against them."""

from __future__ import annotations

from tbv8.risk.rules.barred import CLOCK, STALE_BAR, STOPPED
from tbv8.risk.rules.halted import DAILY_LOSS, LIQUIDATED
from tbv8.risk.rules.lot_size import LOT_SIZE
from tbv8.risk.rules.max_leverage import MAX_LEVERAGE
from tbv8.risk.rules.max_position import MAX_POSITION
from tbv8.risk.rules.min_notional import MIN_NOTIONAL
from tbv8.risk.rules.tick_size import TICK_SIZE

RULES = (
    TICK_SIZE,
    LOT_SIZE,
    MIN_NOTIONAL,
    DAILY_LOSS,
    LIQUIDATED,
    STOPPED,
    CLOCK,
    STALE_BAR,
    MAX_POSITION,
    MAX_LEVERAGE,
)
