"""What a plan makes of one step: examples of docs/orders.md, sections 3 to 5, and invariants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbv8.trading.matching import PlannedEvent, Step, StepAccount, WorkingOrder, excess, plan
from tbv8.trading.units import NEVER, Ratio, Units

FREE = Units(
    price_decimals=0,
    size_decimals=0,
    money_decimals=8,
    tick=1,
    slippage=0,
    maker=Ratio(0, 1),
    taker=Ratio(0, 1),
    maintenance=Ratio(1, 20),
    max_position=NEVER,
)
"""Whole prices and sizes, no fees; leverage 10."""
RICH = 10**15


def limit(id: str, side: str, left: int, price: int, **more: Any) -> WorkingOrder:
    return made(id, side, "limit", left, price=price, **more)


def stop(id: str, side: str, left: int, trigger: int, **more: Any) -> WorkingOrder:
    return made(id, side, "stop", left, trigger=trigger, **more)


def stop_limit(
    id: str, side: str, left: int, trigger: int, price: int, **more: Any
) -> WorkingOrder:
    return made(id, side, "stop_limit", left, trigger=trigger, price=price, **more)


def made(id: str, side: str, kind: Any, left: int, **more: Any) -> WorkingOrder:
    return WorkingOrder(id=id, buy=side == "buy", kind=kind, left=left, sequence=0, **more)


def happens(
    orders: list[WorkingOrder],
    prices: tuple[int, int, int, int],
    *,
    position: int = 0,
    before: int | None = 100,
    cash: int = RICH,
    **units: Any,
) -> list[tuple[str, int, int]]:
    """Return id (or kind without one), size and price of what a step brings; a trigger has no size.

    Orders were sent in their order; the step closes at 1000.
    """
    numbered = [replace(order, sequence=place) for place, order in enumerate(orders, start=1)]
    open_, high, low, close = prices
    step = Step(1000, open_, high, low, close, before)
    planned = plan(
        numbered, StepAccount(position, cash), step, msgspec.structs.replace(FREE, **units)
    )
    return [(each.order_id or each.kind, each.size, each.price) for each in planned]


Prices = tuple[int, int, int, int]
EXAMPLES: dict[
    str, tuple[list[WorkingOrder], Prices, dict[str, Any], list[tuple[str, int, int]]]
] = {
    "the fee of an entry counts in what is left: it is liquidated one price earlier": (
        [stop("s", "buy", 10, 101)],
        (100, 101, 96, 98),
        {"cash": 100 * 10**8, "taker": Ratio(1, 100)},
        [("s", 10, 101), ("liquidation", 10, 96)],
    ),
    "and without a fee it is not": (
        [stop("s", "buy", 10, 101)],
        (100, 101, 96, 98),
        {"cash": 100 * 10**8},
        [("s", 10, 101)],
    ),
    "a touch does not fill a limit": (
        [limit("l", "buy", 1, 98)],
        (100, 101, 98, 100),
        {},
        [],
    ),
    "a limit is filled where the price goes through": (
        [limit("l", "buy", 1, 98)],
        (100, 101, 97, 100),
        {},
        [("l", 1, 98)],
    ),
    "a limit that the open jumps over is filled at its limit": (
        [limit("l", "buy", 1, 98)],
        (95, 96, 95, 96),
        {},
        [("l", 1, 98)],
    ),
    "a touch sets a stop off": (
        [stop("s", "sell", 1, 98)],
        (100, 101, 98, 100),
        {},
        [("s", 1, 98)],
    ),
    "a stop that the open jumps over is filled at the open, slipped": (
        [stop("s", "sell", 1, 98)],
        (95, 96, 95, 96),
        {"slippage": 2},
        [("s", 1, 93)],
    ),
    "the loss of a long position comes first": (
        [limit("t", "sell", 1, 105, reduce_only=True), stop("s", "sell", 1, 95, reduce_only=True)],
        (100, 106, 94, 100),
        {"position": 1},
        [("s", 1, 95)],
    ),
    "of equal prices the first sent comes first": (
        [limit("b", "buy", 1, 98), limit("a", "buy", 2, 98)],
        (100, 101, 97, 100),
        {},
        [("b", 1, 98), ("a", 2, 98)],
    ),
    "a reduce-only order fills what is held": (
        [limit("t", "sell", 5, 105, reduce_only=True)],
        (100, 106, 100, 100),
        {"position": 2},
        [("t", 2, 105)],
    ),
    "a stop-limit takes at its trigger if its limit is no worse for the market": (
        [stop_limit("s", "buy", 1, 103, 104)],
        (100, 105, 100, 100),
        {},
        [("s", 1, 104)],
    ),
    "a stop-limit that opens beyond its limit rests": (
        [stop_limit("s", "buy", 1, 103, 104)],
        (105, 106, 105, 105),
        {},
        [("s", 0, 105)],
    ),
    "a stop-limit that rests since its trigger fills beyond the close": (
        [stop_limit("s", "buy", 1, 103, 102)],
        (100, 104, 100, 101),
        {},
        [("s", 0, 103), ("s", 1, 102)],
    ),
    "a child stop takes part from where it begins": (
        [
            limit("e", "buy", 1, 98),
            stop("s", "sell", 1, 96, reduce_only=True, parent="e"),
        ],
        (100, 101, 95, 100),
        {},
        [("e", 1, 98), ("s", 1, 96)],
    ),
    "a child limit waits for the close": (
        [
            limit("e", "buy", 1, 98),
            limit("t", "sell", 1, 102, reduce_only=True, parent="e"),
        ],
        (100, 105, 97, 102),
        {},
        [("e", 1, 98)],
    ),
    "a child limit fills if the step closes beyond it": (
        [
            limit("e", "buy", 1, 98),
            limit("t", "sell", 1, 102, reduce_only=True, parent="e"),
        ],
        (100, 105, 97, 103),
        {},
        [("e", 1, 98), ("t", 1, 102)],
    ),
    # down to 97 first, since that is worse for the ten: one bought at 103, both its exits reached
    "of children that begin, the stop comes before the limit": (
        [
            stop("x", "sell", 10, 98, linked=("y",), one_cancels_other=True),
            limit("y", "sell", 10, 105, linked=("x",), one_cancels_other=True),
            stop("e", "buy", 1, 103),
            limit("t", "sell", 1, 104, parent="e", linked=("s",), one_cancels_other=True),
            stop("s", "sell", 1, 98, parent="e", linked=("t",), one_cancels_other=True),
        ],
        (101, 106, 97, 105),
        {"position": 10},
        [("x", 10, 98), ("e", 1, 103), ("s", 1, 98)],
    ),
    "a post-only child that begins in the market does not rest": (
        [
            stop("e", "buy", 1, 103),
            limit("t", "sell", 1, 102, reduce_only=True, post_only=True, parent="e"),
        ],
        (100, 105, 97, 104),
        {},
        [("e", 1, 103)],
    ),
    "an order that ends inside fills if that is worse than the close": (
        [limit("l", "buy", 1, 98, ends_ns=500)],
        (100, 101, 96, 97),
        {},
        [("l", 1, 98)],
    ),
    "an order that ends inside does not fill if that is better": (
        [limit("l", "buy", 1, 98, ends_ns=500)],
        (100, 101, 96, 99),
        {},
        [],
    ),
    "an order that ends at the close works through the step": (
        [limit("l", "buy", 1, 98, ends_ns=1000)],
        (100, 101, 96, 99),
        {},
        [("l", 1, 98)],
    ),
    "siblings shrink by what was filled": (
        [
            limit("t", "sell", 1, 103, reduce_only=True, linked=("s",)),
            stop("s", "sell", 3, 97, reduce_only=True, linked=("t",)),
        ],
        (104, 105, 96, 100),
        {"position": 3},
        [("t", 1, 103), ("s", 2, 97)],
    ),
    "one cancels the other": (
        [
            limit("t", "sell", 1, 103, linked=("s",), one_cancels_other=True),
            stop("s", "sell", 3, 97, linked=("t",), one_cancels_other=True),
        ],
        (104, 105, 96, 100),
        {"position": 3},
        [("t", 1, 103)],
    ),
    "orders beyond max_position end, last sent first": (
        [limit("a", "buy", 2, 98), limit("b", "buy", 2, 97), limit("c", "buy", 1, 96)],
        (100, 101, 95, 100),
        {"max_position": 4},
        [("a", 2, 98), ("b", 2, 97)],
    ),
    # 10 bought at 100 with 100: -900 + 10 p = p / 2 at 94.7
    "a liquidation is met by a touch": (
        [],
        (100, 100, 94, 96),
        {"position": 10, "cash": -900 * 10**8},
        [("liquidation", 10, 94)],
    ),
    "at the open where the step opens beyond it": (
        [],
        (90, 91, 90, 91),
        {"position": 10, "cash": -900 * 10**8, "slippage": 3},
        [("liquidation", 10, 90)],
    ),
    "nothing fills behind a liquidation": (
        [limit("l", "buy", 1, 93)],
        (100, 100, 90, 96),
        {"position": 10, "cash": -900 * 10**8},
        [("liquidation", 10, 94)],
    ),
    "a stop before the liquidation saves the rest": (
        [stop("s", "sell", 10, 95)],
        (100, 100, 90, 96),
        {"position": 10, "cash": -900 * 10**8},
        [("s", 10, 95)],
    ),
}


@pytest.mark.parametrize(
    ("orders", "prices", "more", "expected"), EXAMPLES.values(), ids=EXAMPLES.keys()
)
def test_a_step_brings(
    orders: list[WorkingOrder],
    prices: Prices,
    more: dict[str, Any],
    expected: list[tuple[str, int, int]],
) -> None:
    assert happens(orders, prices, **more) == expected


def test_without_a_position_the_extreme_nearer_to_the_open_comes_first() -> None:
    both = [stop("up", "buy", 1, 103), stop("down", "sell", 1, 97)]

    assert [id for id, _, _ in happens(both, (100, 103, 96, 100))] == ["up", "down"]
    assert [id for id, _, _ in happens(both, (100, 104, 97, 100))] == ["down", "up"]


def test_of_equally_near_extremes_the_order_that_was_sent_first_decides() -> None:
    both = [stop("up", "buy", 1, 103), stop("down", "sell", 1, 97)]

    assert [id for id, _, _ in happens(both, (100, 103, 97, 100))] == ["up", "down"]
    assert [id for id, _, _ in happens(both[::-1], (100, 103, 97, 100))] == ["down", "up"]


def test_planning_changes_no_order() -> None:
    orders = [limit("l", "buy", 1, 98), stop("s", "sell", 1, 97)]
    before = [replace(order) for order in orders]

    plan(orders, StepAccount(0, RICH), Step(1, 100, 101, 95, 100, 100), FREE)

    assert orders == before


def test_excess_counts_each_side_and_neither_children_nor_reducers() -> None:
    orders = [
        replace(order, sequence=place)
        for place, order in enumerate(
            [
                limit("a", "buy", 2, 98),
                limit("b", "buy", 2, 97),
                limit("r", "buy", 9, 96, reduce_only=True),
                limit("c", "buy", 9, 96, parent="a"),
                limit("s", "sell", 6, 105),
                limit("t", "sell", 1, 106),
            ]
        )
    ]

    assert excess(orders, 1, 6) == []  # 1 + 4 and 1 - 7
    assert excess(orders, 2, 5) == ["b"]
    assert excess(orders, 0, 5) == ["t", "s"]


# Invariants

PRICES = st.integers(90, 110)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[WorkingOrder], StepAccount, Step]:
    orders = []
    for place in range(draw(st.integers(1, 6))):
        parents = [order.id for order in orders if order.parent is None]
        orders.append(
            WorkingOrder(
                id=f"o{place}",
                buy=draw(st.booleans()),
                kind=draw(st.sampled_from(["limit", "stop", "stop_limit"])),
                left=draw(st.integers(1, 5)),
                sequence=place,
                price=draw(PRICES),
                trigger=draw(PRICES),
                reduce_only=draw(st.booleans()),
                ends_ns=draw(st.sampled_from([0, 0, 500, 1000])),
                parent=draw(st.sampled_from([None, None, *parents])),
            )
        )
    prices = [draw(PRICES) for _ in range(4)]
    step = Step(1000, prices[0], max(prices), min(prices), prices[3], draw(PRICES))
    position = draw(st.integers(-5, 5))
    cash = draw(st.sampled_from([RICH, (20 - 100 * position) * 10**8]))
    return orders, StepAccount(position, cash), step


def turned(price: int) -> int:
    return 200 - price


@settings(max_examples=150)
@given(situations())
def test_no_order_is_larger_and_none_that_reduces_opens(
    situation: tuple[list[WorkingOrder], StepAccount, Step],
) -> None:
    orders, account, step = situation
    units = msgspec.structs.replace(FREE, max_position=8)
    by_id = {order.id: order for order in orders}
    position = account.position

    for each in plan(orders, account, step, units):
        before, position = position, position + (each.size if each.buy else -each.size)
        if each.kind == "liquidation":
            assert position == 0
        elif each.kind == "fill":
            order = by_id[each.order_id]
            assert 0 < each.size <= order.left
            assert each.buy == order.buy
            order.left -= each.size
            if order.reduce_only:
                assert abs(position) < abs(before)
                assert position * before >= 0
            if order.kind != "stop":
                assert each.price == order.price
        assert step.low <= each.path_price <= step.high or each.path_price in (
            order_prices(orders, step)
        )


def order_prices(orders: list[WorkingOrder], step: Step) -> set[int | None]:
    """Where a path may be outside of the step: on the jump from the close before."""
    return {step.before, *(o.price for o in orders), *(o.trigger for o in orders)} | set(
        range(min(step.before or 0, step.open), max(step.before or 0, step.open) + 1)
    )


@settings(max_examples=150)
@given(situations())
def test_a_mirrored_step_is_the_step_turned_round(
    situation: tuple[list[WorkingOrder], StepAccount, Step],
) -> None:
    orders, account, step = situation
    mirror = Step(
        step.close_ns,
        turned(step.open),
        turned(step.low),
        turned(step.high),
        turned(step.close),
        None if step.before is None else turned(step.before),
    )
    # without a position and with equally near extremes low comes first in both
    units = FREE
    rich = StepAccount(account.position, RICH)
    planned = plan(orders, rich, step, units)
    other = plan(
        [
            replace(o, buy=not o.buy, price=turned(o.price), trigger=turned(o.trigger))
            for o in orders
        ],
        StepAccount(-account.position, RICH),
        mirror,
        units,
    )

    if step.open - step.low != step.high - step.open:
        assert [turned_plan(each) for each in other] == planned


def turned_plan(each: PlannedEvent) -> PlannedEvent:
    return msgspec.structs.replace(
        each, buy=not each.buy, price=turned(each.price), path_price=turned(each.path_price)
    )
