"""After the day's loss, or a liquidation, nothing is opened until the next 00:00 UTC."""

from __future__ import annotations

from tbv8.risk.events import LIQUIDATION
from tbv8.risk.rule import Numbers, Request, Rule

MAX_DAILY_LOSS = "max_daily_loss_usd"


def _halted_by(name: str, request: Request) -> Numbers | None:
    if request.halted is None or request.halted.rule != name:
        return None
    return request.sizes()


def _by_loss(request: Request) -> Numbers | None:
    numbers = _halted_by(MAX_DAILY_LOSS, request)
    return numbers and numbers | {"limit_usd": request.limits.max_daily_loss_usd}


def _by_liquidation(request: Request) -> Numbers | None:
    return _halted_by(LIQUIDATION, request)


DAILY_LOSS = Rule(
    name=MAX_DAILY_LOSS,
    key="risk.max_daily_loss_usd",
    words="opening after the day's loss was reached",
    broken=_by_loss,
)
LIQUIDATED = Rule(name=LIQUIDATION, words="opening after a liquidation", broken=_by_liquidation)
