"""Limits, halts, funding and liquidation, each with its numbers worked out by hand."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.market import DAY_MS, HOUR_MS
from tbv8.risk import (
    Account,
    Limits,
    Order,
    check_order,
    funding,
    halt_price,
    liquidation_price,
    must_halt,
    next_funding,
    next_midnight,
)

D = Decimal
LOSS = "max_daily_loss_usd"


def _limits(**changes: str) -> Limits:
    values = {
        "max_position": "2",
        "max_daily_loss_usd": "100",
        "max_leverage": "10",
        "venue_leverage": "40",
        "tick_size": "0.5",
        "lot_size": "0.001",
    }
    return Limits(**{name: D(value) for name, value in (values | changes).items()})


def _rule(
    change: str,
    *,
    position: str = "0",
    working: tuple[str, ...] = (),
    reduce_only: bool = False,
    prices: tuple[str, ...] = (),
    halted: str | None = None,
    cash: str = "10000",
    price: str | None = "100",
    **limits: str,
) -> str | None:
    breach = check_order(
        Order(D(change), reduce_only, tuple(D(p) for p in prices)),
        Account(D(cash), D(position)),
        [Order(D(other)) for other in working],
        _limits(**limits),
        price=None if price is None else D(price),
        halted=halted,
    )
    return breach and breach.rule


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        pytest.param({"change": "2"}, None, id="up to the limit"),
        pytest.param({"change": "2.001"}, "max_position", id="beyond it"),
        pytest.param({"change": "-2.001"}, "max_position", id="short beyond it"),
        pytest.param({"change": "-4", "position": "2"}, None, id="turning round"),
        pytest.param({"change": "-4.001", "position": "2"}, "max_position", id="turning too far"),
        pytest.param({"change": "1", "working": ("1.001",)}, "max_position", id="with open buys"),
        pytest.param(
            {"change": "1", "working": ("-5",)}, None, id="open sells do not help or harm"
        ),
        pytest.param(
            {"change": "1.5", "position": "1", "working": ("-1",)},
            "max_position",
            id="an open sell may never be filled",
        ),
        pytest.param({"change": "-1", "position": "5"}, None, id="less of what is too much"),
        pytest.param({"change": "-9", "reduce_only": True}, None, id="reducing only"),
        pytest.param({"change": "0.0005"}, "lot_size", id="below one lot"),
        pytest.param({"change": "1.0005"}, "lot_size", id="not whole lots"),
        pytest.param({"change": "1", "prices": ("99.3",)}, "tick_size", id="off the tick"),
        pytest.param({"change": "1", "prices": ("99.5",)}, None, id="on the tick"),
    ],
)
def test_an_order_is_denied_for_what_it_could_do(order: dict[str, Any], rule: str | None) -> None:
    assert _rule(**order) == rule


@pytest.mark.parametrize(
    ("case", "rule"),
    [
        # equity is cash + position x price = 100; 1 x 100 is once that
        pytest.param({"change": "1", "cash": "100", "max_leverage": "1"}, None, id="once"),
        pytest.param(
            {"change": "1.001", "cash": "100", "max_leverage": "1"}, "max_leverage", id="over"
        ),
        # 0 + 1 x 100 = 100 is once already
        pytest.param(
            {"change": "0.001", "cash": "0", "position": "1", "max_leverage": "1"},
            "max_leverage",
            id="what is held counts",
        ),
        pytest.param(
            {"change": "1.5", "cash": "100", "venue_leverage": "1"},
            "max_leverage",
            id="the venue's is lower",
        ),
        pytest.param({"change": "0.001", "cash": "-1"}, "max_leverage", id="no equity left"),
        pytest.param(
            {"change": "-1", "cash": "-500", "position": "1"}, None, id="closing without equity"
        ),
        pytest.param({"change": "1", "price": None}, "max_leverage", id="no price yet"),
        pytest.param(
            {"change": "-1", "position": "1", "price": None}, None, id="no price, but out"
        ),
    ],
)
def test_leverage_is_notional_over_equity_at_the_last_price(
    case: dict[str, Any], rule: str | None
) -> None:
    assert _rule(**case) == rule


def test_after_a_halt_only_less_is_allowed() -> None:
    assert _rule("1", halted=LOSS) == "max_daily_loss_usd"
    assert _rule("-1", position="1", halted=LOSS) is None
    assert _rule("-1.001", position="1", halted=LOSS) == "max_daily_loss_usd"
    assert _rule("-1", position="1", working=("-1",), halted=LOSS) == "max_daily_loss_usd"


def test_a_breach_says_its_numbers() -> None:
    breach = check_order(
        Order(D("1.5")), Account(D(10_000), D(1)), [], _limits(), price=D(100), halted=None
    )

    assert str(breach) == ("max_position: position 1, open_orders 0, order 1.5, worst 2.5, limit 2")


def test_a_loss_of_just_the_limit_halts() -> None:
    assert must_halt(D("9900"), D("10000"), _limits())
    assert not must_halt(D("9900.00000001"), D("10000"), _limits())


def test_the_price_of_the_daily_loss() -> None:
    # Long 2 at 100 with 9800 cash: 9800 + 2 p = 10000 - 100 at p = 50.
    assert halt_price(Account(D(9_800), D(2)), D(10_000), _limits()) == 50
    # Short 2 at 100 with 10200 cash: 10200 - 2 p = 9900 at p = 150.
    assert halt_price(Account(D(10_200), D(-2)), D(10_000), _limits()) == 150
    assert halt_price(Account(D(10_000), D(0)), D(10_000), _limits()) is None


def test_the_price_of_a_liquidation() -> None:
    # Maintenance at 40x is 1/80. Long 10 bought at 100 with 100 USD: cash is -900;
    # -900 + 10 p = 10 p / 80 at p = 900 / 9.875.
    long = liquidation_price(Account(D(-900), D(10)), _limits().maintenance)
    assert long is not None
    assert round(long, 6) == D("91.139241")
    # Short 10 at 100 with 100 USD: cash is 1100; 1100 - 10 p = 10 p / 80 at p = 1100 / 10.125.
    short = liquidation_price(Account(D(1_100), D(-10)), _limits().maintenance)
    assert short is not None
    assert round(short, 6) == D("108.641975")
    assert liquidation_price(Account(D(100), D(0)), _limits().maintenance) is None


def test_funding_is_paid_by_longs_and_got_by_shorts() -> None:
    # 2 x 100 x 0.0001 = 0.02 for eight hours, an eighth of it for one.
    assert funding(D(2), D(100), rate_8h=D("0.0001"), hours=8) == D("0.02")
    assert funding(D(2), D(100), rate_8h=D("0.0001"), hours=1) == D("0.0025")
    assert funding(D(-2), D(100), rate_8h=D("0.0001"), hours=8) == D("-0.02")
    assert funding(D(2), D(100), rate_8h=D("-0.0001"), hours=8) == D("-0.02")


def test_the_times_of_funding_and_midnight() -> None:
    assert next_funding(0, 8) == 8 * HOUR_MS
    assert next_funding(8 * HOUR_MS - 1, 8) == 8 * HOUR_MS
    assert next_funding(23 * HOUR_MS, 1) == DAY_MS
    assert next_midnight(DAY_MS) == 2 * DAY_MS
    assert next_midnight(DAY_MS - 1) == DAY_MS


_lots = st.integers(-4000, 4000).map(lambda lots: D(lots) / 1000)


@given(_lots.filter(bool), _lots, st.lists(_lots, max_size=4), st.randoms())
def test_no_fills_in_any_order_go_beyond_the_limit(
    change: Decimal, position: Decimal, working: list[Decimal], draw: Any
) -> None:
    limits = _limits()
    account = Account(D(1_000_000), position)
    others: list[Order] = []
    for other in [*filter(None, working), change]:
        order = Order(other)
        if check_order(order, account, others, limits, price=D(100), halted=None) is None:
            others.append(order)
    draw.shuffle(others)

    held = position
    for order in others[: draw.randint(0, len(others))]:
        before, held = held, held + order.change
        assert abs(held) <= limits.max_position or abs(held) < abs(before)


def test_the_callers_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 2
        assert _rule("2.001") == "max_position"
        assert funding(D("1.2345"), D("98765.43"), rate_8h=D("0.0001"), hours=8) == D("12.19259233")
