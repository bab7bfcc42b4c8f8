"""Rules by which a paper session denies new positions; a backtest never applies them."""

from __future__ import annotations

from collections.abc import Callable

from tbv8.risk.rule import Numbers, OrderCheck, Rule


def _blocked_by(name: str) -> Callable[[OrderCheck], Numbers | None]:
    def find_breach(check: OrderCheck) -> Numbers | None:
        return check.sizes() if check.blocked_by == name else None

    return find_breach


STOPPED = Rule(
    name="stopped",
    description="opening after `doit stop`",
    find_breach=_blocked_by("stopped"),
)
CLOCK = Rule(
    name="clock",
    key="paper.clock_limit",
    description="opening while our clock and the venue's are apart",
    find_breach=_blocked_by("clock"),
)
STALE_BAR = Rule(
    name="stale_bar",
    key="paper.stale_after",
    description="opening on a bar that came too late",
    find_breach=_blocked_by("stale_bar"),
)
