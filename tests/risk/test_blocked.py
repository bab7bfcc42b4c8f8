"""Whoever feeds a session may bar what opens a position, never what closes one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tbv8.risk.checks import RULES
from tbv8.risk.events import Breach
from tbv8.risk.rules.blocked import (
    age_breach,
    clock_breach,
    parse_block,
    stop_breach,
    to_text,
)
from tests.risk.test_rules import BTC, check

D = Decimal


@pytest.mark.parametrize(
    ("block", "text", "cause"),
    [
        (
            stop_breach(1_704_067_261_234),
            "stopped since_ms=1704067261234",
            "opening after `doit stop` at 2024-01-01T00:01:01Z",
        ),
        (
            clock_breach(60_401, 2_000),
            "clock ahead_s=60.5 limit_s=2",
            "our clock is 60.5 s ahead of the venue's, the limit is 2 s",
        ),
        (
            clock_breach(-2_901, 2_500),
            "clock ahead_s=-3 limit_s=2.5",
            "our clock is 3 s behind the venue's, the limit is 2.5 s",
        ),
        (
            age_breach(412_000, 180_000),
            "stale_bar age_s=412 limit_s=180",
            "the minute was read 412 s after its close, the limit is 180 s",
        ),
    ],
)
def test_blocked_entries_open_nothing_and_close_all(block: Breach, text: str, cause: str) -> None:
    long = {"positions": {BTC: D(1)}}
    rule = block.rule

    opening = check("1", blocked_by=block)

    assert (to_text(block), parse_block(text)) == (text, block)
    assert opening is not None
    assert (opening.rule, opening.numbers["order"]) == (rule, D(1))
    assert RULES[rule].reason(opening.numbers) == cause
    assert check("1", blocked_by=None) is None
    assert check("-1", blocked_by=block, **long) is None
    turned = check("-1.5", blocked_by=block, **long)
    assert turned is not None
    assert turned.rule == rule
