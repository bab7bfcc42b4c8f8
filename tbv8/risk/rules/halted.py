"""Rules that deny new positions until 00:00 UTC, after the day's loss or a liquidation."""

from __future__ import annotations

from tbv8.risk.events import LIQUIDATION
from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text

MAX_DAILY_LOSS = "max_daily_loss_usd"


def _halted_by(name: str, check: OrderCheck) -> Numbers | None:
    if check.halted is None or check.halted.rule != name:
        return None
    return check.sizes()


def _by_loss(check: OrderCheck) -> Numbers | None:
    numbers = _halted_by(MAX_DAILY_LOSS, check)
    return numbers and numbers | {"limit_usd": check.limits.max_daily_loss_usd}


def _by_liquidation(check: OrderCheck) -> Numbers | None:
    return _halted_by(LIQUIDATION, check)


DAILY_LOSS = Rule(
    name=MAX_DAILY_LOSS,
    key="risk.max_daily_loss_usd",
    description="opening after the day's loss was reached",
    find_breach=_by_loss,
    cause=lambda numbers: f"the day's loss reached {number_text(numbers['limit_usd'])} USD",
)
LIQUIDATED = Rule(
    name=LIQUIDATION, description="opening after a liquidation", find_breach=_by_liquidation
)
