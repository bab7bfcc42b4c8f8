"""All rules by name, in the order of the checks."""

from __future__ import annotations

from tbv8.risk.rules.blocked import CLOCK, STALE_BAR, STOPPED
from tbv8.risk.rules.duplicate_order import DUPLICATE_ORDER
from tbv8.risk.rules.halted import DAILY_LOSS, LIQUIDATED
from tbv8.risk.rules.lot_size import LOT_SIZE
from tbv8.risk.rules.max_leverage import MAX_LEVERAGE
from tbv8.risk.rules.max_position import MAX_POSITION
from tbv8.risk.rules.min_notional import MIN_NOTIONAL
from tbv8.risk.rules.not_simulated import (
    EMULATION_TRIGGER,
    EXEC_ALGORITHM,
    ORDER_TYPE,
    PARENT_ORDER,
    POST_ONLY,
    QUOTE_QUANTITY,
)
from tbv8.risk.rules.reduce_only import REDUCE_ONLY
from tbv8.risk.rules.stop_in_market import STOP_IN_MARKET
from tbv8.risk.rules.tick_size import TICK_SIZE
from tbv8.risk.rules.time_in_force import EXPIRE_TIME, TIME_IN_FORCE

RULES = {
    rule.name: rule
    for rule in (
        DUPLICATE_ORDER,
        PARENT_ORDER,
        ORDER_TYPE,
        QUOTE_QUANTITY,
        EXEC_ALGORITHM,
        EMULATION_TRIGGER,
        POST_ONLY,
        TIME_IN_FORCE,
        EXPIRE_TIME,
        TICK_SIZE,
        LOT_SIZE,
        REDUCE_ONLY,
        STOP_IN_MARKET,
        MIN_NOTIONAL,
        DAILY_LOSS,
        LIQUIDATED,
        STOPPED,
        CLOCK,
        STALE_BAR,
        MAX_POSITION,
        MAX_LEVERAGE,
    )
}
