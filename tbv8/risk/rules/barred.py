"""The feeder of a session can bar new positions; a backtest never does."""

from __future__ import annotations

from collections.abc import Callable

from tbv8.risk.rule import Numbers, Request, Rule


def _barred_by(name: str) -> Callable[[Request], Numbers | None]:
    def broken(request: Request) -> Numbers | None:
        return request.sizes() if request.barred == name else None

    return broken


STOPPED = Rule(
    name="stopped",
    words="opening after `doit stop`",
    broken=_barred_by("stopped"),
)
CLOCK = Rule(
    name="clock",
    key="paper.clock_limit",
    words="opening while our clock and the venue's are apart",
    broken=_barred_by("clock"),
)
STALE_BAR = Rule(
    name="stale_bar",
    key="paper.stale_after",
    words="opening on a bar that came too late",
    broken=_barred_by("stale_bar"),
)
