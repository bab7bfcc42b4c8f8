"""Whoever feeds a session may bar what opens a position, never what closes one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.risk.test_rules import BTC, check

D = Decimal


@pytest.mark.parametrize("rule", ["stopped", "clock", "stale_bar"])
def test_blocked_entries_open_nothing_and_close_all(rule: str) -> None:
    long = {"positions": {BTC: D(1)}}

    opening = check("1", blocked_by=rule)

    assert opening is not None
    assert (opening.rule, opening.numbers["order"]) == (rule, D(1))
    assert check("1", blocked_by=None) is None
    assert check("-1", blocked_by=rule, **long) is None
    turned = check("-1.5", blocked_by=rule, **long)
    assert turned is not None
    assert turned.rule == rule
