"""Positions and the curve, from fills alone."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.errors import DataError
from tbv8.results.accounting import (
    Fill,
    Position,
    entry_price,
    to_curve,
    to_money,
    to_positions,
)

D = Decimal


def _fills(*changes: tuple[str, str, str]) -> list[Fill]:
    """Build fills from (signed quantity, price, fee), one a second."""
    position, fills = D(0), []
    for second, (change, price, fee) in enumerate(changes):
        position += D(change)
        fills.append(
            Fill(
                ts_ms=second * 1000,
                order_id=f"O-{second + 1}",
                side="buy" if D(change) > 0 else "sell",
                type="market",
                quantity=abs(D(change)),
                price=D(price),
                fee=D(fee),
                liquidity="taker",
                position=position,
            )
        )
    return fills


def _position(**values: object) -> Position:
    decimals = {
        name: D(str(value)) if name not in ("opened_ms", "closed_ms", "side") else value
        for name, value in values.items()
    }
    return Position(**decimals)


def test_what_is_open_was_entered_at_the_average_of_what_added_to_it() -> None:
    fills = _fills(
        ("2", "100", "0"),
        ("2", "110", "0"),  # 4 at 105
        ("-1", "120", "0"),  # 3 are left of those
        ("1", "99", "0"),  # (3 x 105 + 99) / 4
        ("-6", "90", "0"),  # turned round: 2 short
        ("-1", "93", "0"),  # (2 x 90 + 93) / 3
        ("3", "80", "0"),
    )

    assert [entry_price(fills[:count]) for count in range(8)] == [
        None, 100, 105, 105, D("103.5"), 90, 91, None
    ]  # fmt: skip


def test_a_fill_through_zero_closes_one_position_and_opens_the_next() -> None:
    positions = to_positions(
        _fills(("2", "100", "0.2"), ("-3", "110", "0.33"), ("1", "100", "0.1"))
    )

    # The middle fill's fee of 0.33 is shared two to one.
    assert positions == [
        _position(
            opened_ms=0,
            closed_ms=1000,
            side="long",
            quantity=2,
            entry_price=100,
            exit_price=110,
            pnl="19.58",  # 2 x 10 - 0.2 - 0.22
            fees="0.42",
        ),
        _position(
            opened_ms=1000,
            closed_ms=2000,
            side="short",
            quantity=1,
            entry_price=110,
            exit_price=100,
            pnl="9.79",  # 10 - 0.11 - 0.1
            fees="0.21",
        ),
    ]


def test_entries_and_exits_in_parts_are_averaged() -> None:
    positions = to_positions(
        _fills(("1", "100", "0"), ("3", "104", "0"), ("-2", "110", "0"), ("-2", "112", "0"))
    )

    assert positions == [
        _position(
            opened_ms=0,
            closed_ms=3000,
            side="long",
            quantity=4,
            entry_price=103,
            exit_price=111,
            pnl=32,
            fees=0,
        )
    ]


_change = st.tuples(
    st.integers(-5, 5).filter(bool).map(str),
    st.integers(1, 10**6).map(lambda cents: str(D(cents) / 100)),
    st.integers(0, 10**8).map(lambda units: str(D(units).scaleb(-8))),
)


@given(st.lists(_change, max_size=30))
def test_what_positions_gained_is_what_the_account_gained(
    changes: list[tuple[str, str, str]],
) -> None:
    held = sum(D(change) for change, _, _ in changes)
    if held:
        changes = [*changes, (str(-held), "50", "0.01")]
    fills = _fills(*changes)

    positions = to_positions(fills)
    closes_ms = np.array([len(changes) * 1000], dtype=np.int64)
    curve = to_curve(fills, start=D(10_000), closes_ms=closes_ms, closes=np.array([50.0]))

    gained = sum((position.pnl for position in positions), D(0))
    assert curve.equity[-1] == to_money(D(10_000) + gained)
    assert sum((p.fees for p in positions), D(0)) == sum((f.fee for f in fills), D(0))


def test_a_fill_at_a_bars_close_is_in_that_bar() -> None:
    fills = _fills(("1", "100", "0"), ("-1", "110", "0"))  # at 0 and at 1000 ms

    curve = to_curve(
        fills,
        start=D(1000),
        closes_ms=np.array([-1, 0, 999, 1000, 2000]),
        closes=np.array([100.0, 100.0, 105.0, 110.0, 120.0]),
    )

    assert curve.position.tolist() == [0, 1, 1, 0, 0]
    assert (curve.equity // 10**8).tolist() == [1000, 1000, 1005, 1010, 1010]


def test_more_money_than_64_bits_hold_is_refused() -> None:
    with pytest.raises(DataError, match="lower starting_balance_usd"):
        to_curve(
            [],
            start=D(10) ** 11,
            closes_ms=np.array([0]),
            closes=np.array([1.0]),
        )
