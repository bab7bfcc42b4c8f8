"""Rules by which a paper session denies new positions; a backtest never applies them.

The journal stores the rule of a minute with its numbers as text: `stale_bar age_s=412 limit_s=180`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tbv8.market import iso
from tbv8.risk.events import Breach, plain
from tbv8.risk.rule import Numbers, OrderCheck, Rule, number_text


def stop_breach(since_ms: int) -> Breach:
    """Return the block of a session that was stopped at a time by our clock."""
    return Breach(STOPPED.name, {"since_ms": Decimal(since_ms)})


def clock_breach(ahead_ms: int, limit_ms: int) -> Breach:
    """Return the block of a session whose clock is ahead of the venue's; below 0 for behind.

    Tenths of a second, rounded away from 0, so that a replay feeds most such minutes at once.
    """
    tenths = Decimal(-(-abs(ahead_ms) // 100)).copy_sign(Decimal(ahead_ms))
    return Breach(CLOCK.name, {"ahead_s": tenths / 10, "limit_s": _seconds(limit_ms)})


def age_breach(age_ms: int, limit_ms: int) -> Breach:
    """Return the block of a minute that was read too long after its close."""
    return Breach(STALE_BAR.name, {"age_s": _seconds(age_ms), "limit_s": _seconds(limit_ms)})


def to_text(block: Breach) -> str:
    """Return a block as the journal stores it."""
    return " ".join((block.rule, *(f"{key}={plain(n)}" for key, n in block.numbers.items())))


def parse_block(text: str) -> Breach:
    """Return a block of the journal."""
    rule, *numbers = text.split(" ")
    pairs = (number.partition("=") for number in numbers)
    return Breach(rule, {key: Decimal(value) for key, _, value in pairs})


def _seconds(ms: int) -> Decimal:
    return Decimal(ms) / 1000


def _blocked_by(name: str) -> Callable[[OrderCheck], Numbers | None]:
    def find_breach(check: OrderCheck) -> Numbers | None:
        block = check.blocked_by
        return check.sizes() | block.numbers if block and block.rule == name else None

    return find_breach


def _stop_cause(numbers: Numbers) -> str:
    return f"{STOPPED.description} at {iso(int(numbers['since_ms']) // 1000 * 1000)}"


def _clock_cause(numbers: Numbers) -> str:
    ahead, limit = numbers["ahead_s"], number_text(numbers["limit_s"])
    side = "ahead of" if ahead > 0 else "behind"
    return f"our clock is {number_text(abs(ahead))} s {side} the venue's, the limit is {limit} s"


def _age_cause(numbers: Numbers) -> str:
    age, limit = number_text(numbers["age_s"]), number_text(numbers["limit_s"])
    return f"the minute was read {age} s after its close, the limit is {limit} s"


STOPPED = Rule(
    name="stopped",
    description="opening after `doit stop`",
    find_breach=_blocked_by("stopped"),
    cause=_stop_cause,
)
CLOCK = Rule(
    name="clock",
    key="paper.clock_limit",
    description="opening while our clock and the venue's are apart",
    find_breach=_blocked_by("clock"),
    cause=_clock_cause,
)
STALE_BAR = Rule(
    name="stale_bar",
    key="paper.stale_after",
    description="opening on a bar that came too late",
    find_breach=_blocked_by("stale_bar"),
    cause=_age_cause,
)
